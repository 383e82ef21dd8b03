"""The five guards and the kill switch in a live session: the same refusals as the replay; latches outlive restarts."""

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flea_lab.config import RunConfig
from flea_lab.decision import digest
from flea_lab.errors import ConfigError
from flea_lab.live.account import CONTROL, HALT
from flea_lab.live.control_client import Declined
from flea_lab.live.runner import OVER
from flea_lab.live.store import FILE
from flea_lab.model.market import MS_NS
from flea_lab.research.live_parity import decisions_of
from flea_lab.risk.checks import NAMES
from flea_lab.wiring import run_replay
from tests.backtest.tiny import MINUTE, NOON, config, tiny
from tests.live.session import Gate, ask, assert_whole, proxy, rows, running, session, until, with_live, world


def flat(n: int, price: float = 100.0, say: float = 0.5) -> list[tuple[int, float, float, float]]:
    return [(i, price, price, say) for i in range(n)]


GUARDS: dict[str, tuple[dict[str, Any], list[tuple[int, float, float, float]]]] = {
    "order_size": ({"risk": {"max_order_usd": 1_000.0}}, flat(8)),
    "concentration": ({"risk": {"max_concentration": 0.6}}, flat(8)),
    "daily_loss": ({"risk": {"max_daily_loss": 0.03}}, [*flat(3), *[(i, 80.0, 80.0, 0.5) for i in range(3, 9)]]),
    "drawdown": ({"risk": {"max_drawdown": 0.03}}, [*flat(3), *[(i, 80.0, 80.0, 0.5) for i in range(3, 9)]]),
    "vpin": (
        {"risk": {"vpin": {"source": "bars", "limit": 0.2, "window": 2, "bucket_volume": {"X": 1.0}}}},
        flat(10, say=0.9),
    ),
}


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "guards"


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_a_guard_trips_live_as_in_the_replay(guard: str, folder: Path) -> None:
    sections, bars = GUARDS[guard]
    run = with_live(config(**sections), history_bars=1)
    market = tiny(run, {"X": bars})
    replayed, _ = run_replay(run, market, 1)
    names = [NAMES[int(code)] for code in replayed.decisions["code"]]
    assert guard in names

    async def play() -> None:
        async with world(run, market, 1) as here:
            assert await session(here, folder) == OVER
            assert_whole(here, folder)

    asyncio.run(play())
    lived = decisions_of(folder / FILE, run)
    assert digest(lived, run.symbols) == digest(replayed.decisions, run.symbols)


EVE = NOON + 12 * 3_600_000 - 8 * MINUTE
"""The open of bar 0 where 00:00 UTC is the close of bar 7."""


def test_the_daily_latch_outlives_a_restart_and_opens_at_midnight(folder: Path) -> None:
    run = with_live(config(risk={"max_daily_loss": 0.03}), history_bars=1, reconcile_pause_s=0.0)
    bars = [(i, 100.0 if i < 3 else 90.0, 100.0 if i < 3 else 90.0, 0.5) for i in range(14)]
    market = tiny(run, {"X": bars}, start_ms=EVE)

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder) as task:
                await here.at(4)
                # and the bar has been decided on: one that is only on its way is history to the next session
                said = await until(
                    folder, lambda said: said["halt_verified"] and said["last_bar_ns"] == here.closes(4) * MS_NS
                )
                assert said["latches"] == ["daily_loss"] and said["state"] == "halted"
                await ask(folder, "stop")
                assert await task == "stopped by a person"
            gate.open(here.closes(6))
            before = len(here.customer.orders)
            async with running(here, folder) as task:
                said = await until(
                    folder, lambda said: said["reconciled"] and said["last_bar_ns"] == here.closes(6) * MS_NS
                )
                assert said["latches"] == ["daily_loss"] and len(here.customer.orders) == before
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)
            assert len(here.customer.orders) > before
            first = min(order.created_ns for order in list(here.customer.orders.values())[before:])
            assert first == here.closes(7) * MS_NS, "the close at 00:00 begins the day"

    asyncio.run(play())
    replayed, _ = run_replay(run, market, 1)
    assert digest(decisions_of(folder / FILE, run), run.symbols) == digest(replayed.decisions, run.symbols)


