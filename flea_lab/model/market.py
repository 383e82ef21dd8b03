"""What a venue says about its market. Times are ns UTC: `ts_event` theirs, `ts_recv` ours."""

import math
from typing import Literal

from msgspec import Struct

INTERVAL_MS: dict[str, int] = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
"""Bar length in milliseconds by its name on the wire and in the store."""

DAY_NS = 86_400_000_000_000
MS_NS = 1_000_000

Side = Literal["buy", "sell"]


class Message(Struct, frozen=True, kw_only=True, tag=True):
    """What every market message carries."""

    symbol: str
    ts_event: int
    ts_recv: int


class Candle(Message, frozen=True, kw_only=True):
    """One bar. `ts_event` is its close; `volume` and `buy_volume` in base units, `buy_volume` NaN where unknown.

    A candle with `complete=False` is still forming and never reaches a signal.
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    buy_volume: float = math.nan
    complete: bool = True


class Trade(Message, frozen=True, kw_only=True):
    """One print; `side` is the aggressor's."""

    price: float
    qty: float
    side: Side
    trade_id: int | None = None


class BookSnapshot(Message, frozen=True, kw_only=True):
    """The whole book at `seq`; levels are (price, qty), best first."""

    seq: int | None
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class BookDelta(Message, frozen=True, kw_only=True):
    """Changed levels from `prev_seq` to `seq`; qty 0 removes the level."""

    prev_seq: int
    seq: int
    bids: tuple[tuple[float, float], ...] = ()
    asks: tuple[tuple[float, float], ...] = ()


class Funding(Message, frozen=True, kw_only=True):
    """A settlement: longs pay `rate` (a fraction of notional) to shorts at `ts_event`."""

    rate: float


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True):
    """Time itself: everything stamped at or before `ts_event` that will come has come."""

    ts_event: int


MarketEvent = Candle | Trade | BookSnapshot | BookDelta | Funding | Heartbeat
