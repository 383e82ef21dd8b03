"""The five guards and the kill switch in a live session: the same refusals as the replay; latches outlive restarts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flea_lab.decision import digest
from flea_lab.research.live_parity import decisions_of
from flea_lab.live.journal import FILE
from flea_lab.risk.checks import NAMES
from flea_lab.live.runner import OVER
from flea_lab.wiring import run_replay
from tests.backtest.tiny import config, tiny
from tests.live.session import Gate, ask, assert_whole, rows, running, session, until, world, with_live

UP = [(i, 100.0, 100.0, 0.5) for i in range(12)]


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
