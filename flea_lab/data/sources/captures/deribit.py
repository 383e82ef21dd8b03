"""Deribit: `book` (snapshot and change; `prev_change_id` is the `change_id` before), `trades`, `ticker`.

Aggressor: `direction` is the taker's. A print's number is `trade_seq`, one more each within its instrument;
`liquidation` marks those of a liquidated side. A perpetual's ticker tells the funding that runs now; options' do not.
"""

from collections.abc import Iterable
from typing import Any

from flea_lab.data.sources.captures.venue import MS, At, Decoded
from flea_lab.model.market import BookDelta, BookSnapshot, Funding, Levels, Trade


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Deribit."""
    if data.get("method") != "subscription":
        return "control"
    channel, said = data["params"]["channel"].partition(".")[0], data["params"]["data"]
    match channel:
        case "book":
            return (_snapshot(said, at),) if said.get("type", "snapshot") == "snapshot" else (_diff(said, at),)
        case "trades":
            return tuple([_trade(row, at) for row in said])
        case "ticker":
            return _funding(said, at)
        case other:
            return str(other)


def _snapshot(data: Any, at: At) -> BookSnapshot:
    return BookSnapshot(
        symbol=data["instrument_name"],
        ts_event=data["timestamp"] * MS,
        ts_recv=at.ts_recv,
        seq=data["change_id"],
        bids=_levels(data["bids"]),
        asks=_levels(data["asks"]),
    )


def _diff(data: Any, at: At) -> BookDelta:
    return BookDelta(
        symbol=data["instrument_name"],
        ts_event=data["timestamp"] * MS,
        ts_recv=at.ts_recv,
        seq=data["change_id"],
        prev_seq=data["prev_change_id"],
        bids=_levels(data["bids"]),
        asks=_levels(data["asks"]),
    )


def _levels(rows: Iterable[Any]) -> Levels:
    return tuple([(float(price), 0.0 if action == "delete" else float(qty)) for action, price, qty in rows])


def _trade(row: Any, at: At) -> Trade:
    return Trade(
        symbol=row["instrument_name"],
        ts_event=row["timestamp"] * MS,
        ts_recv=at.ts_recv,
        price=float(row["price"]),
        qty=float(row["amount"]),
        side=row["direction"],
        trade_id=row["trade_seq"],
        kind="liquidation" if row.get("liquidation") else "normal",
    )


def _funding(data: Any, at: At) -> Decoded:
    rate = data.get("current_funding")
    if rate is None:
        return "ticker"
    ts = data["timestamp"] * MS
    symbol = data["instrument_name"]
    return (Funding(symbol=symbol, ts_event=ts, ts_recv=at.ts_recv, rate=float(rate), state="current"),)
