"""The sandbox on a socket: REST and WebSocket on 127.0.0.1, and nowhere else.

Rules. The market is played by one coroutine; requests are answered between its scenes, never inside one. A key is
known by its digest only. Faults that were asked for (`faults`) are put between the stage and the sockets, and nowhere
else.
"""

import asyncio
import errno
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from flea_lab.clock import Clock
from flea_lab.errors import VenueError
from flea_lab.model.market import MS_NS
from flea_lab.sandbox import api
from flea_lab.sandbox.api import Json
from flea_lab.sandbox.audience import Audience
from flea_lab.sandbox.dead_man import DeadMen, read_wish
from flea_lab.sandbox.faults import FaultPlan, RestFault
from flea_lab.sandbox.order import Denied
from flea_lab.sandbox.rest import Answer, Request, answer, denial
from flea_lab.sandbox.stage import Stage

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
BASE = "/trading-api"
MAX_BODY = 65_536
OPEN_TO_ALL = (f"{BASE}/health", f"{BASE}/instruments", f"{BASE}/faults", f"{BASE}/faucet/claim")
UNSPOILED = ("faults", "faucet/claim")
LOCAL = (HOST, "localhost")


class SandboxServer:
    """One stage on one port."""

    def __init__(self, stage: Stage, clock: Clock) -> None:
        self.stage, self.settings, self._clock = stage, stage.settings, clock
        self._accounts: dict[bytes, str] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._at = 0.0, 0
        self.faults = FaultPlan(stage.settings.faults)
        self.audience = Audience(stage, self.faults)
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
            await self.audience.close()
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
        await self.audience.worked_off()
        for scene in self.stage.scenes():
            await self._due(scene.ts_ms)
            await self.audience.worked_off()  # somebody may have come meanwhile, who first wants to know the past
            scene.play()
            self.audience.publish()
            if scene.ends_bar:
                self.audience.beat()
                await asyncio.sleep(0)
                await self.audience.worked_off()
        self.audience.end()

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
        status = self.faults.upgrade(self.audience.at_s())
        if status:
            return web.Response(status=status)
        socket = web.WebSocketResponse(max_msg_size=MAX_BODY, compress=False, timeout=1.0)
        await socket.prepare(request)
        await self.audience.serve(socket, request.transport, admitted)
        return socket

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
        spoiled = self.faults.rest(self.audience.at_s()) if path not in UNSPOILED else None
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
        self.audience.publish()
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
        self.audience.publish()

    def _health(self) -> Json:
        settings = self.settings
        return {
            "status": "ok",
            "service": "purpleflea-sandbox",
            "time": self.venue_ms(),
            "clock": settings.clock,
            "pace": settings.pace,
            "matching": settings.matching,
            "played": self.audience.played,
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


def _spoiled_reply(fault: RestFault) -> web.Response:
    return web.Response(body=fault.body, status=fault.status, content_type=fault.kind, headers=fault.headers)


def _reply(answered: Answer) -> web.Response:
    status, body = answered
    wait_s = body.get("retry_after_seconds")
    headers = {"Retry-After": str(wait_s)} if wait_s else None
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)
