"""A venue on loopback that speaks Hyperliquid's shapes, hand-made, as a test tells it to."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from flea_lab.clock import WallClock
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.hyperliquid_feed import HyperliquidFeed
from flea_lab.venue.public_data import public_data
from flea_lab.venue.speech import Kind

MINUTE_MS = 60_000
QUICK = {"backoff_first_s": 0.01, "backoff_last_s": 0.05, "request_timeout_s": 1.0, "bar_grace_s": 0.0}
META = {
    "universe": [{"name": "BTC", "szDecimals": 5}, {"name": "ETH", "szDecimals": 4}, {"name": "kPEPE", "szDecimals": 0}]
}

CONTEXT = {"funding": "0.0000125", "openInterest": "1.0", "prevDayPx": "100.0", "dayNtlVlm": "1.0", "premium": "0.0"}
CONTEXT |= {"oraclePx": "100.0", "markPx": "100.0", "midPx": "100.0", "dayBaseVlm": "1.0"}


def bar(
    coin: str, t: int, close: float, volume: float = 1.0, interval: str = "1m", step: int = MINUTE_MS
) -> dict[str, Any]:
    """A candle as the venue tells it, open 100."""
    low, high = min(100.0, close), max(100.0, close)
    told = {"t": t, "T": t + step - 1, "s": coin, "i": interval, "n": 3}
    return told | {"o": "100.0", "c": str(close), "h": str(high), "l": str(low), "v": str(volume)}


def book(coin: str, time: int, bid: float = 100.0, ask: float = 101.0) -> dict[str, Any]:
    levels = [[{"px": str(bid), "sz": "2.5", "n": 1}], [{"px": str(ask), "sz": "1.5", "n": 2}]]
    return {"coin": coin, "time": time, "levels": levels}


def trade(coin: str, time: int, tid: int, side: str = "B", px: float = 100.5) -> dict[str, Any]:
    return {
        "coin": coin,
        "side": side,
        "px": str(px),
        "sz": "0.5",
        "time": time,
        "hash": "0x0",
        "tid": tid,
        "users": ["0x1", "0x2"],
    }


class Hand(WallClock):
    """A clock that stands until it is moved by hand: no minute of it ends while a test is not looking."""

    def __init__(self, ns: int | None = None) -> None:
        self.ns = super().now_ns() if ns is None else ns

    def now_ns(self) -> int:
        return self.ns

    def go_on(self, ms: int) -> None:
        """Lets `ms` go by."""
        self.ns += ms * 1_000_000


def before_a_minute(ms: int = 400) -> Hand:
    """A clock at `ms` before the end of a minute."""
    hand = Hand()
    return Hand((minute(hand.ns // 1_000_000) + MINUTE_MS - ms) * 1_000_000)


class HyperliquidStandIn:
    """`clock` is its time, `behind_ms` ahead of it; `bars` and `funding` are its history by coin."""

    def __init__(self, *, behind_ms: int = 0, clock: WallClock | None = None) -> None:
        self.behind_ms, self.clock = behind_ms, clock or WallClock()
        self.meta: dict[str, Any] = META
        self.bars: dict[str, list[dict[str, Any]]] = {}
        self.funding: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[dict[str, Any]] = []
        self.heard: list[Any] = []
        self.errors: list[str] = []
        self.pongs = True
        self.connects = 0
        self.open: list[web.WebSocketResponse] = []
        self.subscribed = asyncio.Event()
        self.wanted = 0

    def now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000 - self.behind_ms

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/ws", self._ws)
        app.router.add_post("/info", self._info)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def push(self, channel: str, data: Any) -> None:
        await self.send(json.dumps({"channel": channel, "data": data}))

    async def send(self, text: str) -> None:
        for socket in list(self.open):
            await socket.send_str(text)

    async def hang_up(self) -> None:
        for socket in list(self.open):
            await socket.close(code=1000)

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        socket = web.WebSocketResponse(timeout=0.5)
        await socket.prepare(request)
        await socket.send_str("Websocket connection established.")
        count = 0
        try:
            async for message in socket:
                assert message.type is WSMsgType.TEXT
                said = json.loads(message.data)
                self.heard.append(said)
                if said["method"] == "ping":
                    if self.pongs:
                        await socket.send_str('{"channel":"pong"}')
                    continue
                if self.errors:
                    await socket.send_str(json.dumps({"channel": "error", "data": self.errors.pop(0)}))
                    continue
                await socket.send_str(json.dumps({"channel": "subscriptionResponse", "data": said}))
                count += 1
                if count == self.wanted:
                    self.open.append(socket)
                    self.subscribed.set()
        except ConnectionError:
            pass  # the client has gone, as clients do
        finally:
            if socket in self.open:
                self.open.remove(socket)
            self.subscribed.clear()
        return socket

    async def _info(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(asked)
        match asked["type"]:
            case "meta":
                return web.json_response(self.meta)
            case "metaAndAssetCtxs":
                return web.json_response([self.meta, [CONTEXT for _ in self.meta["universe"]]])
            case "spotMeta":
                return web.json_response({"tokens": [], "universe": []})
            case "exchangeStatus":
                return web.json_response({"specialStatuses": None, "time": self.now_ms()})
            case "l2Book":
                return web.json_response(book(asked["coin"], self.now_ms()))
            case "candleSnapshot":
                req = asked["req"]
                rows = self.bars.get(req["coin"], [])
                return web.json_response([r for r in rows if r["T"] >= req["startTime"] and r["t"] <= req["endTime"]])
            case "fundingHistory":
                rows = self.funding.get(asked["coin"], [])
                return web.json_response([r for r in rows if r["time"] >= asked["startTime"]][:500])
        return web.json_response("Failed to deserialize the JSON body into the target type", status=422)


def spoken(address: str, **values: Any) -> Dialect:
    given = {"name": "hyperliquid", "rest_url": f"http://{address}", "ws_url": f"ws://{address}/ws"}
    return load_dialect({**given, **QUICK, **values}, "a test")


def feed_of(
    address: str, *, symbols: tuple[str, ...] = ("BTCUSDT",), channels: Any = None, **given: Any
) -> HyperliquidFeed:
    values = given.pop("values", {})
    kinds: tuple[Kind, ...] | None = channels
    clock, told = given.pop("clock", WallClock()), given.pop("on_fault", None)
    asked = public_data(spoken(address, **values), symbols, "1m", clock, channels=kinds, on_fault=told)
    return HyperliquidFeed(asked, **given)


def minute(ms: int) -> int:
    """The open of the minute that holds `ms`."""
    return math.floor(ms / MINUTE_MS) * MINUTE_MS
