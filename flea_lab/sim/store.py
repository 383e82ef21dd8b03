"""What survives a simulated process, and the journal that one process writes onto it."""

from collections.abc import Callable
from typing import Any

from flea_lab.core import CoreState, Event
from flea_lab.errors import WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import Entry
from flea_lab.live.journal import EVENT, FAULT, Saved
from flea_lab.model.finding import Finding
from flea_lab.model.market import Funding
from flea_lab.model.trading import Fill

Row = tuple[int, int, Any]


class Disk:
    """Everything that is durable. `full` and `broken` refuse the next writing."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.meta: dict[str, str] = {}
        self.state: CoreState | None = None
        self.state_seq = -1
        self.full = self.broken = False
        self.commits = 0


class SimJournal:
    """The journal of one process. `before_commit` hears of what is about to become durable; `booked` of every fill."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._seq = disk.rows[-1][0] if disk.rows else -1
        self._rows: list[Row] = []
        self._later: list[Callable[[], None]] = []
        self._orders: list[Order] = []
        self.before_commit: Callable[[list[Order]], None] = lambda _: None
        self.booked: Callable[[Fill], None] = lambda _: None

    @property
    def seq(self) -> int:
        """As the real one's."""
        return self._seq

    def append(self, entry: Entry | Event, kind: int = EVENT, ts_recv: int = 0) -> None:  # noqa: ARG002
        """As the real one's."""
        self._seq += 1
        self._rows.append((self._seq, kind, entry))

    def retract(self, fault: bool) -> None:
        """As the real one's."""
        seq, _, entry = self._rows.pop()
        if fault:
            self._rows.append((seq, FAULT, entry))
        else:
            self._seq -= 1

    def order(self, order: Order) -> None:
        """As the real one's."""
        self._orders.append(order)

    def fill(self, fill: Fill, decision_ticks: int) -> None:  # noqa: ARG002
        """As the real one's."""
        self.booked(fill)
        self._later.append(lambda: self.disk.fills.append(fill))

    def paid(self, funding: Funding, paid_uusd: int) -> None:
        """As the real one's; not kept."""

    def finding(self, found: Finding) -> None:
        """As the real one's; not kept."""

    def curve(self, ts: int, equity: int, cash: int, gross: int, closed: tuple[str, ...]) -> None:
        """As the real one's; not kept."""

    def timing(self, client_order_id: str, received: int, decided: int, answered: int) -> None:
        """As the real one's; not kept."""

    def reconcile(self, at: int, ts: int, equal: bool, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        """As the real one's; not kept."""

    def meta(self, key: str, value: str) -> None:
        """As the real one's."""
        self._later.append(lambda: self.disk.meta.__setitem__(key, value))

    def begin_run(self, at: int, pid: int, code: str) -> None:
        """As the real one's; not kept."""

    def end_run(self, at: int, how: str) -> None:
        """As the real one's; not kept."""

    def drop_waiting(self) -> None:
        """As the real one's."""
        self._rows, self._later, self._orders = [], [], []

    @property
    def waiting(self) -> bool:
        """As the real one's."""
        return bool(self._rows or self._later or self._orders)

    def commit(self, state: CoreState | None = None) -> None:
        """As the real one's."""
        disk = self.disk
        self.before_commit(self._orders)
        if disk.full or disk.broken:
            raise WorkspaceError(f"journal: {'No space left on device' if disk.full else 'Input/output error'}")
        disk.commits += 1
        disk.rows += self._rows
        for order in self._orders:
            disk.orders[order.command.client_order_id] = order
        for keep in self._later:
            keep()
        if state is not None:
            disk.state, disk.state_seq = state, self._seq
        self.drop_waiting()

    def saved(self) -> Saved | None:
        """As the real one's."""
        disk = self.disk
        if disk.state is None:
            return None
        return Saved(seq=disk.state_seq, state=disk.state, orders=tuple(disk.orders.values()))

    def get(self, key: str) -> str | None:
        """As the real one's."""
        return self.disk.meta.get(key)

    def last_code(self) -> str | None:
        """As the real one's."""
        return None

    def close(self) -> None:
        """As the real one's."""
