"""The monitor of a workspace's accounts: a process of its own that serves a page, a HALT button and Prometheus metrics.

Rules. It listens on 127.0.0.1 only, and answers only who calls it by that name, so that no other site's page can reach
it. The page, its data and a halt need the token of this start, which is in the address that is printed; a halt also has
to come from this very page. It asks runners by their control socket and opens journals read-only: it trades nothing,
locks nothing, and a runner never waits for it. Metrics hold no money unless asked for.
"""

import asyncio
import hmac
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from flea_lab.clock import Clock
from flea_lab.errors import FleaError, WorkspaceError
from flea_lab.live.account import account_folder, known_accounts
from flea_lab.live.halt import halt_account
from flea_lab.live.monitor_state import state_of
from flea_lab.overdue import last_beat_ns
from flea_lab.workspace import workspace

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page") / "monitor.html"
HALT_S = 5.0
FRESH_S = 1.0
"""How old an answer may be: many who look at once are one question to a runner."""

PLAIN = {
    "open_orders": "orders that are open",
    "unknown_orders": "orders of unknown fate",
    "orders": "orders sent by this process",
    "fills": "fills heard by this process",
    "refused": "intents refused by this process",
    "bars": "bars decided by this process",
    "alerts": "alerts of this process",
    "findings": "findings about the data",
    "overfills": "orders filled beyond their size",
    "lag_p99_ms": "lag of the trading loop, 99th percentile of 10 s",
    "reconciled": "1 where the account equals the venue's",
}
MONEY = {
    "equity_usd": "equity", "cash_usd": "cash", "realised_usd": "realised profit",
    "unrealised_usd": "unrealised profit", "fees_usd": "fees paid", "funding_usd": "funding paid",
}  # fmt: skip


class Monitor:
    """Serves `accounts`, or every account of the workspace where none is named."""

    def __init__(self, accounts: Sequence[str], clock: Clock, *, balances: bool = False) -> None:
        for account in accounts:
            account_folder(account)  # refuses what is no name
        self._accounts, self._clock, self._balances = tuple(accounts), clock, balances
        self.token, self._nonce, self.port = clock.new_id() + clock.new_id(), clock.new_id(), 0
        self._known: tuple[float, list[dict[str, Any]]] = (-1e9, [])
        self._asking = asyncio.Lock()

    async def start(self, port: int) -> web.AppRunner:
        """What serves it, at `port` or where 0 says so any; `WorkspaceError` where that is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=4096)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/api/state", self._state),
                web.get("/metrics", self._metrics),
                web.post("/halt", self._halt),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, HOST, port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise WorkspaceError(f"port {port} of {HOST}: {error.strerror}; --port picks another") from None
        self.port = runner.addresses[0][1]
        return runner

    @property
    def url(self) -> str:
        """Where its page is, token included."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.host not in (f"{HOST}:{self.port}", f"localhost:{self.port}"):
            return web.json_response({"error": "not this machine's name"}, status=403)
        if request.path != "/metrics":
            given = request.query.get("token", "") if request.path == "/" else request.headers.get("X-Token", "")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return web.json_response({"error": "open the address that flea monitor printed"}, status=403)
        answer: web.StreamResponse = await handler(request)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{self._nonce}'; style-src 'unsafe-inline'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return answer

    async def _page(self, _: web.Request) -> web.Response:
        text = PAGE.read_text(encoding="utf-8").replace("@TOKEN@", self.token).replace("@NONCE@", self._nonce)
        return web.Response(text=text, content_type="text/html")

    async def _found(self) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() - self._known[0] > FRESH_S:
                accounts = self._accounts or tuple(known_accounts())
                asked = [asyncio.to_thread(state_of, account) for account in accounts]
                self._known = loop.time(), list(await asyncio.gather(*asked))
            return self._known[1]

    async def _state(self, _: web.Request) -> web.Response:
        found = {"at_ms": self._clock.now_ns() // 1_000_000, "accounts": await self._found()}
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def _halt(self, request: web.Request) -> web.Response:
        """Halts one account, watched for a few seconds; the HALT file is written where no runner takes it."""
        origin = request.headers.get("Origin", "")
        if origin not in (f"http://{HOST}:{self.port}", f"http://localhost:{self.port}"):
            return web.json_response({"said": "a halt comes from the monitor's own page"}, status=403)
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, str])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            asked = {}
        account = asked.get("account", "")
        if account not in (self._accounts or known_accounts()):
            return web.json_response({"said": f"no account {account!r} here"}, status=404)
        work = partial(halt_account, account_folder(account), "the monitor's button", wait_s=HALT_S)
        try:
            found = await asyncio.to_thread(work)
        except FleaError as error:
            return web.json_response({"said": f"not halted: {error}"}, status=500)
        self._known = (-1e9, [])
        said = {
            "verified": "halted: no open order at the exchange",
            "open": f"halted, not verified yet: {found.open_orders} orders may be open",
            "unreached": f"no runner took it ({found.why}); the HALT file is written: none starts or sends an order",
        }[found.outcome]
        return web.json_response({"said": said, "outcome": found.outcome})

    async def _metrics(self, _: web.Request) -> web.Response:
        beat_ns = await asyncio.to_thread(last_beat_ns, workspace())
        silent_s = None if beat_ns is None else (self._clock.now_ns() - beat_ns) / 1e9
        body = metrics(await self._found(), balances=self._balances, silent_s=silent_s)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def metrics(accounts: Sequence[dict[str, Any]], *, balances: bool, silent_s: float | None = None) -> bytes:
    """The accounts in Prometheus' text format; with `balances` their money and quantities too. `silent_s` is how long
    no scheduler was heard of, None where there is none to hear."""
    registry = CollectorRegistry()
    if silent_s is not None:
        Gauge("flea_schedule_silent_s", "seconds since a scheduler was heard of", registry=registry).set(silent_s)
    up = Gauge("flea_up", "1 where the account's runner answers", ["account"], registry=registry)
    state = Gauge("flea_state", "1 for the state that the runner is in", ["account", "state"], registry=registry)
    latch = Gauge("flea_latch", "1 for every latch that is closed", ["account", "latch"], registry=registry)
    fall = Gauge("flea_drawdown", "equity over its peak, less 1", ["account"], registry=registry)
    held = Gauge("flea_position", "quantity held", ["account", "symbol"], registry=registry) if balances else None
    shown = {**PLAIN, **(MONEY if balances else {})}
    gauges = {name: Gauge(f"flea_{name}", what, ["account"], registry=registry) for name, what in shown.items()}
    for one in accounts:
        account, status = one["account"], one["status"]
        up.labels(account).set(status is not None)
        if one["drawdown"] is not None:
            fall.labels(account).set(one["drawdown"])
        for name, gauge in gauges.items():
            if status is not None and isinstance(status.get(name), int | float):
                gauge.labels(account).set(status[name])
        if status is not None:
            state.labels(account, str(status.get("state"))).set(1)
            for name in status.get("latches", ()):
                latch.labels(account, name).set(1)
            if held is not None:
                for symbol, qty in status.get("positions", {}).items():
                    held.labels(account, symbol).set(qty)
    return generate_latest(registry)