def test_the_drawdown_latch_outlives_a_restart_and_a_day_and_opens_for_a_person_only(folder: Path) -> None:
    run = with_live(config(risk={"max_drawdown": 0.03}), history_bars=1, reconcile_pause_s=0.0)
    bars = [(i, 100.0 if i < 3 else 90.0, 100.0 if i < 3 else 90.0, 0.5) for i in range(16)]
    market = tiny(run, {"X": bars}, start_ms=EVE)

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder):
                await until(folder, lambda said: said["halt_verified"])
                before = len(here.customer.orders)  # the session is cancelled here: as good as killed
            gate.open(here.closes(10))
            async with running(here, folder) as task:
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(10) * MS_NS and said["reconciled"])
                assert len(here.customer.orders) == before
                with pytest.raises(Declined, match="daily_loss"):
                    await ask(folder, "resume", ["daily_loss"], "me")
                await ask(folder, "resume", ["drawdown"], "me", "clear drawdown of guards")
                await until(folder, lambda said: said["state"] == "trading" and not said["latches"])
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)
            assert len(here.customer.orders) > before

    asyncio.run(play())


def resting(**live: Any) -> RunConfig:
    """Limit orders only, which rest."""
    return with_live(
        config(sizing={"market_above": 1.0, "base_fraction": 0.2}, slicing={"above": "none"}),  # whole, not in slices
        **{"history_bars": 1, "reconcile_pause_s": 0.0, "limit_ttl_s": 3_600.0, **live},
    )


def test_a_halt_leaves_no_open_order_and_says_so_only_then(folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(40)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4, maker_fee_bps=0.0) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(12))
            slow, asked = asyncio.Event(), asyncio.Event()

            async def silent(method: str, path: str, body: bytes) -> str | web.Response | None:
                if method != "DELETE":
                    return None
                asked.set()
                await slow.wait()
                return None

            between.rest = silent
            async with running(here, folder, url=between.url) as task:
                await here.at(12)
                assert len(here.customer.open) > 2, "limit orders rest"
                await ask(folder, "halt", "enough")
                await asked.wait()
                said = await until(folder, lambda said: said["state"] == "halted")
                await asyncio.sleep(0.4)
                said = await ask(folder, "status")
                assert not said["halt_verified"] and said["open_orders"] > 2 and here.customer.open
                slow.set()
                await until(folder, lambda said: said["halt_verified"])
                assert not here.customer.open
                before = len(here.customer.orders)
                gate.open(here.closes(20))
                await here.at(20)
                said = await until(folder, lambda said: said["last_bar_ns"] == here.closes(20) * MS_NS)
                assert said["halt_verified"] and said["open_orders"] == 0 and len(here.customer.orders) == before
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)

    asyncio.run(play())


def test_the_halt_file_halts_and_stays_until_a_person_resumes(folder: Path) -> None:
    run = with_live(config(), history_bars=1, reconcile_pause_s=0.0)
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.5 if i % 2 else -0.5) for i in range(30)]})

    async def play() -> None:
        async with world(run, market) as here:
            gate = Gate(here.server, here.closes(6))
            folder.mkdir(parents=True)
            (folder / HALT).touch()
            async with running(here, folder) as task:
                said = await until(folder, lambda said: said["halt_verified"] and said["reconciled"])
                assert said["latches"] == ["kill_switch"] and (folder / HALT).exists()
                await here.at(6)
                assert not here.customer.orders
                with pytest.raises(Declined, match="a person clears it by typing 'clear kill_switch of guards'"):
                    await ask(folder, "resume", ["kill_switch"], "me")
                await ask(folder, "resume", ["kill_switch"], "me", "clear kill_switch of guards", "looked at it")
                await until(folder, lambda said: said["state"] == "trading")
                async with asyncio.timeout(20):
                    while not (found := rows(folder, "SELECT body FROM entries WHERE instr(body, 'looked at it')")):
                        await asyncio.sleep(0.02)
                [(body,)] = found
                assert b"me" in body and b"Resume" in body and b"kill_switch" in body, "who, what and why, journalled"
                assert not (folder / HALT).exists()
                gate.open(here.closes(12))
                await here.at(12)
                (folder / HALT).touch()
                await until(folder, lambda said: said["halt_verified"])
                before = len(here.customer.orders)
                assert before > 2
                gate.open()
                assert await task == OVER
            assert len(here.customer.orders) == before
            assert_whole(here, folder)

    asyncio.run(play())


