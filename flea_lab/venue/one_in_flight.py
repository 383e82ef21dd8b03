"""The weaker mode: one order in flight an account, and what became of it read from the account's fills and positions.

For a venue whose orders bear no id of ours and cannot be asked for. An order takes off before its first byte is sent;
no other is sent until it has landed.

Rules. An execution that nobody has explained yet, in the order's symbol and on its side, after it took off, is the
order's, all of them of one order of the venue; where the answer named that order, of this one alone. The order has
landed when its executions are as much as the position has moved: what is missing will not come, for such an order
fills at once or not at all. That nothing happened is believed when `settle_ns` have passed, fills and position have not
moved, and the answer did not say otherwise. Where fills and position contradict each other for twice that long, the
fills count, and the comparison of the accounts finds the rest. An order without executions, whose way the position has
moved, stays in flight for as long as that takes. Two orders of the venue for one of ours are never explained by it: the
second stays a difference that a person must see.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec.structs import replace

from flea_lab.model.trading import Cancelled, Fill, NewOrder, OrderReport
from flea_lab.venue.protocol import OrderState

KEPT = 500
"""Orders that have landed, and executions, that are still known."""


class Execution(NamedTuple):
    """One execution as the venue lists it: `fill` bears no order id of ours, `order_id` is the venue's own."""

    seq: int
    order_id: str
    fill: Fill


class Flight(NamedTuple):
    """An order that may have been carried out: when it was sent (ns UTC of the venue), beyond which execution its own
    come, and the venue's name for it where the answer told it."""

    order: NewOrder
    sent_ns: int
    after_seq: int
    order_id: str = ""


@runtime_checkable
class Adopts(Protocol):
    """An exchange that infers what became of its orders, and must be told which there were before it began."""

    def adopt(
        self, orders: Sequence[NewOrder], names: Mapping[str, str], held: Mapping[str, int], after_seq: int
    ) -> None:
        """Takes up the orders whose fate the journal does not know. `names` are our order ids by `fill_id`, `held` the
        signed lots that the known fills come to, `after_seq` the execution up to which all are known."""


@runtime_checkable
class LooksLast(Protocol):
    """An exchange that waits before it sends, for an answer or a connection, and so asks once more whether it may."""

    blocked: Callable[[], str]
    """Why no order may go at this instant; "" when one may. Called in the same step as the send."""

    passage: Callable[[], AbstractContextManager[str]]
    """Held from that look until the bytes are written; gives why it is shut, or ""."""


class OneInFlight:
    """What is known of an account's orders at such a venue. Pure: it is told what the venue lists, and when."""

    def __init__(self, settle_ns: int) -> None:
        self._settle_ns = settle_ns
        self.flights: dict[str, Flight] = {}
        self.landed: dict[str, OrderState] = {}
        self.names: dict[str, str] = {}
        self.held: dict[str, int] = {}
        """Signed lots that the executions which are explained come to."""
        self.seq = 0
        """The last execution that was looked at."""

    def begin(self, held: Mapping[str, int], seq: int) -> None:
        """Takes the account as it stands for explained."""
        self.held, self.seq = {symbol: lots for symbol, lots in held.items() if lots}, seq

    def adopt(
        self,
        orders: Sequence[NewOrder],
        names: Mapping[str, str],
        held: Mapping[str, int],
        after_seq: int,
        now_ns: int,
    ) -> None:
        """As `Adopts.adopt`; there may be several, of which one at most was sent, nobody knows when: as if just now."""
        self.begin(held, after_seq)
        self.names = dict(names)
        for order in orders:
            self.take_off(order, now_ns)

    def busy(self) -> str:
        """Why no order may be sent: the name of the one in flight; "" where there is none."""
        return next(iter(self.flights), "")

    def take_off(self, order: NewOrder, sent_ns: int) -> None:
        """Counts `order` as carried out until the venue shows otherwise."""
        self.flights[order.client_order_id] = Flight(order, sent_ns, self.seq)

    def never(self, name: str) -> None:
        """The order provably did nothing: it was refused, or never left."""
        self.flights.pop(name, None)

    def answered(self, name: str, order_id: str) -> None:
        """The venue says that it carried the order out, as `order_id`."""
        if name in self.flights:
            self.flights[name] = self.flights[name]._replace(order_id=order_id)

    def look(self, listed: Sequence[Execution], lots: Mapping[str, int], now_ns: int) -> list[OrderReport]:
        """What `listed` (every execution since the last look at least) and the positions say of the orders in flight.

        An order that did nothing leaves no report: it is in flight no more, and has not landed.
        """
        told: list[OrderReport] = []
        for name, flight in list(self.flights.items()):
            order, mine = flight.order, self._own(flight, listed)
            filled = sum(one.fill.lots for one in mine) * (1 if order.side == "buy" else -1)
            moved = lots.get(order.symbol, 0) - self.held.get(order.symbol, 0)
            waited_ns = now_ns - flight.sent_ns
            if filled and (moved == filled or waited_ns >= 2 * self._settle_ns):
                told += self._land(flight, mine, filled, now_ns)
            elif not filled and not flight.order_id and self._idle(order, moved, waited_ns):
                del self.flights[name]
        if not self.flights and listed:
            self.seq = max(self.seq, *(one.seq for one in listed))
        return told

    def _idle(self, order: NewOrder, moved: int, waited_ns: int) -> bool:
        """Whether an order without executions did nothing; never where the position moved its way."""
        if moved == 0:
            return waited_ns >= self._settle_ns
        return (moved > 0) is not (order.side == "buy") and waited_ns >= 2 * self._settle_ns

    def _own(self, flight: Flight, listed: Sequence[Execution]) -> list[Execution]:
        """The executions that are the order's: those of one order of the venue."""
        order = flight.order
        free = [
            one
            for one in sorted(listed, key=lambda one: one.seq)
            if one.seq > flight.after_seq
            and one.fill.fill_id not in self.names
            and (one.fill.symbol, one.fill.side) == (order.symbol, order.side)
        ]
        wanted = flight.order_id or (free[0].order_id if free else "")
        return [one for one in free if one.order_id == wanted]

    def _land(self, flight: Flight, mine: Sequence[Execution], moved: int, now_ns: int) -> list[OrderReport]:
        order, name = flight.order, flight.order.client_order_id
        del self.flights[name]
        told: list[OrderReport] = [replace(one.fill, client_order_id=name) for one in mine]
        for one in mine:
            self.names[one.fill.fill_id] = name
        self.held[order.symbol] = self.held.get(order.symbol, 0) + moved
        filled = abs(moved)
        self.landed[name] = OrderState(
            client_order_id=name,
            symbol=order.symbol,
            status="filled" if filled >= order.lots else "cancelled",
            lots=order.lots,
            filled_lots=filled,
            ts_event=now_ns,
        )
        if filled < order.lots:  # nothing of it rests: what did not fill at once never will
            told.append(Cancelled(client_order_id=name, ts_event=now_ns, filled_lots=filled))
        for known in (self.landed, self.names):
            while len(known) > KEPT:
                known.pop(next(iter(known)))
        return told
