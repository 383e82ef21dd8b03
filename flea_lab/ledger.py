"""One account: positions, cash, cost basis, fees and funding, in whole micro-dollars.

The book is an int64 array with one row a symbol and the columns named below, so that the sweep's fold and the desk's
ledger run the same compiled functions on the same shape. Linear contracts: equity is cash plus the signed value of
every position at its mark; cash pays for what is bought and receives what is sold short.
"""

import functools
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import compiled, direct
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Account, Fill
from flea_lab.money import funded_uusd, portion_uusd, value_uusd

# Columns of the book. LOTS is signed; PENDING the signed lots of orders not yet filled; MARK the last close in ticks;
# NUM / DEN the micro-dollars of one lot at one tick; COST the signed price paid for the open position; TRIP the net
# P&L of the round trip that is open; money in micro-dollars throughout.
LOTS, PENDING, MARK, NUM, DEN, MIN_NOTIONAL = range(6)
COST, REALISED, FEES, FUNDING, TURNOVER, FILLS, TRIP, TRIPS, WINS, SLIPPAGE = range(6, 16)
COLUMNS = 16

Book = npt.NDArray[np.int64]
Marks = npt.NDArray[np.int64]


def empty_book(instruments: Sequence[Instrument]) -> Book:
    """A flat book, shape `(n_symbols, COLUMNS)`."""
    book = np.zeros((len(instruments), COLUMNS), dtype=np.int64)
    for row, instrument in zip(book, instruments, strict=True):
        row[NUM], row[DEN], row[MIN_NOTIONAL] = instrument.unit_num, instrument.unit_den, instrument.min_notional_uusd
    return book


@compiled
def position_uusd(book: Book, s: int) -> int:
    """Signed value of the position in row `s` at its mark, with what is pending."""
    return value_uusd(book[s, LOTS] + book[s, PENDING], book[s, MARK], book[s, NUM], book[s, DEN])


@compiled
def equity_uusd(book: Book, cash: int) -> int:
    """Cash plus every position at its mark; pending orders own nothing yet."""
    total = cash
    for s in range(book.shape[0]):
        total += value_uusd(book[s, LOTS], book[s, MARK], book[s, NUM], book[s, DEN])
    return total


@compiled
def mark_rows(book: Book, marks: Marks, cash: int) -> int:
    """Values row `s` at `marks[s]` ticks from now on, for every row; returns the equity then."""
    for s in range(book.shape[0]):
        book[s, MARK] = marks[s]
    return equity_uusd(book, cash)


@compiled
def gross_uusd(book: Book) -> int:
    """Sum of absolute position values with what is pending."""
    total = 0
    for s in range(book.shape[0]):
        total += abs(position_uusd(book, s))
    return total


@compiled
def held_uusd(book: Book) -> int:
    """Sum of absolute position values, orders not counted."""
    total = 0
    for s in range(book.shape[0]):
        total += abs(value_uusd(book[s, LOTS], book[s, MARK], book[s, NUM], book[s, DEN]))
    return total


@compiled
def apply_fill(book: Book, s: int, lots: int, ticks: int, fee: int, reference: int) -> int:
    """Books `lots` (signed) at `ticks` with `fee` in row `s`; returns the change in cash.

    Cost is averaged: closing part of a position realises its share. A fill through zero ends one round trip and begins
    the next, the fee split by lots. Slippage is what `ticks` cost more than `reference`.
    """
    held = book[s, LOTS]
    value = value_uusd(lots, ticks, book[s, NUM], book[s, DEN])
    closing = min(abs(held), abs(lots)) if (held ^ lots) < 0 else 0  # of opposite signs
    if closing > 0:
        cost = book[s, COST]
        size = abs(held)
        closed_cost = cost if closing == size else portion_uusd(cost, closing, size)
        direction = 1 if held > 0 else -1
        closed_value = value_uusd(direction * closing, ticks, book[s, NUM], book[s, DEN])
        gain = closed_value - closed_cost
        closing_fee = fee if closing == abs(lots) else portion_uusd(fee, closing, abs(lots))
        book[s, REALISED] += gain
        book[s, COST] = cost - closed_cost
        book[s, TRIP] += gain - closing_fee
        if closing == size:
            book[s, TRIPS] += 1
            book[s, WINS] += int(book[s, TRIP] > 0)
            book[s, TRIP] = 0
        opened = abs(lots) - closing
        if opened > 0:
            book[s, COST] = value_uusd(-direction * opened, ticks, book[s, NUM], book[s, DEN])
        book[s, TRIP] -= fee - closing_fee
    else:
        book[s, COST] += value
        book[s, TRIP] -= fee
    book[s, LOTS] = held + lots
    book[s, FEES] += fee
    book[s, TURNOVER] += abs(value)
    book[s, FILLS] += 1
    book[s, SLIPPAGE] += value_uusd(lots, ticks - reference, book[s, NUM], book[s, DEN])
    return -value - fee


