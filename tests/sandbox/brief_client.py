"""The client that the brief prints, in words of our own: nothing of flea_lab, and nothing that the brief leaves out.

It asks for no lost bars, reads no sequence numbers and sends nothing but its subscription.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

CHANNELS = ["candle_1m", "orderbook_l2", "trades"]
HISTORY = 200

logger = logging.getLogger("brief")
Json = dict[str, Any]
Callback = Callable[[Json], Awaitable[None] | None]


@dataclass
class Candle:
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool = True


@dataclass
class Book:
    bids: list[list[float]]
    asks: list[list[float]]
    timestamp: float


class Client:
    """The brief's feed. `frames` (all that came, in order), `closes_seen`, `joined` and `waits` are the test's eyes."""

    def __init__(self, base: str, key: str, symbols: list[str], watch_s: float = 5.0, stale_s: float = 10.0) -> None:
        self.base, self.ws_url = base, base.replace("http", "ws", 1) + "/ws"
        self.headers = {"X-API-Key": key}
        self.symbols = symbols
        self.watch_s, self.stale_s = watch_s, stale_s
        self.candles: dict[str, deque[Candle]] = {symbol: deque(maxlen=500) for symbol in symbols}
        self.books: dict[str, Book | None] = dict.fromkeys(symbols)
        self.last_update: dict[str, float] = dict.fromkeys(symbols, 0.0)
        self.callbacks: dict[str, list[Callback]] = {"candle": [], "book": [], "trade": [], "stale": []}
        self.running = False
        self.reconnect_delay = 1.0
        self.frames: list[Json] = []
        self.closes_seen: list[int | None] = []
        self.joined: list[float] = []
        self.waits: list[float] = []

    def on(self, event: str, callback: Callback) -> None:
        self.callbacks[event].append(callback)

    async def emit(self, event: str, data: Json) -> None:
        for callback in self.callbacks[event]:
            try:
                waits = callback(data)
                if waits is not None:
                    await waits
            except Exception as error:  # as printed: a callback never ends the feed
                logger.error("callback of %s: %s", event, error)

    async def load_historical(self, symbol: str, limit: int = HISTORY) -> None:
        url = f"{self.base}/candles/{symbol}?interval=1m&limit={limit}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=self.headers) as answer:
            data = await answer.json()
        for c in data["candles"]:
            self.candles[symbol].append(Candle(c["t"], c["o"], c["h"], c["l"], c["c"], c["v"]))

    async def listen(self) -> None:
        wanted = {"action": "subscribe", "channels": CHANNELS, "symbols": self.symbols}
        while self.running:
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.ws_connect(self.ws_url, headers=self.headers, heartbeat=30) as ws,
                ):
                    await ws.send_json(wanted)
                    self.reconnect_delay = 1.0
                    self.joined.append(time.monotonic())
                    async for message in ws:
                        if message.type == aiohttp.WSMsgType.TEXT:
                            await self.handle(json.loads(message.data))
                    self.closes_seen.append(ws.close_code)
            except Exception as error:  # as printed: whatever it was, connect again
                logger.warning("disconnected: %s, again in %s s", error, self.reconnect_delay)
                self.waits.append(self.reconnect_delay)
                await asyncio.sleep(self.reconnect_delay)
                self.reconnect_delay = min(self.reconnect_delay * 2, 30)

    async def handle(self, message: Json) -> None:
        self.frames.append(message)
        channel, symbol = message.get("channel"), message.get("symbol")
        if not symbol:
            return
        self.last_update[symbol] = time.time()
        if channel == "candle_1m":
            c = message["data"]
            candle = Candle(c["t"], c["o"], c["h"], c["l"], c["c"], c["v"], c.get("complete", True))
            if candle.complete:
                self.candles[symbol].append(candle)
                await self.emit("candle", {"symbol": symbol, "candle": candle})
        elif channel == "orderbook_l2":
            d = message["data"]
            self.books[symbol] = Book(d["bids"], d["asks"], time.time())
            await self.emit("book", {"symbol": symbol, "book": self.books[symbol]})
        elif channel == "trades":
            await self.emit("trade", {"symbol": symbol, "trade": message["data"]})

    async def watch(self) -> None:
        while self.running:
            await asyncio.sleep(self.watch_s)
            now = time.time()
            for symbol in self.symbols:
                age = now - self.last_update[symbol]
                if age > self.stale_s:
                    await self.emit("stale", {"symbol": symbol, "age_secs": age})

    def closes(self, symbol: str) -> list[float]:
        return [candle.close for candle in self.candles[symbol]]

    def volumes(self, symbol: str) -> list[float]:
        return [candle.volume for candle in self.candles[symbol]]

    async def start(self) -> None:
        self.running = True
        for symbol in self.symbols:
            await self.load_historical(symbol)
        await asyncio.gather(self.listen(), self.watch())
