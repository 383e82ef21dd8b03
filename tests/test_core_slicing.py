"""Large orders inside the core: slices at the pace of the bars, exposure at once, halts that stop them, restarts."""

from typing import Any

import pytest

from flea_lab.config import alphas
from flea_lab.core import TradingCore
from flea_lab.decision import Recorder, line
from flea_lab.execution.order import OPEN
from flea_lab.model.market import Heartbeat
from flea_lab.model.trading import (
    Accepted,
    Adopt,
    Alert,
    Cancelled,
    CancelOrder,
    Command,
    Filled,
    Halt,
    NewOrder,
    ParentOrder,
    Reduce,
    Refused,
)
from flea_lab.risk.checks import CONCENTRATION
from flea_lab.wiring import build_core
from tests.backtest.tiny import config
from tests.test_core import NOON, a_fill, beat, candle

SLICED = {"minutes": 5.0, "participation": 0.5, "above": 1e-5}
VOLUME = 40.0
"""Base units a bar: 20 may go with each."""


def a_core(**sections: Any) -> TradingCore:
    run = config(("X",), **{"slicing": SLICED, "sizing": {"base_fraction": 0.2}, **sections})
    return build_core(run, alphas(run), NOON, limit_ttl_ns=3_600_000_000_000)


def bar(core: TradingCore, n: int, say: float = 0.0, volume: float = VOLUME) -> tuple[Command, ...]:
    share = candle("X", n, say=say).buy_volume
    return core.on(candle("X", n, say=0.0, volume=volume, buy_volume=share * volume))


def orders(commands: tuple[Command, ...]) -> list[NewOrder]:
    return [command for command in commands if isinstance(command, NewOrder)]


def begun(**sections: Any) -> tuple[TradingCore, ParentOrder, NewOrder]:
    """A core that buys 20 units, which is more than a hundred-thousandth of a day by what it has heard."""
    core = a_core(**sections)
    parent, child = bar(core, 1, say=1.0)
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder)
    return core, parent, child


def test_an_order_above_its_share_of_a_days_volume_is_worked_in_slices_and_one_below_goes_at_once() -> None:
    _, parent, child = begun()
    assert (parent.lots, parent.slice_lots, parent.style) == (20_000, 4_000, "twap")
    assert (child.lots, child.order_type, child.parent) == (4_000, "market", parent.parent_id)
    for above in (0.5, "none"):
        (order,) = bar(a_core(slicing={**SLICED, "above": above}), 1, say=1.0)
        assert isinstance(order, NewOrder) and order.lots == 20_000 and not order.parent


def test_research_and_a_market_of_next_opens_never_slice() -> None:
    run = config(("X",), slicing=SLICED, sizing={"base_fraction": 0.2})
    (order,) = bar(build_core(run, alphas(run), NOON), 1, say=1.0)
    assert isinstance(order, NewOrder) and order.lots == 20_000


def test_the_decision_is_one_line_however_it_is_worked() -> None:
    core, parent, child = begun()
    core.on(a_fill(child))
    recorder = Recorder(("X",))
    recorder.on((parent, *bar(core, 2)))
    (decision,) = recorder.decisions()
    assert line(decision, ("X",)).split()[1:6] == ["X", "buy", "200000", "20000", "10000"]


def test_the_whole_order_counts_as_exposure_from_the_moment_it_is_decided() -> None:
    core, _, child = begun(risk={"max_concentration": 0.3})
    assert core.ledger.book[0, 1] == 20_000
    (refused,) = [command for command in bar(core, 2, say=1.0) if isinstance(command, Refused)]
    assert refused.code == CONCENTRATION
    core.on(a_fill(child))
    assert core.ledger.book[0, 1] == 16_000 and core.account().lots == {"X": 4_000}


def test_it_is_worked_to_its_end() -> None:
    core, _, child = begun()
    lots, given = [child.lots], [child]
    for n in range(2, 9):
        for order in given:
            core.on(a_fill(order))
        given = orders(bar(core, n))
        lots += [order.lots for order in given]
    assert lots == [4_000] * 5 and core.ledger.book[0, 1] == 0
    assert core.account().lots == {"X": 20_000} and core.router.parents.active() == ()


