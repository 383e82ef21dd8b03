"""The one door from floats to lots and ticks."""

from decimal import Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.errors import ConfigError, DataError
from flea_lab.model.instrument import KNOWN, MAX_TICKS, Instrument, known_instrument

TICKS = ("0.1", "0.01", "0.0001", "0.00000001", "0.25", "0.5", "1", "5", "0.3", "1000")


def grid(tick: str, lot: str = "0.001", minimum: str = "0") -> Instrument:
    return Instrument(tick_size=Decimal(tick), lot_size=Decimal(lot), min_notional_usd=Decimal(minimum))


@given(st.sampled_from(TICKS), st.lists(st.floats(0.6, 2e9), min_size=1, max_size=50))
def test_the_array_door_and_the_scalar_door_are_one(tick: str, exact: list[float]) -> None:
    one = grid(tick)
    prices = np.array(exact) * float(tick)
    assert one.tick_array(prices).tolist() == [one.ticks(price) for price in prices.tolist()]


@given(st.sampled_from(TICKS), st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_both_doors_round_a_price_between_two_ticks_alike(tick: str, halves: list[int]) -> None:
    one = grid(tick)
    prices = (np.array(halves) + 0.5) * float(tick)
    assert one.tick_array(prices).tolist() == [one.ticks(price) for price in prices.tolist()]


@given(st.sampled_from(TICKS), st.integers(1, MAX_TICKS))
def test_a_whole_number_of_ticks_comes_back_from_its_price(tick: str, ticks: int) -> None:
    one = grid(tick)
    assert one.ticks(one.price(ticks)) == ticks
    assert one.price(ticks) == float(Decimal(tick) * ticks)


@given(st.sampled_from(TICKS), st.integers(-(10**12), 10**12))
def test_a_quantity_is_the_float_nearest_to_its_lots(lot: str, lots: int) -> None:
    assert grid("1", lot).qty(lots) == float(Decimal(lot) * lots)


def test_a_missing_bar_is_no_tick() -> None:
    assert grid("0.1").tick_array(np.array([np.nan, 1.0, np.nan])).tolist() == [0, 10, 0]


@pytest.mark.parametrize("price", [0.0, -1.0, 0.05, 0.01, float("nan"), float("inf"), 0.1 * (MAX_TICKS + 2)])
def test_a_price_off_the_grid_is_refused_at_both_doors(price: float) -> None:
    one = grid("0.1")
    with pytest.raises(DataError, match=rf"price .* is not between 1 and {MAX_TICKS} ticks of 0\.1"):
        one.ticks(price)
    if price == price:
        with pytest.raises(DataError, match=rf"price {price} is not between 1 and {MAX_TICKS} ticks of 0\.1"):
            one.tick_array(np.array([1.0, price]))


@pytest.mark.parametrize(("price", "ticks"), [(0.051, 1), (0.1, 1), (0.25, 2), (0.26, 3), (0.1 * MAX_TICKS, MAX_TICKS)])
def test_the_nearest_tick_by_hand(price: float, ticks: int) -> None:
    assert grid("0.1").ticks(price) == ticks


@pytest.mark.parametrize(
    ("tick", "lot", "num", "den"),
    [
        ("0.1", "0.001", 100, 1),
        ("0.01", "0.00001", 1, 10),
        ("0.00000001", "1", 1, 100),
        ("0.3", "0.001", 300, 1),
        ("1000", "1", 10**9, 1),
    ],
)
def test_what_one_lot_at_one_tick_is_worth(tick: str, lot: str, num: int, den: int) -> None:
    assert (grid(tick, lot).unit_num, grid(tick, lot).unit_den) == (num, den)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(tick_size="0", lot_size="1"), r"tick_size \(0\) must be at least 1E-18 and at most 1000000"),
        (dict(tick_size="-1", lot_size="1"), r"tick_size \(-1\) must be at least"),
        (dict(tick_size="NaN", lot_size="1"), r"tick_size \(NaN\) must be at least"),
        (dict(tick_size="1e-5000", lot_size="1"), r"tick_size \(1E-5000\) must be at least"),
        (dict(tick_size="1", lot_size="Infinity"), r"lot_size \(Infinity\) must be at least"),
        (dict(tick_size="1", lot_size="1000001"), r"lot_size \(1000001\) must be at least .* at most 1000000"),
        (dict(tick_size="1", lot_size="1", min_notional_usd="-1"), r"min_notional_usd \(-1\) must be at least 0"),
        (dict(tick_size="1", lot_size="1", min_notional_usd="1e30"), r"min_notional_usd \(1E\+30\) .* 1000000000"),
        (dict(tick_size="1e-8", lot_size="1e-8"), r"is 1/10000000000 micro-USD, beyond what 64-bit money can hold"),
        (dict(tick_size="1e6", lot_size="1e6"), r"is 1000000000000000000 micro-USD, beyond"),
        (dict(tick_size="1", lot_size="1", funding_interval_h=0), r"Expected `int` >= 1"),
        (dict(tick_size="1", lot_size="1", tik=1), r"unknown field `tik`"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values, Instrument, strict=True)


def test_a_grid_is_the_same_however_its_numbers_are_written() -> None:
    assert grid("0.10", "1E+1", "5.00") == grid("0.1", "10", "5")
    assert msgspec.to_builtins(grid("0.10", "1E+1", "5.00"))["lot_size"] == "10"


def test_lots_of_a_quoted_quantity_are_exact() -> None:
    assert grid("0.1").lots(Decimal("0.3")) == 300
    assert grid("0.1").lots(Decimal("0.2999")) == 299


def test_every_known_grid_loads_and_holds_a_large_account() -> None:
    for venue, symbols in KNOWN.items():
        for symbol in symbols:
            one = msgspec.convert(known_instrument(venue, symbol, "test"), Instrument, strict=True)
            assert one.unit_num >= 1 and one.min_notional_uusd > 0


def test_an_unknown_symbol_says_how_to_state_its_grid() -> None:
    with pytest.raises(ConfigError, match=r"symbol 'DOGEUSDT' on 'binance_um' .* add \[instruments\.DOGEUSDT\]"):
        known_instrument("binance_um", "DOGEUSDT", "a.toml")
