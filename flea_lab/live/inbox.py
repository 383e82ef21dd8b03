"""What waits to be worked off, in order: under a flood of books only the newest of each symbol waits, nothing else is
ever left out.

Rules. A whole book that is still waiting gives way to a newer one of its symbol, which waits at the end, so that
nothing is told before its time. Changes of a book are not taken while too many things wait: the next one that is shows
the gap. Trades, candles, fills and all the rest are kept; more of them than `most` is an error, said once.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from flea_lab.errors import VenueError
from flea_lab.model.market import BookDelta, BookSnapshot

T = TypeVar("T")

CROWDED = 10_000
"""Things waiting from which on books give way to newer ones."""

MOST = 1_000_000


class Inbox(Generic[T]):
    """A queue for one reader. `left_out` counts books that gave way, and changes of books that were not taken."""

    def __init__(self, crowded: int = CROWDED, most: int = MOST) -> None:
        self._crowded, self._most = crowded, most
        self._cells: deque[list[T]] = deque()  # an empty cell held a book that gave way
        self._books: dict[str, list[T]] = {}
        self._empty = self.left_out = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._cells) - self._empty

    def empty(self) -> bool:
        """Whether nothing waits."""
        return len(self._cells) == self._empty

    def put_nowait(self, item: T, book: str = "") -> None:
        """Takes `item`, never waits; `book` names the symbol where it stands for a whole book and is no message."""
        kind = type(item)
        if kind is BookSnapshot:
            book = item.symbol  # type: ignore[attr-defined]
        crowd = len(self._cells) - self._empty
        if crowd >= self._crowded and (book or kind is BookDelta):
            if kind is BookDelta:
                self.left_out += 1
                return
            self._give_way(book)
        elif crowd >= self._most:
            raise VenueError(f"{crowd} things wait to be worked off: the market is faster than this machine")
        cell = [item]
        if book:
            self._books[book] = cell
        self._cells.append(cell)
        self._wake.set()

    def get_nowait(self) -> T:
        """The next; `asyncio.QueueEmpty` where nothing waits."""
        while self._cells:
            cell = self._cells.popleft()
            if cell:
                return cell.pop()  # emptied, so that no newer book takes it for one that waits
            self._empty -= 1
        raise asyncio.QueueEmpty

    async def get(self) -> T:
        """The next, once there is one."""
        while self.empty():
            self._wake = asyncio.Event()  # of the loop that runs now
            await self._wake.wait()
        return self.get_nowait()

    def clear(self) -> None:
        """Nothing waits any more."""
        self._cells.clear()
        self._books.clear()
        self._empty = 0

    def _give_way(self, book: str) -> None:
        before = self._books.get(book)
        if before:
            before.clear()
            self._empty += 1
            self.left_out += 1
            if self._empty > len(self._cells) // 2:
                self._cells = deque(cell for cell in self._cells if cell)
                self._empty = 0
