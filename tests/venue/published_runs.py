"""Seeded short runs of the published server's exchange: a driver that orders, is refused, waits and begins anew.

The driver keeps the orders in the real table of states and believes nothing but reports. What was carried out is
counted by the stand-in. Nothing here depends on how fast the machine is: the clock is moved by hand, and what the
server carries out late it does before the clock is beyond the time that the exchange waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec.structs import replace

from flea_lab.errors import VenueError
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import OPEN, UNKNOWN, Status
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Cancelled, NewOrder, NotFound, OrderIntent, Rejected, SendUnclear
from flea_lab.secret import Secret
from flea_lab.testing.stand_in.exchange import Exchange
from flea_lab.testing.stand_in.hazards import Hazards
from flea_lab.testing.stand_in.hyperliquid import HyperliquidStandIn
from flea_lab.testing.stand_in.published import PublishedStandIn
from flea_lab.venue.budget import Budget, RateBudget
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid_grid import grid_of
from flea_lab.venue.published_exchange import LIMITS, ORDERS_PER_MINUTE, PublishedExchange

S = 1_000_000_000
T0_NS = 1_700_000_040 * S
COINS = {"BTC": 5, "ETH": 4}
MIDS = {"BTC": "97000", "ETH": "3200"}
GRIDS: dict[str, Instrument] = {f"{coin}USDT": grid_of(decimals) for coin, decimals in COINS.items()}
SETTLE_S = 60.0


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = T0_NS

    def now_ns(self) -> int:
        return self.ns

    def now_ms(self) -> int:
        return self.ns // 1_000_000

    def new_id(self) -> str:
        return "hand"

    def jitter(self) -> float:
        return 0.0


@dataclass
class Here:
    """The exchange, the server in front of it, and what speaks to both."""

    clock: Hand
    exchange: Exchange
    server: PublishedStandIn
    info: HyperliquidStandIn
    dialect: dict[str, Any]

    def client(self, **given: Any) -> PublishedExchange:
        spoken = load_dialect({**self.dialect, **given}, "a test")
        return PublishedExchange(spoken, Secret(self.server.key), GRIDS, self.clock)

    def held(self, symbol: str) -> int:
        """Signed lots at the exchange."""
        size = self.exchange.account(self.server.address).held.get(symbol.removesuffix("USDT"), Decimal(0))
        return int(size / GRIDS[symbol].lot_size)


@asynccontextmanager
async def here(hazards: Hazards | None = None) -> AsyncIterator[Here]:
    clock = Hand()
    exchange = Exchange(COINS, MIDS, clock.now_ms)
    server, info = PublishedStandIn(exchange, hazards), HyperliquidStandIn(exchange)
    info.ill = server.dice.info
    limits = {"back_off_first_s": 0.0001, "back_off_last_s": 0.0001}
    quick = {"backoff_first_s": 0.0001, "backoff_last_s": 0.0005, "reads": 4, "limits": limits}
    async with server.running() as url, info.running() as data:
        values = {"name": "purpleflea", "rest_url": url, "poll_s": 0.0001, "settle_s": SETTLE_S, **quick}
        ws = data.replace("http", "ws")
        asked = {"rest_url": data, "ws_url": ws, "weight_per_minute": 1_000_000}  # looks come at a speed of tests
        yield Here(clock, exchange, server, info, values | {"data": asked | quick})


def order(name: str, symbol: str = "BTCUSDT", side: Any = "buy", lots: int = 1_000, **values: Any) -> NewOrder:
    price = values.get("limit_price")
    ticks = values.pop("price_ticks", None) or GRIDS[symbol].ticks(price or float(MIDS[symbol.removesuffix("USDT")]))
    kind = values.get("order_type", "market")
    intent = OrderIntent(
        symbol=symbol, side=side, size_usd=970.0, order_type=kind, limit_price=values.pop("limit_price", None),
        urgency="normal", signal_sources=(), ts_event=T0_NS, price_ticks=ticks, size_uusd=970_000_000, conviction=0.5,
    )  # fmt: skip
    given: dict[str, Any] = {"order_type": "market", "ts_event": T0_NS, **values}
    return NewOrder(
        client_order_id=name, symbol=symbol, side=side, lots=lots, price_ticks=ticks, intent=intent, **given
    )


@dataclass
class Run:
    """What one run came to."""

    seed: int
    intents: int = 0
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    hazards: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    violations: list[str] = field(default_factory=list)


class Driver:
    """Orders, and believes reports only."""

    def __init__(self, seed: int, at: Here) -> None:
        self.at, self.run = at, Run(seed)
        self.draws = np.random.default_rng(10_000 + seed)
        self.blotter = Blotter()
        self.held = dict.fromkeys(GRIDS, 0)
        self.late_ns = T0_NS

    async def steps(self, count: int) -> Run:
        self.venue = await self._begun()
        try:
            for n in range(count):
                await self._order(n)
                self._unpaced(self.venue)
                if self.draws.random() < 0.15:
                    await self._restart()
                self._pass(int(self.draws.integers(1, 20)))
                mid = Decimal(MIDS["BTC"]) + int(self.draws.integers(-60, 60))
                self.at.exchange.move("BTC", str(mid))
                self._check(f"step {n}")
            self.at.server.dice.quiet = True
            await self._settle()
            self._check("the end")
            self._check_all()
        finally:
            await self.venue.__aexit__()
        self.run.hazards = self.at.server.dice.counts
        return self.run

    def _pass(self, seconds: int) -> None:
        """Moves the clock; what is late is carried out before it is beyond the time for that."""
        ns = seconds * S
        if self.at.server.late and self.at.clock.ns + ns - self.late_ns >= (SETTLE_S - 5.0) * S:
            self.at.server.release()
        self.at.clock.ns += ns

    async def _begun(self) -> PublishedExchange:
        while True:  # a server that is ill does not let anybody in
            try:
                venue = await self.at.client().__aenter__()
            except VenueError:
                continue
            self._unpaced(venue)
            return venue

    def _unpaced(self, venue: PublishedExchange) -> None:
        """Forgets what was asked: a minute of the hand's clock is none of the loop's, by which the limits count."""
        assert venue._account is not None
        venue._account._info._budget = Budget(10**9)
        venue._budgets = {lane: RateBudget(replace(LIMITS, per_minute=ORDERS_PER_MINUTE)) for lane in venue._budgets}

    async def _restart(self) -> None:
        """The process is killed: what it knew is what the orders say."""
        await self.venue.__aexit__()
        self.run.restarts += 1
        self.venue = await self._begun()
        orders = [o.command for o in self.blotter.open_orders()]
        names = {fill: o.command.client_order_id for o in self.blotter._orders.values() for fill in o.fill_ids}
        self.venue.adopt(orders, names, self.held, 0)

    async def _order(self, n: int) -> None:
        symbol = list(GRIDS)[int(self.draws.integers(len(GRIDS)))]
        side = "buy" if self.draws.random() < 0.5 else "sell"
        lots = int(self.draws.integers(1, 5)) * (1_000 if symbol == "BTCUSDT" else 3_000)
        held = self.held[symbol]
        if held and self.draws.random() < 0.4:
            side, lots = ("sell", held) if held > 0 else ("buy", -held)
        one = order(f"run-{n}", symbol, side, lots)
        self.run.intents += 1
        self.blotter.register(one)
        before = len(self.at.server.carried_out) + len(self.at.server.late)
        self.late_ns = self.late_ns if self.at.server.late else self.at.clock.ns
        posts = sum(self.at.server.asked[f"POST /trade/{what}"] for what in ("open", "close"))
        try:
            reports = await self.venue.send(one)
        except VenueError as error:
            self._apply(SendUnclear(client_order_id=one.client_order_id, ts_event=0, reason=str(error)))
            self.run.outcomes["indefinite"] += 1
        else:
            for report in reports:
                self._apply(report)
            if isinstance(reports[0], Rejected):
                sort = "not sent" if reports[0].reason.startswith("not sent") else "definite"
                self.run.outcomes[sort] += 1
                if len(self.at.server.carried_out) + len(self.at.server.late) != before:
                    self.run.violations.append(f"{one.client_order_id}: {sort}, and it was carried out")
            else:
                self.run.outcomes["carried out"] += 1
        sent = sum(self.at.server.asked[f"POST /trade/{what}"] for what in ("open", "close")) - posts
        self.run.sent += sent
        if sent > 1:
            self.run.violations.append(f"{one.client_order_id}: sent {sent} times")
        if self.draws.random() < 0.7:
            await self._settle()

    async def _settle(self) -> None:
        """Asks until nothing is open; what is late comes before the time for it is over."""
        waited, release = 0.0, float(self.draws.integers(0, 50))
        while self.blotter.open_orders():
            for one in self.blotter.open_orders():
                name = one.command.client_order_id
                try:
                    state = await self.venue.order(name)
                    fills = await self.venue.fills(0)
                except VenueError:
                    continue
                for _, fill in fills:
                    self._apply(fill)
                if state is None and self.blotter.get(name).status is UNKNOWN:
                    self._apply(NotFound(client_order_id=name, ts_event=0))
                    self.run.outcomes["never carried out"] += 1
                elif state is not None and state.status == "cancelled" and self.blotter.get(name).status in OPEN:
                    self._apply(Cancelled(client_order_id=name, ts_event=0))
            if waited >= release:
                self.at.server.release()
            waited += 7.0
            self._pass(7)
            await asyncio.sleep(0.0002)
            if waited > 400:
                self.run.violations.append(
                    f"still open: {[o.command.client_order_id for o in self.blotter.open_orders()]}"
                )
                return

    def _apply(self, report: Any) -> None:
        before, after = self.blotter.on(report)
        if after.filled_lots != before.filled_lots:
            sign = 1 if after.command.side == "buy" else -1
            self.held[after.command.symbol] += sign * (after.filled_lots - before.filled_lots)
        if after.status is Status.REJECTED and after.filled_lots:
            self.run.violations.append(f"{report.client_order_id}: rejected with {after.filled_lots} lots")

    def _check(self, when: str) -> None:
        """The position at the exchange is what the reports say, give or take what is in flight: nothing is doubled."""
        for symbol in GRIDS:
            there, here_ = self.at.held(symbol), self.held[symbol]
            flying = [o.command for o in self.blotter.open_orders() if o.command.symbol == symbol]
            low = here_ - sum(o.lots for o in flying if o.side == "sell")
            high = here_ + sum(o.lots for o in flying if o.side == "buy")
            if not low <= there <= high:
                self.run.violations.append(f"{when}: {symbol}: {there} lots there, {low} to {high} here")

    def _check_all(self) -> None:
        filled = [o for o in self.blotter._orders.values() if o.filled_lots]
        carried = len(self.at.server.carried_out)
        if carried != len(filled):
            self.run.violations.append(f"{carried} orders were carried out, {len(filled)} have executions here")
        if any(self.at.server.asked[f"POST /trade/{what}"] for what in ("check-limits", "check-exits", "close-all")):
            self.run.violations.append("something that invents fills was asked for")


async def short_run(seed: int, hazards: Hazards, steps: int = 8) -> Run:
    async with here(hazards) as at:
        return await Driver(seed, at).steps(steps)
