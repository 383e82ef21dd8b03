"""Which venue a frame is of: by the address where the format tells it, else by what only that venue writes."""

from typing import Any
from urllib.parse import urlsplit

from flea_lab.data.sources.captures import (
    binance,
    bitget,
    bitmex,
    bybit_inverse,
    coinbase,
    deribit,
    dydx,
    hyperliquid,
    kraken_futures,
    kraken_spot,
    okx,
)
from flea_lab.data.sources.captures.venue import Decode

VENUES: dict[str, Decode] = {
    "binance_um": binance.decode,
    "binance_cm": binance.decode,
    "binance_spot": binance.decode,
    "bitget": bitget.decode,
    "bitmex": bitmex.decode,
    "bybit_inverse": bybit_inverse.decode,
    "coinbase": coinbase.decode,
    "deribit": deribit.decode,
    "dydx": dydx.decode,
    "hyperliquid": hyperliquid.decode,
    "kraken_futures": kraken_futures.decode,
    "kraken_spot": kraken_spot.decode,
    "okx": okx.decode,
}
"""The decoder of every venue; the name is that of its book rules too."""

_HOSTS = {
    "fapi.binance.com": "binance_um",
    "fstream.binance.com": "binance_um",
    "dapi.binance.com": "binance_cm",
    "dstream.binance.com": "binance_cm",
    "api.binance.com": "binance_spot",
    "stream.binance.com": "binance_spot",
    "ws.bitget.com": "bitget",
    "www.bitmex.com": "bitmex",
    "ws.bitmex.com": "bitmex",
    "stream.bybit.com": "bybit_inverse",
    "ws-feed.pro.coinbase.com": "coinbase",
    "ws-feed.exchange.coinbase.com": "coinbase",
    "www.deribit.com": "deribit",
    "api.dydx.exchange": "dydx",
    "api.hyperliquid.xyz": "hyperliquid",
    "futures.kraken.com": "kraken_futures",
    "ws.kraken.com": "kraken_spot",
    "ws.okx.com": "okx",
}

_MARKS = {"table": "bitmex", "topic": "bybit_inverse", "feed": "kraken_futures", "jsonrpc": "deribit"}
"""What stands in every message of one venue and in none of another."""


def venue_at(url: str) -> str:
    """The venue at an address, "" where it is none of ours."""
    return _HOSTS.get(urlsplit(url).hostname or "", "")


def venue_of(data: Any) -> str:
    """The venue that writes so, "" where the frame does not tell."""
    if isinstance(data, list):
        return "kraken_spot" if len(data) >= 4 and isinstance(data[-1], str) and "/" in data[-1] else ""
    if not isinstance(data, dict):
        return ""
    for mark, venue in _MARKS.items():
        if mark in data:
            return venue
    if str(data.get("channel")).startswith("v3_"):
        return "dydx"
    if data.get("channel") in ("l2Book", "trades", "candle", "activeAssetCtx") and "data" in data:
        return "hyperliquid"
    if isinstance(data.get("arg"), dict) and "instId" in data["arg"]:
        return "bitget" if "instType" in data["arg"] else "okx"
    if data.get("type") in ("l2update", "match", "last_match") and "product_id" in data:
        return "coinbase"
    return _binance(data.get("data", data))


def _binance(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    if "lastUpdateId" in data:
        return ("binance_cm" if "pair" in data else "binance_um") if "E" in data else "binance_spot"
    if data.get("e") == "depthUpdate":
        return ("binance_cm" if "ps" in data else "binance_um") if "pu" in data else "binance_spot"
    if data.get("e") in ("trade", "aggTrade"):
        return "binance_spot" if "M" in data else "binance_um" if "X" in data else ""
    return ""
