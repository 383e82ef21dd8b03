"""Faults planted into real captures, each with the name it must be found under. Written before anything finds them.

`corpus(source, events, seed)` gives the faults of one capture, the same for the same seed; a `Fault` is a splice, so
that hundreds of them cost no copies of the tape: `fault.doctored(events)` is the tape as somebody would receive it.

What is planted (`kind`) and what a detector must say (`label`, a kind of `flea_lab.model.finding`) are two things: a
frame torn in the middle is a message that never came, hence a gap; a counter that starts again is an old number.
Nothing is planted where a venue's protocol cannot show it: without a sequence number a repeated diff is no fault, and a
lost one far from the touch of a book with a checksum shows only when something near changes.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from msgspec import Struct
from msgspec.structs import replace

from flea_lab.data.sources.captures import Unreadable, read_capture
from flea_lab.model.finding import Channel, Kind
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Levels, LevelTexts, Trade

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS

Told = Any
"""A message, or an `Unreadable` where a frame was torn."""

MOST_LEVELS = {"hyperliquid": 20, "okx": 400, "kraken_spot": 1000, "binance_um": 1000, "binance_spot": 5000}
"""The deepest side that a venue's snapshot can have, by its documentation."""


class Source(Struct, frozen=True):
    """A capture under the data folder, whose it is, and how many faults of which kind go in."""

    name: str
    path: str
    venue: str
    counts: dict[str, int]


class Fault(Struct, frozen=True):
    """One fault: `clean[first:last]` gives way to `put`.

    `at_message` is where, in the doctored tape, the first message stands that cannot be trusted any more; `due` where
    it must have been found at the latest (later than `at_message` only where one message cannot show it).
    """

    kind: str
    label: Kind
    channel: Channel
    symbol: str
    at_message: int
    due: int
    first: int
    last: int
    put: tuple[Told, ...]

    def doctored(self, clean: Sequence[Told]) -> Iterator[Told]:
        """The tape with the fault in it."""
        yield from clean[: self.first]
        yield from self.put
        yield from clean[self.last :]


_SEQUENCED = {
    "gap": 10, "duplicate_diff": 10, "out_of_order_diff": 8, "seq_regress": 6, "crossed_snapshot": 5, "locked": 5,
    "empty_side": 5, "zero_size": 5, "nan_price": 6, "negative_price": 6, "unsorted": 5, "too_many_levels": 4,
    "time_regress": 8, "frozen": 5, "trade_gap": 8, "trade_duplicate": 8, "clock_jump": 6, "half_frame": 8,
}  # fmt: skip
_SNAPSHOTS = {
    "crossed_snapshot": 3, "locked": 3, "empty_side": 3, "zero_size": 3, "unsorted": 3, "nan_price": 2,
    "negative_price": 2, "too_many_levels": 2,
}  # fmt: skip

SOURCES = (
    Source("um2023", "demo/l2/binance_um_btcusdt_20230404_part1.raw.gz", "binance_um", _SEQUENCED),
    Source("um2024", "fixtures/l2/binance_um_btcusdt_20240808.raw.gz", "binance_um", _SEQUENCED),
    Source("spot2024", "fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz", "binance_spot", _SEQUENCED),
    Source(
        "okx",
        "fixtures/ws_raw/okx.rawlog.gz",
        "okx",
        {
            "checksum": 16,
            "time_regress": 6,
            "trade_gap": 5,
            "trade_duplicate": 5,
            "clock_jump": 3,
            "too_many_levels": 3,
        },
    ),
    Source(
        "kraken",
        "fixtures/ws_raw/kraken_spot.rawlog.gz",
        "kraken_spot",
        {**_SNAPSHOTS, "checksum": 16, "time_regress": 4},
    ),
    Source(
        "hyperliquid",
        "demo/l2/hyperliquid_BTC_20250126.raw.gz",
        "hyperliquid",
        {**dict.fromkeys(_SNAPSHOTS, 4), "time_regress": 3, "frozen": 2},
    ),
    Source(
        "candles",
        "demo/candles/binance_um_BTCUSDT_1m_20250504.parquet",
        "binance_um",
        {"candle_resent": 10, "late_correction": 10, "missing_minute": 10},
    ),
)
"""500 faults of 22 kinds."""


