"""A stand-in for the public interfaces of Binance's futures and of Hyperliquid, on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MINUTE = 60_000
HOUR = 60 * MINUTE

Json = dict[str, Any] | list[Any]


class ExchangeStub:
    """Serves `bars` (open in ms: close) and `rates` (ms: rate) until it is closed; `asked` are the requests."""

    def __init__(self, bars: dict[int, float], rates: dict[int, float]) -> None:
        self.bars, self.rates = dict(bars), dict(rates)
        self.asked: list[str] = []
        self.failing: list[int] = []
        """Statuses that the next requests are answered with."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                self._answer(url.path, {name: values[0] for name, values in parse_qs(url.query).items()})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(f"{self.path} {body['type']}", body)

            def _answer(self, what: str, asked: dict[str, Any]) -> None:
                stub.asked.append(what)
                status = stub.failing.pop(0) if stub.failing else 200
                found = {"code": -1121, "msg": "Invalid symbol."} if status == 400 else {}
                found = stub.answer(what, asked) if status == 200 else found
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, what: str, asked: dict[str, Any]) -> Json:
        match what:
            case "/fapi/v1/exchangeInfo":
                return {"symbols": [_binance_market("BTC"), _binance_market("ETH")]}
            case "/fapi/v1/klines":
                return [
                    [ts, *_bar(close), ts + MINUTE - 1, "9.0", 3, "1.25", "4.0", "0"]
                    for ts, close in self._from(int(asked["startTime"]), int(asked["limit"]))
                ]
            case "/fapi/v1/fundingRate":
                since, limit = int(asked["startTime"]), int(asked["limit"])
                rows = [(ts, rate) for ts, rate in sorted(self.rates.items()) if ts >= since][:limit]
                return [
                    {"symbol": asked["symbol"], "fundingTime": ts + 4, "fundingRate": str(rate)} for ts, rate in rows
                ]
            case "/info meta" | "/info metaAndAssetCtxs":
                universe = [
                    {"name": "BTC", "szDecimals": 5, "maxLeverage": 40},
                    {"name": "ETH", "szDecimals": 4, "maxLeverage": 25},
                ]
                prices = dict.fromkeys(
                    ("markPx", "midPx", "oraclePx", "prevDayPx", "openInterest", "dayNtlVlm"), "100.0"
                )
                context = prices | {"funding": "0.0001", "impactPxs": ["99.9", "100.1"]}
                return [{"universe": universe}, [context, context]] if what.endswith("Ctxs") else {"universe": universe}
            case "/info candleSnapshot":
                return [
                    {"t": ts, "T": ts + MINUTE - 1, "s": "BTC", "i": "1m", "n": 3}
                    | dict(zip("ohlcv", _bar(close), strict=True))
                    for ts, close in self._from(asked["req"]["startTime"], 5_000)
                ]
            case "/info fundingHistory":
                rows = [(ts, rate) for ts, rate in sorted(self.rates.items()) if ts >= asked["startTime"]][:500]
                return [
                    {"coin": "BTC", "fundingRate": str(rate), "premium": "0.0", "time": ts + 4} for ts, rate in rows
                ]
        return {}

    def _from(self, since: int, limit: int) -> list[tuple[int, float]]:
        return [(ts, close) for ts, close in sorted(self.bars.items()) if ts >= since][:limit]


def _bar(close: float) -> list[str]:
    return [str(close - 0.5), str(close + 1.0), str(close - 1.0), str(close), "2.5"]


def _binance_market(base: str) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT", "pair": f"{base}USDT", "contractType": "PERPETUAL", "status": "TRADING",
        "baseAsset": base, "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3,
        "baseAssetPrecision": 8, "quotePrecision": 8,
        "onboardDate": 1_569_398_400_000, "deliveryDate": 4_133_404_800_000,
        "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC"], "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
    }  # fmt: skip
