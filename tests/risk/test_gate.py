"""The gate's latches: who closes them, who may open them."""

import math

import pytest

from flea_lab.errors import ConfigError
from flea_lab.model.market import DAY_NS
from flea_lab.model.trading import Approved, Halt, OrderIntent, Reduce, Refused, Resume
from flea_lab.risk.checks import CHECKS, DRAWDOWN, KILL_SWITCH, REDUCING, RiskLimits, VpinGate
from flea_lab.risk.gate import Gate, TradingState, guards

USD = 1_000_000
EQUITY = 100_000 * USD


def an_intent(usd: int = 100, side: str = "buy") -> OrderIntent:
    return OrderIntent(
        symbol="X",
        side=side,  # type: ignore[arg-type]
        size_usd=float(usd),
        order_type="limit",
        urgency="normal",
        signal_sources=("a",),
        ts_event=1,
        price_ticks=100,
        size_uusd=usd * USD,
        conviction=0.5,
    )


def review(gate: Gate, usd: int = 100, side: str = "buy", before: int = 0) -> Approved | Refused:
    return gate.review(an_intent(usd, side), EQUITY, before * USD, abs(before) * USD, usd * USD * 1.0, math.nan)


def test_an_approved_intent_is_passed_on_untouched() -> None:
    assert review(Gate(RiskLimits(), EQUITY)) == Approved(an_intent())


def test_a_refusal_carries_code_sentence_and_intent() -> None:
    gate = Gate(RiskLimits(), EQUITY)
    gate.on(Halt(ts_event=1, reason="enough"))
    assert review(gate) == Refused(an_intent(), KILL_SWITCH, CHECKS[KILL_SWITCH][1])


def test_a_sell_is_reviewed_with_its_sign() -> None:
    gate = Gate(RiskLimits(), EQUITY)
    gate.on(Reduce(ts_event=1, reason="careful"))
    assert isinstance(review(gate, 100, "sell", before=100), Approved)
    found = review(gate, 101, "sell", before=100)
    assert isinstance(found, Refused) and found.code == REDUCING
    found = review(gate, 100, "sell", before=-100)
    assert isinstance(found, Refused) and found.code == REDUCING


def test_the_kill_switch_holds_over_days_until_a_person_opens_it() -> None:
    gate = Gate(RiskLimits(), EQUITY)
    gate.on(Halt(ts_event=1, reason="enough"))
    for day in range(1, 4):
        gate.advance(day * DAY_NS, EQUITY)
        assert gate.trading_state is TradingState.HALTED
    gate.on(Resume(ts_event=5, clears=("kill_switch",), by="ann"))
    assert gate.trading_state is TradingState.ACTIVE


def test_a_cleared_drawdown_begins_a_new_peak() -> None:
    gate = Gate(RiskLimits(max_daily_loss=1.0), EQUITY)
    gate.advance(1, EQUITY * 8 // 10)
    assert gate.closed() == ("drawdown",)
    gate.advance(DAY_NS * 3, EQUITY * 8 // 10)
    assert gate.closed() == ("drawdown",), "no day opens it"
    found = review(gate)
    assert isinstance(found, Refused) and found.code == DRAWDOWN
    gate.on(Resume(ts_event=5, clears=("drawdown",), by="ann"))
    gate.advance(DAY_NS * 3 + 1, EQUITY * 8 // 10)
    assert gate.closed() == ()
    assert gate.peak_uusd == EQUITY * 8 // 10


def test_several_latches_show_together_and_halting_wins() -> None:
    gate = Gate(RiskLimits(), EQUITY)
    gate.on(Reduce(ts_event=1, reason="careful"))
    assert gate.trading_state is TradingState.REDUCING
    gate.advance(1, EQUITY // 2)
    assert gate.closed() == ("reducing", "daily_loss", "drawdown")
    assert gate.trading_state is TradingState.HALTED


@pytest.mark.parametrize("name", ["daily_loss", "everything", ""])
def test_a_latch_that_is_not_a_persons_to_open_raises_and_opens_none(name: str) -> None:
    gate = Gate(RiskLimits(), EQUITY)
    gate.on(Halt(ts_event=1, reason="enough"))
    gate.advance(1, EQUITY // 2)
    before = gate.state.copy()
    with pytest.raises(ConfigError, match=f"latch '{name}' cannot be cleared by a person, only drawdown, kill_switch"):
        gate.on(Resume(ts_event=2, clears=("kill_switch", name), by="ann"))
    assert gate.state.tolist() == before.tolist()


def test_each_guard_declares_its_input_and_whether_it_is_there() -> None:
    names = ["daily_loss", "drawdown", "concentration", "order_size", "vpin"]
    absent, there = (
        guards(limits, 60_000_000_000) for limits in (RiskLimits(), RiskLimits(vpin=VpinGate(source="bars")))
    )
    assert [guard["guard"] for guard in absent] == names
    assert [guard["applied"] for guard in absent] == [True, True, True, True, False]
    assert absent[4]["reason"] == "the configuration declares no aggressor data"
    assert all(guard["applied"] and not guard["reason"] and guard["input"] for guard in there)


def test_a_days_loss_cannot_be_judged_on_daily_bars_and_the_list_says_so() -> None:
    found = guards(RiskLimits(), DAY_NS)[0]
    assert not found["applied"]
    assert found["reason"] == "every close is the base of its own day"
