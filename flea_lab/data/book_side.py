"""One side of a book: what is bid or offered at every price, best first on demand."""

from bisect import bisect_left, insort
from math import inf

from flea_lab.data.book_check import number_fault
from flea_lab.model.finding import Kind
from flea_lab.model.market import Levels


class BookSide:
    """Levels by price, and the prices sorted so that the best stands last: that is where almost every change is.

    `sign` is +1 for bids and -1 for asks; `prices` and the keys of `levels` are sign x price.
    """

    __slots__ = ("_best", "keep", "levels", "prices", "sign")

    def __init__(self, sign: int, keep: int | None = None) -> None:
        """Empty; beyond the best `keep` levels it forgets."""
        self.sign = float(sign)
        self.keep = keep
        self.levels: dict[float, tuple[float, float]] = {}
        self.prices: list[float] = []
        self._best: tuple[int, Levels] | None = None

    def load(self, levels: Levels) -> None:
        """Takes a whole side, best first."""
        sign = self.sign
        self.levels = {sign * level[0]: level for level in reversed(levels)}
        self.prices = list(self.levels)
        self._best = None
        self._forget()

    def apply(self, levels: Levels) -> Kind | None:
        """Takes changes: the size now at each price, 0 for none. What is no possible level is named, and ends it."""
        held, prices, sign = self.levels, self.prices, self.sign
        self._best = None
        for level in levels:
            price, size = level
            key = sign * price
            if key in held:
                if 0.0 < size < inf:
                    held[key] = level
                elif size == 0.0:
                    del held[key]
                    del prices[bisect_left(prices, key)]
                else:
                    return number_fault(size)
            elif not 0.0 < price < inf:
                return number_fault(price)
            elif 0.0 < size < inf:
                held[key] = level
                insort(prices, key)
            elif size != 0.0:
                return number_fault(size)
        if self.keep is not None:
            self._forget()
        return None

    def best(self, count: int) -> Levels:
        """The best `count` levels, best first."""
        kept = self._best
        if kept is None or kept[0] != count:
            kept = self._best = count, tuple(map(self.levels.__getitem__, self.prices[: -count - 1 : -1]))
        return kept[1]

    def clear(self) -> None:
        """Forgets everything."""
        self.levels = {}
        self.prices = []
        self._best = None

    def _forget(self) -> None:
        if self.keep is not None and len(self.prices) > self.keep:
            worst = len(self.prices) - self.keep
            for price in self.prices[:worst]:
                del self.levels[price]
            del self.prices[:worst]
