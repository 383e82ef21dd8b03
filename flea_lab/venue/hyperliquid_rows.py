"""Hyperliquid's rows as they are on the wire, and each as a message. Pure.

What cannot be believed is a `FrameError`.
"""

import math
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, field

from flea_lab.model.book import book_fault
from flea_lab.model.market import MS_NS, BookSnapshot, Funding, Trade
from flea_lab.venue.reading import UNREADABLE, FrameError, explained

LATEST_MS = 9_000_000_000_000


class FrameRow(Struct):
    """Any push."""

    channel: str
    data: Raw = Raw(b"null")


class LevelRow(Struct):
    """One level of a book."""

    px: float
    sz: float


class BookRow(Struct):
    """A whole book, bids first."""

    coin: str
    time: int
    levels: tuple[tuple[LevelRow, ...], tuple[LevelRow, ...]]


class TradeRow(Struct):
    """A print."""

    coin: str
    side: Literal["A", "B"]
    px: float
    sz: float
    time: int
    tid: int


class BarRow(Struct):
    """A candle, running or over."""

    coin: str = field(name="s")
    interval: str = field(name="i")
    t: int
    end: int = field(name="T")
    open: float = field(name="o")
    high: float = field(name="h")
    low: float = field(name="l")
    close: float = field(name="c")
    volume: float = field(name="v")


class RateRow(Struct):
    """What a context says of funding."""

    funding: float | None = None


class ContextRow(Struct):
    """The context of one coin."""

    coin: str
    ctx: RateRow


class AskedRow(Struct):
    """A subscription."""

    type: str
    coin: str = ""
    interval: str = ""


class AnswerRow(Struct):
    """The answer to a subscription."""

    method: str
    subscription: AskedRow


class SettledRow(Struct):
    """A settlement of funding."""

    coin: str
    rate: float = field(name="fundingRate")
    time: int


class CoinRow(Struct):
    """One coin of the universe."""

    name: str
    decimals: int = field(name="szDecimals")
    delisted: bool = field(name="isDelisted", default=False)


class MetaRow(Struct):
    """The universe."""

    universe: list[CoinRow]


class StatusRow(Struct):
    """The state of the exchange."""

    time: int


def read_answer(raw: bytes, kind: Any, where: str) -> Any:
    """What an answer holds, checked against `kind`; `FrameError` where it does not."""
    try:
        return msgspec.json.decode(raw, type=kind, strict=False)
    except UNREADABLE as error:
        fault = explained(error, raw, where)
    raise FrameError(fault)


def stamp_ns(value: int, name: str) -> int:
    """A time of theirs, ms, in ns UTC."""
    if not 0 < value < LATEST_MS:
        raise FrameError(f"{name} = {value}: not a time in ms")
    return value * MS_NS


def book_of(book: BookRow, symbol: str, ts_recv: int) -> BookSnapshot:
    """The book of a row, on which one can trade."""
    bids, asks = book.levels
    found = BookSnapshot(
        symbol=symbol,
        ts_event=stamp_ns(book.time, f"{symbol}: time"),
        ts_recv=ts_recv,
        seq=None,
        bids=tuple([(level.px, level.sz) for level in bids]),
        asks=tuple([(level.px, level.sz) for level in asks]),
    )
    fault = book_fault(found)
    if fault:
        raise FrameError(f"{symbol}: {fault}")
    return found


def trade_of(row: TradeRow, symbol: str, ts_recv: int) -> Trade:
    """The print of a row."""
    if not (0.0 < row.px < math.inf and 0.0 < row.sz < math.inf):
        raise FrameError(f"{symbol}: px = {row.px}, sz = {row.sz}: must be numbers above 0")
    side: Literal["buy", "sell"] = "buy" if row.side == "B" else "sell"
    return Trade(
        symbol=symbol,
        ts_event=stamp_ns(row.time, f"{symbol}: time"),
        ts_recv=ts_recv,
        price=row.px,
        qty=row.sz,
        side=side,
        trade_id=row.tid,
    )


def funding_of(symbol: str, rate: float, ts_event: int, ts_recv: int, due_ns: int | None) -> Funding:
    """A rate: settled, or running until `due_ns`."""
    if not -1.0 < rate < 1.0:
        raise FrameError(f"{symbol}: rate = {rate}: must be a share between -1 and 1", True)
    state: Literal["settled", "current"] = "settled" if due_ns is None else "current"
    return Funding(symbol=symbol, ts_event=ts_event, ts_recv=ts_recv, rate=rate, state=state, due_ns=due_ns)
