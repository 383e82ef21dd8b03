"""The account's book against a slow one in exact fractions."""

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.ledger import (
    COST,
    FEES,
    FILLS,
    FUNDING,
    LOTS,
    REALISED,
    SLIPPAGE,
    TRIPS,
    TURNOVER,
    WINS,
    Ledger,
    equity_uusd,
    gross_uusd,
    held_uusd,
    position_uusd,
)
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Fill

CASH = 100_000_000_000
WHOLE = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001"))  # 10 micro-dollars a lot and tick
SPLIT = Instrument(tick_size=Decimal("0.0003"), lot_size=Decimal("0.001"))  # 3 / 10
GRIDS = st.sampled_from([WHOLE, SPLIT])


class Deal(NamedTuple):
    lots: int
    ticks: int
    fee: int
    reference: int


class Rate(NamedTuple):
    rate: float
    mark: int


LOTS_ = st.integers(-2_000, 2_000).filter(bool)
PRICES = st.integers(1, 20_000)
DEALS = st.builds(Deal, LOTS_, PRICES, st.integers(-50_000, 1_000_000), PRICES)
RATES = st.builds(Rate, st.floats(-0.003, 0.003), PRICES)


class Slow:
    """Average cost in fractions: no rounding anywhere, one step after the other."""

    def __init__(self, unit: Fraction) -> None:
        self.unit = unit
        self.lots = 0
        self.cost = self.realised = self.fees = self.trip = Fraction(0)
        self.trips: list[Fraction] = []

    def fill(self, deal: Deal) -> None:
        price = deal.ticks * self.unit
        fee_a_lot = Fraction(deal.fee, abs(deal.lots))
        sign = 1 if deal.lots > 0 else -1
        closing = min(abs(deal.lots), abs(self.lots)) if self.lots * sign < 0 else 0
        if closing:
            share = self.cost * Fraction(closing, abs(self.lots))
            gain = -sign * closing * price - share
            self.realised += gain
            self.cost -= share
            self.lots += sign * closing
            self.trip += gain - closing * fee_a_lot
            if self.lots == 0:
                self.trips.append(self.trip)
                self.trip = Fraction(0)
        opening = abs(deal.lots) - closing
        self.lots += sign * opening
        self.cost += sign * opening * price
        self.trip -= opening * fee_a_lot
        self.fees += deal.fee


def a_fill(deal: Deal, symbol: str = "X") -> Fill:
    return Fill(
        client_order_id="1",
        ts_event=0,
        symbol=symbol,
        side="buy" if deal.lots > 0 else "sell",
        lots=abs(deal.lots),
        price_ticks=deal.ticks,
        fee_uusd=deal.fee,
        reference_ticks=deal.reference,
    )


def unit(grid: Instrument) -> Fraction:
    return Fraction(grid.unit_num, grid.unit_den)


@given(GRIDS, st.lists(DEALS, max_size=30), PRICES)
def test_fills_sum_to_the_position_and_the_cash(grid: Instrument, deals: list[Deal], mark: int) -> None:
    ledger = Ledger(["X"], {"X": grid}, CASH)
    for deal in deals:
        ledger.fill(a_fill(deal))
    assert ledger.book[0, LOTS] == sum(deal.lots for deal in deals)
    assert ledger.book[0, FILLS] == len(deals)
    assert ledger.book[0, FEES] == sum(deal.fee for deal in deals)
    paid = sum(deal.lots * deal.ticks for deal in deals) * unit(grid) + sum(deal.fee for deal in deals)
    half_a_fill = Fraction(len(deals), 2) if grid.unit_den > 1 else 0  # every fill's value is rounded once
    assert abs(CASH - paid - ledger.cash_uusd) <= half_a_fill
    ledger.mark("X", mark)
    owned = ledger.cash_uusd + int(ledger.book[0, LOTS]) * mark * unit(grid)
    assert abs(ledger.equity_uusd() - owned) <= Fraction(1, 2)


@given(st.lists(st.tuples(LOTS_, PRICES), max_size=30))
def test_without_fees_trading_at_the_mark_conserves_equity(deals: list[tuple[int, int]]) -> None:
    ledger = Ledger(["X"], {"X": WHOLE}, CASH)
    for lots, ticks in deals:
        ledger.mark("X", ticks)
        before = ledger.equity_uusd()
        ledger.fill(a_fill(Deal(lots, ticks, 0, ticks)))
        assert ledger.equity_uusd() == before


