"""What survives a simulated process, and the journal that one process writes onto it."""

from collections.abc import Callable

import msgspec

from flea_lab.execution.order import Order
from flea_lab.journal import Batch, Ticket
from flea_lab.live.journal import LiveJournal
from flea_lab.live.memory_store import Later, MemoryDisk, MemoryStore
from flea_lab.model.trading import Fill

_order = msgspec.msgpack.Decoder(Order)


class Disk:
    """A simulated machine's disk. `orders` and `fills` are those that are durable, `commits` counts batches.

    `full` and `broken` refuse the next writing.
    """

    def __init__(self) -> None:
        self.memory = MemoryDisk()
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.commits = 0

    @property
    def full(self) -> bool:
        """No space is left."""
        return self.memory.full

    @full.setter
    def full(self, full: bool) -> None:
        self.memory.full = full

    @property
    def broken(self) -> bool:
        """A sync fails."""
        return self.memory.broken

    @broken.setter
    def broken(self, broken: bool) -> None:
        self.memory.broken = broken


class SimStore(MemoryStore):
    """A store that says what is about to be written, and tells the disk what became durable."""

    def __init__(self, disk: Disk, later: Later | None = None) -> None:
        super().__init__(disk.memory, later)
        self._seen = disk
        self.before: Callable[[list[Order]], None] = lambda _: None
        self.fills: list[Fill] = []

    def write(self, batch: Batch) -> Ticket:
        """As the memory's."""
        orders = [_order.decode(values[3]) for statement, values in batch.tables if "INTO orders" in statement]  # type: ignore[arg-type]
        fills, self.fills = self.fills, []
        self.before(orders)
        ticket = super().write(batch)

        def keep(told: Ticket) -> None:
            if told.done:
                self._seen.commits += 1
                self._seen.orders |= {order.command.client_order_id: order for order in orders}
                self._seen.fills += fills

        ticket.then(keep)
        return ticket


class SimJournal(LiveJournal):
    """The journal of one process. `before_commit` hears of what is about to become durable; `booked` of every fill."""

    def __init__(self, disk: Disk, later: Later | None = None) -> None:
        self._sim = SimStore(disk, later)
        self.disk = disk
        self.booked: Callable[[Fill], None] = lambda _: None
        super().__init__(self._sim)

    @property
    def before_commit(self) -> Callable[[list[Order]], None]:
        """Hears of the orders that are about to become durable."""
        return self._sim.before

    @before_commit.setter
    def before_commit(self, hear: Callable[[list[Order]], None]) -> None:
        self._sim.before = hear

    def fill(self, fill: Fill, decision_ticks: int) -> None:
        """As the real one's, and told."""
        self.booked(fill)
        self._sim.fills.append(fill)
        super().fill(fill, decision_ticks)

    def drop_waiting(self) -> None:
        """As the real one's."""
        self._sim.fills.clear()
        super().drop_waiting()
