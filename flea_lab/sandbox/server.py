"""The sandbox on a socket: REST and WebSocket on 127.0.0.1, and nowhere else.

Rules. The market is played by one coroutine; requests are answered between its scenes, never inside one. After a
heartbeat it waits for every subscribed connection that acknowledges; in pace "acked" it also waits while there is none.
A connection that is gone is not waited for, one that does not read is closed. A key is known by its digest only.
Faults that were asked for (`faults`) are put between the stage and the sockets, and nowhere else.
"""

import asyncio
import errno
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from flea_lab.clock import Clock
from flea_lab.errors import VenueError
from flea_lab.model.market import MS_NS
from flea_lab.sandbox import api
from flea_lab.sandbox.api import Ack, Frame, Json, Subscribe
from flea_lab.sandbox.dead_man import DeadMen, read_wish
from flea_lab.sandbox.fault_line import FaultLine
from flea_lab.sandbox.faults import SUBSCRIBE, FaultPlan, RestFault
from flea_lab.sandbox.order import Denied
from flea_lab.sandbox.rest import Answer, Request, answer, denial
from flea_lab.sandbox.stage import Stage

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
BASE = "/trading-api"
MAX_BODY = 65_536
MAX_UNREAD = 20_000
OPEN_TO_ALL = (f"{BASE}/health", f"{BASE}/instruments", f"{BASE}/faults", f"{BASE}/faucet/claim")
UNSPOILED = ("faults", "faucet/claim")
LOCAL = (HOST, "localhost")


