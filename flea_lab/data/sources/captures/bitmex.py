"""BitMEX: `orderBookL2` (levels by id: partial, insert, update, delete), `trade`, `funding`, `instrument`.

An update or a delete leaves the price to the id, which the message's `changes` keep. Until 2022 book rows carried no
time. A partial of `trade` or `funding` is history. Aggressor: `side` is the taker's. Prints carry a UUID, hence no
number. `funding` tells what was settled, `instrument` the rate that runs and the one predicted after it.
"""

from typing import Any, Literal

from flea_lab.data.sources.captures.venue import At, Decoded, Told, iso_ns
from flea_lab.model.market import BookDelta, BookSnapshot, Funding, LevelChange, LevelIds, Trade

_SIDE: dict[str, Literal["buy", "sell"]] = {"Buy": "buy", "Sell": "sell"}
_ACTIONS: dict[str, Literal["insert", "update", "delete"]] = {
    "insert": "insert",
    "update": "update",
    "delete": "delete",
}


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of BitMEX."""
    if "table" not in data:
        return "control"
    table, action, rows = data["table"], data["action"], data["data"]
    if table == "orderBookL2":
        by_symbol: dict[str, list[Any]] = {}
        for row in rows:
            by_symbol.setdefault(row["symbol"], []).append(row)
        if action == "partial":
            return tuple([_snapshot(symbol, own, at) for symbol, own in by_symbol.items()])
        return tuple([_diff(symbol, _ACTIONS[action], own, at) for symbol, own in by_symbol.items()])
    if table == "instrument":
        return tuple([told for row in rows for told in _rates(row, at)]) or "instrument"
    if table not in ("trade", "funding"):
        return str(table)
    if action != "insert":
        return "history"
    return tuple([(_trade if table == "trade" else _settled)(row, at) for row in rows])


def _time(rows: Any, at: At) -> int:
    return max([iso_ns(row["timestamp"]) for row in rows if "timestamp" in row], default=at.ts_venue)


def _snapshot(symbol: str, rows: Any, at: At) -> BookSnapshot:
    sides = {"buy": list[tuple[float, float, int]](), "sell": list[tuple[float, float, int]]()}
    for row in rows:
        sides[_SIDE[row["side"]]].append((float(row["price"]), float(row["size"]), row["id"]))
    bids, asks = sorted(sides["buy"], reverse=True), sorted(sides["sell"])
    return BookSnapshot(
        symbol=symbol,
        ts_event=_time(rows, at),
        ts_recv=at.ts_recv,
        seq=None,
        bids=tuple([level[:2] for level in bids]),
        asks=tuple([level[:2] for level in asks]),
        ids=LevelIds(bids=tuple([level[2] for level in bids]), asks=tuple([level[2] for level in asks])),
    )


def _diff(symbol: str, action: Literal["insert", "update", "delete"], rows: Any, at: At) -> BookDelta:
    changes = [
        LevelChange(
            action=action,
            side=_SIDE[row["side"]],
            level_id=row["id"],
            price=float(row["price"]) if "price" in row else None,
            qty=0.0 if action == "delete" else float(row["size"]),
        )
        for row in rows
    ]
    return BookDelta(symbol=symbol, ts_event=_time(rows, at), ts_recv=at.ts_recv, changes=tuple(changes))


def _trade(row: Any, at: At) -> Told:
    return Trade(
        symbol=row["symbol"],
        ts_event=iso_ns(row["timestamp"]),
        ts_recv=at.ts_recv,
        price=float(row["price"]),
        qty=float(row["size"]),
        side=_SIDE[row["side"]],
        kind="liquidation" if row.get("trdType") == "Liquidation" else "normal",
    )


def _settled(row: Any, at: At) -> Told:
    ts = iso_ns(row["timestamp"])
    return Funding(symbol=row["symbol"], ts_event=ts, ts_recv=at.ts_recv, rate=float(row["fundingRate"]))


def _rates(row: Any, at: At) -> list[Told]:
    ts = iso_ns(row["timestamp"]) if "timestamp" in row else at.ts_venue
    due = iso_ns(row["fundingTimestamp"]) if row.get("fundingTimestamp") else None
    told: list[Told] = []
    current, predicted = row.get("fundingRate"), row.get("indicativeFundingRate")
    common: dict[str, Any] = {"symbol": row["symbol"], "ts_event": ts, "ts_recv": at.ts_recv}
    if current is not None:
        told.append(Funding(**common, rate=float(current), state="current", due_ns=due))
    if predicted is not None:
        told.append(Funding(**common, rate=float(predicted), state="predicted"))
    return told
