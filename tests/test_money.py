"""Whole-number money against exact fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError
from flea_lab.money import (
    E8,
    HEADROOM,
    USD,
    check_headroom,
    funded_uusd,
    lots_for,
    nearest,
    portion_uusd,
    rate_e8,
    share_uusd,
    value_uusd,
)

INT = st.integers(-(2**62), 2**62)
UNIT = st.integers(1, 10**9)


def round_half_away(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@given(INT, UNIT)
def test_nearest_is_the_exact_quotient_with_ties_away_from_zero(a: int, b: int) -> None:
    assert nearest(a, b) == round_half_away(Fraction(a, b))


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [(7, 2, 4), (-7, 2, -4), (6, 4, 2), (-6, 4, -2), (1, 3, 0), (-1, 3, 0), (0, 7, 0), (5, 1, 5), (-5, 1, -5)],
)
def test_nearest_by_hand(a: int, b: int, found: int) -> None:
    assert nearest(a, b) == found


@given(st.integers(-(10**9), 10**9), st.integers(1, 2**31 - 1), UNIT, UNIT)
def test_a_value_is_the_exact_product_within_half_a_micro_dollar(lots: int, ticks: int, num: int, den: int) -> None:
    assume(abs(lots) * ticks * num < HEADROOM)
    assert value_uusd(lots, ticks, num, den) == round_half_away(Fraction(lots * ticks * num, den))
    assert value_uusd(-lots, ticks, num, den) == -value_uusd(lots, ticks, num, den)


@given(st.integers(-9 * 10**15, 9 * 10**15), st.integers(-(10**11), 10**11), st.integers(4, 12))
def test_funding_is_exact_for_every_rate_in_decimals(value: int, rate: int, places: int) -> None:
    assume(abs(rate) < 10 ** (places - 1))
    exact = round_half_away(Fraction(value * rate, 10**places))
    assert funded_uusd(value, rate / 10**places) == exact
    assert funded_uusd(-value, rate / 10**places) == -exact


@pytest.mark.parametrize("rate", ["0.0001", "0.00001250", "-0.00037425", "0.0000000005", "0.00012345678901", "99.5"])
def test_an_exact_half_of_a_micro_dollar_of_funding_goes_away_from_zero(rate: str) -> None:
    exact, value = Fraction(rate), 5 * 10**13
    assert funded_uusd(value, float(rate)) == round_half_away(value * exact)
    for odd in range(1, 40, 2):  # values whose product ends in a half
        half = Fraction(odd, 2) / exact
        if half.denominator == 1:
            assert abs(funded_uusd(int(half), float(rate))) == (odd + 1) // 2
            assert funded_uusd(-int(half), float(rate)) == -funded_uusd(int(half), float(rate))


def test_no_rate_and_no_value_are_no_funding() -> None:
    assert (funded_uusd(0, 0.01), funded_uusd(10**12, 0.0), funded_uusd(-(10**12), 0.0)) == (0, 0, 0)


@given(st.integers(-9 * 10**15, 9 * 10**15), st.integers(0, 10**7))
def test_a_share_is_exact_for_any_value_and_any_rate_a_config_can_hold(value: int, rate: int) -> None:
    exact = Fraction(value * rate, E8)
    found = share_uusd(value, rate)
    assert abs(found - exact) <= Fraction(1, 2)
    if value >= 0:
        assert found == round_half_away(exact)


@given(st.integers(-(10**15), 10**15), st.integers(1, 2**31 - 1), UNIT, st.integers(1, 1000))
def test_lots_are_rounded_toward_zero_and_never_cost_more_than_the_size(
    size: int, ticks: int, num: int, den: int
) -> None:
    lots = lots_for(size, ticks, num, den)
    assert lots == int(Fraction(size * den, ticks * num))
    assert abs(Fraction(lots * ticks * num, den)) <= abs(size)
    assert abs(Fraction((abs(lots) + 1) * ticks * num, den)) > abs(size)


def test_nothing_is_bought_at_a_price_that_is_not_there() -> None:
    assert lots_for(10 * USD, 0, 1, 1) == 0


@given(st.integers(-(10**17), 10**17), st.integers(1, 2**31 - 1), st.data())
def test_a_portion_is_exact_for_ordinary_sizes(value: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assert abs(portion_uusd(value, part, whole) - Fraction(value * part, whole)) <= Fraction(1, 2)
    assert portion_uusd(value, whole, whole) == value
    assert portion_uusd(value, 0, whole) == 0


@given(st.integers(-(10**15), 10**15), st.integers(2**31, 10**14), st.data())
def test_a_portion_of_very_many_lots_is_within_a_micro_dollar(value: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    assume(abs(value // whole) * part < HEADROOM)
    assert abs(portion_uusd(value, part, whole) - Fraction(value * part, whole)) <= 1


@pytest.mark.parametrize(
    ("bps", "rate"), [(5.0, 50_000), (0.0, 0), (1000.0, 10_000_000), (0.00004, 0), (0.00006, 1), (2.5, 25_000)]
)
def test_basis_points_become_whole_hundred_millionths(bps: float, rate: int) -> None:
    assert rate_e8(bps) == rate


@given(st.floats(1.0, 1e9), st.integers(1, 10**9), st.integers(1, 100))
def test_what_passes_the_headroom_stays_in_64_bits_after_growing_a_hundredfold(
    usd: float, den: int, growth: int
) -> None:
    try:
        check_headroom(usd, den, "cash")
    except ConfigError:
        assert usd * USD * den * 100 >= HEADROOM
        return
    assert int(usd * growth) * USD * den < 2**63
    one_lot_at_one_tick = Decimal(1) / den
    lots = lots_for(int(usd) * USD, 1, 1, den)
    assert value_uusd(lots, growth, 1, den) == round_half_away(Fraction(lots * growth, den))
    assert one_lot_at_one_tick > 0


@pytest.mark.parametrize("usd", [4.0e10 / 100 + 1, float("nan"), float("inf")])
def test_an_amount_beyond_64_bits_is_refused_with_its_limit(usd: float) -> None:
    with pytest.raises(
        ConfigError, match=r"risk\.max_order_usd = .* USD is beyond 64-bit money .* at most 400,000,000"
    ):
        check_headroom(usd, 100, "risk.max_order_usd")