@given(GRIDS, st.lists(st.one_of(DEALS, RATES), max_size=30), PRICES)
def test_profit_has_four_parts(grid: Instrument, history: list[Deal | Rate], mark: int) -> None:
    """Realised + unrealised - fees - funding is what equity gained: exactly where a lot at a tick is worth whole
    micro-dollars; else within one micro-dollar a fill (its value and the two parts of a flip are each rounded)."""
    ledger = Ledger(["X"], {"X": grid}, CASH)
    for event in history:
        if isinstance(event, Deal):
            ledger.fill(a_fill(event))
        else:
            ledger.mark("X", event.mark)
            ledger.fund("X", event.rate)
    ledger.mark("X", mark)
    book = ledger.book[0]
    unrealised = position_uusd(ledger.book, 0) - int(book[COST])
    parts = int(book[REALISED]) + unrealised - int(book[FEES]) - int(book[FUNDING])
    off = abs(ledger.equity_uusd() - CASH - parts)
    assert off <= (0 if grid.unit_den == 1 else 1 + sum(isinstance(event, Deal) for event in history))


@given(st.lists(DEALS, max_size=30))
def test_realised_profit_and_round_trips_are_those_of_the_slow_book(deals: list[Deal]) -> None:
    ledger, slow = Ledger(["X"], {"X": WHOLE}, CASH), Slow(unit(WHOLE))
    for close, deal in enumerate(deals, 1):
        ledger.fill(a_fill(deal))
        slow.fill(deal)
        book = ledger.book[0]
        assert book[LOTS] == slow.lots
        assert abs(int(book[COST]) - slow.cost) <= close  # each partial close rounds the cost it takes out once
        assert abs(int(book[REALISED]) - slow.realised) <= close
        assert book[TRIPS] == len(slow.trips)
        sure = sum(trip > 2 * close for trip in slow.trips)
        near = sum(abs(trip) <= 2 * close for trip in slow.trips)
        assert sure <= book[WINS] <= sure + near


@pytest.mark.parametrize(
    ("deals", "realised", "trips", "wins", "cost"),
    [
        ([(10, 100), (-10, 110)], 1_000, 1, 1, 0),  # 10 lots x 10 ticks x 10
        ([(-10, 100), (10, 110)], -1_000, 1, 0, 0),
        ([(10, 100), (10, 200), (-10, 180)], 3_000, 0, 0, 15_000),  # average 150
        ([(10, 100), (-25, 120)], 2_000, 1, 1, -18_000),  # through zero: 15 short at 120
        ([(10, 100), (-25, 120), (15, 130)], 500, 2, 1, 0),
        ([(3, 1), (-1, 1), (-1, 1), (-1, 1)], 0, 1, 0, 0),  # a trip that only comes back is no win
    ],
)
def test_profit_by_hand(deals: list[tuple[int, int]], realised: int, trips: int, wins: int, cost: int) -> None:
    ledger = Ledger(["X"], {"X": WHOLE}, CASH)
    for lots, ticks in deals:
        ledger.fill(a_fill(Deal(lots, ticks, 0, ticks)))
    book = ledger.book[0]
    assert (book[REALISED], book[TRIPS], book[WINS], book[COST]) == (realised, trips, wins, cost)


def test_the_fee_of_a_flip_is_split_by_lots_between_the_two_trips() -> None:
    ledger = Ledger(["X"], {"X": WHOLE}, CASH)
    ledger.fill(a_fill(Deal(10, 100, 300, 100)))
    ledger.fill(a_fill(Deal(-40, 106, 1_200, 106)))  # gain 600; fees of the trip 300 + 1200 x 10 / 40 = 600: no win
    assert (ledger.book[0, TRIPS], ledger.book[0, WINS]) == (1, 0)
    ledger.fill(a_fill(Deal(30, 102, 299, 102)))  # gain 1200; fees 900 + 299: a win by 1
    assert (ledger.book[0, TRIPS], ledger.book[0, WINS]) == (2, 1)


