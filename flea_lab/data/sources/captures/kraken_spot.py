"""Kraken spot, websocket v1: `book-N` (CRC-32 over the best 10 of both sides, digits only), `trade`.

No sequence number. A book message's time is the latest of its levels' own; a diff may come in two parts (asks, then
bids), which are one change. Aggressor: `b` or `s` is the taker's side. Prints have no id.
"""

from typing import Any

from flea_lab.data.sources.captures.venue import At, Decoded, decimal_ns, levels, texts
from flea_lab.model.market import BookDelta, BookSnapshot, Trade


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Kraken spot."""
    if not isinstance(data, list):
        return "control"
    channel, symbol = data[-2], data[-1]
    if channel.startswith("book"):
        part = {name: rows for parts in data[1:-2] for name, rows in parts.items()}
        return (_snapshot(part, symbol, at),) if "as" in part or "bs" in part else (_diff(part, symbol, at),)
    if channel == "trade":
        return tuple([_trade(row, symbol, at) for row in data[1]])
    return str(channel)


def _snapshot(part: Any, symbol: str, at: At) -> BookSnapshot:
    bids, asks = part.get("bs", []), part.get("as", [])
    return BookSnapshot(
        symbol=symbol,
        ts_event=_latest(bids, asks, at),
        ts_recv=at.ts_recv,
        seq=None,
        bids=levels(bids),
        asks=levels(asks),
        texts=texts(bids, asks),
    )


def _diff(part: Any, symbol: str, at: At) -> BookDelta:
    bids, asks = part.get("b", []), part.get("a", [])
    return BookDelta(
        symbol=symbol,
        ts_event=_latest(bids, asks, at),
        ts_recv=at.ts_recv,
        bids=levels(bids),
        asks=levels(asks),
        checksum=int(part["c"]) if "c" in part else None,
        texts=texts(bids, asks),
    )


def _latest(bids: Any, asks: Any, at: At) -> int:
    stamps = [decimal_ns(row[2]) for row in (*bids, *asks)]
    return max(stamps, default=at.ts_venue)


def _trade(row: Any, symbol: str, at: At) -> Trade:
    price, qty, ts, side = row[:4]
    return Trade(
        symbol=symbol,
        ts_event=decimal_ns(ts),
        ts_recv=at.ts_recv,
        price=float(price),
        qty=float(qty),
        side={"b": "buy", "s": "sell"}[side],  # type: ignore[arg-type]
    )
