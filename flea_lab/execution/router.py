"""Approved intents into orders: whole lots, whole ticks, one client order id each."""

from collections.abc import Mapping
from typing import Literal

from flea_lab.compiled import compiled
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import WORKING
from flea_lab.execution.parents import Parent, Parents, Wanted
from flea_lab.execution.slicing import LONGEST_WORK, NEVER, SECOND_NS, Slicing, cross_after, slice_of, slices_of
from flea_lab.model.instrument import Instrument
from flea_lab.model.limit import intent_ticks
from flea_lab.model.trading import Approved, CancelOrder, NewOrder, OrderIntent, ParentOrder
from flea_lab.money import lots_for, value_uusd


@compiled
def quantise(size: int, ticks: int, num: int, den: int, min_notional: int) -> int:
    """Whole lots for `size` signed micro-dollars at `ticks`; 0 when that is less than the smallest order.

    A limit order without a price is priced at the decision's close, so lots are counted there for every order type.
    """
    lots = lots_for(size, ticks, num, den)
    if lots == 0 or abs(value_uusd(lots, ticks, num, den)) < min_notional:
        return 0
    return lots


class Router:
    """Mints orders and keeps the blotter."""

    def __init__(self, instruments: Mapping[str, Instrument], prefix: str) -> None:
        self.blotter = Blotter()
        self.parents = Parents(self.blotter)
        self._instruments = instruments
        self._prefix = prefix
        self._minted = 0

    @property
    def minted(self) -> int:
        """How many client order ids have been given."""
        return self._minted

    def resume(self, minted: int) -> None:
        """Goes on minting after `minted` ids: none is ever given twice."""
        self._minted = max(self._minted, minted)

    def lots(self, intent: OrderIntent, ticks: int) -> int:
        """The whole lots that an intent comes to at `ticks`, signed; 0 when that is less than the smallest order. They
        are counted at the larger of that and the decision's price: at neither are they worth more than was asked."""
        grid = self._instruments[intent.symbol]
        size = intent.size_uusd if intent.side == "buy" else -intent.size_uusd
        num, den, least = grid.unit_num, grid.unit_den, grid.min_notional_uusd
        lots = quantise(size, max(ticks, intent.price_ticks), num, den, least)
        return lots if abs(value_uusd(lots, ticks, num, den)) >= least else 0

    def on(self, approved: Approved, lots: int, ticks: int) -> NewOrder:
        """The order of `lots` (signed) at `ticks` for an approved intent, registered as pending."""
        intent = approved.intent
        self._minted += 1
        order = NewOrder(
            client_order_id=f"{self._prefix}-{self._minted}",
            symbol=intent.symbol,
            side=intent.side,
            lots=abs(lots),
            price_ticks=ticks,
            order_type=intent.order_type,
            ts_event=intent.ts_event,
            intent=intent,
        )
        self.blotter.register(order)
        return order

    def least(self, symbol: str, ticks: int) -> int:
        """The smallest order in lots at `ticks`."""
        grid = self._instruments[symbol]
        return max(1, -(-grid.min_notional_uusd * grid.unit_den // (max(ticks, 1) * grid.unit_num)))

    def begin(
        self, approved: Approved, lots: int, slicing: Slicing, day_lots: float = 0.0, traded_lots: float = 0.0
    ) -> ParentOrder:
        """The parent of `lots` (signed) for an approved intent, which is worked from now on. `day_lots` is what trades
        in a day, 0 where that is not known; `traded_lots` what the first slice is a share of."""
        intent = approved.intent
        slices, every_ns = slices_of(abs(lots), day_lots, slicing), round(slicing.every_s * SECOND_NS)
        self._minted += 1
        parent = ParentOrder(
            parent_id=f"{self._prefix}-{self._minted}",
            symbol=intent.symbol,
            side=intent.side,
            lots=abs(lots),
            price_ticks=intent.price_ticks,
            style=slicing.style,
            slice_lots=slice_of(abs(lots), slices),
            every_ns=every_ns,
            until_ns=intent.ts_event + round(slices * every_ns * slicing.patience),
            ts_event=intent.ts_event,
            intent=intent,
        )
        self.parents.begin(parent, traded_lots)
        return parent

    def work(self, approved: Approved, lots: int, slicing: Slicing) -> ParentOrder:
        """The parent of a limit order of `lots` (signed) that is worked until it is filled."""
        intent = approved.intent
        every_ns, crosses = round(slicing.every_s * SECOND_NS), cross_after(slicing, intent.urgency)
        prices = LONGEST_WORK + (crosses if crosses < NEVER else 0)
        self._minted += 1
        parent = ParentOrder(
            parent_id=f"{self._prefix}-{self._minted}",
            symbol=intent.symbol,
            side=intent.side,
            lots=abs(lots),
            price_ticks=intent.price_ticks,
            style="passive",
            slice_lots=abs(lots),
            every_ns=every_ns,
            until_ns=intent.ts_event + every_ns * prices,
            ts_event=intent.ts_event,
            intent=intent,
            offset_ticks=slicing.offset_ticks,
            cross_after=crosses,
        )
        self.parents.begin(parent)
        return parent

    def price(self, parent: Parent, ticks: int) -> tuple[Literal["market", "limit"], int]:
        """How the next child of a parent goes where the market is at `ticks`, and at which price: never beyond one
        that its intent names."""
        ask, intent = parent.command, parent.command.intent
        crosses = ask.style == "twap" or (ask.style == "passive" and parent.slices >= ask.cross_after)
        price = (
            ticks if crosses else max(1, ticks - ask.offset_ticks if ask.side == "buy" else ticks + ask.offset_ticks)
        )
        if intent.order_type != "limit" or intent.limit_price is None:
            return "market" if crosses else "limit", price
        named = intent_ticks(intent, self._instruments[ask.symbol])
        return "limit", min(price, named) if ask.side == "buy" else max(price, named)

    def slice(self, wanted: Wanted, ticks: int, ts_event: int) -> NewOrder:
        """The child that a parent may give now where the market is at `ticks`, registered as pending."""
        parent = wanted.parent.command
        order_type, ticks = self.price(wanted.parent, ticks)
        self._minted += 1
        order = NewOrder(
            client_order_id=f"{self._prefix}-{self._minted}",
            symbol=parent.symbol,
            side=parent.side,
            lots=wanted.lots,
            price_ticks=ticks,
            order_type=order_type,
            ts_event=ts_event,
            intent=parent.intent,
            parent=parent.parent_id,
        )
        self.blotter.register(order)
        self.parents.gave(parent.parent_id, order.client_order_id, ts_event)
        return order

    def expire(self, given_before_ns: int, ts_event: int) -> tuple[CancelOrder, ...]:
        """A cancel for every working order that was given at or before `given_before_ns`."""
        return tuple(
            CancelOrder(client_order_id=o.command.client_order_id, symbol=o.command.symbol, ts_event=ts_event)
            for o in self.blotter.open_orders()
            if o.status is WORKING and o.command.ts_event <= given_before_ns
        )

    def cancel_all(self, ts_event: int) -> tuple[CancelOrder, ...]:
        """A cancel for every order that may still trade, unknown ones included."""
        return tuple(
            CancelOrder(client_order_id=o.command.client_order_id, symbol=o.command.symbol, ts_event=ts_event)
            for o in self.blotter.open_orders()
        )