def test_a_very_large_number_of_lots_keeps_its_cost() -> None:
    penny = Instrument(tick_size=Decimal("0.00000001"), lot_size=Decimal("1"))  # 1 / 100 micro-dollar
    ledger, slow = Ledger(["X"], {"X": penny}, CASH), Slow(unit(penny))
    for deal in (Deal(20_000_000_000, 1_001, 0, 1_000), Deal(-10_000_000_001, 1_003, 7_000_001, 1_003)):
        ledger.fill(a_fill(deal))
        slow.fill(deal)
    assert abs(int(ledger.book[0, REALISED]) - slow.realised) <= 2
    assert abs(int(ledger.book[0, COST]) - slow.cost) <= 2
    assert ledger.book[0, TRIPS] == 0


@pytest.mark.parametrize(
    ("lots", "rate", "received"),
    [(1_000, 0.0001, -100), (-1_000, 0.0001, 100), (1_000, -0.0001, 100), (-1_000, -0.0001, -100), (0, 0.01, 0)],
)
def test_a_positive_rate_is_paid_by_longs_to_shorts(lots: int, rate: float, received: int) -> None:
    ledger = Ledger(["X"], {"X": WHOLE}, CASH)
    if lots:
        ledger.fill(a_fill(Deal(lots, 100, 0, 100)))
    ledger.mark("X", 100)  # worth 1,000,000 micro-dollars
    before = ledger.cash_uusd
    assert ledger.fund("X", rate) == received
    assert ledger.cash_uusd - before == received
    assert ledger.book[0, FUNDING] == -received


@pytest.mark.parametrize(
    ("lots", "ticks", "reference", "lost"), [(10, 101, 100, 100), (-10, 99, 100, 100), (10, 99, 100, -100)]
)
def test_slippage_is_what_the_fill_cost_beyond_its_reference(lots: int, ticks: int, reference: int, lost: int) -> None:
    ledger = Ledger(["X"], {"X": WHOLE}, CASH)
    ledger.fill(a_fill(Deal(lots, ticks, 0, reference)))
    assert ledger.book[0, SLIPPAGE] == lost
    assert ledger.book[0, TURNOVER] == abs(lots) * ticks * 10


def test_what_is_ordered_counts_as_exposure_and_owns_nothing() -> None:
    ledger = Ledger(["X", "Y"], {"X": WHOLE, "Y": WHOLE}, CASH)
    ledger.mark("X", 100)
    ledger.mark("Y", 100)
    ledger.pend("X", 5)
    ledger.pend("Y", -7)
    assert position_uusd(ledger.book, 0) == 5_000
    assert gross_uusd(ledger.book) == 12_000
    assert held_uusd(ledger.book) == 0
    assert equity_uusd(ledger.book, ledger.cash_uusd) == CASH
    ledger.pend("X", -5)
    assert gross_uusd(ledger.book) == 7_000


def test_the_account_says_what_the_book_holds() -> None:
    ledger = Ledger(["X", "Y"], {"X": WHOLE, "Y": SPLIT}, CASH)
    ledger.fill(a_fill(Deal(-3, 100, 1, 100), "Y"))
    ledger.mark("Y", 200)
    account = ledger.account(7, 8, 9)
    assert account.lots == {"X": 0, "Y": -3}
    assert (account.ts_event, account.day_open_uusd, account.peak_uusd) == (7, 8, 9)
    assert account.cash_uusd == CASH + 90 - 1
    assert account.equity_uusd == account.cash_uusd - 180


@pytest.mark.parametrize(("after", "cost"), [(0, 0), (4, 4_000), (10, 10_000), (16, 10_000 + 6 * 1_200), (-5, -6_000)])
def test_an_account_that_is_taken_over_keeps_what_it_keeps_at_cost(after: int, cost: int) -> None:
    ledger = Ledger(["X", "Y"], {"X": WHOLE, "Y": WHOLE}, CASH)
    ledger.fill(a_fill(Deal(10, 100, 3, 100)))
    ledger.mark("X", 120)
    ledger.adopt({"X": after, "Y": 0}, CASH - 77, 9, -2)
    assert (ledger.book[0, LOTS], ledger.book[0, COST], ledger.cash_uusd) == (after, cost, CASH - 77)
    assert (ledger.book[:, FEES].sum(), ledger.book[:, FUNDING].sum()) == (9, -2)
    assert ledger.equity_uusd() == CASH - 77 + after * 120 * 10
