"""What a book says, by hand; and that a book that says nothing says NaN."""

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.model.book import book_fault, depth_at_bps, mid, spread_bps, touch
from flea_lab.model.market import BookSnapshot

NAN, INF = math.nan, math.inf
Levels = list[tuple[float, float]]


def a_book(bids: Levels, asks: Levels) -> BookSnapshot:
    return BookSnapshot(symbol="X", ts_event=1, ts_recv=1, seq=None, bids=tuple(bids), asks=tuple(asks))


SOUND = a_book([(99.0, 1.0), (98.0, 5.0)], [(101.0, 2.0), (103.0, 4.0)])

FAULTY = [
    ([], [(101.0, 1.0)], "no bids"),
    ([(99.0, 1.0)], [], "no asks"),
    ([(101.0, 1.0)], [(99.0, 1.0)], "crossed, bid 101.0 is not below ask 99.0"),
    ([(100.0, 1.0)], [(100.0, 1.0)], "crossed, bid 100.0 is not below ask 100.0"),
    ([(NAN, 1.0)], [(101.0, 1.0)], "bids hold 1.0 at nan"),
    ([(99.0, 1.0)], [(101.0, NAN)], "asks hold nan at 101.0"),
    ([(99.0, 1.0)], [(INF, 1.0)], "asks hold 1.0 at inf"),
    ([(0.0, 1.0)], [(101.0, 1.0)], "bids hold 1.0 at 0.0"),
    ([(99.0, 0.0)], [(101.0, 1.0)], "bids hold 0.0 at 99.0"),
    ([(99.0, -1.0)], [(101.0, 1.0)], "bids hold -1.0 at 99.0"),
]


def test_mid_spread_and_depth_of_a_sound_book() -> None:
    assert book_fault(SOUND) == ""
    assert touch(SOUND) == (99.0, 101.0)
    assert mid(SOUND) == 100.0
    assert spread_bps(SOUND) == 200.0


@pytest.mark.parametrize(
    ("bps", "depth"),
    [(0.0, (0.0, 0.0)), (99.9, (0.0, 0.0)), (100.0, (1.0, 2.0)), (200.0, (6.0, 2.0)), (300.0, (6.0, 6.0))],
)
def test_depth_counts_the_levels_up_to_the_distance_and_on_it(bps: float, depth: tuple[float, float]) -> None:
    assert depth_at_bps(SOUND, bps) == depth


def test_a_level_on_the_distance_counts_though_floats_put_it_beyond() -> None:
    book = a_book([(99.99, 1.0)], [(100.01, 2.0)])
    assert mid(book) - 99.99 > mid(book) * 1.0 / 10_000
    assert depth_at_bps(book, 1.0) == (1.0, 2.0)


@pytest.mark.parametrize(("bids", "asks", "fault"), FAULTY)
def test_a_book_without_a_touch_says_nan_and_why(bids: Levels, asks: Levels, fault: str) -> None:
    book = a_book(bids, asks)
    assert book_fault(book) == fault
    assert math.isnan(mid(book)) and math.isnan(spread_bps(book))
    assert all(math.isnan(side) for side in depth_at_bps(book, 10.0))
    assert all(math.isnan(side) for side in touch(book))


def test_levels_out_of_order_are_a_fault() -> None:
    assert book_fault(a_book([(98.0, 1.0), (99.0, 1.0)], [(101.0, 1.0)])) == "bids go from 98.0 to 99.0"
    assert book_fault(a_book([(98.0, 1.0)], [(101.0, 1.0), (101.0, 1.0)])) == "asks go from 101.0 to 101.0"


def test_a_level_that_is_no_number_spoils_its_side_only() -> None:
    bid, ask = depth_at_bps(a_book([(99.0, 1.0), (NAN, 5.0)], [(101.0, 2.0)]), 100.0)
    assert math.isnan(bid) and ask == 2.0


@pytest.mark.parametrize("bps", [-1.0, NAN])
def test_a_distance_that_is_none_has_no_depth(bps: float) -> None:
    assert all(math.isnan(side) for side in depth_at_bps(SOUND, bps))


@given(
    st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20, unique=True),
    st.lists(st.floats(0.001, 1e3), min_size=20, max_size=20),
    st.floats(0.01, 500.0),
    st.floats(0.0, 500.0),
)
def test_depth_grows_with_the_distance_and_is_everything_far_away(
    away: list[float], sizes: list[float], near: float, more: float
) -> None:
    prices = sorted(away)
    bids = [(2e6 - price, qty) for price, qty in zip(prices, sizes, strict=False)]
    asks = [(2e6 + price, qty) for price, qty in zip(prices, sizes, strict=False)]
    book = a_book(bids, asks)
    small, large = depth_at_bps(book, near), depth_at_bps(book, near + more)
    assert all(0.0 <= a <= b for a, b in zip(small, large, strict=True))
    *_, held = accumulate(qty for _, qty in bids)  # `sum` rounds otherwise from Python 3.12 on
    assert depth_at_bps(book, 10_000.0) == (held, held)
