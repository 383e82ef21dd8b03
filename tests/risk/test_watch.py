"""The look at one order: its price, its size, and whether it repeats itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.config import alphas
from flea_lab.errors import ConfigError
from flea_lab.risk.checks import COLLAR, DUPLICATE, FAT_FINGER, PASSED, THROTTLE
from flea_lab.risk.order_checks import OrderChecks
from flea_lab.risk.watch import SECOND_NS, Given, Watch, collared
from flea_lab.settings import load_settings
from flea_lab.wiring import build_cell
from tests.backtest.tiny import config

REF = 10_000


def checks(**values: object) -> OrderChecks:
    return load_settings(values, OrderChecks, "a test")


def order(at_s: float = 0.0, lots: int = 5, ticks: int = REF) -> Given:
    return Given("X", round(at_s * SECOND_NS), lots, ticks)


def code(watch: Watch, one: Given, reference: int = REF, minute_lots: float = 100.0, **how: bool) -> int:
    found = watch.code(one, reference, minute_lots, **{"reduces": False, **how})
    if found == PASSED:
        watch.note(one)
    return found


@pytest.mark.parametrize(
    ("ticks", "found"),
    [(10_500, PASSED), (10_501, COLLAR), (9_500, PASSED), (9_499, COLLAR), (0, COLLAR), (-10_000, COLLAR)],
)
def test_a_price_beyond_the_collar_is_refused_and_at_it_passes(ticks: int, found: int) -> None:
    assert code(Watch(checks()), order(ticks=ticks)) == found


def test_without_a_reference_no_price_passes() -> None:
    assert code(Watch(checks()), order(), reference=0) == COLLAR


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.1, 10_000.0), st.integers(0, 100))
def test_the_collar_by_fractions(ticks: int, reference: int, bps: float, wide: int) -> None:
    exact = abs(ticks - reference) <= max(bps / 10_000 * reference, wide)
    if not math.isclose(abs(ticks - reference), bps / 10_000 * reference, rel_tol=1e-9):
        assert collared(ticks, reference, bps, wide) == exact


def test_a_price_that_moved_too_far_since_the_last_bar_trades_nothing() -> None:
    watch = Watch(checks(drift_bps=100.0))
    assert code(watch, order()) == PASSED, "the first bar has none before it"
    watch.marked("X", REF)
    assert code(watch, order(60.0, ticks=10_100), reference=10_100) == PASSED
    assert code(watch, order(120.0, ticks=10_101), reference=10_101) == COLLAR


def test_an_order_beyond_its_share_of_a_minutes_volume_is_refused() -> None:
    watch = Watch(checks(max_volume_share=0.05))
    assert code(watch, order(lots=5)) == PASSED and code(watch, order(60.0, lots=6)) == FAT_FINGER
    assert code(watch, order(120.0, lots=-6)) == FAT_FINGER and code(watch, order(180.0), minute_lots=math.nan) != 0


def test_a_double_is_refused_within_its_time_unless_it_is_numbered_or_reduces() -> None:
    watch = Watch(checks())
    assert code(watch, order()) == PASSED
    assert code(watch, order(29.9)) == DUPLICATE
    assert code(watch, order(29.9, lots=-5)) == code(watch, order(29.9, lots=6)) == PASSED
    assert code(watch, order(29.9, ticks=9_999)) == PASSED
    assert code(watch, order(29.9), numbered=True) == PASSED
    assert code(watch, order(29.9), reduces=True) == PASSED
    assert code(watch, order(59.9)) == PASSED


def test_too_many_orders_in_a_symbol_are_stopped_others_and_what_reduces_pass() -> None:
    watch = Watch(checks(burst_orders=3, duplicate_s=0.0))
    assert [code(watch, order(at)) for at in (0.0, 1.0, 2.0, 3.0)] == [PASSED] * 3 + [THROTTLE]
    assert code(watch, order(4.0), reduces=True) == PASSED
    assert watch.code(Given("Y", 5 * SECOND_NS, 1, REF), REF, 1.0, reduces=False) == PASSED
    assert code(watch, order(64.1)) == PASSED


def test_it_goes_on_where_it_was_and_forgets_what_is_over() -> None:
    watch, again = Watch(checks()), Watch(checks())
    for at in range(500):
        code(watch, order(30.0 * at))
    watch.marked("X", 7)
    assert len(watch.dump()[0]) <= 3
    again.load(*watch.dump())
    assert again.dump() == watch.dump() and code(again, order(30.0 * 499 + 1)) == DUPLICATE


def test_the_defaults_cannot_act_on_bars_and_what_can_is_refused_by_the_fold() -> None:
    assert checks().acts_on_bars(60.0) == "" and config().id == config(risk={"orders": {}}).id
    for values, name in (
        ({"worst_price": "collar"}, "worst_price"),
        ({"drift_bps": 50.0}, "drift_bps"),
        ({"max_volume_share": 0.1}, "max_volume_share"),
        ({"duplicate_s": 60.0}, "duplicate_s"),
        ({"burst_orders": 1}, "burst_orders"),
    ):
        run = config(risk={"orders": values})
        assert run.id != config().id
        with pytest.raises(ConfigError, match=rf"risk\.orders\.{name} may refuse orders of config 'tiny'"):
            build_cell(run, alphas(run))


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"collar_bps = 0\.0: expected `float` > 0\.0"):
        checks(collar_bps=0.0)
