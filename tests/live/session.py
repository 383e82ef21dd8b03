"""A sandbox, a proxy in front of it and a live session in one event loop, for tests that are hostile to the session."""

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
from aiohttp import web

from flea_lab.backtest.market import Market
from flea_lab.backtest.playlist import playlist_of
from flea_lab.clock import WallClock
from flea_lab.config import RunConfig
from flea_lab.core import TradingCore
from flea_lab.ledger import FEES, FUNDING, LOTS
from flea_lab.live.alerts import Alerts
from flea_lab.live.bot import trade
from flea_lab.live.control_client import ControlClient
from flea_lab.live.opening import About, Bot
from flea_lab.live.store import FILE
from flea_lab.sandbox.exchange import Customer
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.speech import Kind
from flea_lab.wiring import build_core, prepare
from tests.backtest.tiny import NOON

CLOCK = WallClock()
QUICK: dict[str, Any] = {"backoff_first_s": 0.02, "backoff_last_s": 0.1, "connects_per_minute": 600, "steady_s": 0.0}
"""A dialect that does not wait long for a venue that is away."""


class Gate:
    """An acknowledging connection beside a session's: the market stands at `until_ms`, and without a session."""

    acking, account_id = True, ""
    channels = frozenset({"gate"})

    def __init__(self, server: SandboxServer, until_ms: int) -> None:
        self._server, self._until_ms, self.asked_ms, self.socket = server, until_ms, -1, self
        server.audience.connections.append(self)  # type: ignore[arg-type]

    @property
    def acked_ms(self) -> int:
        everybody = self._server.audience.connections
        others = [one for one in everybody if not isinstance(one, Gate) and one.acking and one.channels]
        return self._until_ms - 1 if others else -2

    def open(self, until_ms: int = 2**62) -> None:
        """Lets the market go on to `until_ms`."""
        self._until_ms = until_ms
        self._server.audience.changed.set()

    def hears(self, frame: object) -> bool:
        return False

    def send(self, frame: bytes) -> None:
        """Hears nothing."""

    def beat(self, ts_ms: int) -> None:
        """A bar has closed."""
        self.asked_ms = ts_ms

    async def close(self, **_: object) -> None:
        """The sandbox ends."""


@dataclass
class World:
    """A sandbox that plays `market`, and one account on it."""

    config: RunConfig
    market: Market
    server: SandboxServer
    url: str
    key: str
    warmup: int
    console: io.StringIO

    @property
    def stage(self) -> Stage:
        return self.server.stage

    @property
    def customer(self) -> Customer:
        """The account as the exchange has it."""
        account = next(account for digest, account in self.server._accounts.items() if account.startswith("test"))
        return self.stage.exchange.customers[account]

    def core(self, prefix: str, cash_uusd: int, limit_ttl_ns: int | None) -> TradingCore:
        """What the runner builds its core with."""
        found, _ = prepare(self.config, self.market)
        return build_core(self.config, found, 0, prefix=prefix, limit_ttl_ns=limit_ttl_ns, cash_uusd=cash_uusd)

    def closes(self, bar: int) -> int:
        """When bar `bar` of the market closes, ms UTC."""
        return int(self.market.open_ms[bar]) + self.market.interval_ms

    async def rests(self) -> None:
        """Returns once an order of the account rests; the last bar's may still be on its way."""
        async with asyncio.timeout(20):
            while not self.customer.open:
                await asyncio.sleep(0.002)

    async def at(self, bar: int) -> None:
        """Returns once the market has closed bar `bar`."""
        while self.stage.now_ms < self.closes(bar):
            await asyncio.sleep(0.002)


