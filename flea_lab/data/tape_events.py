"""A tape as a desk would have heard it: candles, prints, books that can be vouched for, funding, time. In its order.

Rules. A book is told only where the venue's rules prove that no change of it is missing; after a lost connection there
is none until the next whole one. A symbol of which the tape has no candle gets those that its prints make, each before
the print that ended it; longer candles than the tape's own are made of its whole ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import book_rules
from flea_lab.data.minutes import Longer, Minutes
from flea_lab.data.tape import Note, RawFrame
from flea_lab.data.tape_facts import TapeFacts, describe, rules_name, shown
from flea_lab.errors import DataError
from flea_lab.model.market import INTERVAL_MS, BookDelta, BookSnapshot, Candle, Funding, Heartbeat, MarketEvent, Trade
from flea_lab.model.vouched import Vouched

Heard = Candle | Trade | Vouched | Funding | Heartbeat
"""What comes out: of books the best 20 levels of a side."""

AGREE_NS = 60_000_000_000
"""How far two clocks may be apart that tell the same time."""


class Lost(Struct, frozen=True):
    """The connection was lost, after `ts_event` by the venue's time."""

    ts_event: int


Told = Candle | Trade | BookSnapshot | BookDelta | Funding | Heartbeat | Lost
"""What the feed told, as it did, beside the candles that are made."""


class TapeEvents:
    """What a tape tells of some symbols; may be read as often as wanted, each time the same."""

    def __init__(self, path: Path, symbols: Sequence[str], interval: str, *, progress: bool = False) -> None:
        """`DataError` where the tape has neither candles nor prints of a symbol, or only longer candles."""
        self.path, self.symbols, self.interval, self._progress = path, tuple(symbols), interval, progress
        self.facts: TapeFacts = describe(path, progress=progress)
        counts, own = self.facts.counts, self.facts.interval or interval
        self.made = tuple(symbol for symbol in symbols if not counts.get(("candle", symbol)))
        for symbol in self.made:
            if not counts.get(("trades", symbol)):
                there = ", ".join(sorted({name for _, name in counts if name})) or "nothing"
                raise DataError(f"{path.name}: neither candles nor prints of {symbol} on the tape, it holds {there}")
        step, asked = INTERVAL_MS[own], INTERVAL_MS[interval]
        if self.made != self.symbols and asked % step:
            raise DataError(f"{path.name}: its candles are {own}, {interval} ones cannot be made of them")
        self._own = own if asked != step else ""
        self.rules = rules_name(self.facts.venue)

    def __iter__(self) -> Iterator[Heard]:
        """The events in order."""
        books = {symbol: BookSync(symbol, book_rules(self.rules)) for symbol in self.symbols}
        for told in self.told():
            if isinstance(told, Lost):
                for book in books.values():
                    book.lost(told.ts_event)
            elif isinstance(told, BookSnapshot | BookDelta):
                book = books[told.symbol]
                book.on(told)
                if book.book is not None:
                    yield book.book
            else:
                yield told

    @property
    def wall_clock(self) -> bool:
        """Whether the venue's time was the time of day when the tape ended: that of a recorded market is not."""
        event, recv = self.facts.last_event_ns, self.facts.last_recv_ns
        return event is not None and recv is not None and abs(recv - event) <= AGREE_NS

    def told(self) -> Iterator[Told]:
        """What the feed told of the symbols, in order: books and their changes as they came, losses of the connection;
        and the candles that are made."""
        listener = _Listener(self)
        for record in shown(self.path, self._progress, "tape"):
            if isinstance(record, Note):
                if record.kind in ("down", "begin"):
                    yield from listener.lose()
            elif not isinstance(record, RawFrame):
                yield from listener.on(record)

    def _longer(self, symbol: str) -> Longer | None:
        return Longer(symbol, self._own, self.interval) if self._own and symbol not in self.made else None


class _Listener:
    """Turns the records of one reading into what is heard."""

    def __init__(self, tape: TapeEvents) -> None:
        self._symbols = frozenset(tape.symbols)
        self._longer = {symbol: longer for symbol in tape.symbols if (longer := tape._longer(symbol)) is not None}
        self._minutes = {symbol: Minutes(symbol, tape.interval) for symbol in tape.made}
        self._last = 0
        self._lost: set[str] = set()

    def lose(self) -> Iterator[Lost]:
        """Takes that the connection was lost; nothing where nothing was heard yet."""
        if not self._last:
            return
        for symbol, minutes in self._minutes.items():
            minutes.missing(self._last)
            self._lost.add(symbol)
        yield Lost(self._last)

    def on(self, event: MarketEvent) -> Iterator[Told]:
        """What is heard of `event`."""
        if isinstance(event, Heartbeat):
            self._last = max(self._last, event.ts_event)
            for minutes in self._minutes.values():
                yield from _candles(minutes.until(event.ts_event, event.ts_event))
            yield event
        elif event.symbol not in self._symbols:
            return
        elif isinstance(event, Candle):
            yield from self._candle(event)
        elif isinstance(event, Trade):
            self._last = max(self._last, event.ts_event)
            yield from self._made(event)
            yield event
        elif isinstance(event, BookSnapshot | BookDelta):
            self._last = max(self._last, event.ts_event)
            yield event
        else:
            yield event

    def _candle(self, candle: Candle) -> Iterator[Candle]:
        longer = self._longer.get(candle.symbol)
        if longer is None:
            yield candle
        elif candle.complete:
            yield from _candles(longer.on(candle))

    def _made(self, trade: Trade) -> Iterator[Candle]:
        """The candles that are over by `trade`, of a symbol whose candles are made of its prints."""
        minutes = self._minutes.get(trade.symbol)
        if minutes is None:
            return
        if trade.symbol in self._lost:
            self._lost.discard(trade.symbol)
            yield from _candles(minutes.until(trade.ts_event, trade.ts_recv))
            minutes.missing(trade.ts_event)
        yield from _candles(minutes.on(trade))


def _candles(told: tuple[object, ...]) -> Iterator[Candle]:
    return (one for one in told if isinstance(one, Candle))
