"""Purple Flea's published server on 127.0.0.1, in front of the small exchange, with its ways and its hazards.

Rules, all of them measured on the published code. An opening is a side and dollars; the size is made by a price that is
up to 30 s old. Nothing is idempotent, and no order bears an id of the client's. Each opening adds a row; closing any
row closes the whole net position, and the other rows stay. `close-all` closes rows and no position. A failure of the
exchange is a 400, also where the order was carried out: then there is no row. Limit orders are kept and watched by
`poll`, and fill as takers. `check-limits` and `check-exits` invent fills: who calls them is counted.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson
from aiohttp import web

from flea_lab.testing.stand_in.exchange import Declined, Exchange, Resting
from flea_lab.testing.stand_in.hazards import AFTER, Dice, Hazards
from flea_lab.venue.hyperliquid_grid import price_step

HOST = "127.0.0.1"
CACHE_MS, WINDOW_MS, PER_WINDOW = 30_000, 60_000, 30
STALL_S = 30.0
SLIP = Decimal("0.005")
MAX_POSITION_USD = 10_000
NOT_JSON = "Unexpected token '<', \"<html>\"... is not valid JSON"


@dataclass
class Row:
    """A row of the server's database: what it believes is a position."""

    position_id: str
    coin: str
    side: str
    size_usd: float
    status: str = "open"


