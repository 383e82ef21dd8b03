"""Every order by its client order id: what is open, and what it may still become."""

from itertools import islice

from msgspec.structs import replace

from flea_lab.errors import IllegalTransition
from flea_lab.execution.order import OPEN, UNKNOWN, Order
from flea_lab.model.trading import NewOrder, OrderReport

KEPT = 50_000
"""Closed orders that are remembered, at least: a late fill must find its order."""

LET_GO = 1_000
"""How many are forgotten at once."""


class Blotter:
    """The orders of one account. The last closed ones are kept, and every one of which fills are missing.

    What is forgotten follows from the orders alone, and only when another is registered: a blotter that was restored
    forgets the same.
    """

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._open: dict[str, Order] = {}
        self._owed: dict[str, Order] = {}
        self._exposed: dict[str, tuple[int, int]] = {}
        self.overfills = 0

    def register(self, command: NewOrder) -> Order:
        """A new order, PENDING; a client order id is used once."""
        name = command.client_order_id
        if name in self._orders:
            raise IllegalTransition(f"order {name}: client order id used twice")
        if len(self._orders) - len(self._open) >= KEPT + LET_GO:
            self._forget()
        order = Order(command)
        self._keep(None, order)
        return order

    def on(self, report: OrderReport) -> tuple[Order, Order]:
        """The order before and after `report`; an order nobody registered is an `IllegalTransition`."""
        name = report.client_order_id
        before = self._orders.get(name)
        if before is None:
            raise IllegalTransition(f"order {name}: {type(report).__name__} for an order that was never registered")
        after = before.on(report)
        if after is not before:
            self._keep(before, after)
        return before, after

    def restore(self, order: Order) -> None:
        """Takes in an order as it stood before a restart."""
        self._keep(self._orders.get(order.command.client_order_id), order)

    def forgive(self) -> dict[str, int]:
        """Signed lots by symbol of missing fills that are no longer waited for: the position that they made is known.
        One that comes all the same counts."""
        gone: dict[str, int] = {}
        for order in self.owed_orders():
            command, lots = order.command, order.owed_lots
            gone[command.symbol] = gone.get(command.symbol, 0) + (lots if command.side == "buy" else -lots)
            self._keep(order, replace(order, reported_lots=order.filled_lots))
        return gone

    def _keep(self, before: Order | None, order: Order) -> None:
        command = order.command
        name = command.client_order_id
        self._orders[name] = order
        if order.status in OPEN:
            self._open[name] = order
        else:
            self._open.pop(name, None)
        if order.owed_lots:
            self._owed[name] = order
        elif self._owed:
            self._owed.pop(name, None)
        more = order.exposed_lots - (before.exposed_lots if before is not None else 0)
        if more:
            buys, sells = self._exposed.get(command.symbol, (0, 0))
            change = (buys + more, sells) if command.side == "buy" else (buys, sells + more)
            self._exposed[command.symbol] = change
        if order.overfilled_lots and not (before is not None and before.overfilled_lots):
            self.overfills += 1

    def _forget(self) -> None:
        """Forgets the oldest orders that are over and complete."""
        over = (name for name in self._orders if name not in self._open and name not in self._owed)
        for name in list(islice(over, LET_GO)):
            del self._orders[name]

    def exposed(self, symbol: str) -> tuple[int, int]:
        """Lots of buys and of sells, both unsigned, that may still become a position: open orders, those of unknown
        fate, and fills that the venue named and that have not come."""
        return self._exposed.get(symbol, (0, 0))

    def orders(self) -> tuple[Order, ...]:
        """Every order, oldest first."""
        return tuple(self._orders.values())

    def open_orders(self) -> tuple[Order, ...]:
        """Orders that may still trade, oldest first."""
        return tuple(self._open.values())

    def unknown_orders(self) -> tuple[Order, ...]:
        """Orders of which nobody has said yet whether the venue has them."""
        return tuple(order for order in self._open.values() if order.status is UNKNOWN)

    def owed_orders(self) -> tuple[Order, ...]:
        """Closed orders of which fills are missing."""
        return tuple(self._owed.values())

    def get(self, client_order_id: str) -> Order:
        """The order of that id; `KeyError` where there is none."""
        return self._orders[client_order_id]

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._orders
