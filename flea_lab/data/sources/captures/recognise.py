"""Which venue a frame is of: by the address where the format tells it, else by what only that venue writes."""

from typing import Any
from urllib.parse import urlsplit

from flea_lab.data.sources.captures import binance, hyperliquid, kraken_spot, okx
from flea_lab.data.sources.captures.venue import Decode

VENUES: dict[str, Decode] = {
    "binance_um": binance.decode,
    "binance_cm": binance.decode,
    "binance_spot": binance.decode,
    "hyperliquid": hyperliquid.decode,
    "kraken_spot": kraken_spot.decode,
    "okx": okx.decode,
}
"""The decoder of every venue."""

_HOSTS = {
    "fapi.binance.com": "binance_um",
    "fstream.binance.com": "binance_um",
    "dapi.binance.com": "binance_cm",
    "dstream.binance.com": "binance_cm",
    "api.binance.com": "binance_spot",
    "stream.binance.com": "binance_spot",
    "api.hyperliquid.xyz": "hyperliquid",
    "ws.kraken.com": "kraken_spot",
    "ws.okx.com": "okx",
}


def venue_at(url: str) -> str:
    """The venue at an address, "" where it is none of ours."""
    return _HOSTS.get(urlsplit(url).hostname or "", "")


def venue_of(data: Any) -> str:
    """The venue that writes so, "" where the frame does not tell."""
    if isinstance(data, list):
        return "kraken_spot" if len(data) >= 4 and isinstance(data[-1], str) and "/" in data[-1] else ""
    if not isinstance(data, dict):
        return ""
    if data.get("channel") in ("l2Book", "trades", "candle", "activeAssetCtx") and "data" in data:
        return "hyperliquid"
    if isinstance(data.get("arg"), dict) and "instId" in data["arg"]:
        return "okx"
    return _binance(data.get("data", data))


def _binance(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    if "lastUpdateId" in data:
        return ("binance_cm" if "pair" in data else "binance_um") if "E" in data else "binance_spot"
    if data.get("e") == "depthUpdate":
        return ("binance_cm" if "ps" in data else "binance_um") if "pu" in data else "binance_spot"
    return ""
