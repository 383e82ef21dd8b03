"""Coinbase (Pro): `snapshot` and `l2update` without any number, `match`.

A snapshot tells no time; a `last_match` is history. Aggressor: `side` is the MAKER's, so the other one.
"""

from typing import Any

from flea_lab.data.sources.captures.venue import GRACE_NS, At, Decoded, iso_ns, levels
from flea_lab.model.market import BookDelta, BookSnapshot, Trade


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Coinbase."""
    match data["type"]:
        case "l2update":
            return (_diff(data, at),)
        case "snapshot":
            return (_snapshot(data, at),)
        case "match":
            return (_trade(data, at),)
        case "last_match":
            return "history"
        case "subscriptions" | "error" | "heartbeat":
            return "control"
        case other:
            return str(other)


def _snapshot(data: Any, at: At) -> BookSnapshot:
    return BookSnapshot(
        symbol=data["product_id"],
        ts_event=at.ts_venue - GRACE_NS,  # the latest told may be another product's, whose feed is a little ahead
        ts_recv=at.ts_recv,
        seq=None,
        bids=levels(data["bids"]),
        asks=levels(data["asks"]),
    )


def _diff(data: Any, at: At) -> BookDelta:
    told: dict[str, list[Any]] = {"buy": [], "sell": []}
    for side, price, qty in data["changes"]:
        told[side].append((price, qty))
    return BookDelta(
        symbol=data["product_id"],
        ts_event=iso_ns(data["time"]),
        ts_recv=at.ts_recv,
        bids=levels(told["buy"]),
        asks=levels(told["sell"]),
    )


def _trade(data: Any, at: At) -> Trade:
    return Trade(
        symbol=data["product_id"],
        ts_event=iso_ns(data["time"]),
        ts_recv=at.ts_recv,
        price=float(data["price"]),
        qty=float(data["size"]),
        side={"sell": "buy", "buy": "sell"}[data["side"]],  # type: ignore[arg-type]
        trade_id=data["trade_id"],
    )
