"""One snapshot in whole ticks and lots, from which what is taken is gone."""

import math
from dataclasses import dataclass

from flea_lab.errors import DataError
from flea_lab.model.book import book_fault
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot

Rung = list[int]
"""[ticks, lots] of one level; the lots shrink as they are taken."""


@dataclass(slots=True)
class Ladder:
    """What is left of one snapshot, both sides best first."""

    ts_event: int
    bids: list[Rung]
    asks: list[Rung]

    def opposite(self, buy: bool) -> list[Rung]:
        """The levels that a buy (else a sell) takes from."""
        return self.asks if buy else self.bids

    def displayed(self, buy: bool, ticks: int) -> int:
        """Lots shown at `ticks` on the side where a buy (else a sell) rests."""
        return sum(lots for at, lots in (self.bids if buy else self.asks) if at == ticks)


def ladder_of(snapshot: BookSnapshot, grid: Instrument) -> Ladder:
    """`snapshot` on `grid`. `DataError` for what `book_fault` finds, also where only whole ticks and lots show it."""
    place = f"book of {snapshot.symbol} at {snapshot.ts_event}"
    fault = book_fault(snapshot)
    if fault:
        raise DataError(f"{place}: {fault}")
    bids, asks = _rungs(snapshot.bids, grid), _rungs(snapshot.asks, grid)
    if not (bids and asks):
        raise DataError(f"{place}: no {'asks' if bids else 'bids'} of a whole lot")
    if not bids[0][0] < asks[0][0]:
        raise DataError(f"{place}: crossed in ticks, bid {bids[0][0]} is not below ask {asks[0][0]}")
    return Ladder(snapshot.ts_event, bids, asks)


def whole_lots(qty: float, grid: Instrument) -> int:
    """Whole lots in a positive `qty`, rounded down; the margin is what a float loses of a quantity on the grid."""
    return math.floor(qty / float(grid.lot_size) * (1 + 1e-12))


def _rungs(levels: tuple[tuple[float, float], ...], grid: Instrument) -> list[Rung]:
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
