"""The order lifecycle as a table.

Rules. An order begins PENDING, before its first byte is sent. A send whose fate is not known makes it UNKNOWN, never
failed: it counts as exposure until any channel says what became of it. A fill may arrive in any state in which the
venue may have the order, also before its acknowledgement and after its cancel: the wire does not keep order. What is
not in the table is our error: it raises and changes nothing. A fill that was told before (same `fill_id`) changes
nothing: every channel may repeat it.
"""

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from flea_lab.errors import IllegalTransition, VenueError
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelRejected,
    CancelSent,
    Expired,
    Fill,
    NewOrder,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)


class Status(Enum):
    """Where an order stands."""

    PENDING = "pending"
    UNKNOWN = "unknown"
    WORKING = "working"
    CANCELLING = "cancelling"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    __hash__ = object.__hash__  # one object a member; Enum's own hash is a Python call, made at every report


PENDING, UNKNOWN, WORKING, CANCELLING = Status.PENDING, Status.UNKNOWN, Status.WORKING, Status.CANCELLING
FILLED, CANCELLED, REJECTED, EXPIRED = Status.FILLED, Status.CANCELLED, Status.REJECTED, Status.EXPIRED
OPEN = frozenset({PENDING, UNKNOWN, WORKING, CANCELLING})

TRANSITIONS: dict[tuple[Status, type[OrderReport]], Status] = {
    (PENDING, Accepted): WORKING,
    (PENDING, Rejected): REJECTED,
    (PENDING, SendUnclear): UNKNOWN,
    (PENDING, Fill): WORKING,  # the fill overtook its acknowledgement
    (PENDING, CancelSent): CANCELLING,
    (PENDING, CancelRejected): PENDING,  # the cancel overtook the order
    (PENDING, Cancelled): CANCELLED,  # the venue took it off at once, its acknowledgement was lost
    (PENDING, Expired): EXPIRED,
    (UNKNOWN, Accepted): WORKING,
    (UNKNOWN, Rejected): REJECTED,
    (UNKNOWN, NotFound): REJECTED,
    (UNKNOWN, Fill): WORKING,
    (UNKNOWN, SendUnclear): UNKNOWN,
    (UNKNOWN, CancelSent): UNKNOWN,  # cancelling what may exist does not make it known
    (UNKNOWN, CancelRejected): UNKNOWN,
    (UNKNOWN, Cancelled): CANCELLED,
    (UNKNOWN, Expired): EXPIRED,
    (WORKING, Accepted): WORKING,  # a second acknowledgement, from another channel
    (WORKING, SendUnclear): WORKING,  # the acknowledgement overtook the timeout
    (WORKING, Fill): WORKING,
    (WORKING, CancelSent): CANCELLING,
    (WORKING, CancelRejected): WORKING,
    (WORKING, Cancelled): CANCELLED,
    (WORKING, Expired): EXPIRED,
    (CANCELLING, Accepted): CANCELLING,
    (CANCELLING, Fill): CANCELLING,
    (CANCELLING, CancelSent): CANCELLING,
    (CANCELLING, CancelRejected): WORKING,
    (CANCELLING, Cancelled): CANCELLED,
    (CANCELLING, Rejected): REJECTED,
    (CANCELLING, Expired): EXPIRED,
    (CANCELLING, SendUnclear): UNKNOWN,
    (CANCELLED, Accepted): CANCELLED,  # an acknowledgement that another channel brought late
    (CANCELLED, CancelSent): CANCELLED,
    (CANCELLED, Fill): CANCELLED,  # the fill crossed our cancel on the wire
    (CANCELLED, Cancelled): CANCELLED,
    (CANCELLED, Expired): CANCELLED,
    (CANCELLED, CancelRejected): CANCELLED,
    (CANCELLED, SendUnclear): CANCELLED,
    (EXPIRED, Accepted): EXPIRED,
    (EXPIRED, CancelSent): EXPIRED,
    (EXPIRED, CancelRejected): EXPIRED,
    (EXPIRED, SendUnclear): EXPIRED,
    (EXPIRED, Fill): EXPIRED,  # the fill came after the status, as some venues send them
    (EXPIRED, Expired): EXPIRED,
    (EXPIRED, Cancelled): EXPIRED,  # said again by another channel, in its own word
    (REJECTED, Rejected): REJECTED,
    (REJECTED, Accepted): WORKING,  # the venue has it after all: it counts again
    (REJECTED, Cancelled): CANCELLED,
    (REJECTED, CancelSent): REJECTED,
    (REJECTED, CancelRejected): REJECTED,
    (REJECTED, SendUnclear): REJECTED,
    (REJECTED, Fill): REJECTED,  # the venue had it after all: whoever said "not found" looked too early
    (FILLED, Accepted): FILLED,  # the acknowledgement of an order that filled at once
    (FILLED, SendUnclear): FILLED,
    (FILLED, Cancelled): FILLED,  # our cancel found nothing left
    (FILLED, CancelRejected): FILLED,
    (FILLED, CancelSent): FILLED,
}


class Order(Struct, frozen=True):
    """One order: what was asked, where it stands, how many lots are filled, and by which fills that have a name."""

    command: NewOrder
    status: Status = Status.PENDING
    filled_lots: int = 0
    fill_ids: tuple[str, ...] = ()

    @property
    def open_lots(self) -> int:
        """Lots that may still fill, unsigned; 0 once the order is closed."""
        return self.command.lots - self.filled_lots if self.status in OPEN else 0

    def on(self, report: OrderReport) -> "Order":
        """The order after `report`; `IllegalTransition` for what the table does not hold and for an overfill,
        `VenueError` for a fill that cannot be this order's. A fill told before gives this very order."""
        if isinstance(report, Fill) and report.fill_id in self.fill_ids:
            return self
        status = TRANSITIONS.get((self.status, type(report)))
        name = self.command.client_order_id
        if status is None:
            raise IllegalTransition(f"order {name}: {type(report).__name__} while {self.status.value}")
        if isinstance(report, Fill):
            self._check(report)
            return self._filled(report, status)
        return replace(self, status=status)

    def _filled(self, fill: Fill, status: Status) -> "Order":
        filled = self.filled_lots + fill.lots
        if filled > self.command.lots:
            name = self.command.client_order_id
            raise IllegalTransition(f"order {name}: filled {filled} of {self.command.lots} lots")
        seen = (*self.fill_ids, fill.fill_id) if fill.fill_id else self.fill_ids
        return replace(
            self, status=FILLED if filled == self.command.lots else status, filled_lots=filled, fill_ids=seen
        )

    def _check(self, fill: Fill) -> None:
        ours, name = self.command, self.command.client_order_id
        if (fill.symbol, fill.side) != (ours.symbol, ours.side):
            raise VenueError(
                f"order {name}: a fill says {fill.side} {fill.symbol}, the order is {ours.side} {ours.symbol}"
            )
        if fill.lots < 1 or fill.price_ticks < 1:
            raise VenueError(
                f"order {name}: a fill of {fill.lots} lots at {fill.price_ticks} ticks, both must be at least 1"
            )
