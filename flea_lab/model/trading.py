"""What the desk, the gate and the router say, and what a venue reports back. Times are ns UTC."""

from typing import Literal

from msgspec import Struct

from flea_lab.model.market import Side

OrderType = Literal["market", "limit", "twap"]
Urgency = Literal["low", "normal", "high"]


class Signal(Struct, frozen=True, kw_only=True, tag=True):
    """One alpha's opinion, for display and the journal; rounded to 4 places, decisions use the unrounded numbers."""

    symbol: str
    direction: float
    confidence: float
    source: str
    metadata: dict[str, float]


class OrderIntent(Struct, frozen=True, kw_only=True, tag=True):
    """What the desk wants: `size_usd` is positive, in cents; `limit_price` None lets the router price it.

    `ts_event` is the close of the bar it was decided on, `price_ticks` that bar's close. No order of it pays more, or
    gets less, than a limit price that it names.
    """

    symbol: str
    side: Side
    size_usd: float
    order_type: OrderType
    limit_price: float | None = None
    urgency: Urgency
    signal_sources: tuple[str, ...]
    ts_event: int
    price_ticks: int
    size_uusd: int
    conviction: float


class Approved(Struct, frozen=True, tag=True):
    """The gate let it pass."""

    intent: OrderIntent


class Refused(Struct, frozen=True, tag=True):
    """The gate or the router said no; `code` is a row of `risk.checks.CHECKS`."""

    intent: OrderIntent
    code: int
    reason: str


class NewOrder(Struct, frozen=True, kw_only=True, tag=True):
    """Send this order. `lots` is positive; `price_ticks` is the price it was decided at, and a limit order's limit,
    which is what goes on the wire. `parent` names the order that this is a slice of.

    With `reduce_only` the venue shall do nothing that would open or grow a position, where it knows such a thing.
    """

    client_order_id: str
    symbol: str
    side: Side
    lots: int
    price_ticks: int
    order_type: OrderType
    ts_event: int
    intent: OrderIntent
    reduce_only: bool = False
    parent: str = ""

    @property
    def decided_ticks(self) -> int:
        """The price that slippage is counted from: the decision's, of a slice its own."""
        return self.price_ticks if self.parent else self.intent.price_ticks


class ParentOrder(Struct, frozen=True, kw_only=True, tag=True):
    """Work this order by children: `lots` in all, `slice_lots` at most at a time, one slice every `every_ns`.

    `style` "twap" sends each slice to the market, "iceberg" rests one at a time at `price_ticks`, and gives it again
    where the market is by then, where it did not fill; "passive" rests all of it, `offset_ticks` behind the market, and
    sends what is left there after `cross_after` prices. After `until_ns` what is left is given up.
    """

    parent_id: str
    symbol: str
    side: Side
    lots: int
    price_ticks: int
    style: Literal["twap", "iceberg", "passive"]
    slice_lots: int
    every_ns: int
    until_ns: int
    ts_event: int
    intent: OrderIntent
    offset_ticks: int = 0
    cross_after: int = 2**31


class CancelOrder(Struct, frozen=True, kw_only=True, tag=True):
    """Take this order back."""

    client_order_id: str
    symbol: str
    ts_event: int


class OrderReport(Struct, frozen=True, kw_only=True, tag=True):
    """What a venue (or the wire, or our own sender) says of one order."""

    client_order_id: str
    ts_event: int


class Accepted(OrderReport, frozen=True, kw_only=True):
    """The venue has it."""

    venue_order_id: str = ""


class Rejected(OrderReport, frozen=True, kw_only=True):
    """The venue refused it; it never traded. Without `sent` it provably never left us, and may be tried again."""

    reason: str = ""
    sent: bool = True


class SendUnclear(OrderReport, frozen=True, kw_only=True):
    """The send failed or timed out: whether the venue has it is unknown."""

    reason: str = ""


class NotFound(OrderReport, frozen=True, kw_only=True):
    """The venue was asked and has never seen it."""


class CancelSent(OrderReport, frozen=True, kw_only=True):
    """We asked for a cancel."""


