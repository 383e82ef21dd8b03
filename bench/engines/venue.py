"""The sandbox in a process of its own, playing only when it is told to, and noting when it sent and when it heard.

One line of JSON in is one line out. `{"load": n}` plays n bars and keeps their frames; `{"send": kind}` sends those of
one kind flat out and answers once they are acknowledged; `{"trade": n}` plays n bars one by one and answers how long
each order took.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from flea_lab.clock import WallClock
from flea_lab.sandbox.server import BASE, SandboxServer
from flea_lab.sandbox.settings import SandboxSettings
from flea_lab.sandbox.stage import Stage

KINDS = {"candle_1m": "candles", "orderbook_l2": "books", "trades": "trades"}
PAUSE_S = 0.005
"""Between what fills and the candle, and between two bars: nobody is busy with what came before."""


class BenchVenue(SandboxServer):
    """A sandbox that is told what to play; its times are `perf_counter_ns`."""

    def __init__(self, stage: Stage, clock: WallClock) -> None:
        super().__init__(stage, clock)
        self._scenes = stage.scenes()
        self._kept: dict[str, list[bytes]] = {kind: [] for kind in KINDS.values()}
        self._posted_ns = 0

    async def play(self) -> None:
        await self.audience.worked_off()
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say({"subscribed": True})
        while "end" not in (asked := json.loads(await reader.readline())):
            match asked:
                case {"load": bars}:
                    say({kind: len(frames) for kind, frames in self._load(bars).items()})
                case {"send": kind}:
                    say({"s": await self._send(self._kept[kind])})
                case {"trade": bars}:
                    say({"us": [await self._trade() for _ in range(bars)]})
        for one in self.audience.connections:
            one.send(json.dumps({"event": "played", "ts": self.stage.now_ms}).encode())

    def _load(self, bars: int) -> dict[str, list[bytes]]:
        self._kept = {kind: [] for kind in KINDS.values()}
        while bars:
            scene = next(self._scenes)
            scene.play()
            for frame in self.stage.frames():
                if frame.channel in KINDS:
                    self._kept[KINDS[frame.channel]].append(frame.encode())
            if scene.ends_bar:
                bars -= 1
        return self._kept

    async def _send(self, frames: list[bytes]) -> float:
        """Seconds until everything was worked off."""
        [one] = self.audience.connections
        one.acked_ms = -1
        start = time.perf_counter()
        for frame in frames:
            await one.socket.send_frame(frame, WSMsgType.TEXT)
        one.beat(self.stage.now_ms)
        await self.audience.worked_off()
        return time.perf_counter() - start

    async def _trade(self) -> float:
        """Microseconds from the candle that ends the next bar to the order that it leads to."""
        while not (scene := next(self._scenes)).ends_bar:
            scene.play()
            self.audience.publish()
        await asyncio.sleep(PAUSE_S)  # a request in between would publish what has been played
        scene.play()
        [one] = self.audience.connections
        frames = [frame.encode() for frame in self.stage.frames() if one.hears(frame)]
        self._posted_ns = 0
        sent_ns = time.perf_counter_ns()
        for frame in frames:
            await one.socket.send_frame(frame, WSMsgType.TEXT)
        one.acked_ms = -1
        one.beat(self.stage.now_ms)
        await self.audience.worked_off()
        if not self._posted_ns:
            raise SystemExit("a bar led to no order")
        await asyncio.sleep(PAUSE_S)
        return (self._posted_ns - sent_ns) / 1e3

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        at = time.perf_counter_ns()
        if request.method == "POST" and request.path == f"{BASE}/orders" and not self._posted_ns:
            self._posted_ns = at
        return await super()._rest(request)


def say(what: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(what), flush=True)


async def serve(folder: Path, phase: str) -> None:
    """Runs until the market is over and everybody has gone."""
    from engines.live_client import config_of

    from flea_lab.backtest.playlist import playlist_of
    from flea_lab.data.sources.demo import synthetic_market
    from flea_lab.sandbox.settings import with_costs
    from flea_lab.wiring import market_from_frames

    settings = json.loads((folder / "settings.json").read_text())
    config = config_of(phase)
    candles = synthetic_market(config.symbols[0], n_bars=settings["history"] + settings["bars"])[0]
    market = market_from_frames(config, {config.symbols[0]: candles}).market
    matching = "book" if phase == "messages" else "next_open"
    told = SandboxSettings(port=0, days=settings["bars"] / 1_440, matching=matching)
    venue = BenchVenue(Stage(playlist_of(market), with_costs(told, 5.0, 1.0)), WallClock())
    async with venue.listening() as url:
        key, _ = venue.open_account("bench", config.initial_cash_usd)
        say({"url": url, "key": key})
        await venue.play()
        while venue.audience.connections:
            await asyncio.sleep(0.05)