def load(source: Source, data_dir: Path) -> list[Told]:
    """The clean tape of a source; of the candles the first 3000."""
    path = data_dir / source.path
    if path.suffix != ".parquet":
        return list(read_capture(path))
    rows = pq.read_table(path).slice(0, 3000).to_pylist()
    return [_candle(row) for row in rows]


def corpus(source: Source, events: Sequence[Told], seed: int) -> list[Fault]:
    """The faults of one capture, each in a place of its own choosing, in the order of `source.counts`."""
    planter = _Planter(source.venue, events, random.Random(f"{seed} {source.name}"))
    return [planter.plant(kind) for kind, count in source.counts.items() for _ in range(count)]


def _candle(row: dict[str, Any]) -> Candle:
    close = row["ts"] * 1_000_000 + MINUTE_NS
    bar = {name: row[name] for name in ("open", "high", "low", "close", "volume")}
    return Candle(symbol="BTCUSDT", ts_event=close, ts_recv=close + SECOND_NS // 5, **bar)


Row = tuple[float, float, str, str]
"""A level as numbers and as the venue spells them."""


def _rows(levels: Levels, texts: Sequence[tuple[str, str]]) -> list[Row]:
    spelled = texts or [("", "")] * len(levels)
    return [(price, qty, *text) for (price, qty), text in zip(levels, spelled, strict=True)]


def _row(price: float, qty: float) -> Row:
    return price, qty, repr(price), repr(qty)


def _with_rows(book: Any, bids: Sequence[Row], asks: Sequence[Row]) -> Any:
    texts = None
    if book.texts is not None:
        texts = LevelTexts(bids=tuple(row[2:] for row in bids), asks=tuple(row[2:] for row in asks))
    return replace(book, bids=tuple(row[:2] for row in bids), asks=tuple(row[:2] for row in asks), texts=texts)


def _sides(book: Any) -> tuple[list[Row], list[Row]]:
    texts = book.texts or LevelTexts()
    return _rows(book.bids, texts.bids), _rows(book.asks, texts.asks)


class _Planter:
    """Chooses places in one tape and plants there."""

    def __init__(self, venue: str, events: Sequence[Told], rng: random.Random) -> None:
        self.venue, self.events, self.rng = venue, events, rng
        self.snapshots = [i for i, e in enumerate(events) if isinstance(e, BookSnapshot)]
        self.candles = [i for i, e in enumerate(events) if isinstance(e, Candle)]
        self.diffs = self._by_symbol(BookDelta, after=20, before=50)
        self.trades = self._by_symbol(Trade, after=0, before=5)
        self.books = _Books(events)

    def _by_symbol(self, kind: type, after: int, before: int) -> dict[str, list[int]]:
        """Places of `kind` by symbol, without the first `after` since the snapshot and the last `before`."""
        found: dict[str, list[int]] = {}
        begun = {self.events[i].symbol: i for i in reversed(self.snapshots)}
        for i, event in enumerate(self.events):
            if isinstance(event, kind) and (kind is Trade or i > begun.get(event.symbol, len(self.events))):
                found.setdefault(event.symbol, []).append(i)
        cut = {symbol: places[after : len(places) - before] for symbol, places in found.items()}
        return {symbol: places for symbol, places in cut.items() if places}

    def plant(self, kind: str) -> Fault:
        """One fault of `kind`."""
        plant: Callable[[], Fault] = getattr(self, f"_{kind}")
        return plant()

    def _diff(self) -> tuple[int, list[int], int]:
        """A diff's place, all places of its symbol, and where it stands among them."""
        places = self.diffs[self.rng.choice(sorted(self.diffs))]
        k = self.rng.randrange(len(places) - 1)
        return places[k], places, k

    def _fault(self, kind: str, label: Kind, at: int, put: Sequence[Told], **place: Any) -> Fault:
        said = self.events[at]
        channel: Channel = {Trade: "trades", Candle: "candles"}.get(type(said), "book")  # type: ignore[assignment]
        first, last = place.get("first", at), place.get("last", at + 1)
        begins = place.get("begins", at)
        due = place.get("due", begins)
        chosen: Channel = place.get("channel", channel)
        return Fault(kind, label, chosen, said.symbol, begins, due, first, last, tuple(put))

    # Diffs that are numbered.

    def _gap(self) -> Fault:
        at, places, k = self._diff()
        following = places[k + 1]
        return self._fault("gap", "gap", at, (), begins=following - 1)

    def _half_frame(self) -> Fault:
        at, places, k = self._diff()
        torn = Unreadable(at + 1, self.events[at].ts_recv, f"line {at + 1}: Input data was truncated")
        return self._fault("half_frame", "gap", at, [torn], begins=at, due=places[k + 1])

    def _duplicate_diff(self) -> Fault:
        at, _, _ = self._diff()
        return self._fault("duplicate_diff", "duplicate", at, [self.events[at]] * 2, begins=at + 1)

    def _out_of_order_diff(self) -> Fault:
        at, places, k = self._diff()
        late = places[k + 1]
        put = [self.events[late], *self.events[at + 1 : late], self.events[at]]
        return self._fault("out_of_order_diff", "out_of_order", at, put, last=late + 1, due=late)

    def _seq_regress(self) -> Fault:
        at, _, _ = self._diff()
        said = self.events[at]
        low = self.rng.randrange(10_000_000, 100_000_000)
        old = {name: getattr(said, name) - low for name in ("seq", "first_seq", "prev_seq") if getattr(said, name)}
        return self._fault("seq_regress", "out_of_order", at, [replace(said, **old)])

    def _checksum(self) -> Fault:
        at, _, _ = self._diff()
        said = self.events[at]
        wrong = replace(said, checksum=said.checksum ^ (1 << self.rng.randrange(32)))
        return self._fault("checksum", "checksum", at, [wrong])

    # Times.

    def _time_regress(self) -> Fault:
        at = self._diff()[0] if self.diffs else self.rng.choice(self.snapshots[5:])
        said = self.events[at]
        back = self.rng.randrange(5, 120) * SECOND_NS
        return self._fault("time_regress", "time_regress", at, [replace(said, ts_event=said.ts_event - back)])

    def _frozen(self) -> Fault:
        """The book's time stands still and nothing changes, while messages keep coming: a minute, or to the end."""
        at = self._diff()[0] if self.diffs else self.rng.choice(self.snapshots[2:10])
        still = self.events[at]
        until = still.ts_recv + MINUTE_NS
        last = next((i for i in range(at, len(self.events)) if self.events[i].ts_recv > until), len(self.events))
        put = [self._thawless(event, still) for event in self.events[at:last]]
        stuck = [i for i in range(at + 1, last) if put[i - at].symbol == still.symbol and self._is_book(i)]
        if not stuck:
            return self._frozen()
        return self._fault("frozen", "frozen", at, put, last=last, begins=stuck[0], due=stuck[-1])

    def _is_book(self, i: int) -> bool:
        return isinstance(self.events[i], BookDelta | BookSnapshot)

    @staticmethod
    def _thawless(event: Told, still: Told) -> Told:
        if event is still or event.symbol != still.symbol or not isinstance(event, BookDelta | BookSnapshot):
            return event
        if isinstance(event, BookSnapshot):
            return replace(still, ts_recv=event.ts_recv)
        return replace(event, ts_event=still.ts_event, bids=(), asks=())

    def _clock_jump(self) -> Fault:
        """Our own clock leaps, and stays there for the next 300 messages."""
        at = self._diff()[0]
        leap = self.rng.choice([-3600, -600, -90, 90, 600, 3600]) * SECOND_NS
        last = min(at + 300, len(self.events))
        put = [replace(event, ts_recv=event.ts_recv + leap) for event in self.events[at:last]]
        return self._fault("clock_jump", "clock_jump", at, put, last=last, channel="clock")

    # Levels.

    def _snapshot(self) -> tuple[int, BookSnapshot, bool]:
        """A place, a sound snapshot for it, and whether it comes on top of what is there.

        Where diffs are numbered, half of the time one that nobody asked for, in the middle.
        """
        if self.venue.startswith("binance") and self.rng.random() < 0.75:
            at, _, _ = self._diff()
            return at, self.books.after(at, MOST_LEVELS[self.venue]), True
        at = self.rng.choice(self.snapshots)
        return at, self.events[at], False

    def _planted(self, kind: str, label: Kind, doctor: Callable[[list[Row], list[Row]], None]) -> Fault:
        at, book, added = self._snapshot()
        bids, asks = _sides(book)
        doctor(bids, asks)
        wrong = _with_rows(book, bids, asks)
        if added:
            return self._fault(kind, label, at, [self.events[at], wrong], begins=at + 1)
        return self._fault(kind, label, at, [wrong])

    def _side(self, bids: list[Row], asks: list[Row]) -> list[Row]:
        return self.rng.choice([bids, asks])

    def _crossed_snapshot(self) -> Fault:
        def doctor(bids: list[Row], asks: list[Row]) -> None:
            if self.rng.random() < 0.5:
                bids.insert(0, _row(asks[0][0] * 1.001, 1.0))
            else:
                asks.insert(0, _row(bids[0][0] * 0.999, 1.0))

        return self._planted("crossed_snapshot", "crossed", doctor)

    def _locked(self) -> Fault:
        if self.venue.startswith("binance") and self.rng.random() < 0.5:
            at, _, _ = self._diff()
            said, ask = self.events[at], self.books.after(at, 1).asks[0][0]
            told = tuple(level for level in said.bids if level[0] != ask)
            return self._fault("locked", "locked", at, [replace(said, bids=(*told, (ask, 1.0)))])

        def doctor(bids: list[Row], asks: list[Row]) -> None:
            bids.insert(0, (asks[0][0], bids[0][1], asks[0][2], bids[0][3]))

        return self._planted("locked", "locked", doctor)

    def _empty_side(self) -> Fault:
        return self._planted("empty_side", "empty", lambda bids, asks: self._side(bids, asks).clear())

    def _zero_size(self) -> Fault:
        def doctor(bids: list[Row], asks: list[Row]) -> None:
            side = self._side(bids, asks)
            k = self.rng.randrange(len(side))
            side[k] = (side[k][0], 0.0, side[k][2], "0")

        return self._planted("zero_size", "zero", doctor)

    def _nan_price(self) -> Fault:
        return self._impossible("nan_price", "nan", lambda price: price * float("nan"))

    def _negative_price(self) -> Fault:
        return self._impossible("negative_price", "negative", lambda price: -price)

    def _impossible(self, kind: str, label: Kind, price: Callable[[float], float]) -> Fault:
        """A price that cannot be, in a diff where there are numbered ones, else in a snapshot."""

        def doctor(bids: list[Row], asks: list[Row]) -> None:
            side = self._side(bids or asks, asks or bids)
            k = self.rng.randrange(len(side))
            wrong = price(side[k][0])
            side[k] = (wrong, side[k][1], repr(wrong), side[k][3])

        if not self.venue.startswith("binance"):
            return self._planted(kind, label, doctor)
        at = self._diff()[0]
        while not self.events[at].bids and not self.events[at].asks:
            at = self._diff()[0]
        bids, asks = _sides(self.events[at])
        doctor(bids, asks)
        return self._fault(kind, label, at, [_with_rows(self.events[at], bids, asks)])

    def _unsorted(self) -> Fault:
        def doctor(bids: list[Row], asks: list[Row]) -> None:
            side = self._side(bids, asks)
            k = self.rng.randrange(len(side) - 1)
            side[k], side[k + 1] = side[k + 1], side[k]

        return self._planted("unsorted", "unsorted", doctor)

    def _too_many_levels(self) -> Fault:
        def doctor(bids: list[Row], asks: list[Row]) -> None:
            side = self._side(bids, asks)
            step = 0.9999 if side is bids else 1.0001
            for _ in range(MOST_LEVELS[self.venue] + self.rng.randrange(1, 50) - len(side)):
                side.append(_row(side[-1][0] * step, 1.0))

        return self._planted("too_many_levels", "too_many_levels", doctor)

    # Prints and candles.

    def _trade(self) -> tuple[int, list[int], int]:
        many = {symbol: places for symbol, places in self.trades.items() if len(places) > 20}
        places = many[self.rng.choice(sorted(many))]
        k = self.rng.randrange(1, len(places) - 11)
        return places[k], places, k

    def _trade_gap(self) -> Fault:
        at, places, k = self._trade()
        lost = self.rng.randrange(1, 6)
        last = places[k + lost - 1] + 1
        gone = set(places[k : k + lost])
        put = [self.events[i] for i in range(at, last) if i not in gone]
        return self._fault("trade_gap", "gap", at, put, last=last, begins=places[k + lost] - lost)

    def _trade_duplicate(self) -> Fault:
        at, places, k = self._trade()
        late = places[k + self.rng.randrange(0, 10)]
        put = [*self.events[at : late + 1], self.events[at]]
        return self._fault("trade_duplicate", "duplicate", at, put, last=late + 1, begins=late + 1)

    def _bar(self) -> int:
        return self.candles[self.rng.randrange(50, len(self.candles) - 50)]

    def _candle_resent(self) -> Fault:
        at = self._bar()
        late = at + self.rng.randrange(0, 4)
        put = [*self.events[at : late + 1], self.events[at]]
        return self._fault("candle_resent", "resent", at, put, last=late + 1, begins=late + 1)

    def _late_correction(self) -> Fault:
        at = self._bar()
        late = at + self.rng.randrange(1, 6)
        bar = self.events[at]
        close = bar.low if bar.close != bar.low else bar.high
        other = replace(bar, close=close, volume=bar.volume * 1.01 + 1.0, ts_recv=self.events[late].ts_recv)
        put = [*self.events[at : late + 1], other]
        return self._fault("late_correction", "late_correction", at, put, last=late + 1, begins=late + 1)

    def _missing_minute(self) -> Fault:
        at = self._bar()
        return self._fault("missing_minute", "hole", at, (), last=at + self.rng.randrange(1, 31))


class _Books:
    """Numbered books as they stand after a message, by adding up diffs; each is worked out when it is asked for."""

    def __init__(self, events: Sequence[Told]) -> None:
        self._events = events

    def after(self, at: int, most: int) -> BookSnapshot:
        """A whole snapshot as of the message at `at`, the best `most` levels a side."""
        symbol = self._events[at].symbol
        seq, bids, asks = -1, dict[float, float](), dict[float, float]()
        early: list[BookDelta] = []  # the diff that straddles the snapshot may have come before it
        for event in self._events[: at + 1]:
            if isinstance(event, BookDelta) and seq < 0 and event.symbol == symbol:
                early.append(event)
            elif isinstance(event, BookSnapshot) and event.symbol == symbol:
                seq, bids, asks = event.seq or 0, dict(event.bids), dict(event.asks)
                for diff in early:
                    if (diff.seq or 0) > seq:
                        seq = diff.seq or 0
                        _add(bids, diff.bids)
                        _add(asks, diff.asks)
            elif isinstance(event, BookDelta) and event.symbol == symbol and (event.seq or 0) > seq >= 0:
                seq = event.seq or 0
                _add(bids, event.bids)
                _add(asks, event.asks)
        said = self._events[at]
        best_bids = tuple(sorted(bids.items(), reverse=True)[:most])
        best_asks = tuple(sorted(asks.items())[:most])
        ts = {"ts_event": said.ts_event, "ts_recv": said.ts_recv}
        return BookSnapshot(symbol=symbol, **ts, seq=seq, bids=best_bids, asks=best_asks)


def _add(side: dict[float, float], told: Iterable[tuple[float, float]]) -> None:
    for price, qty in told:
        if qty:
            side[price] = qty
        else:
            side.pop(price, None)
