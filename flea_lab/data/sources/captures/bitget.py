"""Bitget v1: `books` (CRC-32 over the best 25 of both sides as Bitget spells them), `trade`, `candle1m`.

The sum is told as a signed number; books have no sequence number. A `trade` snapshot is history, and so is a `candle1m`
snapshot. A candle has no flag that it is over: one is complete where its minute has passed by the venue's clock.
Aggressor: the fourth field is the taker's side. Prints have no id.
"""

from typing import Any

from flea_lab.data.sources.captures.venue import MS, At, Decoded, levels, texts
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Trade

_MINUTE_NS = 60_000 * MS


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Bitget."""
    if "data" not in data:
        return "control"
    channel, symbol, whole = data["arg"]["channel"], data["arg"]["instId"], data["action"] == "snapshot"
    rows = data["data"]
    match channel:
        case "books":
            return tuple([(_snapshot if whole else _diff)(row, symbol, at) for row in rows])
        case "trade":
            return "history" if whole else tuple([_trade(row, symbol, at) for row in rows])
        case "candle1m":
            return "history" if whole else tuple([_candle(row, symbol, at) for row in rows])
        case other:
            return str(other)


def _snapshot(row: Any, symbol: str, at: At) -> BookSnapshot:
    return BookSnapshot(
        symbol=symbol,
        ts_event=int(row["ts"]) * MS,
        ts_recv=at.ts_recv,
        seq=None,
        bids=levels(row["bids"]),
        asks=levels(row["asks"]),
        checksum=row["checksum"],
        texts=texts(row["bids"], row["asks"]),
    )


def _diff(row: Any, symbol: str, at: At) -> BookDelta:
    return BookDelta(
        symbol=symbol,
        ts_event=int(row["ts"]) * MS,
        ts_recv=at.ts_recv,
        bids=levels(row["bids"]),
        asks=levels(row["asks"]),
        checksum=row["checksum"],
        texts=texts(row["bids"], row["asks"]),
    )


def _trade(row: Any, symbol: str, at: At) -> Trade:
    ts, price, qty, side = row
    return Trade(
        symbol=symbol,
        ts_event=int(ts) * MS,
        ts_recv=at.ts_recv,
        price=float(price),
        qty=float(qty),
        side=side,
    )


def _candle(row: Any, symbol: str, at: At) -> Candle:
    closed = int(row[0]) * MS + _MINUTE_NS
    return Candle(
        symbol=symbol,
        ts_event=closed,
        ts_recv=at.ts_recv,
        open=float(row[1]),
        high=float(row[2]),
        low=float(row[3]),
        close=float(row[4]),
        volume=float(row[5]),
        complete=closed <= at.ts_venue,
    )
