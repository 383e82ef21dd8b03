"""What a card of the venue deck has at hand: one exchange, what may be ordered there, what a test can make happen."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Side
from flea_lab.model.trading import Fill, NewOrder, OrderIntent, OrderReport, OrderType
from flea_lab.venue.protocol import Exchange, OrderState, Said

PATIENCE_S = 20.0
"""How long a card waits for what must come; only a card that fails waits that long."""

Do = Callable[[], None]
Pass = Callable[[float], Awaitable[None]]


class CardFailed(Exception):
    """The venue does not keep what a card asks for; the text says how."""


class NotTried(Exception):
    """The card needs something that this bench cannot make happen."""


async def _nothing() -> None:
    await asyncio.sleep(0.005)


async def _wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@dataclass
class Bench:
    """One exchange, and what may be ordered there: `lots` of `symbol` near `price` is an order it takes.

    `trade` lets its market go on by a step, `later` lets seconds pass at the venue. What is None cannot be made to
    happen: `lose_answer` (the next order is carried out and its answer lost), `lose_order` (it never arrives), `crowd`
    (it is answered with the rate limit). `executions` is the venue's own count of the orders it carried out. `now_ns`
    is the time that an order is stamped with.
    """

    exchange: Exchange
    symbol: str
    instrument: Instrument
    price: float
    lots: int
    now_ns: Callable[[], int]
    trade: Callable[[], Awaitable[None]] = _nothing
    later: Pass = _wait
    lose_answer: Do | None = None
    lose_order: Do | None = None
    crowd: Do | None = None
    executions: Callable[[], int] | None = None
    heard: list[Said] = field(default_factory=list)
    _named: int = 0

    @property
    def moves_time(self) -> bool:
        """Whether `later` moves the venue's clock, and nobody has to wait for it."""
        return self.later is not _wait

    def order(self, *, side: Side = "buy", kind: OrderType = "market", away: float = 0.0, **given: Any) -> NewOrder:
        """A new order; a limit order stands `away` (a share) from the price, on its passive side."""
        self._named += 1
        away = away if side == "sell" else -away
        ticks, lots = self.instrument.ticks(self.price), given.pop("lots", self.lots)
        at = self.instrument.ticks(self.price * (1.0 + away)) if kind == "limit" else ticks
        limit = self.instrument.price(at) if kind == "limit" else None
        worth = self.instrument.qty(lots) * self.price
        intent = OrderIntent(
            symbol=self.symbol,
            side=side,
            size_usd=worth,
            order_type=kind,
            limit_price=given.pop("limit_price", limit),
            urgency="normal",
            signal_sources=("deck",),
            ts_event=self.now_ns(),
            price_ticks=ticks,
            size_uusd=round(worth * 1e6),
            conviction=0.5,
        )
        values = {"symbol": self.symbol, "side": side, "lots": lots, "price_ticks": at, "order_type": kind}
        values |= {"ts_event": self.now_ns(), "client_order_id": f"deck-{self._named}", "intent": intent}
        return NewOrder(**(values | given))

    async def send(self, order: NewOrder) -> tuple[OrderReport, ...] | None:
        """What the answer says; None where the order's fate is unknown."""
        try:
            return await self.exchange.send(order)
        except VenueRefusal:
            raise
        except VenueError:
            return None

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Returns once `holds` does, the market going on meanwhile; `CardFailed` names `what` did not come."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + PATIENCE_S
        while not await holds():
            if loop.time() > end_s:
                raise CardFailed(f"{what} did not come within {PATIENCE_S:g} s")
            await self.trade()

    async def over(self, order: NewOrder) -> OrderState:
        """The order once it is over."""
        found: list[OrderState] = []

        async def ended() -> bool:
            try:
                state = await self.exchange.order(order.client_order_id)
            except VenueRefusal:
                raise
            except VenueError:
                return False
            if state is not None and state.status != "open":
                found.append(state)
            return bool(found)

        await self.until(f"the end of {order.client_order_id}", ended)
        return found[0]

    async def filled(self, order: NewOrder) -> list[Fill]:
        """The order's fills once it is over, as the exchange lists them."""
        state = await self.over(order)
        found: list[Fill] = []

        async def listed() -> bool:
            rows = await self.exchange.fills(0)
            found[:] = [fill for _, fill in rows if fill.client_order_id == order.client_order_id]
            return sum(fill.lots for fill in found) >= state.filled_lots

        await self.until(f"the fills of {order.client_order_id}", listed)
        return found

    async def held(self) -> int:
        """Signed lots of the symbol, by the account."""
        return (await self.exchange.account()).lots.get(self.symbol, 0)

    def carried_out(self) -> int:
        """How many orders the venue carried out; -1 where it does not count."""
        return -1 if self.executions is None else self.executions()