@asynccontextmanager
async def world(config: RunConfig, market: Market, start: int = 1, **settings: Any) -> AsyncIterator[World]:
    """A sandbox on a free port that plays `market` from bar `start` on, in pace "acked" unless told otherwise."""
    first = int(market.open_ms[start])
    days = (int(market.open_ms[-1]) + market.interval_ms - first) / 86_400_000
    values = {"port": 0, "days": days, "leverage": 100.0, "faucet_usd": config.initial_cash_usd, **settings}
    iso = str(np.datetime64(first, "ms"))
    full = with_costs(SandboxSettings(start=iso, **values), config.costs.fee_bps, config.costs.slippage_bps)
    server = SandboxServer(Stage(playlist_of(market), full, CLOCK.now_ns() // 1_000_000), CLOCK)
    found, _ = prepare(config, market)
    console = io.StringIO()
    try:
        async with server.running() as url:
            opened = server.open_account("test", config.initial_cash_usd)
            assert isinstance(opened, tuple)
            yield World(config, market, server, url, opened[0], found.warmup, console)
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        error.add_note(console.getvalue())
        raise error from None


def with_live(config: RunConfig, **live: Any) -> RunConfig:
    """`config` with other live settings; its id stays."""
    return msgspec.structs.replace(config, live=msgspec.structs.replace(config.live, **live))


async def session(
    here: World,
    folder: Path,
    *,
    url: str = "",
    key: str = "",
    config: RunConfig | None = None,
    dialect: dict[str, Any] | None = None,
    ack: bool = True,
    channels: Sequence[Kind] | None = None,
) -> str:
    """How a session of `here` on the journal in `folder` ended; `url` where it is to speak to a proxy, `ack` whether
    the market waits for it."""
    config, url = config or here.config, url or here.url
    folder.mkdir(exist_ok=True, parents=True)
    values = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws", **QUICK, **(dialect or {})}
    secret = Secret(key or here.key)
    spoken = load_dialect(values, "a test")
    about = About(
        account=folder.name, venue="sandbox", config=config.name, config_id=config.id, promoted=False, code="",
        key=secret.fingerprint(),
    )  # fmt: skip
    with Alerts(folder, CLOCK, console=here.console) as alerts:
        client = PurpleFlea(
            spoken, secret, config.symbols, config.interval, config.instruments, CLOCK, ack=ack,
            on_fault=lambda text: alerts.put("warning", text), channels=channels,
        )  # fmt: skip
        async with client:
            bot = Bot(config, here.core, here.warmup, client, client, folder, CLOCK, alerts, about)
            return await trade(bot, signals=False)


@asynccontextmanager
async def running(here: World, folder: Path, **named: Any) -> AsyncIterator[asyncio.Task[str]]:
    """A session as a task; cancelled at the end where it still runs."""
    task = asyncio.create_task(session(here, folder, **named))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(folder: Path, verb: str, *words: Any) -> dict[str, Any]:
    """What the runner in `folder` answers over its control socket."""
    found: dict[str, Any] = await asyncio.to_thread(getattr(ControlClient(folder), verb), *words)
    return found


async def heard(here: World, text: str, within_s: float = 40.0) -> None:
    """Returns once the console has `text`: alerts are said by a thread of their own."""
    async with asyncio.timeout(within_s):
        while text not in here.console.getvalue():
            await asyncio.sleep(0.01)


async def until(folder: Path, holds: Callable[[dict[str, Any]], bool], within_s: float = 40.0) -> dict[str, Any]:
    """The first status of the runner in `folder` for which `holds` does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    status: dict[str, Any] = {}
    while loop.time() < end:
        with suppress(Exception):  # not there yet
            status = await ask(folder, "status")
            if holds(status):
                return status
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {status}")


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query of the journal in `folder` gives."""
    db = sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def account(customer: Customer) -> dict[str, Any]:
    """An account of the exchange, as a reconcile has it."""
    book = customer.ledger.book
    return {
        "cash_uusd": customer.ledger.cash_uusd,
        "fees_uusd": int(book[:, FEES].sum()),
        "funding_uusd": int(book[:, FUNDING].sum()),
        "lots": {symbol: int(book[row, LOTS]) for symbol, row in customer.ledger.row.items()},
    }


def last_reconcile(folder: Path) -> dict[str, Any]:
    """The account as the runner had it when it compared last."""
    (ours,) = rows(folder, "SELECT ours FROM reconciles ORDER BY rowid DESC LIMIT 1")[0]
    found: dict[str, Any] = json.loads(ours)
    return found


def assert_whole(here: World, folder: Path) -> None:
    """Every order at the exchange was in the journal before, once; the accounts are equal to the micro-dollar."""
    journalled = dict(rows(folder, "SELECT id, status FROM orders"))
    there = here.customer.orders
    assert set(there) <= set(journalled), "an order without a journal row"
    assert len({order.order_id for order in there.values()}) == len(there)
    assert last_reconcile(folder) == account(here.customer)
    for name, order in there.items():
        assert journalled[name] in {order.status, "expired" if order.status == "cancelled" else order.status}
    for name in set(journalled) - set(there):
        assert journalled[name] in ("rejected", "not_accepted")
    fills = rows(folder, "SELECT fill_id FROM fills")
    assert len(fills) == len(set(fills)) == sum(hasattr(event.what, "fill") for event in here.customer.events)


Rest = Callable[[str, str, bytes], Awaitable[web.Response | str | None]]
"""May answer a request (method, path below the base, body) itself; None passes it on, "lose" passes it on and loses the
answer, "drop" hangs up without passing it on."""


class Proxy:
    """Stands between a session and its exchange. `rest` may answer in its place, `frames` change what it pushes."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.rest: Rest | None = None
        self.frames: Callable[[str], list[str]] = lambda text: [text]
        self.inject: Callable[[str], Awaitable[None]] | None = None
        self.sent: list[tuple[str, str]] = []
        self.url = ""
        self._sockets: list[web.WebSocketResponse] = []
        self._passing = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def open(self) -> None:
        """Listens, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/trading-api"

    async def close(self) -> None:
        """Nobody listens any more; what was connected is cut."""
        await self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def cut(self) -> None:
        """Ends every websocket without a word."""
        for socket in list(self._sockets):
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)

    async def at_rest(self, within_s: float = 60.0) -> None:
        """Returns once whoever was connected is gone, as after a kill, and all that it had asked has been carried
        out."""
        async with asyncio.timeout(within_s):
            server = self._runner.server if self._runner is not None else None
            while self._passing or (server is not None and server.connections):
                await asyncio.sleep(0.01)

    async def push(self, text: str) -> None:
        """Sends `text` to every client as if the exchange had."""
        for socket in list(self._sockets):
            with suppress(ConnectionError):
                await socket.send_str(text)

    async def pass_on(self, method: str, path: str, body: bytes, key: str) -> int:
        """The status of a request that is passed on in the name of `key`."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.target}{path}", data=body, headers={"X-API-Key": key}) as answer,
        ):
            return answer.status

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/ws"):
            return await self._socket(request)
        self._passing += 1
        try:
            return await self._passed(request)
        finally:
            self._passing -= 1

    async def _passed(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/trading-api")
        body = await request.read()
        self.sent.append((request.method, path))
        said = await self.rest(request.method, path, body) if self.rest is not None else None
        if isinstance(said, web.Response):
            return said
        if said == "drop":
            return self._hang_up(request)
        headers = {name: value for name, value in request.headers.items() if name in ("X-API-Key", "Content-Type")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, f"{self.target}{path}", params=request.query, data=body or None, headers=headers
            ) as answer,
        ):
            content = await answer.read()
            if said == "lose":
                return self._hang_up(request)
            return web.Response(status=answer.status, body=content, content_type="application/json")

    def _hang_up(self, request: web.Request) -> web.Response:
        if request.transport is not None:  # it may have hung up first
            request.transport.abort()
        return web.Response(status=500)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        headers = {"X-API-Key": request.headers.get("X-API-Key", "")}
        async with aiohttp.ClientSession() as session:
            try:
                upstream = await session.ws_connect(f"ws{self.target.removeprefix('http')}/ws", headers=headers)
            except aiohttp.WSServerHandshakeError as error:
                return web.Response(status=error.status)
            except aiohttp.ClientError:
                return web.Response(status=502)
            socket = web.WebSocketResponse(max_msg_size=0)
            await socket.prepare(request)
            self._sockets.append(socket)
            try:
                await self._both_ways(socket, upstream)
            finally:
                self._sockets.remove(socket)
                await upstream.close()
            return socket

    async def _both_ways(self, socket: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
        async def down() -> None:
            async for message in upstream:
                for text in self.frames(message.data):
                    with suppress(ConnectionError):
                        await socket.send_str(text)
            await socket.close()

        async def up() -> None:
            async for message in socket:
                with suppress(ConnectionError):
                    await upstream.send_str(message.data)

        tasks = [asyncio.create_task(down()), asyncio.create_task(up())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(here: World) -> AsyncIterator[Proxy]:
    """A proxy in front of the exchange of `here`."""
    between = Proxy(here.url)
    await between.open()
    try:
        yield between
    finally:
        await between.close()


def noon(bar: int) -> int:
    """The close of bar `bar` of a tiny market, ms UTC."""
    return NOON + (bar + 1) * 60_000


@contextmanager
def changed(thing: object, name: str, value: object) -> Iterator[None]:
    """`thing.name` is `value` meanwhile."""
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)
