"""The order lifecycle as a table.

Rules. An order begins PENDING, before its first byte is sent. A send whose fate is not known makes it UNKNOWN, never
failed: it counts as exposure until any channel says what became of it. What the venue says may come in any order and
any number of times: a fill before its acknowledgement or after its cancel, a status before its fills. So the table
holds every pair, and what is certain is never given up for what is less so: FILLED over CANCELLED over EXPIRED over
REJECTED over open. Two words that cannot both be true (an acknowledgement after a refusal) make the order UNKNOWN
again: it counts, and the venue is asked. NOT_ACCEPTED is what we concluded ourselves, from a venue that said twice that
it has never seen the order; any word of the venue's own is stronger.

A fill that was told before (same `fill_id`) changes nothing. One that is more than was ordered counts at its true size.
"""

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from flea_lab.errors import VenueError
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelRejected,
    CancelSent,
    Expired,
    Fill,
    Filled,
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
    NOT_ACCEPTED = "not_accepted"

    __hash__ = object.__hash__  # one object a member; Enum's own hash is a Python call, made at every report


PENDING, UNKNOWN, WORKING, CANCELLING = Status.PENDING, Status.UNKNOWN, Status.WORKING, Status.CANCELLING
FILLED, CANCELLED, REJECTED, EXPIRED = Status.FILLED, Status.CANCELLED, Status.REJECTED, Status.EXPIRED
NOT_ACCEPTED = Status.NOT_ACCEPTED
OPEN = frozenset({PENDING, UNKNOWN, WORKING, CANCELLING})

# What an order is after a report (columns) by what it was (rows). "." leaves it as it is.
_TABLE = """
              Accepted   Rejected SendUnclear NotFound     CancelSent CancelRejected Cancelled Expired Filled Fill
PENDING       WORKING    REJECTED UNKNOWN     .            .          .              CANCELLED EXPIRED FILLED WORKING
UNKNOWN       WORKING    REJECTED .           NOT_ACCEPTED .          .              CANCELLED EXPIRED FILLED WORKING
WORKING       .          REJECTED .           .            CANCELLING .              CANCELLED EXPIRED FILLED .
CANCELLING    .          REJECTED UNKNOWN     .            .          WORKING        CANCELLED EXPIRED FILLED .
NOT_ACCEPTED  WORKING    REJECTED .           .            .          .              CANCELLED EXPIRED FILLED WORKING
REJECTED      UNKNOWN    .        .           .            .          .              CANCELLED EXPIRED FILLED UNKNOWN
EXPIRED       .          .        .           .            .          .              CANCELLED .       FILLED .
CANCELLED     .          .        .           .            .          .              .         .       FILLED .
FILLED        .          .        .           .            .          .              .         .       .      .
"""

KINDS: tuple[type[OrderReport], ...] = (
    Accepted,
    Rejected,
    SendUnclear,
    NotFound,
    CancelSent,
    CancelRejected,
    Cancelled,
    Expired,
    Filled,
    Fill,
)
"""Every kind of report, in the order of the table's columns."""


def _read(table: str) -> dict[tuple[Status, type[OrderReport]], Status]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    if header != [kind.__name__ for kind in KINDS]:
        raise AssertionError(f"the columns of the table are {header}")
    return {
        (Status[name], kind): Status[name if cell == "." else cell]
        for name, *cells in rows
        for kind, cell in zip(KINDS, cells, strict=True)
    }


TRANSITIONS = _read(_TABLE)

CONTRADICTIONS: frozenset[tuple[Status, type[OrderReport]]] = frozenset(
    {
        *((NOT_ACCEPTED, kind) for kind in (Accepted, Cancelled, Expired, Filled, Fill)),
        *((REJECTED, kind) for kind in (Accepted, Cancelled, Expired, Filled, Fill)),
        *((status, Rejected) for status in (FILLED, CANCELLED, EXPIRED)),
    }
)
"""What cannot be if everything said before was right: worth telling a person of, whichever of the two was wrong."""


class Order(Struct, frozen=True):
    """One order: what was asked, where it stands, how many lots are filled, and by which fills that have a name.

    `reported_lots` is the largest total that the venue has named: while it is above `filled_lots`, fills are missing.
    """

    command: NewOrder
    status: Status = Status.PENDING
    filled_lots: int = 0
    fill_ids: tuple[str, ...] = ()
    reported_lots: int = 0

    @property
    def open_lots(self) -> int:
        """Lots that may still fill, unsigned; 0 once the order is closed."""
        return max(self.command.lots - self.filled_lots, 0) if self.status in OPEN else 0

    @property
    def owed_lots(self) -> int:
        """Lots of a closed order that the venue has filled and whose fills have not come."""
        return 0 if self.status in OPEN else max(self.reported_lots - self.filled_lots, 0)

    @property
    def exposed_lots(self) -> int:
        """Lots that are, or may become, a position which the ledger does not know of."""
        return self.open_lots + self.owed_lots

    @property
    def overfilled_lots(self) -> int:
        """Lots filled beyond what was ordered."""
        return max(self.filled_lots - self.command.lots, 0)

    def on(self, report: OrderReport) -> "Order":
        """The order after `report`; `VenueError` for a fill that cannot be this order's. What says nothing new gives
        this very order."""
        kind = type(report)
        status = TRANSITIONS[self.status, kind]
        if kind is Fill:
            return self._filled(report, status)  # type: ignore[arg-type]
        reported = self.reported_lots
        if kind is Filled:
            reported = max(reported, self.command.lots)
        elif kind is Cancelled or kind is Expired:
            reported = max(reported, report.filled_lots or 0)  # type: ignore[attr-defined]
        if status is self.status and reported <= max(self.reported_lots, self.filled_lots):
            return self
        return replace(self, status=status, reported_lots=reported)

    def _filled(self, fill: Fill, status: Status) -> "Order":
        if fill.fill_id in self.fill_ids:
            return self
        self._check(fill)
        filled = self.filled_lots + fill.lots
        seen = (*self.fill_ids, fill.fill_id) if fill.fill_id else self.fill_ids
        return replace(
            self, status=FILLED if filled >= self.command.lots else status, filled_lots=filled, fill_ids=seen
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
