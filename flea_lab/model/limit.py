"""The price of a limit order, from the one that an intent may name to the one on the wire, in whole ticks."""

from flea_lab.errors import DataError
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import NewOrder, OrderIntent

NEAR = 1e-5
"""How far from a whole tick a price may be that went through binary numbers, in ticks."""


def intent_ticks(intent: OrderIntent, grid: Instrument) -> int:
    """The price at which an order of `intent` goes: a limit order's own where it names one, else the decision's.

    A named price between two ticks becomes the one that pays less, or gets more. `DataError` where it is no price.
    """
    named = intent.limit_price
    if intent.order_type != "limit" or named is None:
        return intent.price_ticks
    near = grid.ticks(named)
    off = named / float(grid.tick_size) - near
    if abs(off) <= NEAR:
        return near
    ticks = near - (off < 0) if intent.side == "buy" else near + (off > 0)
    if ticks < 1:
        raise DataError(f"price {named} is below one tick of {grid.tick_size}")
    return ticks


def limit_ticks(order: NewOrder, grid: Instrument) -> int:
    """The limit of `order` for the wire: the price that was looked at, never another.

    `DataError` where it pays more, or gets less, than its intent names, and where that is no price.
    """
    ticks, intent = order.price_ticks, order.intent
    named = intent_ticks(intent, grid)
    if ticks < 1 or (intent.limit_price is not None and (ticks > named if order.side == "buy" else ticks < named)):
        raise DataError(f"a {order.side} at {ticks} ticks is not within the {named} that its intent names")
    return ticks