def test_a_quiet_market_takes_longer_and_a_gap_is_no_burst() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    assert orders(bar(core, 2, volume=0.0)) == []
    (small,) = orders(bar(core, 3, volume=4.0))
    assert small.lots == 2_000, "half of what traded"
    core.on(a_fill(small))
    assert [order.lots for order in orders(bar(core, 12))] == [4_000], "nine minutes were missed"


def test_a_halt_stops_it_within_one_tick_and_nothing_is_left_of_it() -> None:
    core, _, child = begun()
    core.on(Accepted(client_order_id=child.client_order_id, ts_event=3))
    cancel, alert = core.on(Halt(ts_event=9, reason="enough"))
    assert isinstance(cancel, CancelOrder) and isinstance(alert, Alert)
    core.on(Cancelled(client_order_id=child.client_order_id, ts_event=10, filled_lots=0))
    second = a_core()
    second.load(core.dump())
    for one in (core, second):
        assert one.ledger.book[0, 1] == 0 and orders(bar(one, 2)) == [] and one.router.parents.active() == ()


def test_a_latch_that_lets_only_reduce_ends_what_grows_a_position() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    core.on(Reduce(ts_event=9, reason="careful"))
    (alert,) = bar(core, 2)
    assert isinstance(alert, Alert) and alert.text == "twap replay-1: 16000 of 20000 lots of X are given up"
    assert core.ledger.book[0, 1] == 0 and core.router.parents.active() == ()


def test_a_heartbeat_that_ends_one_says_so_or_a_journal_would_fold_to_another_state() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    core.on(Reduce(ts_event=9, reason="careful"))
    assert any(isinstance(said, Alert) for said in core.on(Heartbeat(ts_event=child.ts_event + 1)))
    assert core.router.parents.active() == () and core.ledger.book[0, 1] == 0


def test_a_large_exit_is_worked_where_only_what_reduces_may_pass() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    for n in range(2, 8):
        for order in orders(bar(core, n)):
            core.on(a_fill(order))
    assert core.account().lots == {"X": 20_000}
    core.on(Reduce(ts_event=9, reason="careful"))
    for n in range(8, 16):
        for order in orders(bar(core, n, say=-0.1 if n == 8 else 0.0)):
            assert order.side == "sell"
            core.on(a_fill(order))
    held = core.account().lots["X"]
    assert 0 <= held < 20_000 and core.router.parents.active() == () and core.ledger.book[0, 1] == 0


def test_fills_that_are_forgiven_with_a_parent_leave_nothing_pending() -> None:
    core, _, child = begun()
    core.on(Filled(client_order_id=child.client_order_id, ts_event=3))  # and its fills never come
    core.on(Adopt(ts_event=9, cash_uusd=9_600_000_000, fees_uusd=0, funding_uusd=0, lots={"X": 4_000}))
    assert core.ledger.book[0, 1] == 0 and core.router.blotter.exposed("X") == (0, 0)


def test_an_intent_the_other_way_ends_it_first() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    (held,) = orders(bar(core, 2))
    said = bar(core, 3, say=-0.1)
    assert isinstance(said[0], CancelOrder) and said[0].client_order_id == held.client_order_id
    assert all(one.command.side == "sell" for one in core.router.parents.active())


def test_a_restart_in_the_middle_goes_on_as_if_nothing_had_been() -> None:
    one, _, child = begun()
    one.on(a_fill(child))
    two = a_core()
    two.load(one.dump())
    for kept in one.router.blotter._orders.values():
        two.router.blotter.restore(kept)
    for n in range(2, 9):
        first, second = bar(one, n), bar(two, n)
        assert first == second
        for core in (one, two):
            for order in orders(first):
                core.on(a_fill(order))
    assert two.account() == one.account() and one.account().lots == {"X": 20_000}