@compiled
def apply_funding(book: Book, s: int, rate: float) -> int:
    """Settles one funding payment on row `s` at its mark; returns the change in cash (longs pay a positive rate)."""
    value = value_uusd(book[s, LOTS], book[s, MARK], book[s, NUM], book[s, DEN])
    paid = funded_uusd(value, rate)
    book[s, FUNDING] += paid
    return -paid


class Ledger:
    """The account as the core keeps it: one book, one cash balance."""

    def __init__(self, symbols: Sequence[str], instruments: Mapping[str, Instrument], cash_uusd: int) -> None:
        self.row = {symbol: s for s, symbol in enumerate(symbols)}
        self.book = empty_book([instruments[symbol] for symbol in symbols])
        self.cash_uusd = self.opening_uusd = cash_uusd
        self._marks: Marks = np.zeros(len(symbols), np.int64)
        self._value = functools.partial(direct(mark_rows, self.book, self._marks, cash_uusd), self.book, self._marks)
        # crosses into compiled code at a third of the cost of a list
        self._pack_marks: Callable[..., None] = struct.Struct(f"{len(symbols)}q").pack_into

    def mark_all(self, ticks: Iterable[int]) -> int:
        """Values every position at its tick, in the order of the symbols, from now on; the equity then."""
        self._pack_marks(self._marks, 0, *ticks)
        equity: int = self._value(self.cash_uusd)
        return equity

    def mark(self, symbol: str, ticks: int) -> None:
        """Values the position in `symbol` at `ticks` from now on."""
        self.book[self.row[symbol], MARK] = ticks

    def pend(self, symbol: str, lots: int) -> None:
        """Counts `lots` (signed) as ordered and not yet filled; the opposite sign takes them back."""
        self.book[self.row[symbol], PENDING] += lots

    def fill(self, fill: Fill) -> None:
        """Books an execution. What it fills stays pending until the blotter says otherwise (`pend`)."""
        lots = fill.lots if fill.side == "buy" else -fill.lots
        s = self.row[fill.symbol]
        self.cash_uusd += apply_fill(self.book, s, lots, fill.price_ticks, fill.fee_uusd, fill.reference_ticks)

    def fund(self, symbol: str, rate: float) -> int:
        """Settles funding on `symbol`; returns what was received (negative: paid), in micro-dollars."""
        change = apply_funding(self.book, self.row[symbol], rate)
        self.cash_uusd += change
        return change

    def adopt(self, lots: Mapping[str, int], cash_uusd: int, fees_uusd: int, funding_uusd: int) -> None:
        """Takes the account over as it is said to be. What is kept of a position keeps its average cost, what is new
        costs its mark; fees and funding that nobody can attribute are the first symbol's."""
        for symbol, held in lots.items():
            row = self.book[self.row[symbol]]
            row[COST] = _cost(int(row[COST]), int(row[LOTS]), held, int(row[MARK]), int(row[NUM]), int(row[DEN]))
            row[LOTS] = held
        self.book[0, FEES] += fees_uusd - int(self.book[:, FEES].sum())
        self.book[0, FUNDING] += funding_uusd - int(self.book[:, FUNDING].sum())
        self.cash_uusd = cash_uusd

    def equity_uusd(self) -> int:
        """Equity at the marks."""
        return equity_uusd(self.book, self.cash_uusd)

    def account(self, ts_event: int, day_open_uusd: int, peak_uusd: int) -> Account:
        """The account as a message."""
        lots = {symbol: int(self.book[s, LOTS]) for symbol, s in self.row.items()}
        return Account(
            ts_event=ts_event,
            cash_uusd=self.cash_uusd,
            equity_uusd=self.equity_uusd(),
            day_open_uusd=day_open_uusd,
            peak_uusd=peak_uusd,
            lots=lots,
        )


def _cost(cost: int, before: int, after: int, mark: int, num: int, den: int) -> int:
    """Cost of a position of `after` lots that was one of `before` lots at `cost`."""
    same = before != 0 and after != 0 and (before > 0) == (after > 0)
    kept = min(abs(before), abs(after)) * (1 if after > 0 else -1) if same else 0
    at_cost: int = portion_uusd(cost, abs(kept), abs(before)) if kept else 0
    new: int = value_uusd(after - kept, mark, num, den)
    return at_cost + new
