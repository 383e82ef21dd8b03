"""A sandbox that keeps its own books on what it was asked: an oracle that no client can talk out of what happened."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from flea_lab.backtest.market import Market
from flea_lab.backtest.playlist import playlist_of
from flea_lab.clock import WallClock
from flea_lab.config import RunConfig
from flea_lab.ledger import FEES, FUNDING, LOTS
from flea_lab.sandbox.exchange import Customer
from flea_lab.sandbox.faults import REST
from flea_lab.sandbox.rest import Answer, Request
from flea_lab.sandbox.server import BASE, SandboxServer
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage

AUDIT, RESTING = f"{BASE}/audit", f"{BASE}/resting"


class Audited(SandboxServer):
    """Says at /audit what every order, fill and account came to, which orders were posted and with what answer; at
    /resting how many are open.

    One byte goes into the file `mark` for every order that is posted, so that others may watch it. The process that the
    file beside it (`mark`.kill) names is killed when the next order arrives, before the order is carried out.
    """

    def __init__(self, stage: Stage, clock: WallClock, mark: Path) -> None:
        super().__init__(stage, clock)
        self.posts: list[tuple[str, int]] = []
        self.accounts: list[tuple[int, dict[str, Any]]] = []
        self._target = mark.with_suffix(".kill")
        self._mark = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        if request.path == AUDIT:
            return web.Response(body=orjson.dumps(self._audit()), content_type="application/json")
        if request.path == RESTING:
            return web.Response(body=orjson.dumps(self._resting()), content_type="application/json")
        if (request.method, request.path) != ("POST", f"{BASE}/orders"):
            return await super()._rest(request)
        body = orjson.loads(await request.read())
        os.write(self._mark, b".")
        self._kill()
        answered = await super()._rest(request)
        self.posts.append((body["client_order_id"], answered.status))
        return answered

    def _answer(self, method: str, path: str, asked: Request) -> Answer:
        if (method, path) == ("GET", "account"):
            customer = self.stage.exchange.customers[asked.account_id]
            self.accounts.append((asked.now_ms, account_of(customer)))
        return super()._answer(method, path, asked)

    def _kill(self) -> None:
        try:
            pid = int(self._target.read_text())
        except FileNotFoundError:
            return
        os.kill(pid, signal.SIGKILL)
        self._target.unlink()

    def _resting(self) -> int:
        """How many orders are open."""
        (customer,) = self.stage.exchange.customers.values()
        return len(customer.open)

    def _audit(self) -> dict[str, Any]:
        """The one account that trades here, out of the exchange's own objects."""
        (customer,) = self.stage.exchange.customers.values()
        fills = [event.what.fill for event in customer.events if hasattr(event.what, "fill")]
        return {
            "orders": {
                name: {"order_id": order.order_id, "status": order.status, "lots": order.lots, "filled": order.filled}
                for name, order in customer.orders.items()
            },
            "fills": [(fill.fill_id, fill.client_order_id, fill.lots) for fill in fills],
            "account": account_of(customer),
            "posts": self.posts,
            "accounts": self.accounts,
            "played": self.audience.played,
            "faults": {kind: count for kind, count in self.faults.counts.items() if count},
            "rest_faults": sum(self.faults.counts.get(kind, 0) for kind in REST),
        }


def account_of(customer: Customer) -> dict[str, Any]:
    """An account of the exchange in micro-dollars and lots, as a reconcile has it."""
    book = customer.ledger.book
    return {
        "cash_uusd": customer.ledger.cash_uusd,
        "fees_uusd": int(book[:, FEES].sum()),
        "funding_uusd": int(book[:, FUNDING].sum()),
        "lots": {symbol: int(book[row, LOTS]) for symbol, row in customer.ledger.row.items()},
    }


def serve(config: RunConfig, market: Market, settings: SandboxSettings, mark: Path, said: int) -> None:
    """Plays `market` until it is ended; the address goes to the descriptor `said`."""

    async def play() -> None:
        clock = WallClock()
        full = with_costs(settings, config.costs.fee_bps, config.costs.slippage_bps)
        server = Audited(Stage(playlist_of(market), full, clock.now_ns() // 1_000_000), clock, mark)
        async with server.listening() as url:
            os.write(said, url.encode())
            os.close(said)
            await server.play()
            await asyncio.Event().wait()

    asyncio.run(play())