def test_what_is_left_when_its_time_is_over_is_given_up_and_told() -> None:
    core, _, child = begun()
    core.on(a_fill(child))
    said = [alert for n in (5, 10, 15, 21) for alert in bar(core, n, volume=0.0) if isinstance(alert, Alert)]
    assert [alert.text for alert in said] == ["twap replay-1: 16000 of 20000 lots of X are given up"]
    assert core.ledger.book[0, 1] == 0 and core.dealer.working.given_up == 1


def test_an_iceberg_rests_one_slice_at_a_time_and_gives_it_again_where_the_market_is() -> None:
    core, _, child = begun(slicing={**SLICED, "style": "iceberg"})
    assert (child.order_type, child.price_ticks) == ("limit", 10_000)
    core.on(Accepted(client_order_id=child.client_order_id, ts_event=3))
    assert [type(c) for c in bar(core, 2)] == [CancelOrder], "its minute is over: first it is taken back"
    core.on(Cancelled(client_order_id=child.client_order_id, ts_event=10, filled_lots=1_500))
    assert core.on(beat(2, 1)) == (), "fills are missing"
    core.on(a_fill(child, lots=1_500))
    (again,) = orders(core.on(beat(2, 2)))
    assert again.lots == 4_000 and sum(o.status in OPEN for o in core.router.blotter._orders.values()) == 1


WORK = {"limits": "work", "offset_ticks": 3, "cross_normal": 2, "above": 1.0}


def test_a_limit_order_is_priced_anew_and_crosses_in_the_end_with_what_is_left() -> None:
    core = a_core(slicing=WORK)
    parent, first = bar(core, 1, say=0.5)
    assert isinstance(parent, ParentOrder) and isinstance(first, NewOrder)
    assert (parent.style, first.order_type, first.price_ticks, first.lots) == ("passive", "limit", 9_997, 10_000)
    core.on(Accepted(client_order_id=first.client_order_id, ts_event=3))
    (cancel,) = bar(core, 2)
    assert isinstance(cancel, CancelOrder)
    core.on(a_fill(first, lots=4_000))
    core.on(Cancelled(client_order_id=first.client_order_id, ts_event=3, filled_lots=4_000))
    (second,) = orders(core.on(candle("X", 3, say=0.0, close=101.0)))
    assert (second.order_type, second.price_ticks, second.lots) == ("limit", 10_097, 6_000)
    core.on(Accepted(client_order_id=second.client_order_id, ts_event=3))
    bar(core, 4)
    core.on(Cancelled(client_order_id=second.client_order_id, ts_event=3, filled_lots=0))
    (third,) = orders(bar(core, 5))
    assert (third.order_type, third.lots) == ("market", 6_000)
    core.on(a_fill(third))
    assert core.account().lots == {"X": 10_000} and core.router.parents.active() == () and core.ledger.book[0, 1] == 0


@pytest.mark.parametrize(("say", "urgency", "kinds"), [(0.5, "normal", 3), (0.2, "normal", 3)])
def test_how_long_it_waits_is_by_its_urgency(say: float, urgency: str, kinds: int) -> None:
    core = a_core(slicing={**WORK, "cross_normal": 0})
    parent, first = bar(core, 1, say=say)
    assert isinstance(parent, ParentOrder) and isinstance(first, NewOrder)
    assert parent.intent.urgency == urgency and first.order_type == "market"
    patient = a_core(slicing={**WORK, "cross_normal": kinds})
    parent, first = bar(patient, 1, say=say)
    assert isinstance(parent, ParentOrder) and isinstance(first, NewOrder)
    assert (parent.cross_after, first.order_type) == (kinds, "limit")


def test_a_sell_rests_above_the_market_and_a_market_intent_is_not_worked() -> None:
    parent, child = bar(a_core(slicing=WORK), 1, say=-0.5)
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder) and child.price_ticks == 10_003
    (order,) = bar(a_core(slicing=WORK), 1, say=0.9)
    assert isinstance(order, NewOrder) and order.order_type == "market" and not order.parent
