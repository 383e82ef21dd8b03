"""The venues of this machine that the deck is played at: each with what a test can make happen there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from flea_lab.errors import VenueError
from flea_lab.live.paper import PaperVenue
from flea_lab.model.market import Heartbeat
from flea_lab.sandbox.faults import FaultPlan, FaultRule, FaultRules, FaultSettings
from flea_lab.secret import Secret
from flea_lab.testing.bench import Bench
from flea_lab.testing.stand_in.exchange import Declined, Exchange
from flea_lab.testing.stand_in.hyperliquid import HyperliquidStandIn
from flea_lab.venue.ccxt_exchange import CcxtExchange
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


class BaseError(Exception):
    """As ccxt's, by name; so are those below."""


class NetworkError(BaseError): ...


class RateLimitExceeded(NetworkError): ...


class InvalidOrder(BaseError): ...


class OrderNotFound(InvalidOrder): ...


class CcxtShaped:
    """ccxt's unified order methods over the small exchange; `ill` is what goes wrong with the next order."""

    precisionMode = 4

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._book, self.ill = exchange, exchange.account("0xdesk"), ""
        self.urls = {"api": {"public": "http://127.0.0.1:1"}}
        self.has = {"cancelAllOrders": True}
        self.apiKey = self.secret = self.password = ""

    async def close(self) -> None:
        return None

    async def load_markets(self) -> dict[str, Any]:
        told = {"quote": "USDT", "swap": True, "contract": True, "contractSize": 1.0, "active": True}
        return {f"{coin}/USDT:USDT": {"symbol": f"{coin}/USDT:USDT", "base": coin, **told} for coin in COINS}

    async def create_order(
        self, symbol: str, kind: str, side: str, amount: float, price: float | None, params: dict[str, Any]
    ) -> dict[str, Any]:
        ill, self.ill = self.ill, ""
        if ill == "429":
            raise RateLimitExceeded("too many requests")
        if ill == "order":
            raise NetworkError("connection reset")
        buy, coin = side == "buy", symbol.split("/")[0]
        px = Decimal(str(price)) if price else self._exchange.price(coin, buy)
        try:
            placed = self._exchange.place(
                "0xdesk", coin, buy, px, Decimal(str(amount)), reduce_only=bool(params.get("reduceOnly")),
                tif="Gtc" if kind == "limit" else "Ioc", cloid=params["clientOrderId"],
            )  # fmt: skip
        except Declined as error:
            raise InvalidOrder(str(error)) from None
        if ill == "answer":
            raise NetworkError("read timed out")
        return self._row(placed)

    def _row(self, order: Any) -> dict[str, Any]:
        status = {"open": "open", "filled": "closed"}.get(order.status, "canceled")
        told = {"id": str(order.oid), "clientOrderId": order.cloid, "status": status, "timestamp": order.ts_ms}
        return told | {"amount": float(order.sz), "filled": float(order.sz - order.left)}

    def _found(self, params: dict[str, Any]) -> Any:
        found = [order for order in self._book.orders.values() if order.cloid == params["clientOrderId"]]
        if not found:
            raise OrderNotFound("Order does not exist.")
        return found[-1]

    async def fetch_order(self, _: str, __: str, params: dict[str, Any]) -> dict[str, Any]:
        return self._row(self._found(params))

    async def cancel_order(self, _: str, __: str, params: dict[str, Any]) -> dict[str, Any]:
        order = self._found(params)
        if order.status != "open":
            raise OrderNotFound("Unknown order sent.")
        order.status = "canceled"
        return self._row(order)

    async def cancel_all_orders(self, symbol: str) -> None:
        for order in self._book.open_orders():
            order.status = "canceled" if order.coin == symbol.split("/")[0] else order.status

    async def fetch_open_orders(self, symbol: str) -> list[dict[str, Any]]:
        return [self._row(order) for order in self._book.open_orders() if order.coin == symbol.split("/")[0]]

    async def fetch_my_trades(self, symbol: str) -> list[dict[str, Any]]:
        return [
            {"id": str(row["tid"]), "order": str(row["oid"]), "timestamp": row["time"], "price": float(row["px"]),
             "amount": float(row["sz"]), "side": "buy" if row["side"] == "B" else "sell",
             "fee": {"cost": float(row["fee"]), "currency": "USDT"}}
            for row in self._book.fills if row["coin"] == symbol.split("/")[0]
        ]  # fmt: skip

    async def fetch_balance(self) -> dict[str, Any]:
        entry = sum((size * self._exchange.mids[coin] for coin, size in self._book.held.items()), Decimal(0))
        return {"total": {"USDT": str(self._book.raw + entry)}}

    async def fetch_positions(self) -> list[dict[str, Any]]:
        return [
            {"symbol": f"{coin}/USDT:USDT", "contracts": float(abs(size)), "side": "long" if size > 0 else "short",
             "entryPrice": float(self._exchange.mids[coin]), "unrealizedPnl": 0.0}
            for coin, size in self._book.held.items() if size
        ]  # fmt: skip


@asynccontextmanager
async def ccxt_bench(name: str = "ccxt:binanceusdm") -> AsyncIterator[Bench]:
    """The adapter for ccxt's orders over an exchange that is shaped like ccxt's."""
    clock = Hand()
    exchange = Exchange(COINS, MIDS, clock.now_ms)
    fake = CcxtShaped(exchange)
    dialect = load_dialect({"name": name, "poll_s": 0.001}, "a test")
    async with CcxtExchange(dialect, Secret("key:secret"), GRIDS, clock, exchange=fake) as venue:

        def ill(what: str) -> Callable[[], None]:
            return lambda: setattr(fake, "ill", what)

        yield Bench(
            venue, "BTCUSDT", GRIDS["BTCUSDT"], LOT_USD, 1_000, clock.now_ns, lose_answer=ill("answer"),
            lose_order=ill("order"), crowd=ill("429"), executions=lambda: exchange.executions,
        )  # fmt: skip
