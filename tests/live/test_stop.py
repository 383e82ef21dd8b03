"""A session that is stopped in the middle of a fast market ends at once, and with the venue's word."""

import asyncio
from pathlib import Path

import pytest

from flea_lab.model.market import MS_NS
from tests.backtest.tiny import config, tiny
from tests.live.session import (
    Gate,
    account,
    ask,
    assert_whole,
    last_reconcile,
    proxy,
    rows,
    running,
    until,
    with_live,
    world,
)  # fmt: skip

LIVE = {"history_bars": 1, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.4}
BARS = 5_000


@pytest.mark.parametrize("matching", [{}, {"matching": "book", "latency_ms": 1_500, "steps": 4}])
def test_a_stop_ends_while_the_market_would_go_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matching: dict[str, object]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    run = with_live(config(), **LIVE)
    # it never rests: the next bar is there as soon as one is worked off
    market = tiny(run, {"X": [(i, 100.0 + i % 7, 101.0 + i % 5, 0.5 if i % 2 else -0.5) for i in range(BARS)]})
    folder = home / "journals" / "stopped"

    async def play() -> None:
        async with world(run, market, **matching) as here, running(here, folder) as task:
            await until(folder, lambda said: said["state"] == "trading" and said["bars"] > 10, 15)
            await ask(folder, "stop")
            async with asyncio.timeout(60):
                assert await task == "stopped by a person"
            assert here.stage.now_ms < here.closes(BARS - 1), "it ended before its market did"
            assert last_reconcile(folder) == account(here.customer) and not here.customer.open

    asyncio.run(play())


@pytest.mark.parametrize("when", ["before the cancel is sent", "after the cancel is sent"])
def test_a_stop_that_loses_its_connection_still_takes_back_what_rests(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    run = with_live(config(sizing={"market_above": 1.0, "base_fraction": 0.2}), **LIVE, limit_ttl_s=3_600.0)
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(BARS)]})
    folder = home / "journals" / "cut"

    async def play() -> None:
        # a cancel works 1.5 s of the market later, and this market stands while nobody acknowledges
        book = {"matching": "book", "latency_ms": 1_500, "steps": 4}
        async with world(run, market, **book) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(8))
            async with running(here, folder, url=between.url) as task:
                await here.at(8)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(8) * MS_NS)
                await here.rests()
                cut = asyncio.Event()
                first = here.server.audience.connections[-1]

                async def waited_for() -> None:
                    """Returns once the market waits for the session's next connection."""
                    while not any(one.acking for one in here.server.audience.connections if one not in (gate, first)):
                        await asyncio.sleep(0.002)

                async def cuts(method: str, path: str, body: bytes) -> str | None:
                    if method != "DELETE" or cut.is_set():
                        return None
                    cut.set()
                    await between.cut()
                    return "drop" if when == "before the cancel is sent" else "lose"

                between.rest = cuts
                await ask(folder, "stop")
                await cut.wait()
                await waited_for()
                gate.open()
                async with asyncio.timeout(60):
                    assert await task == "stopped by a person"
            assert here.stage.now_ms < here.closes(BARS - 1), "it ended before its market did"
            assert not here.customer.open
            assert not rows(
                folder, "SELECT id FROM orders WHERE status IN ('pending', 'working', 'cancelling', 'unknown')"
            )
            assert_whole(here, folder)

    asyncio.run(play())
