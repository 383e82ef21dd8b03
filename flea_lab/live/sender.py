"""Two lanes out: orders one after the other, cancels past them. Every order is sent once, then only asked about.

Rules. Whether orders may go is asked again right before each is sent, with nothing awaited in between. What an answer
says, and that there was none, goes back in as a report. An order is tried again only where it provably never left; a
cancel, which may be repeated, also where its answer was lost. An order whose fate is unknown is asked for until the
venue says what became of it; that it was never seen is believed only on the second answer, after the time in which the
order could still arrive, and where no fill of it is listed: a venue may forget what is over. A question that fails is
no answer. An order that is over, and of which fills are missing, is asked for as well.
"""

import asyncio
from collections.abc import Callable

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import UNKNOWN, Order, Status
from flea_lab.journal import Ticket
from flea_lab.live.pump import durable
from flea_lab.model.trading import (
    CancelOrder,
    CancelRejected,
    CancelSent,
    Halt,
    NewOrder,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from flea_lab.venue.budget import Paced
from flea_lab.venue.one_in_flight import LooksLast
from flea_lab.venue.protocol import Exchange
from flea_lab.venue.reconnect import full_jitter_s
from flea_lab.venue.record import told
from flea_lab.venue.rest import Passage, open_passage

ASK_S = 0.25
TRIES = 3
"""How often a cancel, or an order that never left, is tried."""

FIRST_S, LAST_S = 0.1, 1.0
"""The back-off between those."""

SLACK_S = 2.0
"""How far the venue's clock may be behind ours, and what it lists behind what it took, together."""

OWED_S = 1.0
"""How long fills may be on their way after the order's last word, before they are asked for."""

FILLS_S = 5.0
"""How often fills are asked for at a venue that does not number what it tells."""

Put = Callable[[OrderReport | Halt | None], None]


class Sender:
    """Carries commands to an exchange and their answers back through `put`; `put(None)` says that a lane is free.
    `sending` is how many orders have left without an answer yet."""

    def __init__(
        self,
        exchange: Exchange,
        put: Put,
        now_ns: Callable[[], int],
        blocked: Callable[[], str],
        fills_after: Callable[[], int],
        unknown_wait_s: float,
        patience_s: float = 2.0,
        jitter: Callable[[], float] = lambda: 0.5,
        old: Callable[[NewOrder], str] = lambda _: "",
        passage: Passage = open_passage,
    ) -> None:
        """`blocked` gives the reason why no order may go, `old` why this one may not any more, or ""; `passage` is held
        from an exchange's own last look at `blocked` until the order is written; `fills_after` the
        private number up to which every fill is known. For `patience_s` an order may wait for its turn or for a
        connection; then it is given up."""
        self._exchange, self._put, self._now_ns = exchange, put, now_ns
        self._blocked, self._fills_after = blocked, fills_after
        if isinstance(exchange, LooksLast):
            exchange.blocked, exchange.passage = blocked, passage
        self._unknown_wait_s, self._patience_s, self._jitter = unknown_wait_s, patience_s, jitter
        self._old = old
        self._orders: asyncio.Queue[tuple[NewOrder, Ticket]] = asyncio.Queue()
        self._cancels: asyncio.Queue[CancelOrder] = asyncio.Queue()
        self._cancelling: set[str] = set()
        self._busy = self.sending = 0
        self._asked: dict[str, tuple[float, int]] = {}
        self._owed_s: dict[str, float] = {}
        self._filled_s, self._filled_seq = -1e9, 0

    def give(self, command: NewOrder | CancelOrder, ticket: Ticket) -> None:
        """Takes a command. An order waits for its ticket; a cancel waits for nothing, and not twice in the line."""
        if isinstance(command, NewOrder):
            self._busy += 1
            self._orders.put_nowait((command, ticket))
        elif command.client_order_id not in self._cancelling:
            self._busy += 1
            self._cancelling.add(command.client_order_id)
            self._cancels.put_nowait(command)

    @property
    def idle(self) -> bool:
        """Whether everything given has been answered, and the answers put back."""
        return self._busy == 0

    def settled(self, blotter: Blotter) -> bool:
        """Whether nothing is on its way to the venue, and of every order in `blotter` is known whether it arrived."""
        return self.idle and not any(order.status in (Status.PENDING, UNKNOWN) for order in blotter.open_orders())

    @property
    def waiting(self) -> bool:
        """Whether something given has not been taken up by its lane."""
        return not (self._orders.empty() and self._cancels.empty())

    async def send_orders(self) -> None:
        """The lane of orders; runs until cancelled."""
        while True:
            order, ticket = await self._orders.get()
            await durable(ticket)
            await self._send(order)
            self._done()

    async def send_cancels(self) -> None:
        """The lane of cancels; runs until cancelled."""
        while True:
            cancel = await self._cancels.get()
            self._put(CancelSent(client_order_id=cancel.client_order_id, ts_event=self._now_ns()))
            reports = await self._cancelled(cancel)
            self._cancelling.discard(cancel.client_order_id)
            for report in reports:
                self._put(report)
            self._done()

    def _done(self) -> None:
        self._busy -= 1
        self._put(None)

    async def _cancelled(self, cancel: CancelOrder) -> tuple[OrderReport, ...]:
        """What became of a cancel. Without any answer the order works on until somebody says otherwise: it is asked
        for."""
        reports: tuple[OrderReport, ...] = ()
        for attempt in range(1, TRIES + 1):
            try:
                reports = await self._exchange.send(cancel)
                if not _unsent(reports):
                    return reports
            except VenueError as error:
                name, reason = cancel.client_order_id, str(error)
                reports = (SendUnclear(client_order_id=name, ts_event=self._now_ns(), reason=reason),)
                if isinstance(error, VenueRefusal):
                    break
            if attempt < TRIES:
                await asyncio.sleep(full_jitter_s(attempt, FIRST_S, LAST_S, self._jitter()))
        return reports

    async def _send(self, order: NewOrder) -> None:
        """Sends once; again only what never left, and only for a while."""
        loop, attempt = asyncio.get_running_loop(), 0
        until_s = loop.time() + self._patience_s
        while True:
            attempt += 1
            why = await self._turn(until_s) or self._blocked() or self._old(order)
            if why:
                self._refuse(order, f"not sent: {why}", sent=False)
                return
            self.sending += 1
            try:
                reports = await self._exchange.send(order)
            except VenueRefusal as error:
                self._refuse(order, str(error))
                self._put(Halt(ts_event=self._now_ns(), reason=f"the venue refuses us: {error}"))
                return
            except VenueError as error:
                name = order.client_order_id
                self._put(SendUnclear(client_order_id=name, ts_event=self._now_ns(), reason=str(error)))
                return
            finally:
                self.sending -= 1
            pause_s = full_jitter_s(attempt, FIRST_S, LAST_S, self._jitter())
            if not _unsent(reports) or attempt == TRIES or loop.time() + pause_s > until_s:
                for report in reports:
                    self._put(report)
                return
            await asyncio.sleep(pause_s)

    async def _turn(self, until_s: float) -> str:
        """Waits until the venue's limits let an order go; why that is too late, or ""."""
        loop = asyncio.get_running_loop()
        while isinstance(self._exchange, Paced) and (wait_s := self._exchange.order_wait_s()) > 0.0:
            if loop.time() + wait_s > until_s:
                return f"the venue's limits leave no order for {wait_s:.1f} s"
            await asyncio.sleep(wait_s)
        return ""

    def _refuse(self, order: NewOrder, reason: str, sent: bool = True) -> None:
        name = order.client_order_id
        self._put(Rejected(client_order_id=name, ts_event=self._now_ns(), reason=reason, sent=sent))

    async def ask(self, blotter: Blotter) -> None:
        """Asks once for every order whose fate is unknown, and for missing fills; what is learned is put back."""
        await self._ask_unknown(blotter)
        await self._ask_owed(blotter)
        if not self._exchange.capabilities.private_seq:
            await self._ask_fills(blotter)

    async def _ask_fills(self, blotter: Blotter) -> None:
        """Asks for fills where no number would show that one was missed."""
        now = asyncio.get_running_loop().time()
        if now - self._filled_s < FILLS_S:
            return
        self._filled_s = now
        try:
            fills = await self._exchange.fills(max(self._fills_after(), self._filled_seq))
        except VenueError:
            return
        for seq, fill in fills:
            self._filled_seq = max(self._filled_seq, seq)
            if fill.client_order_id in blotter:
                self._put(fill)

    async def _ask_owed(self, blotter: Blotter) -> None:
        """Asks for the fills of orders that are over, where they do not come by themselves."""
        owed = {order.command.client_order_id for order in blotter.owed_orders()}
        now = asyncio.get_running_loop().time()
        self._owed_s = {name: self._owed_s.get(name, now) for name in owed}
        late = {name for name, since in self._owed_s.items() if now - since >= OWED_S}
        if not late:
            return
        try:
            fills = await self._exchange.fills(self._fills_after())
        except VenueError:
            return
        for _, fill in fills:
            if fill.client_order_id in late:
                self._put(fill)

    def _may_arrive(self, order: Order, asked_s: float) -> bool:
        """Whether the venue may still take an order that comes late: it refuses one that is void."""
        valid_s = self._exchange.capabilities.validity_s
        if not valid_s or asked_s >= valid_s + SLACK_S:
            return False
        return self._now_ns() < order.command.ts_event + round((valid_s + SLACK_S) * 1e9)

    async def _ask_unknown(self, blotter: Blotter) -> None:
        now = asyncio.get_running_loop().time()
        for order in blotter.unknown_orders():
            name = order.command.client_order_id
            first, missing = self._asked.setdefault(name, (now, 0))
            try:
                state = await self._exchange.order(name)
                fills = [] if state is None else await self._exchange.fills(self._fills_after())
            except VenueError:
                continue
            if state is not None:
                del self._asked[name]
                for _, fill in fills:
                    if fill.client_order_id == name:
                        self._put(fill)
                self._put(told(state))
                continue
            self._asked[name] = first, missing + 1
            if missing >= 1 and now - first >= self._unknown_wait_s and not self._may_arrive(order, now - first):
                await self._conclude(name)

    async def _conclude(self, name: str) -> None:
        """Concludes that the venue never saw an order, unless it has fills of it: it may forget what is over."""
        try:
            fills = await self._exchange.fills(self._fills_after())
        except VenueError:
            return
        del self._asked[name]
        mine = [fill for _, fill in fills if fill.client_order_id == name]
        for fill in mine:
            self._put(fill)
        if not mine:
            self._put(NotFound(client_order_id=name, ts_event=self._now_ns()))


def _unsent(reports: tuple[OrderReport, ...]) -> bool:
    """Whether the answer is that the request never left."""
    return len(reports) == 1 and isinstance(reports[0], Rejected | CancelRejected) and not reports[0].sent
