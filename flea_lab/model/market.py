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

Levels = tuple[tuple[float, float], ...]
"""(price, qty), as many as are told."""


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
    """One print; `side` is the aggressor's.

    `insurance` and `liquidation` are prints that did not come from an order in the book; their price may be far off.
    """

    price: float
    qty: float
    side: Side
    trade_id: int | None = None
    kind: Literal["normal", "insurance", "liquidation"] = "normal"


class LevelTexts(Struct, frozen=True, kw_only=True):
    """Levels as the venue spells them, (price, qty); its checksum is of these very digits."""

    bids: tuple[tuple[str, str], ...] = ()
    asks: tuple[tuple[str, str], ...] = ()


class LevelIds(Struct, frozen=True, kw_only=True):
    """What a venue notes beside every level of a snapshot, in the order of its levels: its id (BitMEX), or the offset
    of its last change (dYdX)."""

    bids: tuple[int, ...] = ()
    asks: tuple[int, ...] = ()


class LevelChange(Struct, frozen=True, kw_only=True):
    """One change of a venue that names levels by id (BitMEX).

    `price` is None where the venue leaves it to the id; `qty` is 0 in a delete.
    """

    action: Literal["insert", "update", "delete"]
    side: Side
    level_id: int
    price: float | None
    qty: float


class BookSnapshot(Message, frozen=True, kw_only=True):
    """The whole book at `seq`; levels are (price, qty), best first.

    `checksum` is the venue's own over `texts`; both are None where it has none, `ids` where it notes none.
    """

    seq: int | None
    bids: Levels
    asks: Levels
    checksum: int | None = None
    texts: LevelTexts | None = None
    ids: LevelIds | None = None


class BookDelta(Message, frozen=True, kw_only=True):
    """Changed levels up to `seq`; qty 0 removes the level. What a venue does not tell is None.

    `prev_seq` is the `seq` of the delta before (Binance `pu`), `first_seq` the first of the changes in this one
    (Binance `U`). `checksum` is of the book after it, over `texts`. A venue that names levels by id tells `changes`
    and leaves `bids` and `asks` empty.
    """

    prev_seq: int | None = None
    seq: int | None = None
    bids: Levels = ()
    asks: Levels = ()
    first_seq: int | None = None
    checksum: int | None = None
    texts: LevelTexts | None = None
    changes: tuple[LevelChange, ...] = ()


class Funding(Message, frozen=True, kw_only=True):
    """A settlement: longs pay `rate` (a fraction of notional) to shorts at `ts_event`.

    Only what is `settled` is ever paid. `current` is the rate of the running interval so far, which settles at
    `due_ns` (None where not told) and may still change; `predicted` is that of the interval after it.
    """

    rate: float
    state: Literal["settled", "current", "predicted"] = "settled"
    due_ns: int | None = None


class Features(Message, frozen=True, kw_only=True):
    """What the bar that closes at `ts_event` offered beside its candle, worked out before; NaN where not known.

    The fields are those of `flea_lab.signal.kernel.Bar`, in its order.
    """

    imbalance: float = math.nan
    spread_bps: float = math.nan
    trades: float = math.nan
    trade_imbalance: float = math.nan
    vpin: float = math.nan
    current_rate: float = math.nan
    predicted_rate: float = math.nan
    hours_to_funding: float = math.nan


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True):
    """Time itself: everything stamped at or before `ts_event` that will come has come."""

    ts_event: int


MarketEvent = Candle | Trade | BookSnapshot | BookDelta | Funding | Heartbeat
