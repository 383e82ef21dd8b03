"""A small venue on 127.0.0.1 that says exactly what a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from aiohttp import WSMsgType, web

from flea_lab.clock import WallClock
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import NewOrder, OrderIntent
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.protocol import Link, Said

CANARY = "pf_canary_9f8e7d6c5b4a"
GRID = Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001"))
T0 = 1_700_000_040_000  # a whole minute, ms
QUICK = {"backoff_first_s": 0.01, "backoff_last_s": 0.05, "request_timeout_s": 0.5, "connects_per_minute": 600}

Script = Callable[["Talk"], Awaitable[None]]


class Talk:
    """One websocket from the venue's side."""

    def __init__(self, socket: web.WebSocketResponse, number: int) -> None:
        self.socket, self.number = socket, number
        self.asked: dict[str, Any] = {}

    async def subscription(self) -> dict[str, Any]:
        self.asked = await self.socket.receive_json(timeout=5)
        return self.asked

    async def confirm(self) -> None:
        asked = await self.subscription()
        await self.say(event="subscribed", channels=asked["channels"], symbols=asked["symbols"])

    async def say(self, **frame: Any) -> None:
        await self.socket.send_str(json.dumps(frame))

    async def idle(self) -> None:
        async for message in self.socket:
            assert message.type is WSMsgType.TEXT


class StandIn:
    """Counts what it is asked; answers with `answers[method, path]` (status, body), a list of them, or a coroutine."""

    def __init__(self, script: Script | None = None, **answers: Any) -> None:
        self.script = script
        self.answers: dict[str, Any] = {"GET /candles/BTCUSDT": (200, {"candles": []}), **answers}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.upgrade_status = 0
        self.connects = 0

    def count(self, what: str) -> int:
        return self.asked.count(what)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/trading-api/ws", self._ws)
        app.router.add_route("*", "/{path:.*}", self._rest)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}/trading-api"
        finally:
            await runner.cleanup()

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        self.headers.append(dict(request.headers))
        if self.upgrade_status:
            return web.Response(status=self.upgrade_status, headers={"Location": "/elsewhere"})
        socket = web.WebSocketResponse(timeout=0.5)
        await socket.prepare(request)
        talk = Talk(socket, self.connects)
        try:
            if self.script is None:
                await talk.confirm()
                await talk.idle()
            else:
                await self.script(talk)
        except (ConnectionError, TypeError, TimeoutError):
            return socket  # the client has gone
        return socket

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path.removeprefix('/trading-api')}"
        self.asked.append(name)
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        self.queries.append(dict(request.query))
        answer = self.answers.get(name, (404, {"error": "not_found", "message": name}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = await answer(request)
        if answer is None:  # the socket is closed without an answer
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(0)
            return web.Response()
        status, body, *headers = answer
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if text.startswith("<") else "application/json"
        return web.Response(status=status, text=text, content_type=kind, headers=headers[0] if headers else None)


def dialect_of(address: str, **values: Any) -> Dialect:
    return load_dialect({"rest_url": f"http://{address}", "ws_url": f"ws://{address}/ws", **QUICK, **values}, "a test")


def client_of(address: str, *, key: str | None = CANARY, **given: Any) -> PurpleFlea:
    values = given.pop("values", {})
    secret = Secret(key) if key is not None else None
    symbols, clock = given.pop("symbols", ["BTCUSDT"]), given.pop("clock", WallClock())
    return PurpleFlea(
        dialect_of(address, **values), secret, symbols, "1m", dict.fromkeys(symbols, GRID), clock, **given
    )


async def hear(client: PurpleFlea, until: Callable[[list[Said]], bool], timeout_s: float = 5.0) -> list[Said]:
    """What the client delivers until `until` is content."""
    heard: list[Said] = []
    done = asyncio.Event()

    def deliver(said: Said) -> None:
        heard.append(said)
        if until(heard):
            done.set()

    async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
        running = group.create_task(client.run(deliver))
        await done.wait()
        running.cancel()
    return heard


def downs(heard: list[Said]) -> list[str]:
    return [said.reason for said in heard if isinstance(said, Link) and not said.up]


def order(name: str = "run-1", **values: Any) -> NewOrder:
    kind, named = values.get("order_type", "market"), values.pop("limit_price", None)
    ticks = round(named * 10) if named is not None and named > 0.0 else 970_001
    intent = OrderIntent(
        symbol="BTCUSDT",
        side="buy",
        size_usd=970.0,
        order_type=kind,
        limit_price=named,
        urgency="normal",
        signal_sources=("a",),
        ts_event=T0 * 1_000_000,
        price_ticks=970_001,
        size_uusd=970_000_000,
        conviction=0.5,
    )
    given: dict[str, Any] = dict(
        symbol="BTCUSDT", side="buy", lots=10, price_ticks=ticks, order_type=kind, ts_event=T0 * 1_000_000
    )
    return NewOrder(client_order_id=name, intent=intent, **(given | values))


def order_row(name: str = "run-1", status: str = "open", **values: Any) -> dict[str, Any]:
    return {
        "client_order_id": name,
        "order_id": "o-1",
        "symbol": "BTCUSDT",
        "side": "buy",
        "type": "market",
        "size": "0.010",
        "filled": "0.000",
        "limit_price": None,
        "tif": "gtc",
        "reduce_only": False,
        "status": status,
        "created": T0,
        "updated": T0,
    } | values


def fill_row(number: int, **values: Any) -> dict[str, Any]:
    return {
        "fill_id": f"f-{number}",
        "client_order_id": "run-1",
        "order_id": "o-1",
        "symbol": "BTCUSDT",
        "side": "buy",
        "price": "97000.1",
        "size": "0.010",
        "fee": "0.485001",
        "liquidity": "taker",
        "reference": "97000.0",
        "ts": T0,
    } | values


def candle_row(minute: int, close: float = 97_000.0, **values: Any) -> dict[str, Any]:
    return {"t": T0 + 60_000 * minute, "o": 97_000.0, "h": 97_100.0, "l": 96_900.0, "c": close, "v": 2.0} | values
