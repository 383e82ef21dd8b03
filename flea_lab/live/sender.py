"""Two lanes out: orders one after the other, cancels past them. Every order is sent once, then only asked about.

Rules. Whether orders may go is asked again right before each is sent, with nothing awaited in between. What an answer
says, and that there was none, goes back in as a report. An order whose fate is unknown is asked for until the venue
says what became of it; that it was never seen is believed only on the second answer, and after the time in which the
order could still arrive.
"""

import asyncio
from collections.abc import Callable

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.execution.blotter import Blotter
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    CancelSent,
    Expired,
    Filled,
    Halt,
    NewOrder,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from flea_lab.venue.protocol import Exchange, OrderState

ASK_S = 0.25

Put = Callable[[OrderReport | Halt | None], None]


class Sender:
    """Carries commands to an exchange and their answers back through `put`; `put(None)` says that a lane is free."""

    def __init__(
        self,
        exchange: Exchange,
        put: Put,
        now_ns: Callable[[], int],
        blocked: Callable[[], str],
        fills_after: Callable[[], int],
        unknown_wait_s: float,
    ) -> None:
        """`blocked` gives the reason why no order may go, or "" ; `fills_after` the private number up to which every
        fill is known."""
        self._exchange, self._put, self._now_ns = exchange, put, now_ns
        self._blocked, self._fills_after = blocked, fills_after
        self._unknown_wait_s = unknown_wait_s
        self._orders: asyncio.Queue[NewOrder] = asyncio.Queue()
        self._cancels: asyncio.Queue[CancelOrder] = asyncio.Queue()
        self._busy = 0
        self._asked: dict[str, tuple[float, int]] = {}

    def give(self, command: NewOrder | CancelOrder) -> None:
        """Takes a command, durable by now."""
        self._busy += 1
        if isinstance(command, NewOrder):
            self._orders.put_nowait(command)
        else:
            self._cancels.put_nowait(command)

    @property
    def idle(self) -> bool:
        """Whether everything given has been answered, and the answers put back."""
        return self._busy == 0

    @property
    def waiting(self) -> bool:
        """Whether something given has not been taken up by its lane."""
        return not (self._orders.empty() and self._cancels.empty())

    async def send_orders(self) -> None:
        """The lane of orders; runs until cancelled."""
        while True:
            order = await self._orders.get()
            await self._send(order)
            self._done()

    async def send_cancels(self) -> None:
        """The lane of cancels; runs until cancelled."""
        while True:
            cancel = await self._cancels.get()
            name = cancel.client_order_id
            self._put(CancelSent(client_order_id=name, ts_event=self._now_ns()))
            try:
                for report in await self._exchange.send(cancel):
                    self._put(report)
            except VenueError as error:  # the order works on until somebody says otherwise: it is asked for
                self._put(SendUnclear(client_order_id=name, ts_event=self._now_ns(), reason=str(error)))
            self._done()

    def _done(self) -> None:
        self._busy -= 1
        self._put(None)

    async def _send(self, order: NewOrder) -> None:
        name = order.client_order_id
        why = self._blocked()
        if why:
            self._put(Rejected(client_order_id=name, ts_event=self._now_ns(), reason=f"not sent: {why}"))
            return
        try:
            for report in await self._exchange.send(order):
                self._put(report)
        except VenueRefusal as error:
            self._put(Rejected(client_order_id=name, ts_event=self._now_ns(), reason=str(error)))
            self._put(Halt(ts_event=self._now_ns(), reason=f"the venue refuses us: {error}"))
        except VenueError as error:
            self._put(SendUnclear(client_order_id=name, ts_event=self._now_ns(), reason=str(error)))

    async def ask(self, blotter: Blotter) -> None:
        """Asks once for every order whose fate is unknown; what is learned is put back. Failing to ask is no answer."""
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
            if missing >= 1 and now - first >= self._unknown_wait_s:
                del self._asked[name]
                self._put(NotFound(client_order_id=name, ts_event=self._now_ns()))


def told(state: OrderState) -> OrderReport:
    """What the venue's record of an order says."""
    name, ts = state.client_order_id, state.ts_event
    match state.status:
        case "open":
            return Accepted(client_order_id=name, ts_event=ts)
        case "cancelled":
            return Cancelled(client_order_id=name, ts_event=ts, filled_lots=state.filled_lots)
        case "expired":
            return Expired(client_order_id=name, ts_event=ts, filled_lots=state.filled_lots)
        case "rejected":
            return Rejected(client_order_id=name, ts_event=ts, reason=state.reason)
    return Filled(client_order_id=name, ts_event=ts)
