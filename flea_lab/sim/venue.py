"""The bot's side of the venue: `Feed` and `Exchange` of one simulated process, over requests that go wrong.

It does what the real client promises and no more: a question is asked again, an order is sent once; a gap among the
private frames is asked for; a gap among candles, a frame that cannot be read and a silence end the connection, and it
comes back at the pace of the real one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Protocol

from msgspec.structs import replace

from flea_lab.clock import Clock, Dice
from flea_lab.errors import VenueError
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Candle, Funding
from flea_lab.model.trading import (
    Accepted,
    CancelOrder,
    CancelRejected,
    Fill,
    NewOrder,
    OrderReport,
    Rejected,
)
from flea_lab.sim.exchange import PER_MINUTE, PER_SECOND, ModelExchange, Refusal
from flea_lab.sim.line import Board, Frame, Line
from flea_lab.sim.loop import SimLoop
from flea_lab.sim.market import GRID, SYMBOLS, Market
from flea_lab.sim.swarm import Swarm
from flea_lab.venue.budget import RateBudget, RateLimits, Use, reserved
from flea_lab.venue.numbering import Numbers
from flea_lab.venue.protocol import Capabilities, Deliver, Link, OrderState, VenueAccount, VenueClock
from flea_lab.venue.reconnect import Reconnect
from flea_lab.venue.record import told

REQUEST_S = 2.0
"""How long an answer is waited for."""

VALID_S = 5.0
"""How long after its decision an order may still be taken."""

DEAD_MAN_S = 4.0
"""The shortest time that the dead man's switch takes."""

SLOW_CANCEL_S = (0.8, 1.8)
"""How long a cancel takes where the venue is slow with them: longer than a bar, and answered in time."""

BLIND_FAILS = 0.5
"""Share of orders that are answered with 503 though they were taken, while nothing of the account can be said."""

SILENCE_S = 2.5
READS = 2
LIMITS = RateLimits(per_second=PER_SECOND, per_minute=PER_MINUTE)
CONNECTS_PER_MINUTE = 60
FEW = reserved(PER_SECOND, LIMITS.share, LIMITS.cancel_reserve)
"""Cancels that may be asked for within a second whatever else was."""

RETRY_AFTER_S = 1.0
"""What a 429 says of when to ask again."""

SCOLDED_S = 1.2
"""For how long a cancel that was answered with 429 may stop those after it."""


class _Failed(VenueError):
    """The answer says that something went wrong over there, or cannot be read."""


class _TooMany(_Failed):
    """The answer says that too much was asked."""


class _Unsent(VenueError):
    """The request never left."""


class Watch(Protocol):
    """Looks on at what leaves a process."""

    def sending(self, order: NewOrder) -> None:
        """An order is about to leave."""

    def unsent(self, order: NewOrder) -> None:
        """It did not leave after all."""

    def cancel_held(self) -> None:
        """A cancel has to wait for no reason of its own."""

    def asks_on(self) -> None:
        """A request leaves though the venue has said when the next one may."""


