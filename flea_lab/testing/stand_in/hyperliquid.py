"""Hyperliquid's REST shapes on 127.0.0.1: `/info`, and `/exchange` in front of the small exchange.

Rules. A request to `/exchange` is taken for the account that its signature names: which one that is cannot be told
here without the mathematics of the real one, so that a test gives it (`signer`). A signature is checked for its form.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import web

from flea_lab.testing.stand_in.exchange import Book, Declined, Exchange, Resting

HOST = "127.0.0.1"
MINUTE_MS = 60_000


class HyperliquidStandIn:
    """One exchange on a free port. `ill` names what shall go wrong with the next questions (`/info`) and actions
    (`/exchange`), one name each; "" is none. `asked` counts both."""

    def __init__(self, exchange: Exchange, signer: str = "0xdesk") -> None:
        self.exchange, self.signer = exchange, signer
        self.ill: Callable[[str], str] = _well
        self.asked: Counter[str] = Counter()
        self.nonces: set[int] = set()
        self._last: dict[str, Any] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The address while the port is open."""
        app = web.Application()
        app.router.add_post("/info", self._info)
        app.router.add_post("/exchange", self._exchange)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        try:
            yield f"http://{HOST}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    # ---- /info

    async def _info(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        self.asked[asked["type"]] += 1
        ill = self.ill(asked["type"])
        match ill:
            case "429":
                return web.Response(status=429, text="null", content_type="application/json")
            case "502":
                return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        self.exchange.pass_time()
        told = self._told(asked)
        if told is None:
            return web.json_response("Failed to deserialize the JSON body into the target type", status=422)
        if ill == "stale":
            return _json(self._before(asked["type"], told))
        self._last[asked["type"]] = told
        return _json(told)

    def _before(self, what: str, told: Any) -> Any:
        """The answer as it was a little earlier: without the newest execution, or what was told last."""
        return told[:-1] if what == "userFillsByTime" else self._last.get(what, told)

    def _told(self, asked: dict[str, Any]) -> Any:
        exchange = self.exchange
        book = exchange.account(asked["user"]) if "user" in asked else Book(Decimal(0))
        match asked["type"]:
            case "meta":
                coins = exchange.coins.items()
                return {"universe": [{"name": name, "szDecimals": n, "maxLeverage": 40} for name, n in coins]}
            case "allMids":
                return {coin: str(mid) for coin, mid in exchange.mids.items()}
            case "exchangeStatus":
                return {"specialStatuses": None, "time": exchange.now_ms()}
            case "l2Book":
                return self._l2(asked["coin"])
            case "candleSnapshot":
                return self._candles(asked["req"])
            case "fundingHistory":
                return []
            case "clearinghouseState":
                return self._state(book)
            case "userFills":
                return list(reversed(book.fills[-2_000:]))
            case "userFillsByTime":
                return [row for row in book.fills if row["time"] >= asked["startTime"]][:2_000]
            case "userFunding":
                return [row for row in book.funding if row["time"] >= asked["startTime"]][:500]
            case "openOrders" | "frontendOpenOrders":
                return [_open(order) for order in reversed(book.open_orders())]
            case "orderStatus":
                found = _found(book, asked["oid"])
                return {"status": "unknownOid"} if found is None else {"status": "order", "order": _status(found)}
        return None

    def _l2(self, coin: str) -> dict[str, Any]:
        sides = [[{"px": str(self.exchange.price(coin, buy)), "sz": "5", "n": 1}] for buy in (False, True)]
        return {"coin": coin, "time": self.exchange.now_ms(), "levels": sides}

    def _candles(self, req: dict[str, Any]) -> list[dict[str, Any]]:
        first = -(-req["startTime"] // MINUTE_MS) * MINUTE_MS
        mid = str(self.exchange.mids[req["coin"]])
        row = {"s": req["coin"], "i": "1m", "o": mid, "c": mid, "h": mid, "l": mid, "v": "1.0", "n": 1}
        opens = range(first, min(req["endTime"], self.exchange.now_ms()) + 1, MINUTE_MS)
        return [{"t": t, "T": t + MINUTE_MS - 1} | row for t in opens][-5_000:]

    def _state(self, book: Book) -> dict[str, Any]:
        value = self.exchange.value(book)
        held = {coin: size for coin, size in book.held.items() if size}
        rows = [
            {"type": "oneWay", "position": {"coin": coin, "szi": str(size), "leverage": {"type": "cross", "value": 1}}}
            for coin, size in held.items()
        ]
        margin = {"accountValue": str(value), "totalNtlPos": str(value - book.raw), "totalRawUsd": str(book.raw)}
        return {"marginSummary": margin, "assetPositions": rows, "time": self.exchange.now_ms(), "withdrawable": "0"}

    # ---- /exchange

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        action = asked["action"]
        self.asked[action["type"]] += 1
        ill = self.ill(action["type"])
        if ill == "429":
            return web.Response(status=429, text="null", content_type="application/json")
        if ill == "lost":
            return await _abort(request)
        answer = self._acted(asked, action)
        if ill == "lost_answer":
            return await _abort(request)
        if ill == "502":
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        return _json(answer)

    def _acted(self, asked: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
        signature, nonce = asked.get("signature") or {}, asked.get("nonce")
        if not {"r", "s", "v"} <= set(signature) or not isinstance(nonce, int):
            return {"status": "err", "response": "Failed to verify signature"}
        if nonce in self.nonces:
            return {"status": "err", "response": f"Invalid nonce: duplicate nonce {nonce}"}
        self.nonces.add(nonce)
        now_ms = self.exchange.now_ms()
        self.exchange.pass_time()
        if asked.get("expiresAfter") is not None and now_ms > asked["expiresAfter"]:
            return {"status": "err", "response": f"Action expired: expiresAfter {asked['expiresAfter']}"}
        book = self.exchange.account(self.signer)
        match action["type"]:
            case "order":
                return _done("order", [self._order(row) for row in action["orders"]])
            case "cancel":
                return _done("cancel", [_cancelled(book.orders.get(row["o"])) for row in action["cancels"]])
            case "cancelByCloid":
                return _done("cancel", [_cancelled(_found(book, row["cloid"])) for row in action["cancels"]])
            case "scheduleCancel":
                return self._schedule(book, action.get("time"), now_ms)
        return {"status": "err", "response": f"Unknown action {action['type']}"}

    def _order(self, row: dict[str, Any]) -> dict[str, Any]:
        coin = list(self.exchange.coins)[row["a"]]
        try:
            order = self.exchange.place(
                self.signer,
                coin,
                row["b"],
                Decimal(row["p"]),
                Decimal(row["s"]),
                reduce_only=row["r"],
                tif=row["t"]["limit"]["tif"],
                cloid=row.get("c"),
            )
        except Declined as error:
            return {"error": f"{error} asset={row['a']}"}
        named = {"oid": order.oid} | ({"cloid": order.cloid} if order.cloid else {})
        if order.left < order.sz:
            px = self.exchange.books[self.signer].fills[-1]["px"]
            return {"filled": {"totalSz": str(order.sz - order.left), "avgPx": px, **named}}
        return {"resting": named}

    def _schedule(self, book: Book, at_ms: int | None, now_ms: int) -> dict[str, Any]:
        if at_ms is not None and at_ms < now_ms + 5_000:
            return {"status": "err", "response": "Scheduled cancel time must be at least 5 seconds from now"}
        book.dead_man_ms = at_ms
        return {"status": "ok", "response": {"type": "default"}}


def _well(what: str) -> str:  # noqa: ARG001
    return ""


def _json(told: Any) -> web.Response:
    return web.Response(body=orjson.dumps(told), content_type="application/json")


async def _abort(request: web.Request) -> web.StreamResponse:
    """Closes the socket without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _done(kind: str, statuses: list[Any]) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": kind, "data": {"statuses": statuses}}}


def _found(book: Book, oid: int | str) -> Resting | None:
    if isinstance(oid, int):
        return book.orders.get(oid)
    return next((order for order in reversed(book.orders.values()) if order.cloid == oid), None)


def _cancelled(order: Resting | None) -> Any:
    if order is None or order.status != "open":
        return {"error": "Order was never placed, already canceled, or filled."}
    order.status = "canceled"
    return "success"


def _open(order: Resting) -> dict[str, Any]:
    told: dict[str, Any] = {
        "coin": order.coin,
        "side": "B" if order.buy else "A",
        "limitPx": str(order.px),
        "sz": str(order.left),
    }
    told |= {"oid": order.oid, "timestamp": order.ts_ms, "origSz": str(order.sz), "reduceOnly": order.reduce_only}
    return told | {"cloid": order.cloid}


def _status(order: Resting) -> dict[str, Any]:
    return {"order": _open(order), "status": order.status, "statusTimestamp": order.ts_ms}
