"""Kraken Futures v1: `book_snapshot`, `book` (one level a message, `seq` one more each), `trade`.

A `trade_snapshot` is history. Aggressor: `side` is the taker's. `type` tells a liquidation from a fill. A print's `seq`
is its number in its own feed.
"""

from typing import Any

from flea_lab.data.sources.captures.venue import MS, At, Decoded, named_levels
from flea_lab.model.market import BookDelta, BookSnapshot, Trade


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Kraken Futures."""
    if "event" in data:
        return "control"
    match data["feed"]:
        case "book":
            return (_diff(data, at),)
        case "book_snapshot":
            return (_snapshot(data, at),)
        case "trade":
            return (_trade(data, at),)
        case "trade_snapshot":
            return "history"
        case other:
            return str(other)


def _snapshot(data: Any, at: At) -> BookSnapshot:
    return BookSnapshot(
        symbol=data["product_id"],
        ts_event=data["timestamp"] * MS,
        ts_recv=at.ts_recv,
        seq=data["seq"],
        bids=named_levels(data["bids"], "price", "qty"),
        asks=named_levels(data["asks"], "price", "qty"),
    )


def _diff(data: Any, at: At) -> BookDelta:
    changed = ((float(data["price"]), float(data["qty"])),)
    bought = {"buy": True, "sell": False}[data["side"]]
    return BookDelta(
        symbol=data["product_id"],
        ts_event=data["timestamp"] * MS,
        ts_recv=at.ts_recv,
        seq=data["seq"],
        prev_seq=data["seq"] - 1,
        bids=changed if bought else (),
        asks=() if bought else changed,
    )


def _trade(data: Any, at: At) -> Trade:
    return Trade(
        symbol=data["product_id"],
        ts_event=data["time"] * MS,
        ts_recv=at.ts_recv,
        price=float(data["price"]),
        qty=float(data["qty"]),
        side=data["side"],
        trade_id=data["seq"],
        kind="liquidation" if data["type"] == "liquidation" else "normal",
    )
