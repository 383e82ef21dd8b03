"""The core as a state machine: which bar is decided when, what passes, the same commands for the same events."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.config import RunConfig, alphas
from flea_lab.core import Event, TradingCore
from flea_lab.core_state import CoreState
from flea_lab.errors import DataError, IllegalTransition, VenueError
from flea_lab.model.market import Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Accepted,
    Alert,
    Cancelled,
    CancelOrder,
    Command,
    Fill,
    Halt,
    NewOrder,
    Reduce,
    Refused,
    Rejected,
    Resume,
    SendUnclear,
    WarmUp,
)
from flea_lab.risk.checks import CONCENTRATION, KILL_SWITCH, NAMES, REDUCING
from flea_lab.wiring import build_core
from tests.backtest.tiny import config

MINUTE = 60_000_000_000
NOON = 20_000 * 86_400_000_000_000 + 43_200_000_000_000
USD = 1_000_000


def candle(symbol: str, bar: int, say: float = 0.5, close: float = 100.0, **changes: Any) -> Candle:
    """Bar number `bar` (it closes `bar` minutes after noon) that asks for conviction `say`."""
    share = (1.0 + abs(say) ** 0.5 * (1 if say > 0 else -1)) / 2.0 if say else 0.5
    ts = NOON + bar * MINUTE
    values: dict[str, Any] = dict(open=close, high=close, low=close, close=close, volume=1.0, buy_volume=share)
    return Candle(symbol=symbol, ts_event=ts, ts_recv=ts, **(values | changes))


def beat(bar: int, late_ns: int = 0) -> Heartbeat:
    return Heartbeat(ts_event=NOON + bar * MINUTE + late_ns)


def a_core(run: RunConfig | None = None, trade_from: int = 0, **changes: Any) -> TradingCore:
    run = run or config(("X", "Y"))
    core = build_core(run, alphas(run), NOON + trade_from * MINUTE)
    for name, value in changes.items():
        setattr(core, f"_{name}", value)
    return core


def snapshot(core: TradingCore) -> tuple[Any, ...]:
    """Everything a core remembers, as bytes and values."""
    desk = core.desk
    return (
        core.ledger.book.tobytes(),
        core.ledger.cash_uusd,
        core.gate.state.tobytes(),
        desk._mem.tobytes(),
        desk.told.tobytes(),
        tuple(core.router.blotter._orders.items()),
        core.router.blotter.open_orders(),
        core._bar_ns,
        core._decided_ns,
        tuple(core._waiting.items()),
        tuple(map(str, core._funding_rate.values())),
        tuple(stream._mem.tobytes() for stream in core._vpin.values()),
    )


def orders(commands: tuple[Command, ...]) -> list[tuple[str, int]]:
    """Symbol and bar of every new order."""
    return [(c.symbol, (c.ts_event - NOON) // MINUTE) for c in commands if isinstance(c, NewOrder)]


def a_fill(order: NewOrder, lots: int | None = None, ticks: int = 10_000) -> Fill:
    return Fill(
        client_order_id=order.client_order_id,
        ts_event=order.ts_event + 1,
        symbol=order.symbol,
        side=order.side,
        lots=order.lots if lots is None else lots,
        price_ticks=ticks,
        fee_uusd=0,
        reference_ticks=ticks,
    )


def test_a_bar_is_decided_when_every_symbol_is_there_in_the_configs_order() -> None:
    core = a_core()
    assert core.on(candle("Y", 1)) == ()
    assert orders(core.on(candle("X", 1))) == [("X", 1), ("Y", 1)]


def test_a_later_candle_says_that_the_rest_will_not_come() -> None:
    core = a_core()
    core.on(candle("Y", 1))
    assert orders(core.on(candle("Y", 2))) == [("Y", 1)]
    assert orders(core.on(candle("X", 2))) == [("X", 2), ("Y", 2)]


def test_a_heartbeat_past_the_grace_says_so_too_and_one_before_it_does_not() -> None:
    core = a_core(grace_ns=5)
    core.on(candle("X", 1))
    assert core.on(beat(1, 4)) == ()
    assert orders(core.on(beat(1, 5))) == [("X", 1)]
    assert core.on(beat(9)) == (), "nothing waits: time alone decides nothing"


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ([candle("X", 1), candle("Y", 1)], candle("X", 1)),  # twice, after the decision
        ([candle("X", 1)], candle("X", 1, say=-1.0)),  # twice, before it
        ([candle("X", 2)], candle("Y", 1)),  # of a bar before the one that waits
        ([candle("X", 2), beat(2)], candle("Y", 2)),  # of a bar that was decided without it
        ([candle("X", 2), candle("Y", 2)], candle("Y", 1)),
    ],
)
def test_a_late_or_repeated_candle_is_told_and_not_used(before: list[Event], late: Candle) -> None:
    core = a_core()
    for event in before:
        core.on(event)
    state = snapshot(core)
    (alert,) = core.on(late)
    assert isinstance(alert, Alert) and alert.severity == "warning"
    assert alert.text == f"candle of {late.symbol} closing {late.ts_event} came late or twice and was not used"
    assert snapshot(core) == state


@pytest.mark.parametrize("event", [candle("Z", 1), Funding(symbol="Z", ts_event=1, ts_recv=1, rate=0.1)])
def test_what_is_not_traded_here_is_told_and_not_used(event: Event) -> None:
    core = a_core()
    state = snapshot(core)
    (alert,) = core.on(event)
    assert isinstance(alert, Alert) and "Z, which is not traded here" in alert.text
    assert snapshot(core) == state


def test_a_partial_candle_never_reaches_a_signal() -> None:
    core = a_core()
    state = snapshot(core)
    assert core.on(candle("X", 1, say=1.0, complete=False)) == ()
    assert core.on(candle("X", 9, complete=False)) == ()
    assert snapshot(core) == state
    core.on(candle("X", 1, say=0.25))
    (order, _) = core.on(candle("Y", 1))
    assert isinstance(order, NewOrder) and order.intent.conviction == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (candle("X", 2, close=float("nan")), r"price nan is not between 1 and"),
        (candle("X", 2, close=0.0), r"price 0\.0 is not between"),
        (candle("X", 2, close=-1.0), r"price -1\.0 is not between"),
        (candle("X", 2, close=1e12), r"price 1000000000000\.0 is not between"),
        (Funding(symbol="X", ts_event=7, ts_recv=7, rate=float("nan")), r"funding of X at 7: rate nan is not a number"),
        (Funding(symbol="X", ts_event=7, ts_recv=7, rate=float("inf")), r"funding of X at 7: rate inf is not a number"),
    ],
)
def test_what_cannot_be_raises_and_leaves_the_core_as_it_was(event: Event, message: str) -> None:
    core = a_core()
    core.on(candle("Y", 1))
    state = snapshot(core)
    with pytest.raises(DataError, match=message):
        core.on(event)
    assert snapshot(core) == state


def test_before_trade_from_signals_are_stepped_and_nothing_is_decided() -> None:
    core = a_core(trade_from=3)
    for bar in (1, 2):
        core.on(candle("X", bar, say=0.25))
        assert core.on(candle("Y", bar)) == ()
    assert core.convictions["X"] == pytest.approx(0.25)
    core.on(candle("X", 3))
    assert orders(core.on(candle("Y", 3))) == [("X", 3), ("Y", 3)]


def holding(core: TradingCore, **lots: int) -> None:
    """Positions at 100.00 a unit, paid for."""
    for symbol, size in lots.items():
        core.ledger.mark(symbol, 10_000)
        core.ledger.book[core.ledger.row[symbol], 0] = size
        core.ledger.cash_uusd -= size * 100_000


def test_a_refused_order_is_no_exposure() -> None:
    core = a_core(config(("X", "Y"), risk=dict(concentration_of="exposure", max_concentration=0.6)))
    holding(core, X=50_000, Y=50_000)
    core.on(candle("X", 1, say=0.4))
    found = core.on(candle("Y", 1, say=0.4))
    # X asks for 9,000 of 14,000 and is refused; so does Y, which would be 9,000 of 18,000 had X's order counted
    assert [(c.intent.symbol, NAMES[c.code]) for c in found if isinstance(c, Refused)] == [
        ("X", "concentration"),
        ("Y", "concentration"),
    ]


@pytest.mark.parametrize(
    ("limit", "passed"),
    [
        (0.65, ["X", "Y"]),  # X: 9,000 of 14,000 is 0.643; then Y: 9,000 of 18,000
        (0.60, ["Y"]),  # X refused, so that Y is 5,500 of 10,500
        (0.52, []),
    ],
)
def test_what_the_first_symbol_ordered_is_exposure_for_the_second(limit: float, passed: list[str]) -> None:
    core = a_core(config(("X", "Y"), risk=dict(concentration_of="exposure", max_concentration=limit)))
    holding(core, X=50_000, Y=50_000)
    core.on(candle("X", 1, say=0.4))
    found = core.on(candle("Y", 1, say=0.4 if limit == 0.65 else 0.05))
    assert [c.symbol for c in found if isinstance(c, NewOrder)] == passed
    assert all(c.code == CONCENTRATION for c in found if isinstance(c, Refused))


def test_the_order_decides_who_may_still_trade() -> None:
    """Y's order alone is 0.6 of the exposure; after X's order it is 9,000 of 18,000."""
    found = {}
    for symbols in (("X", "Y"), ("Y", "X")):
        core = a_core(config(symbols, risk=dict(concentration_of="exposure", max_concentration=0.62)))
        holding(core, X=40_000, Y=50_000)
        core.on(candle("X", 1, say=0.3))
        commands = core.on(candle("Y", 1, say=0.4))
        found[symbols] = [c.symbol for c in commands if isinstance(c, NewOrder)]
    # X: 7,000 of 12,000; Y after it: 9,000 of 16,000. Y first: 9,000 of 13,000, refused
    assert found == {("X", "Y"): ["X", "Y"], ("Y", "X"): ["X"]}


def test_a_report_moves_what_is_pending_into_what_is_held() -> None:
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder) and order.lots == 50_000
    book = core.ledger.book[0]
    assert (book[0], book[1]) == (0, 50_000)
    core.on(Accepted(client_order_id=order.client_order_id, ts_event=2))
    core.on(a_fill(order, 20_000))
    assert (book[0], book[1]) == (20_000, 30_000)
    core.on(Cancelled(client_order_id=order.client_order_id, ts_event=3))
    assert (book[0], book[1]) == (20_000, 0)
    core.on(a_fill(order, 30_000))  # it crossed our cancel
    assert (book[0], book[1]) == (50_000, 0)
    assert core.account().lots == {"X": 50_000}


def test_an_unknown_order_counts_as_exposure_until_somebody_says_what_became_of_it() -> None:
    core = a_core(config(("X",), sizing=dict(mode="target", base_fraction=1.0)))
    (order,) = core.on(candle("X", 1, say=-0.5))
    assert isinstance(order, NewOrder)
    core.on(SendUnclear(client_order_id=order.client_order_id, ts_event=2))
    assert core.on(candle("X", 2, say=-0.5)) == (), "the target is reached if the order lives"
    core.on(Rejected(client_order_id=order.client_order_id, ts_event=3))
    assert orders(core.on(candle("X", 3, say=-0.5))) == [("X", 3)]


@pytest.mark.parametrize("lots", [0, -3])
def test_an_impossible_fill_raises_and_leaves_the_account_as_it_was(lots: int) -> None:
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder)
    state = snapshot(core)
    with pytest.raises((IllegalTransition, VenueError), match="order replay-1: "):
        core.on(a_fill(order, lots))
    assert snapshot(core) == state


def test_a_halt_cancels_what_may_trade_and_refuses_what_comes() -> None:
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder)
    cancel, alert = core.on(Halt(ts_event=9, reason="enough"))
    assert cancel == CancelOrder(client_order_id=order.client_order_id, symbol="X", ts_event=9)
    assert alert == Alert(ts_event=9, severity="critical", text="halted: enough")
    assert core.halted
    (refused,) = core.on(candle("X", 2, say=-0.5))
    assert isinstance(refused, Refused) and refused.code == KILL_SWITCH
    core.on(Resume(ts_event=10, clears=("kill_switch",), by="ann"))
    assert orders(core.on(candle("X", 3))) == [("X", 3)]


def test_reduce_lets_positions_shrink_and_resume_lets_them_grow() -> None:
    core = a_core(config(("X",)))
    holding(core, X=30_000)
    assert core.on(Reduce(ts_event=1, reason="careful")) == ()
    (refused,) = core.on(candle("X", 1, say=0.1))
    assert isinstance(refused, Refused) and refused.code == REDUCING
    assert orders(core.on(candle("X", 2, say=-0.1))) == [("X", 2)]
    (refused,) = core.on(candle("X", 3, say=-0.3))  # 1,000 are on their way: 3,000 would turn it over
    assert isinstance(refused, Refused) and refused.code == REDUCING
    core.on(Resume(ts_event=4, clears=("reducing",), by="ann"))
    assert orders(core.on(candle("X", 4, say=0.1))) == [("X", 4)]


def test_a_drawdown_cancels_alerts_once_and_waits_for_a_person() -> None:
    core = a_core(config(("X", "Y"), risk=dict(max_drawdown=0.1)))
    holding(core, X=90_000)
    core.on(candle("X", 1, say=0.0))
    (order,) = core.on(candle("Y", 1, say=0.5))
    assert isinstance(order, NewOrder)
    core.on(candle("X", 2, say=0.1, close=80.0))
    cancel, alert, first, second = core.on(candle("Y", 2, say=0.1))
    assert isinstance(cancel, CancelOrder)
    assert isinstance(alert, Alert) and alert.text == "halted by drawdown"
    assert isinstance(first, Refused) and isinstance(second, Refused)
    assert NAMES[first.code] == "drawdown"
    core.on(Cancelled(client_order_id=order.client_order_id, ts_event=1))
    core.on(candle("X", 3, say=0.1, close=80.0))
    assert [type(c) for c in core.on(candle("Y", 3))] == [Refused, Refused], "told once"
    core.on(Resume(ts_event=1, clears=("drawdown",), by="ann"))
    core.on(candle("X", 4, say=0.1, close=80.0))
    assert len(orders(core.on(candle("Y", 4)))) == 2


@dataclass
class Story:
    """Random events for two symbols; fills answer the orders that the core itself gives."""

    seed: int
    noise: bool = False
    commands: list[Command] = field(default_factory=list)

    def play(self) -> TradingCore:
        rng = np.random.default_rng(self.seed)
        core = a_core(config(("X", "Y"), risk=dict(max_daily_loss=0.05, max_drawdown=0.2, max_concentration=0.7)))
        price = {"X": 100.0, "Y": 50.0}
        for bar in range(60):
            for symbol in price:
                price[symbol] *= float(np.exp(rng.normal(0, 0.01)))
                say, there = float(rng.uniform(-1, 1)), rng.random() > 0.1
                if self.noise:
                    self.feed(core, Trade(symbol=symbol, ts_event=1, ts_recv=1, price=1.0, qty=1.0, side="buy"))
                    self.feed(core, candle(symbol, bar, complete=False))
                if there:
                    self.feed(core, candle(symbol, bar, say, price[symbol]))
            self.feed(core, beat(bar))
            if self.noise:
                self.feed(core, beat(bar, 7))
            for order in core.router.blotter.open_orders():
                self.feed(core, a_fill(order.command, ticks=round(price[order.command.symbol] * 100)))
        return core

    def feed(self, core: TradingCore, event: Event) -> None:
        self.commands += core.on(event)


@given(st.integers(0, 2**32))
def test_the_same_events_give_the_same_commands_whatever_stands_between_them(seed: int) -> None:
    once, again, noisy = Story(seed), Story(seed), Story(seed, noise=True)
    cores = [story.play() for story in (once, again, noisy)]
    assert once.commands == again.commands == noisy.commands
    assert snapshot(cores[0]) == snapshot(cores[1]) == snapshot(cores[2])
    assert any(isinstance(command, NewOrder) for command in once.commands)


@given(st.integers(0, 2**32))
def test_positions_are_the_sum_of_fills_and_nothing_stays_pending(seed: int) -> None:
    core = Story(seed).play()
    held = dict.fromkeys(("X", "Y"), 0)
    for order in core.router.blotter._orders.values():
        held[order.command.symbol] += order.filled_lots * (1 if order.command.side == "buy" else -1)
    assert core.account().lots == held
    assert core.ledger.book[:, 1].tolist() == [0, 0]


def test_an_account_speaks_of_the_last_decided_bar() -> None:
    core = a_core()
    core.on(candle("X", 4, say=0.0))
    assert core.account().ts_event == 0
    core.on(candle("Y", 4, say=0.0))
    account = core.account()
    assert account.ts_event == NOON + 4 * MINUTE
    assert account.equity_uusd == account.peak_uusd == account.day_open_uusd == 10_000 * USD
    assert core._instruments["X"].tick_size == Decimal("0.01")


def test_funding_stamped_at_a_close_is_paid_after_that_bar_is_decided_whatever_came_first() -> None:
    def paid(*events: Event) -> tuple[int, list[int]]:
        core = a_core(config(("X", "Y"), costs={"funding": True, "fee_bps": 0.0, "slippage_bps": 0.0}))
        stamps = []
        for event in events:
            core.on(event)
            stamps.append(sum(cost for _, cost in core.take_paid()))
        return core.ledger.cash_uusd, stamps

    held = [candle("X", 1), candle("Y", 1, say=0.0)]
    buy = Fill(
        client_order_id="replay-1", ts_event=NOON + MINUTE, symbol="X", side="buy", lots=10, price_ticks=10_000,
        fee_uusd=0, reference_ticks=10_000,
    )  # fmt: skip
    settled = Funding(symbol="X", ts_event=NOON + 2 * MINUTE, ts_recv=0, rate=0.01)
    x, y = candle("X", 2, say=0.0), candle("Y", 2, say=0.0)
    early = paid(*held, buy, settled, x, y)
    between = paid(*held, buy, x, settled, y)
    late = paid(*held, buy, x, y, settled)
    assert early[0] == between[0] == late[0]
    assert [stamps.index(max(stamps)) for _, stamps in (early, between, late)] == [5, 5, 5]


def test_held_funding_is_paid_before_a_fill_or_a_bar_stamped_later_and_by_a_heartbeat_a_bar_on() -> None:
    settled = Funding(symbol="X", ts_event=NOON + 2 * MINUTE, ts_recv=0, rate=0.01)
    for later in (candle("X", 4, say=0.0), beat(3)):
        core = a_core()
        core.on(candle("X", 1, say=0.0))
        core.on(candle("Y", 1, say=0.0))
        core.on(settled)
        assert core.settling and core.take_paid() == []
        core.on(later)
        assert not core.settling and [event for event, _ in core.take_paid()] == [settled]


def test_a_settlement_told_twice_is_paid_once() -> None:
    core = a_core()
    settled = Funding(symbol="X", ts_event=NOON - MINUTE, ts_recv=0, rate=0.01)
    core.on(candle("X", 1, say=0.0))
    core.on(candle("Y", 1, say=0.0))
    core.on(settled)
    core.on(settled)
    assert len(core.take_paid()) == 1


def test_history_warms_and_marks_and_decides_nothing() -> None:
    core = a_core()
    core.on(candle("X", 1))
    core.on(WarmUp(ts_event=NOON, until_ns=NOON + 3 * MINUTE))  # the waiting candle is dropped: history brings it again
    for bar in (1, 2, 3):
        assert orders(core.on(candle("X", bar)) + core.on(candle("Y", bar))) == []
    core.on(candle("X", 4))
    assert len(orders(core.on(candle("Y", 4)))) == 2


def test_a_limit_order_left_working_is_taken_back_after_its_time() -> None:
    core = a_core(limit_ttl_ns=2 * MINUTE)
    core.on(candle("X", 1))
    first = core.on(candle("Y", 1, say=0.0))[0]
    assert isinstance(first, NewOrder)
    core.on(Accepted(client_order_id=first.client_order_id, ts_event=NOON + MINUTE))
    cancelled = []
    for bar in (2, 3):
        core.on(candle("X", bar, say=0.0))
        cancelled.append([c for c in core.on(candle("Y", bar, say=0.0)) if isinstance(c, CancelOrder)])
    assert cancelled[0] == []
    assert [c.client_order_id for c in cancelled[1]] == [first.client_order_id]


@given(st.lists(st.tuples(st.sampled_from("XY"), st.floats(-1, 1), st.floats(90, 110)), max_size=12), st.data())
def test_a_core_put_down_and_taken_up_again_goes_on_as_if_nothing_had_been(
    said: list[tuple[str, float, float]], data: st.DataObject
) -> None:
    events: list[Event] = [candle(symbol, 1 + i // 2, say, close) for i, (symbol, say, close) in enumerate(said)]
    events += [Funding(symbol="X", ts_event=NOON + 30 * MINUTE, ts_recv=0, rate=0.01), candle("X", 40), candle("Y", 40)]
    cut = data.draw(st.integers(0, len(events)))
    whole, first, second = a_core(), a_core(), a_core()
    before = [whole.on(event) for event in events[:cut]]
    assert [first.on(event) for event in events[:cut]] == before
    second.load(msgspec.msgpack.decode(msgspec.msgpack.encode(first.dump()), type=CoreState))
    for order in first.router.blotter.open_orders():
        second.router.blotter.restore(order)
    assert [second.on(event) for event in events[cut:]] == [whole.on(event) for event in events[cut:]]
    assert snapshot(second)[:6] == snapshot(whole)[:6]


def test_a_state_of_another_config_is_refused() -> None:
    with pytest.raises(DataError, match="not of this config and code"):
        a_core(config(("X",))).load(a_core().dump())
