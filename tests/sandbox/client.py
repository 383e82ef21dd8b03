"""A client that knows nothing of flea_lab: plain aiohttp against a sandbox on 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.stage import Stage
from tests.sandbox.stages import MINUTE, T0, a_playlist, settings

Json = dict[str, Any]
CANDLES = ["candle_1m"]


class CountedClock:
    """A clock that stands at `now`, and ids that count."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now, self.ids = now_ns, 0

    def now_ns(self) -> int:
        return self.now

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:012d}"


class Client:
    """One account of a running sandbox."""

    def __init__(self, server: SandboxServer, url: str, session: aiohttp.ClientSession) -> None:
        self.server, self.url, self.session = server, url, session
        self.headers: dict[str, str] = {}

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Json]:
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        async with self.session.request(
            method, self.url + path, data=data, params=query, headers=self.headers
        ) as answer:
            assert answer.content_type == "application/json"
            return answer.status, orjson.loads(await answer.read())

    async def order(self, name: str = "a", **values: Any) -> tuple[int, Json]:
        plain = {"client_order_id": name, "symbol": "X", "side": "buy", "type": "market", "size": "1", **values}
        return await self.call("POST", "/orders", {key: value for key, value in plain.items() if value is not None})

    @asynccontextmanager
    async def stream(self, *channels: str, **more: Any) -> AsyncIterator["Stream"]:
        """A subscribed socket, its confirmation read."""
        async with self.session.ws_connect(self.url + "/ws", headers=self.headers) as ws:
            stream = Stream(ws)
            symbols = more.pop("symbols", ["X", "Y"])
            await stream.say({"action": "subscribe", "channels": list(channels), "symbols": symbols, **more})
            yield stream


class Stream:
    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def say(self, what: Any) -> None:
        await self.ws.send_str(what if isinstance(what, str) else orjson.dumps(what).decode())

    async def hear(self) -> Json:
        async with asyncio.timeout(5):
            message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: Json = orjson.loads(message.data)
        return found

    async def until(self, event: str) -> list[Json]:
        """Frames up to and with the next control frame `event`."""
        frames = [await self.hear()]
        while frames[-1].get("event") != event:
            frames.append(await self.hear())
        return frames

    async def ack(self, ts: int) -> None:
        await self.say({"action": "ack", "ts": ts})

    async def silent(self) -> bool:
        """Whether nothing comes for a while."""
        try:
            async with asyncio.timeout(0.1):
                await self.ws.receive()
        except TimeoutError:
            return True
        return False


def stamp(frame: Json) -> int:
    return (int(frame["ts"]) - T0) // MINUTE


def run(client: Callable[[Client], Awaitable[None]], stage: Stage | None = None, **values: Any) -> None:
    """Runs `client`, holding a funded key, against a sandbox."""

    async def main() -> None:
        server = SandboxServer(Stage(a_playlist(), settings(**values)) if stage is None else stage, CountedClock())
        async with server.running() as url, aiohttp.ClientSession() as session:
            one = Client(server, url, session)
            status, claim = await one.call("POST", "/faucet/claim", {"agent_id": "me"})
            assert (status, claim["account_id"], claim["credited"]) == (201, "me-1", "100000.000000")
            one.headers = {"X-API-Key": claim["api_key"]}
            await client(one)

    asyncio.run(main())
