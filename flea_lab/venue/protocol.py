"""Feed and Exchange: all that a driver may know of a venue, and what a venue says about itself and its account.

What an implementation raises is a `VenueError` (theirs); a `VenueRefusal` is one that no second attempt can mend.
Anything else is a defect of ours.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from msgspec import Struct

from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Candle, Funding, MarketEvent
from flea_lab.model.trading import CancelOrder, Fill, NewOrder, OrderReport


class Link(Struct, frozen=True, kw_only=True):
    """The connection came up (every subscription acknowledged) or went down. `ts_recv` ns UTC, ours."""

    up: bool
    ts_recv: int
    reason: str = ""


class Played(Struct, frozen=True, kw_only=True):
    """A recorded market has come to its end; nothing more will happen on it. `ts_event` is its last instant, ns UTC."""

    ts_event: int


Said = MarketEvent | OrderReport | Link | Played
Deliver = Callable[[Said], None]
"""Takes one thing the venue said; called in the order of arrival, never blocks."""


class VenueClock(Struct, frozen=True, kw_only=True):
    """The venue's time. `kind` "market" is the time of a recorded market, which no wall clock can be held against.

    `matching` says how orders fill there: against a book, or all of them at the next bar's open.
    """

    now_ns: int
    kind: Literal["wall", "market"] = "wall"
    matching: Literal["book", "next_open"] = "book"


class OrderState(Struct, frozen=True, kw_only=True):
    """One order as the venue has it. `lots` and `filled_lots` unsigned."""

    client_order_id: str
    symbol: str
    status: Literal["open", "filled", "cancelled", "rejected", "expired"]
    lots: int
    filled_lots: int
    ts_event: int
    reason: str = ""


class VenueAccount(Struct, frozen=True, kw_only=True):
    """The account as the venue has it, micro-dollars and signed lots.

    `seq` is the number of private frames (orders, fills) that the venue has sent for this account up to this state;
    None where it does not count them. `fees_uusd` and `funding_uusd` are totals paid since the account began.
    """

    ts_event: int
    cash_uusd: int
    equity_uusd: int
    fees_uusd: int
    funding_uusd: int
    lots: dict[str, int]
    seq: int | None = None


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a venue can do for an order that may be neither lost nor doubled; the defaults promise nothing.

    `id_scope` is how long an id of ours names one order: "for_ever", among "open_orders" only, or "none" where orders
    bear no id of ours. `validity_s` is the longest time after which a request may say that it is void, 0 where it can
    say no such thing. `dead_man_s` is the shortest time ahead for which the venue takes back every order by itself, 0
    where it does not. `private_seq` says that what it tells of the account is numbered, so that a gap shows; where it
    is not, fills are asked for again and again. `orders_per_minute` and `weight_per_minute` are the limits that it
    publishes, 0 for none: what is sent keeps within them where the dialect names no other.
    """

    id_scope: Literal["for_ever", "open_orders", "none"] = "none"
    query_by_id: bool = False
    validity_s: float = 0.0
    cancel_all: bool = False
    dead_man_s: float = 0.0
    reduce_only: bool = False
    limit_orders: bool = False
    private_seq: bool = False
    orders_per_minute: int = 0
    weight_per_minute: int = 0

    @property
    def client_ids(self) -> bool:
        """Whether an order bears an id of ours."""
        return self.id_scope != "none"


def insufficient(can: Capabilities) -> tuple[str, ...]:
    """Why orders at a venue that `can` no more could be lost or doubled, one line a reason; none where they cannot.

    An order is sent once whatever the scope of its id, so that "open_orders" is enough.

    >>> insufficient(Capabilities(id_scope="for_ever", query_by_id=True))
    ()
    >>> len(insufficient(Capabilities()))
    2
    """
    reasons: list[str] = []
    if not can.client_ids:
        reasons.append("its orders bear no id of ours: whose order a fill is can only be inferred")
    if not can.query_by_id:
        reasons.append("it cannot be asked for an order by our id: an answer that was lost stays lost")
    return tuple(reasons)


class Feed(Protocol):
    """Market data of one venue."""

    async def run(self, deliver: Deliver) -> None:
        """Connects, subscribes and delivers everything the venue says, until cancelled.

        A lost connection is a `Link` down, then, reconnected with back-off, a `Link` up. Where one connection carries
        the market and the account's own orders, both come through here, in their order on the wire.
        """

    async def instruments(self) -> Mapping[str, Instrument]:
        """The grids that the venue states, by our symbol; empty where it states none."""

    async def clock(self) -> VenueClock:
        """The venue's time, as of now."""

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """The last `count` complete candles of `symbol`, oldest first, as the venue has them: holes stay holes.

        With `start_ns` instead all that close after it, at most `count`, oldest first.
        """

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        """Funding settled after `start_ns`, oldest first."""

    async def refresh(self, symbol: str) -> None:
        """Asks for a whole book of `symbol`; it arrives as an event. Nothing where every message is whole anyway."""

    async def acknowledge(self, ts_event: int) -> None:
        """Tells a venue that waits for it that everything up to `ts_event` has been worked off; else nothing."""


class Exchange(Protocol):
    """Orders of one account at one venue."""

    @property
    def capabilities(self) -> Capabilities:
        """What the venue can do for its orders, as far as this code uses it."""

    async def run(self, deliver: Deliver) -> None:
        """Delivers what the venue says of this account's orders, until cancelled; at once, where the feed does it."""

    @property
    def private_seq(self) -> int | None:
        """The last private frame delivered, to compare with `VenueAccount.seq`; None where there is no such count."""

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """Sends once, and never again by itself; what the answer says of the order.

        `VenueError` means that the order's fate is unknown. What the venue refused, and (without `sent`) what provably
        never reached it, is a `Rejected`; `VenueRefusal` says the same of everything that would be sent next.
        """

    async def cancel_all(self) -> None:
        """Takes back every open order of the account, also those that nobody here knows."""

    async def dead_man(self, timeout_s: float) -> None:
        """Has the venue take back every open order of the account unless this is asked for anew within `timeout_s`.

        0 disarms. `VenueRefusal` where the venue has no such switch (`Capabilities.dead_man_s` is 0), `VenueError`
        where it did not say that it took it: it may be armed. Hyperliquid (`scheduleCancel`) takes a time 5 s ahead or
        more, carries it out 10 times a day at most, counted from 00:00 UTC, and takes protective stops back as well.
        """

    async def order(self, client_order_id: str) -> OrderState | None:
        """The order as the venue has it; None where it says that it has never seen it."""

    async def open_orders(self) -> list[OrderState]:
        """Every open order of the account."""

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """Every fill with a private sequence number beyond `after`, oldest first, each with that number."""

    async def account(self) -> VenueAccount:
        """The account."""
