"""Every planted fault is found under its name and in time; while it lasts no book is readable that is not the venue's;
after every fresh snapshot the book is the venue's again. On the clean tapes nothing is found."""

from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from flea_lab.data.market_watch import MarketWatch
from flea_lab.data.sources.captures import Unreadable, read_capture, recognise
from flea_lab.model.finding import Finding, Resync
from flea_lab.model.market import BookDelta, BookSnapshot
from tests.data.chaos import SOURCES, Fault, Source, corpus, load
from tests.data.truth import TrueBooks

SEED = 20_261_122
BEFORE, AFTER = 80, 160
"""Messages of the tape that are played before a fault, and after it."""
DEEP = 300
"""Levels a side of the snapshots that a window begins with."""
ANSWERED = 3
"""Messages after which a snapshot that was asked for is there."""

CLEAN = (
    *[f"demo/l2/{name}" for name in ("binance_um_btcusdt_20230404_part1.raw.gz", "hyperliquid_BTC_20250126.raw.gz")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("binance_cm", "binance_um", "bitget", "bitmex", "deribit")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("bybit_inverse_v2", "coinbase_l2update", "dydx_v3", "okx")],
    *[f"fixtures/ws_raw/{name}.rawlog.gz" for name in ("kraken_futures", "kraken_spot")],
    "fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz",
    "fixtures/l2/binance_um_btcusdt_20240808.raw.gz",
)


class Played(Struct):
    """What was seen around one fault."""

    found: list[tuple[int, Finding]]
    wrong: list[int]
    """Where a book could be read that was not the venue's."""
    readable: bool
    """Whether in the end the symbol's book could be read, and was the venue's."""
    resyncs: int


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

    def __init__(self, venue: str, fault: Fault, opening: list[BookSnapshot]) -> None:
        self.fault = fault
        self.watch = MarketWatch(venue)
        self.truth = TrueBooks()
        self.tops: dict[str, deque[Any]] = {}
        self.due: dict[str, int] = {}
        self.played = Played([], [], False, 0)
        for snapshot in opening:
            self.truth.on(snapshot)
            self.watch.on(snapshot)
            self._note(snapshot)

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
        book, true = self.watch.book(fault.symbol), self.truth.books.get(fault.symbol)
        depth = len(book.bids) if book else 0
        self.played.readable = book is not None and true is not None and (book.bids, book.asks) == true.top(depth)
        return self.played

    def _hear(self, i: int, told: tuple[Finding | Resync, ...]) -> None:
        for one in told:
            if isinstance(one, Resync):
                self.due.setdefault(one.symbol, ANSWERED)
                self.played.resyncs += 1
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
            self.tops.setdefault(event.symbol, deque(maxlen=3)).append(book.top())

    def _compare(self, i: int, symbol: str) -> None:
        book = self.watch.book(symbol)
        if book is not None:
            n = len(book.bids)
            if (book.bids, book.asks) not in [
                (bids[:n], asks[: len(book.asks)]) for bids, asks in self.tops.get(symbol, ())
            ]:
                self.played.wrong.append(i)


def windows(clean: list[Any], faults: list[Fault]) -> Iterator[tuple[Fault, int, list[BookSnapshot]]]:
    """Every fault with where its window begins and the books as they are there, in one pass over the tape."""
    truth, at = TrueBooks(), 0
    for fault in sorted(faults, key=lambda fault: fault.first):
        start = max(0, fault.first - BEFORE)
        while at < start:
            truth.on(clean[at])
            at += 1
        yield fault, start, [book.snapshot(DEEP) for book in truth.known()]


def is_found(fault: Fault, played: Played) -> bool:
    in_time = [one for i, one in played.found if fault.at_message <= i <= fault.due and one.kind == fault.label]
    return any(one.channel == fault.channel and one.symbol == fault.symbol for one in in_time)


@pytest.mark.real_data
@pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
def test_every_planted_fault_is_found_and_no_wrong_book_is_readable(source: Source, data_dir: Path) -> None:
    clean = load(source, data_dir)
    faults = corpus(source, clean, SEED)
    missed, wrong, lost = [], [], []
    for fault, start, opening in windows(clean, faults):
        played = Play(source.venue, fault, opening).run(clean, start)
        found = [one.kind for _, one in played.found]
        name = f"{fault.kind} at {fault.at_message}, due {fault.due}: {found[:6]}"
        if not is_found(fault, played):
            missed.append(name)
        known = next((i for i, one in played.found if one.kind == fault.label), fault.due)
        undeclared = [i for i in played.wrong if not (fault.kind == "frozen" and i <= known)]
        if undeclared:
            wrong.append(f"{name}, readable and wrong at {undeclared[:5]}")
        if fault.channel == "book" and fault.last + 20 < len(clean) and not played.readable:
            lost.append(name)
    assert (missed, wrong, lost) == ([], [], [])


@pytest.mark.real_data
@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_found_on_a_clean_tape(name: str, data_dir: Path) -> None:
    told: Counter[str] = Counter()
    watch = MarketWatch(recognise(data_dir / name))
    for event in read_capture(data_dir / name):
        told.update(one.kind for one in watch.on(event) if isinstance(one, Finding))
    assert told == {}
    assert watch.ledger.rows() == []
