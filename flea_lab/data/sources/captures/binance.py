"""Binance: USD-M futures, coin-M futures and spot, which differ in what a message leaves out.

Books: REST snapshot (`lastUpdateId`), diffs `U`..`u` and on futures `pu`, the `u` of the diff before. Times: a book's
and a candle's is `E` (when told), a print's is `T` (when traded). Spot snapshots carry no time, and outside coin-M no
symbol: it is the address's or the capture's only one. Aggressor: `m` says that the buyer was the maker. Futures tell
what kind of print it is in `X`: MARKET, INSURANCE_FUND, ADL.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from flea_lab.data.sources.captures.venue import MS, At, Decoded, levels
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Trade

_KIND: dict[str, Any] = {"INSURANCE_FUND": "insurance", "ADL": "liquidation"}


def decode(data: Any, at: At) -> Decoded:
    """The messages in one frame of Binance."""
    if "lastUpdateId" in data:
        return _snapshot(data, at)
    data = data.get("data", data)
    match data.get("e"):
        case "depthUpdate":
            return (_diff(data, at),)
        case "trade":
            return (_trade(data, "t", at),)
        case "aggTrade":
            return (_trade(data, "a", at),)
        case "markPriceUpdate":
            return _funding(data, at)
        case "kline":
            return (_candle(data, at),)
        case None:
            return "bookTicker" if "b" in data and "B" in data else "control"
        case other:
            return str(other)


def _snapshot(data: Any, at: At) -> Decoded:
    asked = parse_qs(urlsplit(at.url).query).get("symbol", [""])[0]
    symbol = data.get("symbol") or asked or at.symbol
    if not symbol:
        raise ValueError("snapshot of no known symbol")
    ts = data["E"] * MS if "E" in data else at.ts_venue
    bids, asks = levels(data["bids"]), levels(data["asks"])
    return (
        BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=at.ts_recv, seq=data["lastUpdateId"], bids=bids, asks=asks),
    )


def _diff(data: Any, at: At) -> BookDelta:
    return BookDelta(
        symbol=data["s"],
        ts_event=data["E"] * MS,
        ts_recv=at.ts_recv,
        first_seq=data["U"],
        seq=data["u"],
        prev_seq=data.get("pu"),
        bids=levels(data["b"]),
        asks=levels(data["a"]),
    )


def _trade(data: Any, number: str, at: At) -> Trade:
    return Trade(
        symbol=data["s"],
        ts_event=data["T"] * MS,
        ts_recv=at.ts_recv,
        price=float(data["p"]),
        qty=float(data["q"]),
        side="sell" if data["m"] else "buy",
        trade_id=data[number],
        kind=_KIND.get(data.get("X", "MARKET"), "normal"),
    )


def _funding(data: Any, at: At) -> Decoded:
    if not data.get("r"):
        return "markPrice without funding"
    due = data["T"] * MS
    ts, rate = data["E"] * MS, float(data["r"])
    return (Funding(symbol=data["s"], ts_event=ts, ts_recv=at.ts_recv, rate=rate, state="current", due_ns=due),)


def _candle(data: Any, at: At) -> Candle:
    bar = data["k"]
    return Candle(
        symbol=data["s"],
        ts_event=(bar["T"] + 1) * MS,
        ts_recv=at.ts_recv,
        open=float(bar["o"]),
        high=float(bar["h"]),
        low=float(bar["l"]),
        close=float(bar["c"]),
        volume=float(bar["v"]),
        buy_volume=float(bar["V"]),
        complete=bar["x"],
    )
