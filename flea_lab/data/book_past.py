"""How a book came to be what it is, for those who hold an earlier look at it that they have not read."""

from flea_lab.data.book_side import BookSide
from flea_lab.model.market import Levels

LEAST = 128
"""Changes that one past holds, at least."""
SHARE = 8
"""For so many levels of the book it holds one more: it begins with a copy of the book."""


class Past:
    """A copy of a book and the changes since, which its keeper adds to `changes`, at most `most`.

    The levels after the last change are those of the book itself for as long as it is `live`: it ends with the book,
    or where another past begins.
    """

    __slots__ = ("_asks", "_bids", "_depth", "_now", "_reached", "_then", "changes", "live", "most")

    def __init__(self, bids: BookSide, asks: BookSide, depth: int) -> None:
        """The past of the best `depth` levels of a book that stands here now."""
        self._bids, self._asks, self._depth = bids, asks, depth
        self._then = bids.copy(), asks.copy()
        self._now: tuple[BookSide, BookSide] | None = None
        self._reached = 0
        self.changes: list[tuple[Levels, Levels]] = []
        self.live = True
        self.most = LEAST + (len(bids.prices) + len(asks.prices)) // SHARE

    def levels(self, at: int) -> tuple[Levels, Levels]:
        """Bids and asks after `at` changes, best first."""
        changes, depth = self.changes, self._depth
        if self.live and at == len(changes):
            return self._bids.best(depth), self._asks.best(depth)
        if self._now is None or at < self._reached:
            self._now = self._then[0].copy(), self._then[1].copy()
            self._reached = 0
        bids, asks = self._now
        for bid, ask in changes[self._reached : at]:
            if bid:
                bids.apply(bid)
            if ask:
                asks.apply(ask)
        self._reached = at
        return bids.best(depth), asks.best(depth)
