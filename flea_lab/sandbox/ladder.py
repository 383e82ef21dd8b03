"""One snapshot in whole ticks and lots, from which what is taken is gone."""

import math
from dataclasses import dataclass, field

from flea_lab.errors import DataError
from flea_lab.model.book import book_fault, is_sound
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Levels
from flea_lab.model.vouched import Vouched

Rung = list[int]
"""[ticks, lots] of one level; the lots shrink as they are taken."""


@dataclass(slots=True)
class Ladder:
    """What is left of one snapshot, both sides best first.

    `bid` and `ask` are the ticks of the best level of either side that holds a lot. A side is counted in ticks and lots
    when an order first takes from it or joins it; most snapshots meet none.
    """

    ts_event: int
    bids: Levels
    asks: Levels
    bid: int
    ask: int
    grid: Instrument
    _rungs: dict[bool, list[Rung]] = field(default_factory=dict)

    def opposite(self, buy: bool) -> list[Rung]:
        """The levels that a buy (else a sell) takes from."""
        found = self._rungs.get(buy)
        if found is None:
            found = self._rungs[buy] = _rungs(self.asks if buy else self.bids, self.grid)
        return found

    def touch(self, buy: bool) -> int:
        """Ticks of the level that a buy (else a sell) would have taken from first, when the snapshot came."""
        return self.ask if buy else self.bid

    def displayed(self, buy: bool, ticks: int) -> int:
        """Lots shown at `ticks` on the side where a buy (else a sell) rests."""
        return sum(lots for at, lots in self.opposite(not buy) if at == ticks)


def ladder_of(book: BookSnapshot | Vouched, grid: Instrument) -> Ladder:
    """`book` on `grid`. `DataError` for what `book_fault` finds, also where only whole ticks and lots show it."""
    bids, asks = book.bids, book.asks
    if not (isinstance(book, Vouched) or is_sound(bids, asks)):
        raise DataError(f"{_place(book)}: {book_fault(book)}")
    bid, ask = _best(bids, grid), _best(asks, grid)
    if not (bid and ask):
        raise DataError(f"{_place(book)}: no {'asks' if bid else 'bids'} of a whole lot")
    if not bid < ask:
        raise DataError(f"{_place(book)}: crossed in ticks, bid {bid} is not below ask {ask}")
    return Ladder(book.ts_event, bids, asks, bid, ask, grid)


def _place(book: BookSnapshot | Vouched) -> str:
    return f"book of {book.symbol} at {book.ts_event}"


def _best(levels: Levels, grid: Instrument) -> int:
    """Ticks of the best level that holds a lot, 0 where none does. `DataError` where one of them is off the grid."""
    try:
        grid.ticks(levels[-1][0])  # what lies between the best and the last is on it as they are
    except DataError:
        _rungs(levels, grid)  # says which is the first that is not
        raise
    for price, qty in levels:
        ticks = grid.ticks(price)
        if whole_lots(qty, grid):
            return ticks
    return 0


def whole_lots(qty: float, grid: Instrument) -> int:
    """Whole lots in a positive `qty`, rounded down; the margin is what a float loses of a quantity on the grid."""
    return math.floor(qty / grid.lot * (1 + 1e-12))


def _rungs(levels: Levels, grid: Instrument) -> list[Rung]:
    """Levels in ticks and lots, best first; prices that share a tick are one level, less than a lot is none."""
    rungs: list[Rung] = []
    for price, qty in levels:
        ticks, lots = grid.ticks(price), whole_lots(qty, grid)
        if lots and rungs and rungs[-1][0] == ticks:
            rungs[-1][1] += lots
        elif lots:
            rungs.append([ticks, lots])
    return rungs


def take_off(levels: list[Rung], lots: int) -> tuple[int, int]:
    """Takes at most `lots` off the best level: (ticks, lots taken)."""
    ticks, shown = levels[0]
    taken = min(lots, shown)
    levels[0][1] -= taken
    if taken == shown:
        levels.pop(0)
    return ticks, taken
