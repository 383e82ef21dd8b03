"""Bybit v2 (inverse, old API): `orderBookL2_25` snapshot and delta (`cross_seq` grows, with holes), `trade`.

Every change names its price, so that the level ids are not needed. Aggressor: `side` is the taker's. Prints carry a
UUID, hence no number.
"""

from typing import Any, Literal

from flea_lab.data.sources.captures.venue import MS, US, At, Decoded
from flea_lab.model.market import BookDelta, BookSnapshot, Levels, Trade

_SIDE: dict[str, Literal["buy", "sell"]] = {"Buy": "buy", "Sell": "sell"}


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Bybit v2."""
    topic = data.get("topic", "").partition(".")[0]
    if topic == "trade":
        return tuple([_trade(row, at) for row in data["data"]])
    if topic.startswith("orderBook"):
        symbol = data["topic"].partition(".")[2]
        return (_snapshot(data, symbol, at),) if data["type"] == "snapshot" else (_diff(data, symbol, at),)
    return topic or "control"


def _snapshot(data: Any, symbol: str, at: At) -> BookSnapshot:
    rows = [(row["side"], row["price"], row["size"]) for row in data["data"]]
    return BookSnapshot(
        symbol=symbol,
        ts_event=data["timestamp_e6"] * US,
        ts_recv=at.ts_recv,
        seq=data["cross_seq"],
        bids=tuple(sorted(_of(rows, "buy"), reverse=True)),
        asks=tuple(sorted(_of(rows, "sell"))),
    )


def _diff(data: Any, symbol: str, at: At) -> BookDelta:
    parts = data["data"]
    rows = [(row["side"], row["price"], 0) for row in parts["delete"]]
    rows += [(row["side"], row["price"], row["size"]) for row in (*parts["update"], *parts["insert"])]
    return BookDelta(
        symbol=symbol,
        ts_event=data["timestamp_e6"] * US,
        ts_recv=at.ts_recv,
        seq=data["cross_seq"],
        bids=_of(rows, "buy"),
        asks=_of(rows, "sell"),
    )


def _of(rows: list[tuple[str, Any, Any]], side: str) -> Levels:
    """The levels of one side; deletions first, for a level may be deleted and come again in one message."""
    return tuple([(float(price), float(qty)) for named, price, qty in rows if _SIDE[named] == side])


def _trade(row: Any, at: At) -> Trade:
    return Trade(
        symbol=row["symbol"],
        ts_event=row["trade_time_ms"] * MS,
        ts_recv=at.ts_recv,
        price=float(row["price"]),
        qty=float(row["size"]),
        side=_SIDE[row["side"]],
    )
