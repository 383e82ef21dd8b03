"""The structured log holds named fields and no key; a loop that hangs is seen, told, and lets no position grow."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from flea_lab.clock import Stopwatch, WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.live.secrecy import mask_of
from flea_lab.live.telemetry import Telemetry
from flea_lab.live.telemetry_lag import EVERY_S, LagWindow, LoopLag
from flea_lab.secret import Secret

CANARY = "pf_canary_0011223344"


def test_a_record_holds_what_is_listed_and_no_key(tmp_path: Path) -> None:
    with Telemetry(tmp_path, WallClock(), mask_of(Secret(CANARY))) as log:
        log.log("order", {"client_order_id": "c-1", "reason": f"said {CANARY}", "headers": CANARY, "lots": 3})
    [line] = (tmp_path / "telemetry.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert {**said, "ts": 0} == {"ts": 0, "kind": "order", "client_order_id": "c-1", "reason": "said ***", "lots": 3}
    assert (tmp_path / "telemetry.jsonl").stat().st_mode & 0o777 == 0o600
    with pytest.raises(WorkspaceError, match=r"log .*telemetry\.jsonl: cannot be written \(No such file"):
        Telemetry(tmp_path / "none", WallClock(), str)


def test_a_log_begins_anew_and_the_last_are_kept(tmp_path: Path) -> None:
    with Telemetry(tmp_path, WallClock(), str, largest=500) as log:
        for n in range(60):
            log.log("order", {"lots": n, "text": "x" * 30})
    files = [tmp_path / f"telemetry.jsonl{end}" for end in (".3", ".2", ".1", "")]
    found = [json.loads(line)["lots"] for file in files for line in file.read_text().splitlines()]
    assert found == list(range(60 - len(found), 60)) and all(file.stat().st_size < 620 for file in files)


def test_one_hang_blocks_until_a_whole_window_is_quick_again() -> None:
    window = LagWindow(alert_s=0.1, block_s=1.0)
    at = 0.0
    while at < 10.0:
        at += EVERY_S
        window.add(at, 0.001)
    assert not window.blocked and window.lag().p99_s == 0.001
    window.add(at := at + 1.5, 1.5)
    assert window.blocked and window.lag().max_s == 1.5
    assert window.lag().p99_s > 1.0, "a hang is all the samples that were due in it, not one of many"
    blocked_at = at
    while window.blocked:
        at += EVERY_S
        window.add(at, 0.001)
        assert at < blocked_at + 11
    assert at > blocked_at + 10


def test_late_by_a_little_is_told_and_blocks_nothing() -> None:
    window = LagWindow(alert_s=0.1, block_s=1.0)
    for n in range(300):
        window.add(n * EVERY_S, 0.2 if n % 20 == 0 else 0.0)
    assert window.lag().p99_s > 0.1 and not window.blocked


def test_a_loop_that_hangs_is_told_of_while_it_hangs() -> None:
    said: list[tuple[str, str]] = []
    told = threading.Event()

    def alert(severity: str, text: str) -> None:
        said.append((severity, text))
        told.set()

    async def run() -> str:
        lag = LoopLag(asyncio.get_running_loop(), alert, alert_s=0.05, block_s=0.1)
        try:
            assert lag.why_not == ""
            assert told.wait(20), "the loop hangs here, and somebody else says so"
            while not lag._window.blocked:
                await asyncio.sleep(0.01)
            return lag.why_not
        finally:
            lag.close()

    assert "hung for more than 0.1 s" in asyncio.run(run())
    assert said[0] == ("critical", "the trading loop hangs: no answer for 0.1 s")


def test_lag_that_is_not_heeded_blocks_nothing() -> None:
    async def run() -> tuple[str, int]:
        watch, pause = Stopwatch(), threading.Event()
        lag = LoopLag(
            asyncio.get_running_loop(),
            lambda *_: pytest.fail("told"),
            alert_s=0.01,
            block_s=0.05,
            heeded=lambda: False,
        )
        while not lag._window.lag().max_s > 0.1 and watch.elapsed_s() < 60.0:
            pause.wait(0.3)  # the loop hangs, until the other thread was there to see it
            await asyncio.sleep(0.01)
        lag.close()
        return lag.why_not, lag._window.lag().samples

    why, samples = asyncio.run(run())
    assert why == "" and samples >= 5
