"""OKX v5: `books` (400 levels, CRC-32 over the best 25 of both sides as OKX spells them), `trades`.

The sum is told as a signed number. The 2022 wire has no sequence number: `seq` and `prev_seq` are told where `seqId`
and `prevSeqId` are. Aggressor: `side` is the taker's.
"""

from typing import Any

from flea_lab.data.sources.captures.venue import MS, At, Decoded, levels, texts
from flea_lab.model.market import BookDelta, BookSnapshot, Trade


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of OKX."""
    if "data" not in data:
        return "control"
    channel, symbol = data["arg"]["channel"], data["arg"]["instId"]
    if channel == "trades":
        return tuple([_trade(row, at) for row in data["data"]])
    if channel == "books":
        make = _snapshot if data["action"] == "snapshot" else _diff
        return tuple([make(row, symbol, at) for row in data["data"]])
    return str(channel)


def _snapshot(row: Any, symbol: str, at: At) -> BookSnapshot:
    return BookSnapshot(
        symbol=symbol,
        ts_event=int(row["ts"]) * MS,
        ts_recv=at.ts_recv,
        seq=row.get("seqId"),
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
        seq=row.get("seqId"),
        prev_seq=row.get("prevSeqId"),
        bids=levels(row["bids"]),
        asks=levels(row["asks"]),
        checksum=row["checksum"],
        texts=texts(row["bids"], row["asks"]),
    )


def _trade(row: Any, at: At) -> Trade:
    return Trade(
        symbol=row["instId"],
        ts_event=int(row["ts"]) * MS,
        ts_recv=at.ts_recv,
        price=float(row["px"]),
        qty=float(row["sz"]),
        side=row["side"],
        trade_id=int(row["tradeId"]),
    )
