"""Hyperliquid: `l2Book` (20 levels a side, always whole, no sequence number), `trades`, `candle`, `activeAssetCtx`.

Aggressor: `B` bought, `A` sold. A `tid` is no counter. A candle has no flag that it is over: one is complete where its
close has passed by the venue's clock. `activeAssetCtx` tells the hourly rate that runs now, and no time.
"""

from typing import Any, Literal

from flea_lab.data.sources.captures.venue import MS, At, Decoded, named_levels
from flea_lab.model.market import BookSnapshot, Candle, Funding, Trade

_SIDE: dict[str, Literal["buy", "sell"]] = {"B": "buy", "A": "sell"}


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Hyperliquid."""
    said = data.get("data")
    match data.get("channel"):
        case "l2Book":
            return (_book(said, at),)
        case "trades":
            return tuple([_trade(row, at) for row in said])
        case "candle":
            return (_candle(said, at),)
        case "activeAssetCtx":
            return _funding(said, at)
        case "bbo" | "allMids" as other:
            return str(other)
    return "control"


def _book(data: Any, at: At) -> BookSnapshot:
    bids, asks = data["levels"]
    return BookSnapshot(
        symbol=data["coin"],
        ts_event=data["time"] * MS,
        ts_recv=at.ts_recv,
        seq=None,
        bids=named_levels(bids, "px", "sz"),
        asks=named_levels(asks, "px", "sz"),
    )


def _trade(row: Any, at: At) -> Trade:
    return Trade(
        symbol=row["coin"],
        ts_event=row["time"] * MS,
        ts_recv=at.ts_recv,
        price=float(row["px"]),
        qty=float(row["sz"]),
        side=_SIDE[row["side"]],
        trade_id=row["tid"],
    )


def _candle(bar: Any, at: At) -> Candle:
    closed = (bar["T"] + 1) * MS
    return Candle(
        symbol=bar["s"],
        ts_event=closed,
        ts_recv=at.ts_recv,
        open=float(bar["o"]),
        high=float(bar["h"]),
        low=float(bar["l"]),
        close=float(bar["c"]),
        volume=float(bar["v"]),
        complete=closed <= at.ts_venue,
    )


def _funding(data: Any, at: At) -> Decoded:
    rate = data["ctx"].get("funding")
    if rate is None:
        return "spot context"
    return (Funding(symbol=data["coin"], ts_event=at.ts_venue, ts_recv=at.ts_recv, rate=float(rate), state="current"),)
