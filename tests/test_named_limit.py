"""A price that a strategy names itself: it is looked at like any other, and nothing worse ever reaches a wire."""

import math
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from flea_lab.config import alphas
from flea_lab.core import TradingCore
from flea_lab.errors import DataError
from flea_lab.ledger import LOTS
from flea_lab.model.limit import intent_ticks, limit_ticks
from flea_lab.model.trading import Command, NewOrder, OrderIntent, ParentOrder, Refused
from flea_lab.risk.checks import BELOW_MINIMUM, COLLAR, DUPLICATE, NAMES
from flea_lab.wiring import build_core
from tests.backtest.tiny import GRID, config
from tests.test_core import NOON, a_fill, candle


def a_core(**sections: Any) -> TradingCore:
    run = config(("X",), **sections)
    core = build_core(run, alphas(run), NOON, limit_ttl_ns=3_600_000_000_000)
    core.on(candle("X", 1, say=0.0, volume=40.0, buy_volume=20.0))
    return core


def an_intent(price: float | None, side: str = "buy", ts: int = NOON, **changes: Any) -> OrderIntent:
    values: dict[str, Any] = dict(
        symbol="X", side=side, size_usd=100.0, order_type="limit", limit_price=price, urgency="normal",
        signal_sources=(), ts_event=ts, price_ticks=10_000, size_uusd=100_000_000, conviction=0.5,
    )  # fmt: skip
    return OrderIntent(**(values | changes))


def dealt(core: TradingCore, intent: OrderIntent) -> tuple[Command, ...]:
    return core.dealer.on(intent, core.ledger.equity_uusd(), 0.0, False, 1.0)


def a_limit(core: TradingCore, price: float, side: str = "buy") -> NewOrder:
    (order,) = dealt(core, an_intent(price, side))
    assert isinstance(order, NewOrder)
    return order


def refusal(core: TradingCore, intent: OrderIntent) -> str:
    *_, refused = dealt(core, intent)
    assert isinstance(refused, Refused)
    return NAMES[refused.code]


@pytest.mark.parametrize(
    ("side", "price", "ticks"),
    [("buy", 99.5, 9_950), ("buy", 99.509, 9_950), ("sell", 100.501, 10_051), ("sell", 100.509, 10_051)],
)
def test_the_order_bears_the_named_price_on_the_grid_and_never_a_worse_one(side: str, price: float, ticks: int) -> None:
    core = a_core()
    order = a_limit(core, price, side)
    assert order.price_ticks == ticks == limit_ticks(order, core.instruments["X"])
    assert order.decided_ticks == 10_000  # slippage is counted from the decision


@pytest.mark.parametrize("price", [94.99, 105.01, 1e6, 1e-9, 0.0, -1.0, math.nan, math.inf, 1e300])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_named_price_beyond_the_collar_or_that_is_none_is_refused_and_nothing_stays(side: str, price: float) -> None:
    core = a_core()
    before = msgspec.msgpack.encode(core.dump())
    assert refusal(core, an_intent(price, side)) == NAMES[COLLAR]
    assert msgspec.msgpack.encode(core.dump()) == before and not core.router.blotter.open_orders()


def test_the_collar_is_measured_from_what_the_market_said_and_not_from_the_intents_own_price() -> None:
    assert refusal(a_core(), an_intent(150.0, price_ticks=15_000)) == NAMES[COLLAR]
    assert refusal(a_core(), an_intent(None, price_ticks=15_000, order_type="market")) == NAMES[COLLAR]


def test_at_no_price_is_an_order_worth_more_than_was_asked() -> None:
    core = a_core()
    high, low = a_limit(core, 104.0, "sell"), a_limit(core, 96.0)
    assert high.lots * high.price_ticks * 10 <= 100_000_000 < (high.lots + 1) * high.price_ticks * 10
    assert low.lots == 1_000  # at the decision's price, which is the higher one
    small = an_intent(96.0, size_uusd=5_000_000)  # 5.00 USD at the decision's price, 4.80 at its own
    assert refusal(a_core(instruments={"X": {**GRID, "min_notional_usd": "5"}}), small) == NAMES[BELOW_MINIMUM]


def test_two_named_prices_are_two_orders_and_the_same_twice_is_a_double() -> None:
    core = a_core(risk={"max_concentration": 1.0})
    assert a_limit(core, 99.0).price_ticks != a_limit(core, 99.1).price_ticks
    assert refusal(core, an_intent(99.0, ts=NOON + 1)) == NAMES[DUPLICATE]


@pytest.mark.parametrize("slicing", [{"limits": "work", "cross_normal": 0}, {"above": 1e-6}, {"offset_ticks": 500}])
@pytest.mark.parametrize(("side", "price"), [("buy", 99.0), ("sell", 101.0)])
def test_no_slice_of_an_order_with_a_named_price_goes_beyond_it_whatever_its_urgency(
    slicing: dict[str, Any], side: str, price: float
) -> None:
    core = a_core(slicing={"minutes": 5.0, "participation": 1.0, "above": 1e-6, **slicing})
    parent, child = dealt(core, an_intent(price, side, ts=NOON + 60_000_000_000))
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder)
    grid, given = core.instruments["X"], [child]
    core.on(a_fill(child))
    for bar, close in ((2, 100.0), (3, 103.0), (4, 97.0)):
        for command in core.on(candle("X", bar, say=0.0, volume=40.0, buy_volume=20.0, close=close)):
            if isinstance(command, NewOrder):
                given.append(command)
                core.on(a_fill(command, ticks=command.price_ticks))
    for order in given:
        assert order.order_type == "limit"
        assert order.price_ticks <= 9_900 if side == "buy" else order.price_ticks >= 10_100
        assert limit_ticks(order, grid) == order.price_ticks
    assert core.ledger.book[0, LOTS] != 0


def test_a_wire_takes_no_price_but_the_one_that_was_looked_at() -> None:
    core = a_core()
    grid, order = core.instruments["X"], a_limit(core, 99.0)
    assert limit_ticks(replace(order, price_ticks=9_800), grid) == 9_800  # better than named
    with pytest.raises(DataError, match="a buy at 9901 ticks is not within the 9900 that its intent names"):
        limit_ticks(replace(order, price_ticks=9_901), grid)
    sold = a_limit(core, 101.0, "sell")
    with pytest.raises(DataError, match="a sell at 10099 ticks is not within the 10100 that its intent names"):
        limit_ticks(replace(sold, price_ticks=10_099), grid)
    with pytest.raises(DataError, match=r"price 0\.006 is below one tick"):
        intent_ticks(an_intent(0.006), grid)
