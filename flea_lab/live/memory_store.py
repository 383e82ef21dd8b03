"""A disk in memory, for a simulated machine whose processes are killed and whose power fails. No thread, no clock.

Rules. A batch that was given lies in the machine's buffer at once, and is on the disk when its sync ends: what waits
meanwhile shares the next sync. A killed process leaves the buffer; a loss of power leaves of it some rows in their
order, the last perhaps torn, and of a batch that is not whole nothing is read back. A full disk takes no batch; a sync
that fails is never tried again, and what it was to keep may be gone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flea_lab.errors import WorkspaceError
from flea_lab.journal import Batch, Row, Snapshot, Ticket

Later = Callable[[float, Callable[[], None]], object]
"""Calls back after so many seconds, in the thread that drives the simulation: `loop.call_later`."""


@dataclass
class MemoryDisk:
    """What survives: `batches` as written, of which the first `synced` are on the disk and the rest in the buffer.

    `full` refuses the next batch (ENOSPC), `broken` fails the next sync (EIO). `dropped` counts rows of batches that
    were not whole after a loss of power.
    """

    sync_s: Callable[[], float] = lambda: 0.0
    batches: list[Batch] = field(default_factory=list)
    synced: int = 0
    full: bool = False
    broken: bool = False
    dropped: int = 0
    syncs: int = 0

    def kill(self, unwritten: int = 0) -> None:
        """The process is gone: the buffer stays, but for the last `unwritten` batches that had not reached it."""
        keep = max(self.synced, len(self.batches) - unwritten)
        del self.batches[keep:]

    def lose_power(self, share: float) -> None:
        """The machine is gone: of the rows in the buffer the first `share` (0 to 1) are there afterwards, and a batch
        that is not whole is not read back."""
        waiting = self.batches[self.synced :]
        left = int(share * sum(len(batch.rows) for batch in waiting))
        whole = 0
        for batch in waiting:
            if len(batch.rows) > left:
                self.dropped += left
                break
            left -= len(batch.rows)
            whole += 1
        del self.batches[self.synced + whole :]
        self.synced = len(self.batches)


class MemoryStore:
    """One process's handle on a `MemoryDisk`. Without `later` a batch is durable when `write` returns."""

    def __init__(self, disk: MemoryDisk, later: Later | None = None, name: str = "in memory") -> None:
        self._disk, self._later, self._name = disk, later, name
        self._waiting: list[tuple[int, Ticket]] = []
        self._syncing = self._closed = False
        self._failed = ""

    @property
    def name(self) -> str:
        """What an error calls it."""
        return self._name

    def rows(self, after: int = -1) -> Iterator[Row]:
        """The rows that were kept after row `after`."""
        return (row for batch in self._disk.batches for row in batch.rows if row.seq > after)

    def facts(self) -> dict[str, str]:
        """The facts that were kept."""
        return dict(fact for batch in self._disk.batches for fact in batch.facts)

    def snapshot(self) -> Snapshot | None:
        """None: a simulated life is short enough to be folded whole."""
        return None

    def cut(self, after: int) -> None:
        """Forgets every row after row `after`."""
        disk = self._disk
        disk.batches = [
            batch._replace(rows=tuple(row for row in batch.rows if row.seq <= after)) for batch in disk.batches
        ]

    def write(self, batch: Batch) -> Ticket:
        """Takes a batch."""
        ticket, disk = Ticket(), self._disk
        if self._closed and not self._failed:
            self._failed = "closed"
        if disk.full and not self._failed:
            self._fail("No space left on device")
        if self._failed:
            ticket.settle(self._failed)
            return ticket
        disk.batches.append(batch)
        self._waiting.append((len(disk.batches), ticket))
        if self._later is None:
            self._synced(len(disk.batches))
        elif not self._syncing:
            self._sync()
        return ticket

    def _sync(self) -> None:
        assert self._later is not None
        self._syncing = True
        upto = len(self._disk.batches)
        self._later(self._disk.sync_s(), lambda: self._synced(upto))

    def _synced(self, upto: int) -> None:
        self._syncing = False
        if self._closed or self._failed:
            return
        disk = self._disk
        disk.syncs += 1
        if disk.broken:
            self._fail("Input/output error")
            return
        disk.synced = max(disk.synced, upto)
        ready = [ticket for n, ticket in self._waiting if n <= upto]
        self._waiting = [(n, ticket) for n, ticket in self._waiting if n > upto]
        for ticket in ready:
            ticket.settle()
        if self._waiting and self._later is not None and not self._syncing:
            self._sync()

    def _fail(self, why: str) -> None:
        self._failed = why
        waiting, self._waiting = self._waiting, []
        for _, ticket in waiting:
            ticket.settle(why)

    def finish(self) -> None:
        """Returns once every ticket is settled: what waits is synced now, whatever time it would take."""
        if self._waiting and not self._failed:
            self._synced(len(self._disk.batches))
        if self._failed:
            raise WorkspaceError(f"journal {self._name}: {self._failed}")

    def close(self) -> None:
        """The process ends: no ticket is settled any more."""
        self._closed = True
        self._waiting.clear()
