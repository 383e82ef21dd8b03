"""A venue that sends numbered books and prints: flat out, at a pace, or all at once, stamped when they are sent."""

import asyncio
import json
import time
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

SYMBOL = "BTCUSDT"
TICK_S = 0.005
STAMP = b"1700000000000"
"""Stands in a frame for the time at which it is sent."""


def frames(count: int, seed: int = 1) -> list[bytes]:
    """Two books of 20 levels a side, then a print, and so on, of a price that walks."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-3, 4, count).tolist()
    sizes = np.round(rng.uniform(0.01, 5.0, (count, 40)), 3).tolist()
    best, books, prints = 970_000, 0, 0
    found = []
    for n in range(count):
        best += steps[n]
        if n % 3 == 2:
            prints += 1
            data: dict[str, Any] = {"id": prints, "price": best / 10, "size": sizes[n][0], "side": "buy"}
            channel, seq = "trades", prints
        else:
            books += 1
            bids = [[(best - i) / 10, sizes[n][i]] for i in range(20)]
            asks = [[(best + 1 + i) / 10, sizes[n][20 + i]] for i in range(20)]
            data, channel, seq = {"type": "snapshot", "bids": bids, "asks": asks}, "orderbook_l2", books
        frame = {"channel": channel, "symbol": SYMBOL, "seq": seq, "ts": int(STAMP), "data": data}
        found.append(json.dumps(frame, separators=(",", ":")).encode())
    return found


class Venue:
    """What the next connection is to hear."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.made: list[bytes] = []

    async def next(self, request: web.Request) -> web.Response:
        """Takes what the next connection shall hear, and makes it."""
        self.told = await request.json()
        if len(self.made) != self.told["count"]:
            self.made = frames(self.told["count"])
        return web.Response()

    async def candles(self, _: web.Request) -> web.Response:
        """There is no history."""
        return web.json_response({"candles": []})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Plays to one client, then waits until it leaves."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        asked = await socket.receive_json()
        said = {"event": "subscribed", "channels": asked["channels"], "symbols": asked["symbols"]}
        await socket.send_str(json.dumps(said))
        if "pace" in self.told:
            await self._steadily(socket, self.told["pace"])
        else:
            await self._at_once(socket, stamp=bool(self.told.get("burst")))
        await socket.send_str(json.dumps({"event": "played", "ts": time.time_ns() // 1_000_000}))
        async for _ in socket:
            pass
        return socket

    async def _at_once(self, socket: web.WebSocketResponse, *, stamp: bool) -> None:
        now = stamped()
        for frame in self.made:
            await socket.send_frame(frame.replace(STAMP, now) if stamp else frame, WSMsgType.TEXT)

    async def _steadily(self, socket: web.WebSocketResponse, per_second: int) -> None:
        """Sends what is due every few milliseconds, each stamped with the time of its sending."""
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while sent < len(self.made):
            due = min(len(self.made), int((loop.time() - start) * per_second))
            now = stamped()
            for frame in self.made[sent:due]:
                await socket.send_frame(frame.replace(STAMP, now), WSMsgType.TEXT)
            sent = due
            await asyncio.sleep(TICK_S)


def stamped() -> bytes:
    """Now, in ms UTC with its fraction."""
    return f"{time.time_ns() / 1e6:.3f}".encode()


async def play() -> None:
    """Serves until it is killed."""
    venue = Venue()
    app = web.Application()
    app.router.add_post("/trading-api/next", venue.next)
    app.router.add_get("/trading-api/ws", venue.socket)
    app.router.add_get("/trading-api/candles/{symbol}", venue.candles)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
