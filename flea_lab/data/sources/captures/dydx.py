"""dYdX v3: `v3_orderbook` (every change has an offset; an older one never replaces a newer), `v3_trades`.

The snapshot comes unordered and tells levels that are gone as well (size 0), with the offset of their last change:
they stay, for an older change may still be on its way. Offsets do not come in order. No book message tells a time.
Prints told on subscribing are history. Aggressor: `side` is the taker's. Prints have no id; `liquidation` marks them.
"""

from typing import Any, Literal

from flea_lab.data.sources.captures.venue import At, Decoded, iso_ns, levels
from flea_lab.model.market import BookDelta, BookSnapshot, LevelIds, Trade

_SIDE: dict[str, Literal["buy", "sell"]] = {"BUY": "buy", "SELL": "sell"}


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of dYdX."""
    channel, begun = data.get("channel"), data["type"] == "subscribed"
    if channel == "v3_orderbook":
        return ((_snapshot if begun else _diff)(data["contents"], data["id"], at),)
    if channel == "v3_trades":
        return "history" if begun else tuple([_trade(row, data["id"], at) for row in data["contents"]["trades"]])
    return str(channel or "control")


def _snapshot(contents: Any, symbol: str, at: At) -> BookSnapshot:
    bids = sorted([_numbered(row) for row in contents["bids"]], reverse=True)
    asks = sorted([_numbered(row) for row in contents["asks"]])
    return BookSnapshot(
        symbol=symbol,
        ts_event=at.ts_venue,
        ts_recv=at.ts_recv,
        seq=max((offset for _, _, offset in (*bids, *asks)), default=None),
        bids=tuple([level[:2] for level in bids]),
        asks=tuple([level[:2] for level in asks]),
        ids=LevelIds(bids=tuple([level[2] for level in bids]), asks=tuple([level[2] for level in asks])),
    )


def _numbered(row: Any) -> tuple[float, float, int]:
    return float(row["price"]), float(row["size"]), int(row["offset"])


def _diff(contents: Any, symbol: str, at: At) -> BookDelta:
    return BookDelta(
        symbol=symbol,
        ts_event=at.ts_venue,
        ts_recv=at.ts_recv,
        seq=int(contents["offset"]),
        bids=levels(contents["bids"]),
        asks=levels(contents["asks"]),
    )


def _trade(row: Any, symbol: str, at: At) -> Trade:
    return Trade(
        symbol=symbol,
        ts_event=iso_ns(row["createdAt"]),
        ts_recv=at.ts_recv,
        price=float(row["price"]),
        qty=float(row["size"]),
        side=_SIDE[row["side"]],
        kind="liquidation" if row.get("liquidation") else "normal",
    )