def test_a_halt_is_taken_while_history_is_asked_for(folder: Path) -> None:
    run = resting()
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(8))
            async with running(here, folder, url=between.url) as task:
                await here.at(8)
                await here.rests()
                asked, answered = asyncio.Event(), asyncio.Event()

                async def silent(method: str, path: str, body: bytes) -> None:
                    if path.startswith("/candles"):
                        asked.set()
                        await answered.wait()

                between.rest = silent
                await between.cut()
                async with asyncio.timeout(20):
                    await asked.wait()  # from here on the loop waits for history
                await ask(folder, "halt", "enough")
                async with asyncio.timeout(20):
                    while here.customer.open:
                        await asyncio.sleep(0.02)
                assert (folder / HALT).exists(), "what the journal does not have yet is on disk"
                assert not (await ask(folder, "status"))["halt_verified"]
                answered.set()
                await until(folder, lambda said: said["halt_verified"] and said["state"] == "halted")
                await until(folder, lambda _: not (folder / HALT).exists())  # at the loop's next look
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)

    asyncio.run(play())


def test_a_halt_after_the_last_bar_keeps_another_config_out(folder: Path) -> None:
    run = with_live(config(), history_bars=1)
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.0) for i in range(20)]})
    other = with_live(config(sizing={"base_fraction": 0.5}), history_bars=1)

    async def play() -> None:
        async with world(run, market) as here:
            Gate(here.server, here.closes(4))
            async with running(here, folder) as task:
                await until(folder, lambda said: said["state"] == "trading")
                await here.at(4)
                await ask(folder, "halt", "enough")
                await until(folder, lambda said: said["halt_verified"])
                await ask(folder, "stop")
                await task
            with pytest.raises(ConfigError, match=r"traded config .* and the latch kill_switch is closed"):
                await session(here, folder, config=other)

    asyncio.run(play())


def send_both(folder: Path, *requests: dict[str, Any]) -> list[socket.socket]:
    """Asks in this order: each request is whole at the server's socket before the next one connects."""
    path = (folder / CONTROL).read_text(encoding="utf-8").strip()
    asking = []
    for request in requests:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(60.0)
        sock.connect(path)
        sock.sendall(json.dumps(request).encode() + b"\n")
        asking.append(sock)
    return asking


def hear_both(asking: list[socket.socket]) -> None:
    for sock in asking:
        with sock:
            assert sock.recv(65_536).endswith(b"\n"), "answered, whatever it says"


def test_a_halt_that_comes_while_a_resume_waits_is_not_wiped(folder: Path) -> None:
    run = with_live(config(), history_bars=1)
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.5) for i in range(20)]})

    async def play() -> None:
        async with world(run, market) as here:
            Gate(here.server, here.closes(4))
            async with running(here, folder):
                await here.at(4)
                await ask(folder, "halt", "first")
                await until(folder, lambda said: said["halt_verified"] and not (folder / HALT).exists())
                resume = {
                    "verb": "resume",
                    "clear": ["kill_switch"],
                    "by": "me",
                    "phrase": "clear kill_switch of guards",
                }
                both = send_both(folder, resume, {"verb": "halt"})
                end = time.monotonic() + 60.0
                while not (folder / HALT).exists() and time.monotonic() < end:
                    time.sleep(0.01)  # the loop is busy until both are received, the halt after the resume
                await asyncio.to_thread(hear_both, both)
                await asyncio.sleep(0.3)
                await until(folder, lambda said: said["latches"] == ["kill_switch"] and said["state"] == "halted")

    asyncio.run(play())