class _Answer(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class PublishedStandIn:
    """One account at the server on a free port; `address` is its account at `exchange`.

    `carried_out` are the openings and closings that reached the exchange and were executed, oldest first; `asked`
    counts requests by path; `late` waits for `release`.
    """

    def __init__(
        self, exchange: Exchange, hazards: Hazards | None = None, *, key: str = "sk_trade_test", address: str = "0xdesk"
    ) -> None:
        self.exchange, self.key, self.address = exchange, key, address
        self.dice = Dice(hazards or Hazards())
        self.rows: list[Row] = []
        self.limits: list[dict[str, Any]] = []
        self.carried_out: list[tuple[str, bool, Decimal]] = []
        self.asked: Counter[str] = Counter()
        self.late: list[tuple[str, dict[str, Any]]] = []
        self._cache: dict[str, tuple[Decimal, int]] = {}
        self._seen: dict[str, deque[int]] = {"/trade/open": deque(), "/trade/close": deque()}
        self._named = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The base address, with its version, while the port is open."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._any)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        try:
            yield f"http://{HOST}:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    def release(self) -> None:
        """Carries out what came late."""
        waiting, self.late = self.late, []
        for path, body in waiting:
            try:
                self._carry_out(path, body, Decimal(1))
            except (_Answer, Declined):
                continue  # nobody waits for the answer any more

    def poll(self) -> None:
        """What the server does every 30 s: watches its limit orders, which fill as takers, past their limit."""
        for row in [row for row in self.limits if row["status"] == "pending"]:
            mid = self._cached(row["coin"])
            buy = row["side"] == "long"
            if (mid <= Decimal(str(row["limit_price"]))) if buy else (mid >= Decimal(str(row["limit_price"]))):
                row["status"] = "filled"
                self._carry_out("/trade/open", row, Decimal(1))

    async def _any(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        self.asked[f"{request.method} {path}"] += 1
        raw = await request.read()
        if path not in ("/health", "/ping") and not path.startswith("/markets"):
            sent = request.headers.get("Authorization", "")
            if not sent.startswith("Bearer "):
                return _said(401, {"error": "unauthorized", "message": "Provide Authorization: Bearer <api_key>"})
            if sent != f"Bearer {self.key}":
                return _said(401, {"error": "invalid_key"})
        try:
            if path in self._seen and request.method == "POST":
                return await self._post(request, path, raw)
            return self._question(request.method, path, raw)
        except _Answer as answer:
            told = {"error": answer.code} | ({"message": answer.message} if answer.message else {})
            return _said(answer.status, told)

    # ---- what opens and closes

    async def _post(self, request: web.Request, path: str, raw: bytes) -> web.StreamResponse:
        self._count(path)
        body = _read(raw)
        ill = self.dice.post()
        _refuse(ill)
        if ill in ("before_lost", "late"):
            if ill == "late":
                self.late.append((path, body))
            return await _abort(request)
        if ill == "before_502":
            return _html()
        done = self._carried(path, body, Decimal("0.5") if ill == "partial" else Decimal(1), row=ill not in AFTER)
        match ill:
            case "after_400":
                raise _Answer(400, "close_failed" if path.endswith("close") else "trade_failed", NOT_JSON)
            case "after_invalid":
                raise _Answer(400, "invalid_json")
            case "after_502":
                return _html()
            case "after_lost":
                return await _abort(request)
            case "after_broken":
                return web.Response(text=orjson.dumps(done).decode()[:20], content_type="application/json")
            case "no_id":
                done.pop("hl_order_id")
            case "stall":
                await asyncio.sleep(STALL_S)
        return _said(200, done)

    def _count(self, path: str) -> None:
        now_ms, seen = self.exchange.now_ms(), self._seen[path]
        while seen and seen[0] <= now_ms - WINDOW_MS:
            seen.popleft()
        if self.dice.hazards.limits and len(seen) >= PER_WINDOW:
            raise _Answer(429, "rate_limited", f"Too many requests. Limit: {PER_WINDOW} per 60s")
        seen.append(now_ms)

    def _carried(self, path: str, body: dict[str, Any], share: Decimal, row: bool) -> dict[str, Any]:
        failed = "close_failed" if path.endswith("close") else "trade_failed"
        try:
            return self._carry_out(path, body, share, row)
        except Declined as error:
            raise _Answer(400, failed, f"Order error: {error} asset=0") from None

    def _carry_out(self, path: str, body: dict[str, Any], share: Decimal, row: bool = True) -> dict[str, Any]:
        if path == "/trade/close":
            return self._close(body)
        coin, buy, usd = _wanted(body, self.exchange)
        size = (usd / self._cached(coin)).quantize(Decimal(1).scaleb(-self.exchange.coins[coin]), ROUND_HALF_UP)
        if size <= 0:
            raise _Answer(400, "trade_failed", f"Position size too small for {coin} (min size: 0.00001 units)")
        order = self._ordered(coin, buy, size, reduce_only=False, share=share)
        filled = order.sz - order.left
        self._named += 1
        opened = Row(
            f"pos_{self._named:08x}", coin, "long" if buy else "short", float(filled * self.exchange.mids[coin])
        )
        if row:
            self.rows.append(opened)
        return {
            "position_id": opened.position_id,
            "order_id": f"ord_{self._named:08x}",
            "coin": coin,
            "side": opened.side,
            "size_usd": round(opened.size_usd, 2),
            "entry_price": float(self.exchange.price(coin, buy)),
            "leverage": body.get("leverage", 5),
            "hl_order_id": order.oid,
            "execution": "real",
            "status": "open",
        }

    def _close(self, body: dict[str, Any]) -> dict[str, Any]:
        row = next((row for row in self.rows if row.position_id == body["position_id"] and row.status == "open"), None)
        if row is None:
            raise _Answer(404, "position_not_found")
        held = self.exchange.account(self.address).held.get(row.coin, Decimal(0))
        if not held:
            raise _Answer(400, "close_failed", f"No open position for {row.coin} on Hyperliquid")
        order = self._ordered(row.coin, held < 0, abs(held), reduce_only=True)
        row.status = "closed"
        return {"position_id": row.position_id, "coin": row.coin, "hl_order_id": order.oid, "status": "closed"}

    def _ordered(
        self, coin: str, buy: bool, size: Decimal, *, reduce_only: bool, share: Decimal = Decimal(1)
    ) -> Resting:
        hazards = self.dice.hazards
        if hazards.builder_fee:
            raise _Answer(400, "trade_failed", "Order error: Builder fee has not been approved.")
        price = self._cached(coin) * (1 + SLIP if buy else 1 - SLIP)
        if hazards.tick_rule:
            price = _unrounded(float(self._cached(coin)) * (1.005 if buy else 0.995))
        else:
            step = price_step(price, self.exchange.coins[coin])
            price = (price / step).to_integral_value(ROUND_HALF_UP) * step
        order = self.exchange.place(self.address, coin, buy, price, size, reduce_only=reduce_only, share=share)
        self.carried_out.append((coin, buy, order.sz - order.left))
        return order

    def _cached(self, coin: str) -> Decimal:
        now_ms = self.exchange.now_ms()
        price, at_ms = self._cache.get(coin, (Decimal(0), -CACHE_MS))
        if now_ms - at_ms >= CACHE_MS:
            price, at_ms = self.exchange.mids[coin], now_ms
            self._cache[coin] = price, at_ms
        return price

    # ---- questions, and the rest

    def _question(self, method: str, path: str, raw: bytes) -> web.StreamResponse:
        ill = self.dice.get()
        if ill == "outage_503":
            raise _Answer(503, "orderbook_error", "upstream")
        if ill == "outage_400":
            raise _Answer(400, "invalid_json")
        match method, path.strip("/").split("/"):
            case "GET", ["health"]:
                return _said(200, {"status": "ok", "service": "agent-trading", "version": "3.0.0"})
            case "GET", ["auth", "account"]:
                return _said(200, {"agent_id": "ag_1", "tier": "free", "hl_wallet": {"address": self.address}})
            case "GET", ["markets", coin, "price"]:
                price = float(self._cached(_known(coin, self.exchange)))
                return _said(200, {"coin": coin, "ticker": coin, "price": price, "timestamp": self.exchange.now_ms()})
            case "GET", ["trade", "positions"]:
                return _said(200, self._positions(ill))
            case "GET", ["trade", "limit-orders"]:
                pending = [row for row in self.limits if row["status"] == "pending"]
                return _said(200, {"pending": pending, "filled": [], "cancelled": [], "pending_count": len(pending)})
            case "POST", ["trade", "limit"]:
                return self._limit(_read(raw))
            case "DELETE", ["trade", "limit-orders", order_id]:
                return self._unlimit(order_id)
            case "POST", ["trade", "close-all"]:
                for row in self.rows:
                    row.status = "closed"
                return _said(200, {"message": "closed", "closed": len(self.rows), "errors": 0, "results": []})
        raise _Answer(404, "not_found", path)

    def _positions(self, ill: str) -> dict[str, Any]:
        if ill == "database":
            rows = [
                {"id": row.position_id, "coin": row.coin, "side": row.side, "source": "database"} for row in self.rows
            ]
            return {"positions": rows, "count": len(rows)}
        found = []
        for coin, size in self.exchange.account(self.address).held.items():
            if not size:
                continue
            row = next((row for row in self.rows if row.coin == coin and row.status == "open"), None)
            named = None if row is None or ill == "null_row" else row.position_id
            side = "long" if size > 0 else "short"
            found.append(
                {"position_id": named, "coin": coin, "side": side, "size": float(abs(size)), "source": "hyperliquid"}
            )
        return {"positions": found, "count": len(found), "source": "hyperliquid"}

    def _limit(self, body: dict[str, Any]) -> web.StreamResponse:
        coin, _, _ = _wanted(body, self.exchange)
        self._named += 1
        row = {**body, "coin": coin, "order_id": f"ord_{self._named:08x}", "status": "pending"}
        self.limits.append(row)
        return _said(201, row)

    def _unlimit(self, order_id: str) -> web.StreamResponse:
        row = next((row for row in self.limits if row["order_id"] == order_id), None)
        if row is None:
            raise _Answer(404, "not_found")
        if row["status"] != "pending":
            raise _Answer(400, "not_pending")
        row["status"] = "cancelled"
        return _said(200, {"message": "cancelled", "coin": row["coin"]})


def _unrounded(price: float) -> Decimal:
    """The price as the published code sends it: eight decimals, and an error where they do not hold it."""
    text = f"{price:.8f}"
    if abs(float(text) - price) >= 1e-12:
        raise _Answer(400, "trade_failed", f"floatToWire causes rounding: {price!r}")
    return Decimal(text)


def _refuse(ill: str) -> None:
    """Raises what goes wrong before anything is done, where it is an answer."""
    match ill:
        case "limited":
            raise _Answer(429, "rate_limited", f"Too many requests. Limit: {PER_WINDOW} per 60s")
        case "definite":
            raise _Answer(400, "trade_failed", "Max leverage for BTC is 5x")
        case "invalid_json":
            raise _Answer(400, "invalid_json")
        case "venue_429":
            raise _Answer(400, "trade_failed", "Cannot read properties of null (reading 'status')")
        case "unfilled":
            raise _Answer(400, "trade_failed", "Order not filled (may have been placed as resting)")
        case "before_500":
            raise _Answer(500, "internal_error")


def _wanted(body: dict[str, Any], exchange: Exchange) -> tuple[str, bool, Decimal]:
    """Coin, whether it buys, and dollars, by the server's own checks."""
    if not body.get("coin") or not body.get("side") or not body.get("size_usd"):
        raise _Answer(400, "invalid_request", "coin, side and size_usd are required")
    if body["side"] not in ("long", "short"):
        raise _Answer(400, "invalid_side")
    usd = body["size_usd"]
    if isinstance(usd, str | bool) or not usd > 0:
        raise _Answer(400, "invalid_size")
    if usd > MAX_POSITION_USD:
        raise _Answer(400, "position_too_large", f"max_position_usd {MAX_POSITION_USD}")
    return _known(body["coin"], exchange), body["side"] == "long", Decimal(str(usd))


def _known(coin: str, exchange: Exchange) -> str:
    if coin.upper() not in exchange.coins:
        raise _Answer(400, "trade_failed", f"Market not found: {coin}")
    return coin.upper()


def _read(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _Answer(400, "invalid_json") from None
    if not isinstance(found, dict):
        raise _Answer(400, "invalid_request")
    return found


def _said(status: int, told: dict[str, Any]) -> web.Response:
    info = {"_info": {"service": "agent-trading", "version": "3.0.0"}}
    return web.Response(status=status, body=orjson.dumps(told | info), content_type="application/json")


def _html() -> web.Response:
    return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def _abort(request: web.Request) -> web.StreamResponse:
    """Closes the socket without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
