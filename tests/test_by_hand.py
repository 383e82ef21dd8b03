"""Orders that a person gives a core: the guards of the desk, slices at its pace, one of a name, and an end."""

from typing import Any

import pytest

from flea_lab.config import alphas
from flea_lab.core import TradingCore
from flea_lab.ledger import PENDING
from flea_lab.model.trading import (
    Alert,
    CancelOrder,
    Command,
    Halt,
    HandCancel,
    HandOrder,
    NewOrder,
    ParentOrder,
    Reduce,
    Refused,
)
from flea_lab.risk.checks import COLLAR, CONCENTRATION, DUPLICATE, KILL_SWITCH, NAMES, ORDER_SIZE, REDUCING
from flea_lab.wiring import build_core
from tests.backtest.tiny import config
from tests.test_core import MINUTE, NOON, a_fill, candle


def a_core(**sections: Any) -> TradingCore:
    run = config(("X",), **{"slicing": {"participation": 1.0}, **sections})
    core = build_core(run, alphas(run), NOON, limit_ttl_ns=3_600_000_000_000)
    still(core, 1)
    return core


def still(core: TradingCore, bar: int, close: float = 100.0) -> tuple[Command, ...]:
    """A bar that says nothing to the signals."""
    return core.on(candle("X", bar, say=0.0, volume=40.0, buy_volume=20.0, close=close))


def asked(bar: int = 1, **changes: Any) -> HandOrder:
    values: dict[str, Any] = dict(
        ts_event=NOON + bar * MINUTE, name="mine", by="me", symbol="X", side="buy", size_uusd=1_000_000_000,
        style="twap", minutes=5.0,
    )  # fmt: skip
    return HandOrder(**(values | changes))


def test_an_order_by_hand_is_worked_in_slices_that_come_to_what_was_ordered() -> None:
    core = a_core()
    parent, child = core.on(asked())
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder)
    assert (parent.lots, parent.slice_lots, parent.style, child.order_type) == (10_000, 2_000, "twap", "market")
    assert core.ledger.book[0, PENDING] == 10_000  # all of it is exposure at once
    filled = 0
    for bar in range(2, 9):
        core.on(a_fill(child))
        filled += child.lots
        given = [one for one in still(core, bar) if isinstance(one, NewOrder)]
        if not given:
            break
        (child,) = given
    assert filled == 10_000 and not core.router.parents.active() and core.ledger.book[0, PENDING] == 0


def refused(core: TradingCore, order: HandOrder) -> str:
    (said,) = core.on(order)
    assert isinstance(said, Refused)
    return NAMES[said.code]


def test_it_passes_the_guards_of_the_desk_and_nothing_goes_round_them() -> None:
    core = a_core()
    core.on(Halt(ts_event=NOON, reason="no"))
    assert refused(core, asked()) == NAMES[KILL_SWITCH]
    core = a_core()
    core.on(Reduce(ts_event=NOON, reason="no"))
    assert refused(core, asked()) == NAMES[REDUCING]
    assert refused(a_core(risk={"max_order_usd": 999.0}), asked()) == NAMES[ORDER_SIZE]
    assert refused(a_core(risk={"max_concentration": 0.09}), asked()) == NAMES[CONCENTRATION]
    assert refused(a_core(), asked(limit_price=110.0)) == NAMES[COLLAR]
    core = a_core()
    core.on(asked())
    assert refused(core, asked(name="other")) == NAMES[DUPLICATE]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"symbol": "DOGE"}, "order for DOGE, which is not traded here"),
        ({"minutes": 0.5}, "order 'mine' is not taken: 0.5 minutes must be 1 to 1440, and at least a slice of 60 s"),
        ({"minutes": float("nan")}, "order 'mine' is not taken: nan minutes must be"),
    ],
)
def test_what_cannot_be_worked_is_told_and_changes_nothing(changes: dict[str, Any], why: str) -> None:
    core = a_core()
    (alert,) = core.on(asked(**changes))
    assert isinstance(alert, Alert) and alert.text.startswith(why)
    assert not core.router.parents.active() and not core.router.blotter.open_orders()


def test_where_all_fills_at_the_next_open_none_is_worked() -> None:
    run = config(("X",))
    core = build_core(run, alphas(run), NOON)
    still(core, 1)
    (alert,) = core.on(asked())
    assert isinstance(alert, Alert) and "all orders fill at the next open here" in alert.text


def test_one_of_a_name_is_worked_at_a_time() -> None:
    core = a_core()
    core.on(asked())
    (alert,) = core.on(asked(bar=2, size_uusd=500_000_000))
    assert isinstance(alert, Alert) and "one of that name is worked already" in alert.text


def test_it_can_be_ended_which_takes_its_child_back_and_gives_nothing_more() -> None:
    core = a_core()
    parent, child = core.on(asked(style="iceberg", limit_price=99.0))
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder)
    assert (child.order_type, child.price_ticks) == ("limit", 9_900)
    cancel, alert = core.on(HandCancel(ts_event=NOON, parent_id=parent.parent_id, by="me"))
    assert isinstance(cancel, CancelOrder) and cancel.client_order_id == child.client_order_id
    assert isinstance(alert, Alert) and "8000 of 10000 lots of X are given up" in alert.text
    assert not still(core, 2) and core.ledger.book[0, PENDING] == child.lots
    (alert,) = core.on(HandCancel(ts_event=NOON, parent_id=parent.parent_id, by="me"))
    assert isinstance(alert, Alert) and "is not worked" in alert.text
