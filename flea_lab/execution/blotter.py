"""Every order by its client order id: what is open, and what it may still become."""

from flea_lab.errors import IllegalTransition
from flea_lab.execution.order import OPEN, UNKNOWN, Order
from flea_lab.model.trading import NewOrder, OrderReport


class Blotter:
    """The orders of one account. Closed orders are kept: a late fill must find its order."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._open: dict[str, Order] = {}

    def register(self, command: NewOrder) -> Order:
        """A new order, PENDING; a client order id is used once."""
        name = command.client_order_id
        if name in self._orders:
            raise IllegalTransition(f"order {name}: client order id used twice")
        order = Order(command)
        self._orders[name] = self._open[name] = order
        return order

    def on(self, report: OrderReport) -> tuple[Order, Order]:
        """The order before and after `report`; an order nobody registered is an `IllegalTransition`."""
        name = report.client_order_id
        before = self._orders.get(name)
        if before is None:
            raise IllegalTransition(f"order {name}: {type(report).__name__} for an order that was never registered")
        after = before.on(report)
        self._orders[name] = after
        if after.status in OPEN:
            self._open[name] = after
        else:
            self._open.pop(name, None)
        return before, after

    def restore(self, order: Order) -> None:
        """Takes in an order as it stood before a restart."""
        name = order.command.client_order_id
        self._orders[name] = order
        if order.status in OPEN:
            self._open[name] = order

    def open_orders(self) -> tuple[Order, ...]:
        """Orders that may still trade, oldest first."""
        return tuple(self._open.values())

    def unknown_orders(self) -> tuple[Order, ...]:
        """Orders of which nobody has said yet whether the venue has them."""
        return tuple(order for order in self._open.values() if order.status is UNKNOWN)

    def get(self, client_order_id: str) -> Order:
        """The order of that id; `KeyError` where there is none."""
        return self._orders[client_order_id]

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._orders
