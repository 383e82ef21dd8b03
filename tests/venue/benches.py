"""The venues of this machine that the deck is played at: each with what a test can make happen there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from flea_lab.errors import VenueError
from flea_lab.live.paper import PaperVenue
from flea_lab.model.market import Heartbeat
from flea_lab.sandbox.faults import FaultPlan, FaultRule, FaultRules, FaultSettings
from flea_lab.testing.bench import Bench
from flea_lab.testing.stand_in.exchange import Exchange
from flea_lab.testing.stand_in.hyperliquid import HyperliquidStandIn
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from tests.venue.published_runs import COINS, GRIDS, MIDS, Hand, Here, S, here
from tests.venue.stand_in import GRID
from tests.venue.test_with_sandbox import client, key_of, sandbox

LOT_USD = 97_000.0


def broken_line(rest: Any, method: str, path: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two switches on `rest`: the next such request is carried out and its answer lost, or it never arrives."""
    real, ill = rest.once, []

    async def once(asked: str, where: str, *given: Any, **named: Any) -> Any:
        fault = ill.pop() if ill and (asked, where) == (method, path) else ""
        if fault == "order":
            raise VenueError("the line broke before it arrived")
        answer = await real(asked, where, *given, **named)
        if fault == "answer":
            raise VenueError("the line broke before the answer")
        return answer

    rest.once = once
    return lambda: ill.append("answer"), lambda: ill.append("order")


def acknowledging(venue: PurpleFlea, heard: list[Any]) -> Any:
    """Lets a recorded market in lockstep go on by one bar."""

    async def trade() -> None:
        beats = [said for said in heard if isinstance(said, Heartbeat)]
        if beats:
            await venue.acknowledge(beats[-1].ts_event)
        await asyncio.sleep(0.002)

    return trade


@asynccontextmanager
async def sandbox_bench(**dialect: Any) -> AsyncIterator[Bench]:
    """The sandbox in lockstep, orders matched against its books."""
    server = sandbox(matching="book")
    values = {"order_validity_s": 300.0, **dialect}
    async with server.running() as url, client(url, key_of(server), ack=True, values=values) as venue:
        customer = server.stage.exchange.customers["desk"]
        lose_answer, lose_order = broken_line(venue._rest, "POST", "/orders")

        def crowd() -> None:
            server.faults = FaultPlan(FaultSettings(faults=FaultRules(rest_429=FaultRule(every=1, most=1))))

        bench = Bench(
            venue, "BTCUSDT", GRID, LOT_USD, 10, lambda: server.stage.now_ms * 1_000_000,
            lose_answer=lose_answer, lose_order=lose_order, crowd=crowd,
            executions=lambda: sum(order.filled > 0 for order in customer.orders.values()),
        )  # fmt: skip
        bench.trade = acknowledging(venue, bench.heard)
        yield bench


@asynccontextmanager
async def paper_bench() -> AsyncIterator[Bench]:
    """A paper account over the sandbox's market, orders matched against its books."""
    server = sandbox(matching="book")
    async with server.running() as url, client(url, key_of(server), channels=("candle", "book"), ack=True) as feed:
        grids = dict(await feed.instruments())
        venue = PaperVenue(
            feed, grids, 60_000, fee_e8=50_000, slippage_e8=0, cash_uusd=100_000_000_000, funding=False,
            matching="book",
        )  # fmt: skip
        bench = Bench(venue, "BTCUSDT", GRID, LOT_USD, 10, lambda: server.stage.now_ms * 1_000_000)
        bench.trade = acknowledging(feed, bench.heard)
        bench.executions = lambda: len({fill.client_order_id for _, fill in venue._account.fills(0)})
        yield bench


def hand_moved(at: Here) -> Any:
    """Lets seconds pass on the hand's clock."""

    async def later(seconds: float) -> None:
        at.clock.ns += round(seconds * S)

    return later


@asynccontextmanager
async def published_bench(**given: Any) -> AsyncIterator[Bench]:
    """The published server's stand-in, in the weaker mode."""
    async with here() as at, at.client(**given) as venue:
        server = at.server

        def ill(name: str) -> Callable[[], None]:
            def next_only() -> str:
                server.dice.post = lambda: ""  # type: ignore[method-assign]
                return name

            def switch() -> None:
                server.dice.post = next_only  # type: ignore[method-assign]

            return switch

        yield Bench(
            venue, "BTCUSDT", GRIDS["BTCUSDT"], LOT_USD, 1_000, at.clock.now_ns, later=hand_moved(at),
            lose_answer=ill("after_lost"), lose_order=ill("before_lost"), crowd=ill("limited"),
            executions=lambda: len(server.carried_out),
        )  # fmt: skip


def unsigned(action: Any, nonce: int, void_ms: int | None) -> dict[str, Any]:
    """A signature in form only: the stand-in does not know the mathematics."""
    return {"r": "0x1", "s": "0x2", "v": 27}


@asynccontextmanager
async def hyperliquid_bench(**given: Any) -> AsyncIterator[Bench]:
    """The adapter for Hyperliquid's orders at the stand-in with its REST shapes."""
    clock = Hand()
    exchange = Exchange(COINS, MIDS, clock.now_ms)
    front = HyperliquidStandIn(exchange)
    async with front.running() as url:
        values = {"name": "hyperliquid", "rest_url": url, "ws_url": url.replace("http", "ws"), "poll_s": 0.001}
        values |= {"backoff_first_s": 0.001, "backoff_last_s": 0.002, "limits": {"per_minute": 100_000}}
        dialect = load_dialect({**values, **given}, "a test")
        async with HyperliquidExchange(dialect, front.signer, unsigned, GRIDS, clock) as venue:

            def ill(name: str) -> Callable[[], None]:
                def next_order(what: str) -> str:
                    if what != "order":
                        return ""
                    front.ill = lambda _: ""
                    return name

                def switch() -> None:
                    front.ill = next_order

                return switch

            async def later(seconds: float) -> None:
                clock.ns += round(seconds * S)

            yield Bench(
                venue, "BTCUSDT", GRIDS["BTCUSDT"], LOT_USD, 1_000, clock.now_ns, later=later,
                lose_answer=ill("lost_answer"), lose_order=ill("lost"), crowd=ill("429"),
                executions=lambda: exchange.executions,
            )  # fmt: skip
