"""What a venue's decoder is given beside the JSON, what it answers with, and how its numbers are read."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from flea_lab.model.market import (
    BookDelta,
    BookSnapshot,
    Candle,
    Funding,
    Levels,
    LevelTexts,
    Trade,
)

Told = Candle | Trade | BookSnapshot | BookDelta | Funding
Decoded = tuple[Told, ...] | str
"""The messages in a frame, or in a word why it has none: "ticker", "control", "history" (prints from before)."""

MS = 1_000_000
US = 1_000
GRACE_NS = 1_000_000_000
"""How much earlier a time is taken where it is a guess: enough for the way and for two clocks that differ a little,
lest the first time that is told goes back."""


class At(Struct, frozen=True):
    """What a frame's text does not say of itself.

    `ts_venue` is the time of a message that carries none: the latest that the venue has told, and before the first
    `GRACE_NS` before `ts_recv`. `symbol` is the only one that the capture has told so far, "" where there are several
    or none yet.
    """

    ts_recv: int
    ts_venue: int
    url: str = ""
    symbol: str = ""


Decode = Callable[[Any, At], Decoded]


def levels(rows: Iterable[Any]) -> Levels:
    """(price, qty) of rows that begin with price and size, texts or numbers."""
    return tuple([(float(row[0]), float(row[1])) for row in rows])


def named_levels(rows: Iterable[Mapping[str, Any]], price: str, qty: str) -> Levels:
    """(price, qty) of rows that name them."""
    return tuple([(float(row[price]), float(row[qty])) for row in rows])


def texts(bids: Iterable[Any], asks: Iterable[Any]) -> LevelTexts:
    """The venue's own spelling, for its checksum."""
    return LevelTexts(bids=tuple([(row[0], row[1]) for row in bids]), asks=tuple([(row[0], row[1]) for row in asks]))


def iso_ns(text: str) -> int:
    """A time like `2021-04-17T16:43:37.129299Z` in ns UTC.

    >>> iso_ns("1970-01-01T00:00:01.500000Z")
    1500000000
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time {text} has no zone")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def decimal_ns(seconds: str) -> int:
    """Seconds with up to nine decimals in ns, exact.

    >>> decimal_ns("1618678133.384218")
    1618678133384218000
    """
    whole, _, part = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(part[:9].ljust(9, "0"))
