"""A fault played around its place in the tape: what is found, and whether every readable book is the venue's own."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from flea_lab.data.market_watch import MarketWatch
from flea_lab.data.sources.captures import Unreadable
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot
from tests.data.chaos import Fault
from tests.data.truth import TrueBook, TrueBooks

Opening = BookSnapshot | BookDelta

BEFORE, AFTER = 80, 160
"""Messages of the tape that are played before a fault, and after it."""
DEEP = 1000
"""Levels a side of the snapshots that a window begins with."""
ANSWERED = 3
"""Messages after which a snapshot that was asked for is there."""


class Played(Struct):
    """What was seen around one fault."""

    found: list[tuple[int, Finding]]
    wrong: list[int]
    """Where a book could be read that was not the venue's."""
    readable: bool
    """Whether in the end the symbol's book could be read, and was the venue's."""
    resyncs: int
    read: int = 0
    """How many times a book was readable and compared."""


def clean_places(fault: Fault, clean: list[Any], count: int) -> list[int]:
    """How far the clean tape had come at each of the `count` messages of the doctored one from the fault on."""
    known = {id(clean[at]): at for at in range(fault.first, fault.last)}
    paired = len(fault.put) == fault.last - fault.first
    places, so_far = [], fault.first - 1
    for k, event in enumerate(fault.put):
        so_far = max(so_far, known.get(id(event), fault.first + k if paired else so_far))
        places.append(so_far)
    return [*places, *range(fault.last, fault.last + count - len(places))]


class Play:
    """One fault in its window of the tape, watched."""

    def __init__(self, venue: str, fault: Fault, opening: list[Opening]) -> None:
        self.fault = fault
        self.watch = MarketWatch(venue)
        self.truth = TrueBooks()
        self.tops: dict[str, deque[Any]] = {}
        self.due: dict[str, int] = {}
        self.dark: set[int] = set()
        self.played = Played([], [], False, 0)
        for event in opening:
            self.truth.on(event)
            self.watch.on(event)
            self._note(event)

    def run(self, clean: list[Any], start: int) -> Played:
        fault = self.fault
        rest = [*fault.put, *clean[fault.last : fault.last + AFTER]]
        places = [*range(start, fault.first), *clean_places(fault, clean, len(rest))]
        told_to = start
        for i, (event, place) in enumerate(zip([*clean[start : fault.first], *rest], places, strict=True), start):
            while told_to <= place:
                self.truth.on(clean[told_to])
                self._note(clean[told_to])
                told_to += 1
            if not isinstance(event, Unreadable):
                self._hear(i, self.watch.on(event))
                self._compare(i, event.symbol)
            self._answer(i)
        book, true = self.watch.book(fault.symbol), self.truth.books.get(fault.symbol, TrueBook())
        bids, asks = true.top()
        if book is None:
            self.played.readable = not (bids and asks)
        else:
            self.played.readable = (book.bids, book.asks) == (bids[: len(book.bids)], asks[: len(book.asks)])
        return self.played

    def _hear(self, i: int, told: tuple[Finding | Resync, ...]) -> None:
        for one in told:
            if isinstance(one, Resync):
                self.due.setdefault(one.symbol, ANSWERED)
                mine = one.symbol == self.fault.symbol and i >= self.fault.first
                self.played.resyncs += mine and one.reason != "start"
            else:
                self.played.found.append((i, one))

    def _answer(self, i: int) -> None:
        """The snapshots that were asked for come a few messages later."""
        for symbol in [symbol for symbol, left in self.due.items() if left <= 0]:
            true = self.truth.books[symbol]
            del self.due[symbol]
            if true.last is not None:
                self._hear(i, self.watch.on(true.snapshot(DEEP)))
                self._compare(i, symbol)
        for symbol in self.due:
            self.due[symbol] -= 1

    def _note(self, event: Any) -> None:
        book = self.truth.books.get(event.symbol)
        if isinstance(event, BookDelta | BookSnapshot) and book is not None and book.last is not None:
            self.tops.setdefault(event.symbol, deque(maxlen=3)).append((book.last.seq, book.top()))

    def _compare(self, i: int, symbol: str) -> None:
        book = self.watch.book(symbol)
        if book is None:
            self.dark.add(i)
            return
        self.played.read += 1
        for seq, (bids, asks) in self.tops.get(symbol, ()):
            if seq == book.seq and (book.bids, book.asks) == (bids[: len(book.bids)], asks[: len(book.asks)]):
                return
        self.played.wrong.append(i)


def opening(book: TrueBook) -> list[Opening]:
    """A snapshot, and the diff that ended with it: some venues want that one applied to it."""
    diff = book.diff
    ended = diff is not None and diff.prev_seq is not None and diff.seq == book.last.seq
    return [book.snapshot(DEEP), *([diff] if ended else [])]


def windows(clean: list[Any], faults: list[Fault]) -> Iterator[tuple[Fault, int, list[Opening]]]:
    """Every fault with where its window begins and the books as they are there, in one pass over the tape."""
    truth, at = TrueBooks(), 0
    for fault in sorted(faults, key=lambda fault: fault.first):
        start = max(0, fault.first - BEFORE)
        while at < start:
            truth.on(clean[at])
            at += 1
        yield fault, start, [event for book in truth.known() for event in opening(book)]
