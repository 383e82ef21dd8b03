"""What a venue's JSON holds, as far as it is read."""

from typing import Any, Literal

from msgspec import Raw, Struct, field

from flea_lab.model.market import Levels, Side

Number = int | float


class AnyFrame(Struct):
    """A frame of any kind; `data` is read by its channel."""

    channel: str | None = None
    symbol: str | None = None
    event: str | None = None
    data: Raw = Raw()
    seq: int | None = None
    ts: Number | None = None
    channels: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    code: Any = ""
    message: Any = ""


class CandleRow(Struct):
    """A candle, on the websocket and over REST."""

    t: Number
    open: float = field(name="o")
    high: float = field(name="h")
    low: float = field(name="l")
    close: float = field(name="c")
    volume: float = field(name="v")
    buy_volume: float | None = field(name="bv", default=None)
    complete: bool | None = None


class BookData(Struct):
    """A book or a diff."""

    bids: Levels
    asks: Levels
    type: Literal["snapshot", "delta"] = "snapshot"
    ts: Number | None = None


class TradeData(Struct):
    """A print."""

    price: float
    size: float
    side: Side
    id: int | str | None = None
    ts: Number | None = None


class FundingData(Struct):
    """A rate of funding, settled or not."""

    rate: float
    ts: Number | None = None
    settled: bool = True
    predicted_rate: float | None = None
    next_funding_ts: Number | None = None


class SettlementRow(Struct):
    """A settlement over REST."""

    t: Number
    rate: float


class HealthBody(Struct):
    """What a venue says of itself."""

    time: Number | None = None
    clock: Literal["market", "wall"] = "wall"
    matching: Literal["book", "next_open"] = "book"


class GridRow(Struct):
    """The grid of one instrument."""

    symbol: str
    tick_size: str | float
    lot_size: str | float
    min_notional_usd: str | float = "0"
    funding_interval_h: int | None = None
