"""What survives a simulated process, and the journal that one process writes onto it: the real one, over memory."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from flea_lab.clock import Dice
from flea_lab.execution.order import Order
from flea_lab.journal import BASE, EVENT, Batch, Ticket
from flea_lab.live.journal import LiveJournal
from flea_lab.live.memory_store import Later, MemoryDisk, MemoryStore
from flea_lab.model.trading import Fill

_order = msgspec.msgpack.Decoder(Order)


class Told(NamedTuple):
    """What one batch says of orders and fills."""

    orders: list[Order]
    fills: list[Fill]


class Disk:
    """A simulated machine's disk. `full` refuses the next batch, `broken` fails the next sync; `synced` says whether an
    order was durable when it was asked for, `fills` are those of every batch that is there."""

    def __init__(self, sync_s: Callable[[], float]) -> None:
        self.memory = MemoryDisk(sync_s=sync_s)
        self.told: list[Told] = []
        self.lost = self.torn = 0

    def synced(self, name: str) -> Order | None:
        """The order as it is durable; None where it is not."""
        for told in reversed(self.told[: self.memory.synced]):
            for order in reversed(told.orders):
                if order.command.client_order_id == name:
                    return order
        return None

    @property
    def begun(self) -> bool:
        """Whether a journal that says anything of the account is durable: before it, no bot takes the account over."""
        kept = self.memory.batches[: self.memory.synced]
        return any(row.kind in (EVENT, BASE) for batch in kept for row in batch.rows)

    def fills(self) -> set[str]:
        """The fills that the journal has, by id."""
        return {fill.fill_id for told in self.told for fill in told.fills}

    def crash(self, dice: Dice, *, power: bool) -> None:
        """The process is gone, or all of the machine."""
        memory = self.memory
        before, dropped = len(memory.batches), memory.dropped
        if power:
            memory.lose_power(dice.random())
        else:
            memory.kill(dice.choice((0, 0, 1)))
        self.lost += before - len(memory.batches)
        self.torn += memory.dropped > dropped
        memory.synced = len(memory.batches)
        del self.told[len(memory.batches) :]

    def heal(self) -> None:
        """A new disk with what was on the old one."""
        self.memory.full = self.memory.broken = False


class SimStore(MemoryStore):
    """A store that says what is about to be written, and notes what each batch says."""

    def __init__(self, disk: Disk, later: Later) -> None:
        super().__init__(disk.memory, later)
        self._seen = disk
        self.before: Callable[[list[Order]], None] = lambda _: None
        self.fills: list[Fill] = []

    def write(self, batch: Batch) -> Ticket:
        """As the memory's."""
        kept = [values[3] for statement, values in batch.tables if "INTO orders" in statement]
        orders = [_order.decode(body) for body in kept if isinstance(body, bytes)]
        fills, self.fills = self.fills, []
        before = len(self._seen.memory.batches)
        ticket = super().write(batch)
        if len(self._seen.memory.batches) > before:
            self._seen.told.append(Told(orders, fills))
        self.before(orders)
        return ticket


class SimJournal(LiveJournal):
    """The journal of one process. `before_commit` hears of what begins to become durable; `booked` of every fill."""

    def __init__(self, disk: Disk, later: Later) -> None:
        self._sim = SimStore(disk, later)
        self.disk = disk
        self.booked: Callable[[Fill], None] = lambda _: None
        super().__init__(self._sim)

    @property
    def before_commit(self) -> Callable[[list[Order]], None]:
        """Hears of the orders that begin to become durable."""
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
