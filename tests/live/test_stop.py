"""A session that is stopped in the middle of a fast market ends at once, and with the venue's word."""

import asyncio
from pathlib import Path

import pytest

from tests.backtest.tiny import config, tiny
from tests.live.session import account, ask, last_reconcile, running, until, with_live, world

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
