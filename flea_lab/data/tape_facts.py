"""What is on a tape: span, counts by kind and symbol, notes, size, a torn end. One pass, nothing kept but counts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct
from tqdm import tqdm

from flea_lab.data.book_rules import RULES
from flea_lab.data.tape import Note, RawFrame, Record, heard_ns, magic_of, placed_records
from flea_lab.errors import DataError
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade

By = Literal["event", "recv"]
"""Whose time: the venue's, or ours at the receipt."""

CHANNELS: dict[type, str] = {
    Candle: "candle",
    BookSnapshot: "book",
    BookDelta: "book",
    Trade: "trades",
    Funding: "funding",
    Heartbeat: "heartbeat",
    RawFrame: "frame",
    Note: "note",
}
"""The channel of every kind of record; a frame belongs to that of its event."""


class TapeFacts(Struct, frozen=True, kw_only=True):
    """A tape in numbers. Times are ns UTC, None where nothing says one; `torn` bytes at the end are no whole record.

    `counts` are by (channel, symbol, "" where it has none). `venue` and `interval` are those that its first recording
    began with, "" where no note says.
    """

    file: str
    size: int
    torn: int
    format: int
    records: int
    counts: dict[tuple[str, str], int]
    first_event_ns: int | None
    last_event_ns: int | None
    first_recv_ns: int | None
    last_recv_ns: int | None
    downs: int
    faults: int
    venue: str
    interval: str


class TapeClock:
    """The time of each record of one tape, never going back: what it was heard after is not earlier than it.

    By "event" a record without a time of the venue's, and a candle that is still forming, has the time before it.
    """

    def __init__(self, by: By) -> None:
        self._by, self._now = by, 0

    def at(self, record: Record) -> int:
        """The time of the next record, ns UTC."""
        now = event_ns(record) if self._by == "event" else heard_ns(record)
        if now is not None and now > self._now:
            self._now = now
        return self._now


def event_ns(record: Record) -> int | None:
    """The venue's time of a record; None for a note, a frame without an event, and a candle that is still forming."""
    if isinstance(record, Note) or (isinstance(record, Candle) and not record.complete):
        return None
    return record.ts_event


def symbol_at(record: Record) -> str:
    """The symbol of a record, "" where it has none."""
    return "" if isinstance(record, Note | RawFrame | Heartbeat) else record.symbol


def shown(path: Path, progress: bool = False, what: str = "tape") -> Iterator[Record]:
    """Everything on a tape in order, with a progress bar by bytes."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    with tqdm(
        total=size,
        desc=f"{what} {path.name}",
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
        leave=False,
    ) as bar:
        for count, (end, record) in enumerate(placed_records(path)):
            if not count % 4_096:
                bar.update(end - bar.n)
            yield record


def rules_name(venue: str) -> str:
    """The name of the rules that a tape of `venue` follows; the sandbox's where nothing says which venue it is.

    >>> rules_name("ccxt:bybit"), rules_name("purpleflea-seed"), rules_name("hyperliquid")
    ('snapshots', 'seed', 'hyperliquid')
    """
    if venue.startswith("ccxt:"):  # a library that makes whole books of whatever the exchange sends
        return "snapshots"
    return venue if venue in RULES else "seed"


def begun(text: str) -> tuple[str, str]:
    """Venue and interval in the note with which a recording begins; "" where it does not say."""
    venue, interval, *_ = (*text.split(" "), "", "")
    return venue, interval


def describe(path: Path, *, progress: bool = False) -> TapeFacts:
    """The facts of the tape at `path`; `DataError` where it is none."""
    counts: Counter[tuple[str, str]] = Counter()
    notes: Counter[str] = Counter()
    event: list[int] = []
    recv: list[int] = []
    end, start = len(magic_of(path)), ("", "")
    with tqdm(
        total=path.stat().st_size,
        desc=path.name,
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
        leave=False,
    ) as bar:
        for end, record in placed_records(path):
            counts[CHANNELS[type(record)], symbol_at(record)] += 1
            if isinstance(record, Note):
                notes[record.kind] += 1
                start = begun(record.text) if record.kind == "begin" and start == ("", "") else start
            _widen(event, event_ns(record))
            _widen(recv, heard_ns(record))
            if end - bar.n > 1 << 20:
                bar.update(end - bar.n)
    size = path.stat().st_size
    return TapeFacts(
        file=path.name,
        size=size,
        torn=size - end,
        format=2 if magic_of(path) == b"fleatp2\n" else 1,
        records=counts.total(),
        counts=dict(sorted(counts.items())),
        first_event_ns=event[0] if event else None,
        last_event_ns=event[1] if event else None,
        first_recv_ns=recv[0] if recv else None,
        last_recv_ns=recv[1] if recv else None,
        downs=notes["down"],
        faults=notes["fault"],
        venue=start[0],
        interval=start[1],
    )


def _widen(span: list[int], ts: int | None) -> None:
    """Takes `ts` into [earliest, latest]."""
    if ts is None:
        return
    if not span:
        span[:] = [ts, ts]
    elif ts > span[1]:
        span[1] = ts
    elif ts < span[0]:
        span[0] = ts