class CancelRejected(OrderReport, frozen=True, kw_only=True):
    """The cancel was refused, or without `sent` never left us; the order works on."""

    reason: str = ""
    sent: bool = True


class Cancelled(OrderReport, frozen=True, kw_only=True):
    """The venue took it off, by our wish or its own, with `filled_lots` of it filled; None where it does not say."""

    filled_lots: int | None = None


class Expired(OrderReport, frozen=True, kw_only=True):
    """The venue's time limit for it ran out, with `filled_lots` of it filled; None where the venue does not say."""

    filled_lots: int | None = None


class Filled(OrderReport, frozen=True, kw_only=True):
    """The venue says that nothing of it is left to fill; its fills may still be on their way."""


class Fill(OrderReport, frozen=True, kw_only=True):
    """An execution. `lots` is positive; `fee_uusd` in micro-dollars, negative for a rebate.

    `reference_ticks` is the price that slippage is counted from: the open in a simulation, the decision's price live.
    """

    symbol: str
    side: Side
    lots: int
    price_ticks: int
    fee_uusd: int
    reference_ticks: int
    fill_id: str = ""


class Halt(Struct, frozen=True, kw_only=True, tag=True):
    """A person, or the pump on an unexpected error, stops trading."""

    ts_event: int
    reason: str


class Reduce(Struct, frozen=True, kw_only=True, tag=True):
    """From now on only orders that shrink a position pass."""

    ts_event: int
    reason: str


class Resume(Struct, frozen=True, kw_only=True, tag=True):
    """A person clears the latches named in `clears`: "kill_switch", "reducing", "drawdown"; `why` in their words."""

    ts_event: int
    clears: tuple[str, ...]
    by: str
    why: str = ""


class WarmUp(Struct, frozen=True, kw_only=True, tag=True):
    """What comes next is history: candles that close up to `until_ns` warm the signals and mark, and decide nothing.

    Candles that still wait for others of their bar are dropped; history brings them again.
    """

    ts_event: int
    until_ns: int


class Doubt(Struct, frozen=True, kw_only=True, tag=True):
    """The data of `symbol` had a fault of `kind` that its config does not tolerate: its next bars open no position."""

    ts_event: int
    symbol: str
    kind: str


class Adopt(Struct, frozen=True, kw_only=True, tag=True):
    """The account is what the venue says, whatever we counted: a comparison found what nobody can explain.

    `lots` signed, by symbol; money in micro-dollars, `fees_uusd` and `funding_uusd` since our count began. From now on
    only orders that shrink a position pass, until a person clears the latch "reducing".
    """

    ts_event: int
    cash_uusd: int
    fees_uusd: int
    funding_uusd: int
    lots: dict[str, int]


class HandOrder(Struct, frozen=True, kw_only=True, tag=True):
    """A person orders `size_uusd` of `symbol`, worked in slices over `minutes`, never beyond `limit_price` where there
    is one. `name` is theirs: while an order of that name is worked there is no other."""

    ts_event: int
    name: str
    by: str
    symbol: str
    side: Side
    size_uusd: int
    style: Literal["twap", "iceberg"]
    minutes: float
    limit_price: float | None = None


class HandCancel(Struct, frozen=True, kw_only=True, tag=True):
    """A person ends the parent order `parent_id`: nothing more of it is given, its child is taken back."""

    ts_event: int
    parent_id: str
    by: str


class Alert(Struct, frozen=True, kw_only=True, tag=True):
    """Something a person should hear of."""

    ts_event: int
    severity: Literal["info", "warning", "critical"]
    text: str


class Account(Struct, frozen=True, kw_only=True, tag=True):
    """The shared account at one instant, in micro-dollars and signed lots."""

    ts_event: int
    cash_uusd: int
    equity_uusd: int
    day_open_uusd: int
    peak_uusd: int
    lots: dict[str, int]


Report = (
    Accepted | Rejected | SendUnclear | NotFound | CancelSent | CancelRejected | Cancelled | Expired | Filled | Fill
)
Control = Halt | Reduce | Resume | WarmUp | Doubt | Adopt | HandOrder | HandCancel
Command = NewOrder | ParentOrder | CancelOrder | Refused | Alert
