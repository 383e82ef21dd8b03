"""One side of a book: what is bid or offered at every price, best first on demand."""

from bisect import bisect_left, insort
from math import inf

from flea_lab.data.book_check import number_fault
from flea_lab.model.finding import Kind
from flea_lab.model.market import Levels


class BookSide:
    """Sizes by price, and the prices sorted so that the best stands last: that is where almost every change is.

    `sign` is +1 for bids and -1 for asks; `prices` holds sign x price.
    """

    __slots__ = ("keep", "prices", "qty", "sign")

    def __init__(self, sign: int, keep: int | None = None) -> None:
        """Empty; beyond the best `keep` levels it forgets."""
        self.sign = float(sign)
        self.keep = keep
        self.qty: dict[float, float] = {}
        self.prices: list[float] = []

    def load(self, levels: Levels) -> None:
        """Takes a whole side, best first."""
        sign = self.sign
        self.qty = dict(levels)
        self.prices = [sign * price for price, _ in reversed(levels)]
        self._forget()

    def apply(self, levels: Levels) -> Kind | None:
        """Takes changes: the size now at each price, 0 for none. What is no possible level is named, and ends it."""
        qty, prices, sign = self.qty, self.prices, self.sign
        for price, size in levels:
            if price in qty:
                if 0.0 < size < inf:
                    qty[price] = size
                elif size == 0.0:
                    del qty[price]
                    del prices[bisect_left(prices, sign * price)]
                else:
                    return number_fault(size)
            elif not 0.0 < price < inf:
                return number_fault(price)
            elif 0.0 < size < inf:
                qty[price] = size
                insort(prices, sign * price)
            elif size != 0.0:
                return number_fault(size)
        if self.keep is not None:
            self._forget()
        return None

    def best(self, count: int) -> Levels:
        """The best `count` levels, best first."""
        qty = self.qty
        if self.sign > 0:
            return tuple([(price, qty[price]) for price in self.prices[: -count - 1 : -1]])
        return tuple([(-price, qty[-price]) for price in self.prices[: -count - 1 : -1]])

    def clear(self) -> None:
        """Forgets everything."""
        self.qty = {}
        self.prices = []

    def _forget(self) -> None:
        if self.keep is not None and len(self.prices) > self.keep:
            worst = len(self.prices) - self.keep
            for price in self.prices[:worst]:
                del self.qty[self.sign * price]
            del self.prices[:worst]