class SimVenue:
    """The connection of one process. `requests` counts what it asked."""

    def __init__(
        self,
        loop: SimLoop,
        dice: Dice,
        swarm: Swarm,
        exchange: ModelExchange,
        market: Market,
        board: Board,
        clock: Clock,
        watch: Watch,
    ) -> None:
        self._loop, self._dice, self._swarm = loop, dice, swarm
        self._exchange, self._market, self._board = exchange, market, board
        self._clock, self._watch = clock, watch
        self._private_seq: int | None = None
        self._budget = RateBudget(LIMITS)
        self._cancels_s: deque[float] = deque()
        self._scolded_s = -SCOLDED_S
        self._quiet_until_s: dict[Use, float] = {}
        self.requests = self.connects = 0

    @property
    def capabilities(self) -> Capabilities:
        """As `Exchange.capabilities`."""
        return Capabilities(
            id_scope="open_orders",
            query_by_id=True,
            validity_s=VALID_S,
            cancel_all=True,
            dead_man_s=DEAD_MAN_S,
            limit_orders=True,
            private_seq=True,
        )

    @property
    def private_seq(self) -> int | None:
        """As `Exchange.private_seq`."""
        return self._private_seq

    # ---- the stream

    async def run(self, deliver: Deliver) -> None:
        """As `Feed.run`, private frames in between."""
        pace = Reconnect(0.25, 2.0, CONNECTS_PER_MINUTE, 2.0)
        while True:
            await asyncio.sleep(pace.wait_s(self._loop.time(), self._clock.jitter()))
            pace.connecting(self._loop.time())
            self.connects += 1
            await asyncio.sleep(self._dice.uniform(0.01, 0.1))
            began_s = self._loop.time()
            if self._swarm.hits("request.drop"):
                reason = "connect: no answer"
            else:
                line = self._board.connect(self)
                try:
                    deliver(Link(up=True, ts_recv=self._clock.now_ns()))
                    reason = await self._listen(line, deliver)
                finally:
                    self._board.disconnect(line)
            deliver(Link(up=False, ts_recv=self._clock.now_ns(), reason=reason))
            pace.ended(self._loop.time() - began_s)

    async def _listen(self, line: Line, deliver: Deliver) -> str:
        """Why the connection ended."""
        numbers = Numbers()
        while True:
            frame = await line.next(SILENCE_S)
            if frame is None:
                return line.closed or f"no frame for {SILENCE_S:g} s"
            if frame.channel == "private":
                await self._on_private(frame, deliver)
                continue
            ended = self._on_public(frame, numbers, deliver)
            if ended:
                return ended

    def _on_public(self, frame: Frame, numbers: Numbers, deliver: Deliver) -> str:
        if frame.bad:
            return f"{frame.channel} {frame.symbol}: not a number" if frame.channel == "candle" else ""
        place = numbers.place((frame.channel, frame.symbol), frame.seq)
        if place == "gap" and frame.channel == "candle":
            return f"{frame.channel} {frame.symbol}: {numbers.missed} missing"
        if place == "again" or (place == "late" and frame.channel == "book"):
            return ""
        said = frame.said
        deliver(replace(said, ts_recv=self._clock.now_ns()) if frame.symbol else said)
        return ""

    async def _on_private(self, frame: Frame, deliver: Deliver) -> None:
        known = self._private_seq
        if known is not None and frame.seq > known + 1:
            try:
                missed = await self.fills(known)
            except VenueError:
                missed = []  # whoever compares the accounts will find what is missing
            else:
                self._private_seq = frame.seq
            for number, fill in missed:
                if number < frame.seq:
                    deliver(fill)
        else:
            self._private_seq = frame.seq if known is None else max(known, frame.seq)
        deliver(frame.said)

    # ---- requests

    async def _once(self, serve: Callable[[], Any], use: Use, slow_s: tuple[float, float] | None = None) -> Any:
        """The answer to one request; `VenueError` where there is none, `_Unsent` where it never left. It may take as
        long as `slow_s` where the venue is slow with its kind."""
        loop, dice, hits = self._loop, self._dice, self._swarm.hits
        if self._turn_s(use) > 0.0:
            raise _Unsent("the venue's limits")
        if hits("request.unsent"):
            raise _Unsent("cannot connect")
        if loop.time() < self._quiet_until_s.get(use, 0.0):
            self._watch.asks_on()
        self._budget.spend(loop.time())
        if use == "cancel":
            self._cancels_s.append(loop.time())
        future: asyncio.Future[Any] = loop.create_future()
        self.requests += 1

        def answer(said: Any) -> None:
            if not future.done():
                future.set_result(said)

        def arrive() -> None:
            exchange = self._exchange
            if exchange.down or (exchange.blind and use == "read") or hits("request.refused_before"):
                said: Any = _Failed("answered 503")
            elif exchange.too_many() or hits("request.too_many"):
                said = _TooMany("answered 429, Retry-After 1")
            else:
                said = serve()
                mute = exchange.blind and use == "order" and dice.random() < BLIND_FAILS
                if exchange.deaf or mute or hits("request.failed_after"):
                    said = _Failed("answered 503")
                elif hits("request.malformed"):
                    said = _Failed("the answer cannot be read")
            if not hits("request.answer_lost"):
                loop.call_later(dice.uniform(0.003, 0.03), answer, said, context=Context())

        if not hits("request.drop"):
            delay_s = dice.uniform(0.5, 9.0) if hits("request.slow") else dice.uniform(0.003, 0.03)
            if slow_s and hits("request.slow_cancel"):
                delay_s = max(delay_s, dice.uniform(*slow_s))
            loop.call_later(delay_s, arrive, context=Context())
        try:
            async with asyncio.timeout(REQUEST_S):
                said = await future
        except TimeoutError:
            raise VenueError("no answer") from None
        if isinstance(said, _TooMany):
            self._budget.stopped(loop.time(), use, RETRY_AFTER_S, self._clock.jitter())
            if use == "cancel":
                self._scolded_s = loop.time()
            stopped: tuple[Use, ...] = ("read", "order", "cancel") if use == "cancel" else ("read", "order")
            self._quiet_until_s |= dict.fromkeys(stopped, loop.time() + RETRY_AFTER_S)
        else:
            self._budget.answered()
        if isinstance(said, _Failed):
            raise said
        return said

    def _turn_s(self, use: Use) -> float:
        """Seconds until a request may go. A cancel may at once, as long as few are asked for and none was refused."""
        now_s = self._loop.time()
        wait_s = self._budget.wait_s(now_s, use)
        if wait_s > 0.0 and use == "cancel" and now_s - self._scolded_s > SCOLDED_S:
            while self._cancels_s and self._cancels_s[0] < now_s - 1.1:
                self._cancels_s.popleft()
            if len(self._cancels_s) < FEW:
                self._watch.cancel_held()
        return wait_s

    async def _ask(self, serve: Callable[[], Any], use: Use = "read") -> Any:
        """The answer to a question, asked again."""
        for left in range(READS - 1, -1, -1):
            while (turn_s := self._turn_s(use)) > 0.0:
                await asyncio.sleep(turn_s)
            try:
                return await self._once(serve, use)
            except VenueError:
                if not left:
                    raise
                await asyncio.sleep(self._clock.jitter() * 0.25)
        raise AssertionError

    # ---- as Feed

    async def instruments(self) -> Mapping[str, Instrument]:
        """As `Feed.instruments`."""
        return dict.fromkeys(SYMBOLS, GRID)

    async def clock(self) -> VenueClock:
        """As `Feed.clock`."""
        now_ns: int = await self._ask(lambda: self._exchange.now_ns)
        return VenueClock(now_ns=now_ns)

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """As `Feed.history`."""
        found: list[Candle] = await self._ask(lambda: list(self._market.history(symbol, start_ns, count)))
        now_ns = self._clock.now_ns()
        return [replace(candle, ts_recv=now_ns) for candle in found]

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:  # noqa: ARG002
        """As `Feed.settlements`: nothing settles within a scenario."""
        return []

    async def refresh(self, symbol: str) -> None:
        """As `Feed.refresh`: every book is whole."""

    async def acknowledge(self, ts_event: int) -> None:
        """As `Feed.acknowledge`: the market waits for nobody."""

    # ---- as Exchange

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """As `Exchange.send`."""
        name, exchange = command.client_order_id, self._exchange
        if isinstance(command, CancelOrder):
            try:
                said = await self._once(lambda: exchange.cancel(name), "cancel", SLOW_CANCEL_S)
            except _Unsent as error:
                return (CancelRejected(client_order_id=name, ts_event=command.ts_event, reason=str(error), sent=False),)
            if isinstance(said, Refusal):
                return (CancelRejected(client_order_id=name, ts_event=exchange.now_ns, reason=said.code),)
            return _cancelled(said)
        self._watch.sending(command)
        valid_ns = command.ts_event + round(VALID_S * 1e9)
        try:
            said = await self._once(lambda: exchange.place(command, valid_ns), "order")
        except _Unsent as error:
            self._watch.unsent(command)
            return (Rejected(client_order_id=name, ts_event=command.ts_event, reason=str(error), sent=False),)
        if isinstance(said, Refusal):
            if said.code == "client_order_id_conflict":
                raise VenueError("answered 409 client_order_id_conflict, which leaves the order's fate open")
            return (Rejected(client_order_id=name, ts_event=exchange.now_ns, reason=said.code),)
        return _placed(said)

    def order_wait_s(self) -> float:
        """As `venue.budget.Paced.order_wait_s`."""
        return self._budget.wait_s(self._loop.time(), "order")

    async def cancel_all(self) -> None:
        """As `Exchange.cancel_all`."""
        await self._ask(self._exchange.cancel_all, "cancel")

    async def dead_man(self, timeout_s: float) -> None:
        """As `Exchange.dead_man`."""
        await self._ask(lambda: self._exchange.dead_man(timeout_s), "cancel")

    async def order(self, client_order_id: str) -> OrderState | None:
        """As `Exchange.order`."""
        found: OrderState | None = await self._ask(lambda: self._exchange.order(client_order_id))
        return found

    async def open_orders(self) -> list[OrderState]:
        """As `Exchange.open_orders`."""
        found: list[OrderState] = await self._ask(self._exchange.open_orders)
        return found

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """As `Exchange.fills`."""
        found: list[tuple[int, Fill]] = await self._ask(lambda: self._exchange.fills(after))
        return found

    async def account(self) -> VenueAccount:
        """As `Exchange.account`."""
        account: VenueAccount = await self._ask(self._exchange.account)
        if self._private_seq is None:
            self._private_seq = account.seq
        return account


def _placed(said: OrderState) -> tuple[OrderReport, ...]:
    """What the answer to an order says of it, as the real client reads it."""
    accepted = Accepted(client_order_id=said.client_order_id, ts_event=said.ts_event)
    return (accepted,) if said.status == "open" else (accepted, told(said))


def _cancelled(said: OrderState) -> tuple[OrderReport, ...]:
    """What the answer to a cancel says of its order, as the real client reads it."""
    return (told(said),)
