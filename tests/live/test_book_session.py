"""A session against depth: at every reconcile the two accounts are equal to the micro-dollar.

A whole day: pytest tests/live/test_book_session.py -m slow
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flea_lab.backtest.market import Market, build_market
from flea_lab.config import RunConfig
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.live.runner import OVER
from tests.live.session import account, assert_whole, last_reconcile, rows, session, world
from tests.live.test_kills import SYMBOLS, busy

HISTORY = 30


def market_of(run: RunConfig, bars: int) -> Market:
    """Synthetic candles and funding of both symbols."""
    found = {symbol: synthetic_market(symbol, n_bars=bars) for symbol in SYMBOLS}
    return build_market(run, {s: c for s, (c, _, _) in found.items()}, {s: f for s, (_, f, _) in found.items()})


def play(folder: Path, bars: int, start: int = HISTORY, **settings: Any) -> dict[str, int]:
    """What a session on `bars` bars from bar `start` came to."""
    run = busy(history_bars=HISTORY)
    market = market_of(run, bars + start)

    async def whole() -> dict[str, int]:
        options = {"matching": "book", "latency_ms": 1_500, "steps": 6, "maker_fee_bps": -0.5, **settings}
        async with world(run, market, start, **options) as here:
            assert await session(here, folder) == OVER
            assert_whole(here, folder)
            assert last_reconcile(folder) == account(here.customer)
            orders = here.customer.orders.values()
            return {
                "orders": len(orders),
                "partial": sum(0 < o.filled < o.lots for o in orders) + _split(folder),
                "cancelled": sum(o.status == "cancelled" for o in orders),
                "limits": sum(o.request.type == "limit" for o in orders),
                "rested": sum(o.updated_ns - o.created_ns > 60_000_000_000 for o in orders),
                "funding": len(rows(folder, "SELECT 1 FROM funding WHERE paid_uusd != 0")),
            }

    return asyncio.run(whole())


def _split(folder: Path) -> int:
    """Orders that were filled in several pieces."""
    return len(rows(folder, "SELECT 1 FROM fills GROUP BY client_order_id HAVING count(*) > 1"))


def assert_every_reconcile_is_equal(folder: Path, at_least: int) -> None:
    compared = rows(folder, "SELECT equal, ours, theirs FROM reconciles")
    assert len(compared) >= at_least
    for equal, ours, theirs in compared:
        assert equal and json.loads(ours) == json.loads(theirs)


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "book"


def test_two_hours_against_depth_agree_at_every_reconcile(folder: Path) -> None:
    found = play(folder, 120)
    assert_every_reconcile_is_equal(folder, 100)
    assert found["orders"] > 100 and found["partial"] > 5 and found["rested"] > 2 and found["limits"] > 50, found


def test_funding_is_felt_alike_with_orders_resting(folder: Path) -> None:
    settled = next(int(at) for at in market_of(busy(), 1_000).fund_at if at > HISTORY + 20)
    found = play(folder, 40, start=settled - 20, steps=4)
    assert_every_reconcile_is_equal(folder, 35)
    assert found["orders"] > 40 and found["funding"] == len(SYMBOLS), found


@pytest.mark.slow
@pytest.mark.parametrize("queue_ahead", [0.0, 1.0])
def test_a_day_against_depth_agrees_at_every_reconcile(folder: Path, queue_ahead: float) -> None:
    found = play(folder, 1_440, queue_ahead=queue_ahead)
    print(found)
    assert_every_reconcile_is_equal(folder, 1_200)
    assert found["orders"] > 1_000 and found["partial"] > 50 and found["rested"] > 50 and found["funding"] >= 3, found