class Connection:
    """One socket: who it is, what it wants, how far it has worked, what is still to be sent.

    `asked_ms` is the last heartbeat it was sent, `acked_ms` the last it has acknowledged.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        account_id: str,
        line: FaultLine | None = None,
    ) -> None:
        self.socket, self.account_id, self._transport, self.line = socket, account_id, transport, line
        self.wants: set[tuple[str, str]] = set()
        self.channels: set[str] = set()
        self.acking, self.asked_ms, self.acked_ms = False, -1, -1
        self.deltas, self.synced = False, set[str]()
        self.at_s, self.mute, self.deaf = 0.0, False, False
        self._unread: deque[tuple[bytes, ...] | WSCloseCode] = deque()
        self._wake = asyncio.Event()

    def hears(self, frame: Frame) -> bool:
        """Whether `frame` is for this one; of its own account it hears every symbol, so that the count has no hole."""
        if frame.account_id:
            return frame.account_id == self.account_id and frame.channel in self.channels
        return (frame.channel, frame.symbol) in self.wants

    def send(self, *frames: bytes) -> None:
        """Queues frames, which count as one; who leaves too many unread is cut off."""
        if self.mute:
            return
        self._unread.append(frames)
        self._wake.set()
        if len(self._unread) > MAX_UNREAD and self._transport is not None:
            self._unread.clear()
            self._transport.abort()
        ending = self.line.ending(self.at_s) if self.line is not None and self.channels else ""
        if ending:
            self._end(ending)

    def _end(self, kind: str) -> None:
        """Ends the connection by a fault; nothing is sent on it any more."""
        self.mute = True
        match kind:
            case "close_1000":
                self._unread.append(WSCloseCode.OK)
            case "close_1001":
                self._unread.append(WSCloseCode.GOING_AWAY)
            case "reset" if self._transport is not None:
                self._unread.clear()
                self._transport.abort()
            case "deaf" if self._transport is not None:
                self.acking, self.deaf = False, True  # it will never be heard, nor be seen to leave
                self._transport.pause_reading()

    def beat(self, ts_ms: int) -> None:
        """Queues a heartbeat."""
        self.asked_ms = ts_ms
        self.send(_control("heartbeat", ts_ms))

    async def drain(self) -> None:
        """Sends what is queued, until the socket is gone."""
        try:
            while True:
                while self._unread:
                    frames = self._unread.popleft()
                    if isinstance(frames, WSCloseCode):
                        await self.socket.close(code=frames)
                        return
                    for frame in frames:
                        await self.socket.send_frame(frame, WSMsgType.TEXT)
                await self._wake.wait()
                self._wake.clear()
        except ConnectionError:
            self._unread.clear()  # the reading side ends as well, and says so

    async def close(self) -> None:
        """Says goodbye; a connection that is mute is cut."""
        if self.mute and self._transport is not None:
            self._transport.abort()
        await self.socket.close(code=WSCloseCode.GOING_AWAY, message=b"sandbox ends")


class SandboxServer:
    """One stage on one port."""

    def __init__(self, stage: Stage, clock: Clock) -> None:
        self.stage, self.settings, self._clock = stage, stage.settings, clock
        self._accounts: dict[bytes, str] = {}
        self._connections: list[Connection] = []
        self._changed = asyncio.Event()
        self._books: dict[str, Json] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._at = 0.0, 0
        self._played = False
        self._first_ms = stage.now_ms
        self.faults = FaultPlan(stage.settings.faults)
        self.port = 0
        self._dead_men = DeadMen(lambda: asyncio.get_running_loop().call_later, self._lapse)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The base URL while the port is open; the market does not move (`play`). `VenueError` for a taken port."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, self.settings.port)
            try:
                await site.start()
            except OSError as error:
                why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
                raise VenueError(f"port {self.settings.port} on {HOST} {why}: choose another with --port") from None
            self.port = runner.addresses[0][1]
            yield f"http://{HOST}:{self.port}{BASE}"
        finally:
            self._dead_men.close()
            for connection in list(self._connections):
                await connection.close()
            await runner.cleanup()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The base URL while the market plays in the background; a market that fails ends what happens inside."""
        try:
            async with self.listening() as url, asyncio.TaskGroup() as group:
                playing = group.create_task(self.play())
                try:
                    yield url
                finally:
                    playing.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def play(self) -> None:
        """Plays the market to its end at the settings' pace; returns when it is over and worked off."""
        self._at = asyncio.get_running_loop().time(), self.venue_ms()
        await self._worked_off()
        for scene in self.stage.scenes():
            await self._due(scene.ts_ms)
            await self._worked_off()  # somebody may have come meanwhile, who first wants to know the past
            scene.play()
            self._publish()
            if scene.ends_bar:
                for one in self._subscribed():
                    one.beat(self.stage.now_ms)
                await asyncio.sleep(0)
                await self._worked_off()
        self._played = True
        for one in self._subscribed():
            one.send(_control("played", self.stage.now_ms))

    def open_account(self, account_id: str, amount_usd: float) -> tuple[str, int] | Denied:
        """A new account's key, which is kept nowhere here, and its credit in micro-dollars."""
        credit = self.stage.claim(account_id, amount_usd)
        if isinstance(credit, Denied):
            return credit
        key = "pf_test_" + "".join(self._clock.new_id() for _ in range(4))
        self._accounts[_digest(key)] = account_id
        return key, credit

    def venue_ms(self) -> int:
        """The venue's time."""
        if self.settings.clock == "market":
            return self.stage.now_ms
        return self._clock.now_ns() // MS_NS + round(self.settings.clock_skew_s * 1000)

    async def _due(self, ts_ms: int) -> None:
        """Returns when `ts_ms` has come at the speed; at once in pace "acked"."""
        pace = self.settings.pace
        if pace == "acked":
            return
        at_s, at_ms = self._at
        now_s = asyncio.get_running_loop().time()
        due_s = at_s + max(ts_ms - at_ms, 0) / 1000 / pace
        await asyncio.sleep(max(due_s - now_s, 0.0))
        self._at = max(due_s, now_s), ts_ms

    async def _worked_off(self) -> None:
        """Returns when everybody who acknowledges has acknowledged the last heartbeat."""
        while not self._is_worked_off():
            self._changed.clear()
            await self._changed.wait()

    def _subscribed(self) -> list[Connection]:
        return [one for one in self._connections if one.channels]

    def _is_worked_off(self) -> bool:
        acking = [one for one in self._subscribed() if one.acking]
        if not acking and self.settings.pace == "acked":
            return False
        return all(one.acked_ms >= one.asked_ms for one in acking)

    def _publish(self) -> None:
        """Queues what happened on the stage, each frame encoded once, for everybody who hears it."""
        for frame in self.stage.frames():
            if self.faults:
                self._spoil(frame)
                continue
            whole: bytes | None = None
            change: bytes | None = None
            book = frame.channel == "orderbook_l2"
            for one in self._connections:
                if not one.hears(frame):
                    continue
                if book and one.deltas and frame.symbol in one.synced and frame.symbol in self._books:
                    change = change or _changed(frame, self._books[frame.symbol]).encode()
                    one.send(change)
                    continue
                whole = whole or frame.encode()
                one.send(whole)
                if book:
                    one.synced.add(frame.symbol)
            if book:
                self._books[frame.symbol] = frame.data

    def _spoil(self, frame: Frame) -> None:
        """The same where there are faults: each connection has its own."""
        book = frame.channel == "orderbook_l2"
        for one in [one for one in self._connections if one.hears(frame) and one.line is not None]:
            one.at_s = self._at_s()
            change = book and one.deltas and frame.symbol in one.synced and frame.symbol in self._books
            said = _changed(frame, self._books[frame.symbol]) if change else frame
            assert one.line is not None
            spoiled = one.line.frames(said, one.at_s)
            if spoiled:
                one.send(*(part.encode() for part in spoiled))
            if book:
                one.synced.add(frame.symbol)
        if book:
            self._books[frame.symbol] = frame.data

    def _at_s(self) -> float:
        return (self.stage.now_ms - self._first_ms) / 1_000

    async def _socket(self, request: web.Request, account_id: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_BODY, compress=False, timeout=1.0)
        await socket.prepare(request)
        line = FaultLine(self.faults) if self.faults else None
        connection = Connection(socket, request.transport, account_id, line)
        self._connections.append(connection)
        try:
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(connection.drain())
                async for message in socket:
                    self._hear(connection, message)
                draining.cancel()
        finally:
            self._connections.remove(connection)
            self._listen()
        return socket

    def _hear(self, connection: Connection, message: WSMessage) -> None:
        if connection.deaf:
            return
        if message.type is not WSMsgType.TEXT:
            connection.send(_refusal("invalid_frame", "frames are JSON text"))
            return
        said = api.read_said(message.data)
        match said:
            case Denied():
                connection.send(_refusal(said.code, said.message))
            case Subscribe():
                self._subscribe(connection, said)
            case Ack():
                self._acknowledge(connection, said.ts)
            case _:
                connection.wants = {pair for pair in connection.wants if pair[0] not in said.channels}
                connection.channels.difference_update(said.channels)
                self._listen()

    def _subscribe(self, connection: Connection, said: Subscribe) -> None:
        known = self.stage.channels, self.stage.playlist.symbols
        for asked, have, what in ((said.channels, known[0], "channel"), (said.symbols, known[1], "symbol")):
            for name in asked:
                if name not in have:
                    text = f"no {what} {name[:40]!r}, known are {', '.join(have)}"
                    connection.send(_refusal(f"unknown_{what}", text))
        channels = [name for name in known[0] if name in said.channels]
        symbols = [name for name in known[1] if name in said.symbols]
        connection.wants.update((channel, symbol) for channel in channels for symbol in symbols)
        connection.channels.update(channels)
        connection.deltas = said.book == "delta"
        connection.synced.clear()
        acknowledged = self._acknowledged(symbols)
        if acknowledged:
            connection.send(orjson.dumps({"event": "subscribed", "channels": channels, "symbols": acknowledged}))
        if said.ack:
            connection.acking = True
            connection.acked_ms = -1
            connection.beat(self.stage.now_ms)
        if self._played:
            connection.send(_control("played", self.stage.now_ms))
        self._listen()

    def _acknowledged(self, symbols: list[str]) -> list[str]:
        """Those of a subscription's symbols that its answer names; there is none where it names none."""
        match self.faults.first(SUBSCRIBE, self._at_s()):
            case "unacknowledged":
                return []
            case "half_acknowledged":
                return symbols[: len(symbols) // 2]
        return symbols

    def _acknowledge(self, connection: Connection, ts_ms: int) -> None:
        if ts_ms > self.stage.now_ms:
            text = f"ack of {ts_ms}, the last heartbeat was at most {self.stage.now_ms}"
            connection.send(_refusal("invalid_ack", text))
            return
        connection.acking = True
        connection.acked_ms = max(connection.acked_ms, ts_ms)
        self._changed.set()

    def _listen(self) -> None:
        """Somebody came, went or wants something else."""
        self.stage.wanted = {channel for one in self._connections for channel in one.channels}
        self._changed.set()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get(f"{BASE}/ws", self._enter)
        app.router.add_route("*", "/{path:.*}", self._rest)
        return app

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        """The upgrade: refused like any other request without a key."""
        admitted = self._admit(request)
        if isinstance(admitted, Denied):
            return _reply(denial(admitted))
        status = self.faults.upgrade(self._at_s())
        return web.Response(status=status) if status else await self._socket(request, admitted)

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        """Every other request; also what cannot be read is answered in JSON."""
        admitted = self._admit(request)
        if isinstance(admitted, Denied):
            return _reply(denial(admitted))
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _reply(denial(Denied(413, "too_large", f"a body is at most {MAX_BODY} bytes")))
        path = request.path.removeprefix(BASE).strip("/")
        spoiled = self.faults.rest(self._at_s()) if path not in UNSPOILED else None
        if spoiled is not None:
            return _spoiled_reply(spoiled)
        asked = Request(admitted, "", request.query, body, self.venue_ms())
        match request.method, path:
            case "GET", "health":
                answered = 200, self._health()
            case "GET", "faults":
                answered = 200, {"seed": self.faults.seed, "faults": self.faults.counts}
            case "POST", "faucet/claim":
                answered = self._claim(body)
            case "POST", "orders/dead-man":
                wish = read_wish(body)
                answered = denial(wish) if isinstance(wish, Denied) else (200, self._dead_men.wish(admitted, wish))
            case _:
                answered = self._answer(request.method, path, asked)
        self._publish()
        return _reply(answered)

    def _answer(self, method: str, path: str, asked: Request) -> Answer:
        try:
            return answer(self.stage, method, path, asked)
        except Exception:  # ours; whoever asked is owed an answer in JSON, the log gets the rest
            log.exception("sandbox: %s %s failed", method, path)
            return denial(Denied(500, "internal_error", "the sandbox failed, its log says why"))

    def _admit(self, request: web.Request) -> str | Denied:
        """The account that asks, "" for nobody where nobody may ask."""
        if (request.host or "").rsplit(":", 1)[0] not in LOCAL:  # a page in a browser, by a name that leads here
            return Denied(403, "forbidden_host", "this exchange answers to 127.0.0.1 and localhost only")
        account = self._accounts.get(_digest(request.headers.get("X-API-Key", "")))
        wait_s = self._count(account or "")
        if wait_s:
            return Denied(429, "rate_limited", f"over {self.settings.requests_per_minute} requests a minute", wait_s)
        if not request.path.startswith(f"{BASE}/"):
            return Denied(404, "not_found", f"everything is below {BASE}")
        if account is None and request.path not in OPEN_TO_ALL:
            return Denied(401, "invalid_key", "X-API-Key is missing or unknown: POST faucet/claim hands out a key")
        return account or ""

    def _count(self, account_id: str) -> int:
        """Counts a request; how many seconds one too many has to wait, 0 for none."""
        now_s = int(asyncio.get_running_loop().time())
        window, used = self._counts.get(account_id, (now_s, 0))
        if now_s - window >= 60:
            window, used = now_s, 0
        self._counts[account_id] = window, used + 1
        return 0 if used < self.settings.requests_per_minute else window + 60 - now_s

    def _lapse(self, account_id: str) -> None:
        """An account was not heard of in time: its open orders are taken back."""
        self.stage.cancel_all(account_id, self.venue_ms())
        self._publish()

    def _health(self) -> Json:
        settings = self.settings
        return {
            "status": "ok",
            "service": "purpleflea-sandbox",
            "time": self.venue_ms(),
            "clock": settings.clock,
            "pace": settings.pace,
            "matching": settings.matching,
            "played": self._played,
        }

    def _claim(self, body: bytes) -> Answer:
        claim = api.read_claim(body)
        if isinstance(claim, Denied):
            return denial(claim)
        account_id = f"{claim.agent_id}-{len(self._accounts) + 1}"
        amount = self.settings.faucet_usd if claim.amount_usd is None else claim.amount_usd
        found = self.open_account(account_id, amount)
        if isinstance(found, Denied):
            return denial(found)
        key, credit = found
        return 201, {"api_key": key, "account_id": account_id, "credited": api.money(credit)}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _control(event: str, ts_ms: int) -> bytes:
    return orjson.dumps({"event": event, "ts": ts_ms})


def _refusal(code: str, message: str) -> bytes:
    return orjson.dumps({"event": "error", "code": code, "message": message})


def _changed(frame: Frame, before: Json) -> Frame:
    return frame._replace(data=api.delta_json(before, frame.data))


def _spoiled_reply(fault: RestFault) -> web.Response:
    return web.Response(body=fault.body, status=fault.status, content_type=fault.kind, headers=fault.headers)


def _reply(answered: Answer) -> web.Response:
    status, body = answered
    wait_s = body.get("retry_after_seconds")
    headers = {"Retry-After": str(wait_s)} if wait_s else None
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)
