"""Fills at the next open, by hand to the micro-dollar."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Accepted, Alert, Cancelled, CancelOrder
from flea_lab.money import slipped_ticks
from flea_lab.sandbox.matching import NextOpenMatching, fee_uusd
from tests.execution.orders import an_order

GRID = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"))


def exchange(fee_e8: int = 50_000, slippage_e8: int = 10_000) -> NextOpenMatching:
    return NextOpenMatching({"X": GRID}, fee_e8, slippage_e8)


@pytest.mark.parametrize(
    ("ticks", "buy", "bps", "filled"),
    [
        (10_000, True, 1.0, 10_001),
        (10_000, False, 1.0, 9_999),
        (10_001, True, 1.0, 10_003),  # 1.0001 ticks, away to a whole one
        (10_001, False, 1.0, 9_999),
        (10_000, True, 0.0, 10_000),
        (1, False, 1000.0, 1),  # never below a tick
        (100, True, 1.0, 101),  # a coarse grid: one tick at least
    ],
)
def test_slippage_goes_against_the_order_to_a_whole_tick(ticks: int, buy: bool, bps: float, filled: int) -> None:
    assert slipped_ticks(ticks, buy, round(bps * 10_000)) == filled


@given(st.integers(1, 2**31 - 1), st.integers(0, 10**7))
def test_slippage_is_exact_over_the_whole_range(ticks: int, rate: int) -> None:
    slip = Fraction(ticks * rate, 10**8)
    assert 0 <= slipped_ticks(ticks, True, rate) - ticks - slip < 1
    down = slipped_ticks(ticks, False, rate)
    assert down == 1 or 0 <= ticks - down - slip < 1


def test_the_fee_is_a_share_of_the_fill_in_whole_micro_dollars() -> None:
    assert fee_uusd(1_000, 10_001, 10, 1, 50_000) == 50_005  # 100.01 USD at 5 bp
    assert fee_uusd(-1_000, 10_001, 10, 1, 50_000) == 50_005
    assert fee_uusd(1, 1_001, 1, 1, 50_000) == 1  # 0.5005 to the nearest
    assert fee_uusd(1, 999, 1, 1, 50_000) == 0


def test_an_order_rests_until_its_symbol_opens_and_fills_whole() -> None:
    market, order = exchange(), an_order(lots=1_000)
    assert market.on(order, 5) == (Accepted(client_order_id="1", ts_event=5),)
    (fill,) = market.open("X", 10_000, 9)
    assert (fill.lots, fill.price_ticks, fill.reference_ticks, fill.fee_uusd, fill.ts_event) == (
        1_000,
        10_001,
        10_000,
        50_005,
        9,
    )
    assert market.open("X", 10_000, 10) == (), "once"


def test_a_cancelled_order_does_not_fill_and_a_second_cancel_says_nothing() -> None:
    market = exchange()
    market.on(an_order("1"), 5)
    market.on(an_order("2"), 5)
    cancel = CancelOrder(client_order_id="1", symbol="X", ts_event=6)
    assert market.on(cancel, 6) == (Cancelled(client_order_id="1", ts_event=6),)
    assert market.on(cancel, 7) == ()
    assert [fill.client_order_id for fill in market.open("X", 100, 8)] == ["2"]


def test_what_is_not_for_an_exchange_is_ignored() -> None:
    assert exchange().on(Alert(ts_event=1, severity="info", text="hello"), 1) == ()
