"""One side of a book: what is bid or offered at every price, best first on demand."""

from bisect import bisect_left, insort
from itertools import islice
from math import inf, nan
from typing import Any

from flea_lab.data.book_check import number_fault
from flea_lab.model.finding import Kind
from flea_lab.model.market import Levels
from flea_lab.model.packed import PackedLevels

LEAST = 64
"""Removed levels that a small side may hold."""


class BookSide:
    """Levels by price, and the prices sorted so that the best stands last: that is where almost every change is.

    A whole side is kept as it was told until the first change of it: where a venue sends whole books only, nothing is
    ever sorted. A level that is removed keeps its place with the size 0, so that it need not be sorted in again when it
    comes back; the best price always has a size. Removed levels go when they are more than half.

    `sign` is +1 for bids and -1 for asks; `prices` are sign x price. `top` is the best price, NaN where there is none.
    """

    __slots__ = ("_best", "_most", "_whole", "held", "keep", "prices", "sign", "top")

    def __init__(self, sign: int, keep: int | None = None) -> None:
        """Empty; beyond the best `keep` levels it forgets."""
        self.sign = float(sign)
        self.keep = keep
        self.held: dict[float, tuple[float, float]] = {}
        self.prices: list[float] = []
        self._best: tuple[int, Levels] | None = None
        self._most = LEAST
        self._whole: Any = None  # levels, plain or packed, None once they are open
        self.top = nan
        self.load(())

    def load(self, levels: Levels) -> None:
        """Takes a whole side, best first, which is sound; empty, it forgets everything."""
        told: Any = levels
        if type(told) is PackedLevels and self.keep is None:
            self._whole, self.top = told, told.best or nan
            return
        self._whole = told if self.keep is None else told[: self.keep]
        self.top = told[0][0] if told else nan

    def open(self) -> None:
        """Makes a side that was told whole ready for changes."""
        if self._whole is not None:
            sign = self.sign
            self.held = {level[0]: level for level in reversed(self._whole)}
            self.prices = [sign * price for price in self.held]
            self._most = 2 * len(self.prices) + LEAST
            self._whole = self._best = None

    def copy(self) -> "BookSide":
        """The same, to be changed on its own."""
        other = BookSide(1 if self.sign > 0.0 else -1, self.keep)
        other.held, other.prices, other._most = self.held.copy(), self.prices.copy(), self._most
        other._whole, other.top = self._whole, self.top
        return other

    def apply(self, levels: Levels) -> Kind | None:
        """Takes changes, at least one, of an open side: the size now at each price, 0 for none.

        What is no possible level is named, and ends it: the side is not to be read then.
        """
        held = self.held
        known = len(held)
        for level in levels:
            price, size = level
            if 0.0 <= size < inf:
                held[price] = level
            else:
                return _fault(levels)
        self._best = None
        if len(held) != known and not self._enter(len(held) - known):
            return _fault(levels)
        best = held.get(self.top)
        if best is None or not best[1]:
            self._recede()
        if self.keep is not None:
            self._forget(levels)
        return None

    def best(self, count: int) -> Levels:
        """The best `count` levels, best first."""
        whole, kept = self._whole, self._best
        if whole is not None:
            best: Levels = whole[:count] if type(whole) is not PackedLevels else whole.first(count)  # type: ignore[assignment]
            return best
        if kept is None or kept[0] != count:
            kept = self._best = count, self._made(count)
        return kept[1]

    def _made(self, count: int) -> Levels:
        """The best `count` levels; what was removed among them is let go, so that it is met once."""
        keys, held, sign = self.prices, self.held, self.sign
        while True:
            best = keys[: -count - 1 : -1]
            prices = best if sign > 0.0 else [-key for key in best]
            found = [level for level in map(held.__getitem__, prices) if level[1]]
            if len(found) == len(best):
                return tuple(found)
            for price in prices:
                if not held[price][1]:
                    del held[price]
            found.reverse()
            keys[len(keys) - len(best) :] = [sign * price for price, _ in found]

    def _enter(self, count: int) -> bool:
        """Sorts in the `count` prices that came last; whether all are possible."""
        prices, sign = self.prices, self.sign
        for price in islice(reversed(self.held), count):
            if not 0.0 < price < inf:
                return False
            insort(prices, sign * price)
        self.top = sign * prices[-1]
        if len(prices) > self._most:
            self._tidy()
        return True

    def _recede(self) -> None:
        """Finds the best price that has a size; what was removed before it is let go."""
        held, prices, sign = self.held, self.prices, self.sign
        while prices:
            top = sign * prices[-1]
            if held[top][1]:
                self.top = top
                return
            del held[top]
            prices.pop()
        self.top = nan

    def _tidy(self) -> None:
        """Lets go of removed levels."""
        sign = self.sign
        self.held = held = {price: level for price, level in self.held.items() if level[1]}
        self.prices = [key for key in self.prices if sign * key in held]
        self._most = 2 * len(held) + LEAST

    def _forget(self, levels: Levels) -> None:
        """Lets go of what `levels` removed, and of what lies beyond the best `keep`."""
        held, prices, sign = self.held, self.prices, self.sign
        for price, size in levels:
            if size == 0.0 and price in held and held[price][1] == 0.0:
                del held[price]
                del prices[bisect_left(prices, sign * price)]
        worst = len(prices) - (self.keep or 0)
        if worst > 0:
            for key in prices[:worst]:
                del held[sign * key]
            del prices[:worst]


def _fault(levels: Levels) -> Kind:
    """What is wrong with the first level that cannot be."""
    for price, size in levels:
        fault = number_fault(price) or (number_fault(size) if size else None)
        if fault is not None:
            return fault
    raise AssertionError("no level is impossible")
