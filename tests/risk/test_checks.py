"""Every guard at its limit, just below and just beyond it; the order in which they answer."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.model.market import DAY_NS
from flea_lab.risk.checks import (
    CHECKS,
    CONCENTRATION,
    DAILY_LATCH,
    DAILY_LOSS,
    DATA,
    DAY_OPEN,
    DRAWDOWN,
    DRAWDOWN_LATCH,
    GATE_SIZE,
    INVALID_INPUT,
    KILL_LATCH,
    KILL_SWITCH,
    ORDER_SIZE,
    PASSED,
    PEAK,
    REDUCE_LATCH,
    REDUCING,
    VPIN,
    GateState,
    advance,
    new_gate,
    review,
    worst_uusd,
)

USD = 1_000_000
EQUITY = 100_000 * USD
NAN = math.nan
MINUTE = 60_000_000_000


def gate(equity: int = EQUITY) -> GateState:
    state = np.zeros(GATE_SIZE, np.int64)
    new_gate(state, equity)
    return state


def code(state: GateState | None = None, **changes: Any) -> int:
    """The code of a small order on an empty account, with `changes`."""
    values: dict[str, Any] = dict(
        equity=EQUITY,
        before=0,
        size=1_000 * USD,
        gross_before=0,
        worst=1_000.0 * USD,
        max_concentration=0.25,
        of_exposure=False,
        max_order=50_000.0 * USD,
        vpin_applied=True,
        vpin=0.5,
        vpin_limit=0.75,
        unsettled=False,
    )
    return int(review(gate() if state is None else state, *(values | changes).values()))


def test_a_small_order_on_a_healthy_account_passes() -> None:
    assert code() == PASSED


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (dict(size=25_000 * USD), PASSED),
        (dict(size=25_000 * USD - 1), PASSED),
        (dict(size=25_000 * USD + 1), CONCENTRATION),
        (dict(size=-25_000 * USD), PASSED),
        (dict(size=-25_000 * USD - 1), CONCENTRATION),
        (dict(before=20_000 * USD, size=5_000 * USD), PASSED),
        (dict(before=20_000 * USD, size=5_000 * USD + 1), CONCENTRATION),
        (dict(worst=50_000.0 * USD), PASSED),
        (dict(worst=50_000.0 * USD + 1), ORDER_SIZE),
        (dict(worst=NAN), ORDER_SIZE),
        (dict(vpin=0.75), PASSED),
        (dict(vpin=math.nextafter(0.75, 0)), PASSED),
        (dict(vpin=math.nextafter(0.75, 1)), VPIN),
        (dict(vpin=NAN), VPIN),
        (dict(vpin=NAN, vpin_applied=False), PASSED),
        (dict(vpin=1.0, vpin_applied=False), PASSED),
        (dict(equity=0), INVALID_INPUT),
        (dict(equity=-1), INVALID_INPUT),
        (dict(size=0), INVALID_INPUT),
    ],
)
def test_equal_to_a_limit_passes_and_beyond_it_or_unknown_refuses(changes: dict[str, Any], found: int) -> None:
    assert code(**changes) == found


@pytest.mark.parametrize(
    ("before", "gross", "size", "found"),
    [
        (0, 0, 1, CONCENTRATION),  # the first order of an empty account is all of its exposure
        (0, 3_000 * USD, 1_000 * USD, PASSED),  # 1000 of 4000
        (0, 3_000 * USD, 1_000 * USD + 1, CONCENTRATION),
        (1_000 * USD, 5_000 * USD, 333 * USD, PASSED),  # 1333 of 5333
        (1_000 * USD, 5_000 * USD, 334 * USD, CONCENTRATION),  # 1334 of 5334
        (1_000 * USD, 1_000 * USD, -1_000 * USD, PASSED),  # flat: no exposure is left to be a share of
        (1_000 * USD, 1_000 * USD, -2_000 * USD, CONCENTRATION),  # turning over does not reduce
    ],
)
def test_concentration_of_exposure_is_a_share_of_what_would_be_held(
    before: int, gross: int, size: int, found: int
) -> None:
    assert code(before=before, gross_before=gross, size=size, of_exposure=True) == found


REDUCES = [(10, -5), (10, -10), (-10, 5), (-10, 10), (10, -1)]
ADDS = [(10, 1), (10, -11), (10, -20), (-10, -1), (-10, 11), (0, 1), (0, -1)]


@pytest.mark.parametrize(("before", "size"), REDUCES)
def test_what_reduces_passes_concentration_and_vpin_but_not_the_order_limit(before: int, size: int) -> None:
    held = dict(before=before * 10_000 * USD, gross_before=abs(before) * 10_000 * USD, size=size * 10_000 * USD)
    assert code(**held, max_concentration=0.001, vpin=NAN) == PASSED
    assert code(**held, max_concentration=0.001, vpin=1.0) == PASSED
    assert code(**held, worst=50_001.0 * USD) == ORDER_SIZE


@pytest.mark.parametrize(("before", "size"), ADDS)
def test_what_adds_or_turns_over_does_not(before: int, size: int) -> None:
    held = dict(before=before * USD, gross_before=abs(before) * USD, size=size * USD)
    assert code(**held, vpin=NAN) == VPIN
    assert code(**held, max_concentration=1e-9) == CONCENTRATION


def test_reducing_lets_through_only_what_reduces() -> None:
    state = gate()
    state[REDUCE_LATCH] = 1
    for before, size in REDUCES:
        assert code(state, before=before * USD, size=size * USD) == PASSED
    for before, size in ADDS:
        assert code(state, before=before * USD, size=size * USD) == REDUCING


def test_while_the_data_is_in_doubt_only_what_reduces_passes() -> None:
    for before, size in REDUCES:
        held = dict(before=before * 1_000 * USD, gross_before=abs(before) * 1_000 * USD)
        assert code(**held, size=size * 1_000 * USD, unsettled=True) == PASSED
    for before, size in ADDS:
        assert code(before=before * USD, size=size * USD, unsettled=True) == DATA


def test_with_everything_breached_the_first_in_order_answers() -> None:
    state = gate()
    state[[KILL_LATCH, REDUCE_LATCH, DAILY_LATCH, DRAWDOWN_LATCH]] = 1
    bad: dict[str, Any] = dict(equity=0, max_concentration=1e-9, worst=NAN, vpin=NAN, unsettled=True)
    seen = [code(state, **bad)]
    for latch in (KILL_LATCH, REDUCE_LATCH, DAILY_LATCH, DRAWDOWN_LATCH):
        state[latch] = 0
        seen.append(code(state, **bad))
    account = (dict(equity=EQUITY), dict(max_concentration=0.25), dict(worst=1.0), dict(vpin=0.5))
    for repair in (dict(unsettled=False), *account):
        bad |= repair
        seen.append(code(state, **bad))
    halts = [KILL_SWITCH, REDUCING, DAILY_LOSS, DRAWDOWN]
    order = [*halts, DATA, INVALID_INPUT, CONCENTRATION, ORDER_SIZE, VPIN, PASSED]
    assert seen == order
    five = [CHECKS[found][0] for found in order if found in (DAILY_LOSS, DRAWDOWN, CONCENTRATION, ORDER_SIZE, VPIN)]
    assert five == ["daily_loss", "drawdown", "concentration", "order_size", "vpin"]


def test_halted_refuses_what_reduces_too() -> None:
    for latch, found in ((KILL_LATCH, KILL_SWITCH), (DAILY_LATCH, DAILY_LOSS), (DRAWDOWN_LATCH, DRAWDOWN)):
        state = gate()
        state[latch] = 1
        assert code(state, before=10 * USD, size=-5 * USD) == found


@pytest.mark.parametrize(
    ("size", "ticks", "slippage", "worst"),
    [
        (100 * USD, 600_000, 10_000, 100.01),
        (100 * USD, 3, 10_000, 400 / 3),  # 1 bp of 3 ticks is a whole tick
        (100 * USD, 3, 0, 100.0),
        (-100 * USD, 600_000, 10_000, 100.0),
    ],
)
def test_a_buy_is_judged_at_the_price_it_may_have_to_pay(size: int, ticks: int, slippage: int, worst: float) -> None:
    assert worst_uusd(size, ticks, slippage) == pytest.approx(worst * USD, rel=1e-15)


def steps(
    state: GateState, bars: list[tuple[int, int]], loss: float = 0.03, fall: float = 0.10
) -> list[tuple[int, int]]:
    """Both latches after every (time, equity)."""
    out = []
    for ts, equity in bars:
        advance(state, ts, equity, loss, fall)
        out.append((int(state[DAILY_LATCH]), int(state[DRAWDOWN_LATCH])))
    return out


@pytest.mark.parametrize(("equity", "closed"), [(97_000, 0), (97_001, 0), (96_999, 1)])
def test_the_days_loss_halts_beyond_three_percent(equity: int, closed: int) -> None:
    assert steps(gate(), [(MINUTE, equity * USD)])[0][0] == closed


@pytest.mark.parametrize(("equity", "closed"), [(108_000, 0), (107_999, 1)])
def test_the_drawdown_is_measured_from_the_peak(equity: int, closed: int) -> None:
    state = gate()
    assert steps(state, [(MINUTE, 120_000 * USD), (2 * MINUTE, equity * USD)], loss=1.0)[1][1] == closed
    assert state[PEAK] == 120_000 * USD


def test_the_daily_latch_opens_at_midnight_and_the_drawdown_latch_does_not() -> None:
    state = gate()
    bars = [
        (DAY_NS - 2 * MINUTE, 89_000 * USD),  # both close
        (DAY_NS - MINUTE, 100_000 * USD),  # both stay, although the loss is gone
        (DAY_NS, 89_000 * USD),  # 00:00: a new day, measured from here
        (DAY_NS + MINUTE, 86_331 * USD),  # -2.999 %
        (DAY_NS + 2 * MINUTE, 86_329 * USD),  # -3.001 %
        (2 * DAY_NS, 86_329 * USD),
        (9 * DAY_NS, 100_000 * USD),
    ]
    assert steps(state, bars) == [(1, 1), (1, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1)]


def test_over_a_hole_at_midnight_the_day_begins_at_the_last_close_before_it() -> None:
    state = gate()
    bars = [
        (DAY_NS - 10 * MINUTE, 100_000 * USD),
        (DAY_NS + 5 * MINUTE, 96_999 * USD),  # the loss over the hole is this day's
        (2 * DAY_NS, 96_999 * USD),
    ]
    assert steps(state, bars) == [(0, 0), (1, 0), (0, 0)]
    assert state[DAY_OPEN] == 96_999 * USD


def test_before_the_first_midnight_the_base_is_what_the_account_began_with() -> None:
    state = gate()
    assert steps(state, [(20_000 * DAY_NS + MINUTE, 96_999 * USD)]) == [(1, 0)]


@pytest.mark.parametrize("equity", [0, -5])
def test_an_account_without_a_base_is_halted(equity: int) -> None:
    assert steps(gate(equity), [(MINUTE, equity)]) == [(1, 1)]


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(80_000, 120_000)), max_size=60))
def test_the_latches_are_those_of_a_slow_judge(bars: list[tuple[int, int]]) -> None:
    state, ts, day, daily, fallen = gate(), 0, None, False, False
    closes = [(-1, 100_000)]  # what the account began with
    for step, dollars in bars:
        ts += step * MINUTE
        if day is not None and ts // DAY_NS > day:
            daily = False
        first_day = day is None or (ts // DAY_NS == day and closes[1][0] // DAY_NS == day)
        day = ts // DAY_NS
        closes.append((ts, dollars))
        base = 100_000 if first_day else next(e for t, e in reversed(closes) if t <= day * DAY_NS)
        peak = max(e for _, e in closes)
        daily |= Fraction(base - dollars, base) > Fraction(3, 100)
        fallen |= Fraction(peak - dollars, peak) > Fraction(10, 100)
        assert steps(state, [(ts, dollars * USD)]) == [(daily, fallen)]
