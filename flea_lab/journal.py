"""The journal: every event a core was given and every command it gave, in order, and the port to what keeps it.

Played back into a fresh core, its events give its commands. A driver appends an event before the core sees it, and a
command before it is carried out.

A live journal is a chain of rows. Rows wait in a batch until the batch is given to a store; its ticket is done when all
of it is durable. A batch is kept whole or not at all, and batches are kept in the order in which they were given. Each
row carries a checksum of its body and a digest over itself and the row before it: what was changed, lost or put in
later does not fit.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from struct import Struct as Packed
from typing import NamedTuple, Protocol

from flea_lab.core import Event, TradingCore
from flea_lab.model.market import BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.trading import Alert, CancelOrder, Command, Control, NewOrder, ParentOrder, Refused, Report

Entry = Candle | Trade | BookSnapshot | Features | Funding | Heartbeat | Report | Control | Command
"""A row of a journal: what the core was given, or what it said."""

EVENT, COMMAND, FAULT, FACT, NOTE, BASE, MARK, REPAIR = range(8)
"""Kinds of rows: given to the core, said by it, refused by it; a fact about the journal, something observed beside the
core; a whole state to go on from, the hash of the state so far, and that a damaged end was cut off."""

GENESIS = bytes(16)
"""The digest before the first row."""

_HEAD = Packed(">qBq")


class Row(NamedTuple):
    """One row of a chain. `ts_recv` ns UTC, 0 where nobody received it; `crc` of the body."""

    seq: int
    kind: int
    ts_recv: int
    body: bytes
    crc: int
    digest: bytes


def chained(before: bytes, seq: int, kind: int, ts_recv: int, body: bytes) -> Row:
    """The row that follows the one with digest `before`."""
    digest = blake2b(before + _HEAD.pack(seq, kind, ts_recv) + body, digest_size=16).digest()
    return Row(seq, kind, ts_recv, body, zlib.crc32(body), digest)


def fits(row: Row, before: bytes) -> bool:
    """Whether `row` is undamaged and follows the row with digest `before`."""
    return zlib.crc32(row.body) == row.crc and chained(before, *row[:4]).digest == row.digest


class Checked(NamedTuple):
    """What a chain is worth: the last good row and its digest, and the first bad one (-1: none). `tail` says that
    nothing after the bad row is good, so that cutting it off leaves a chain."""

    seq: int
    digest: bytes
    bad: int
    tail: bool


def check_chain(rows: Iterable[Row]) -> Checked:
    """Every row held against the one before it. A row whose checksum holds after a bad one means that the damage lies
    inside."""
    seq, digest, bad = -1, GENESIS, -1
    for row in rows:
        if bad >= 0:
            if zlib.crc32(row.body) == row.crc:
                return Checked(seq, digest, bad, False)
        elif row.seq == seq + 1 and fits(row, digest):
            seq, digest = row.seq, row.digest
        elif row.seq != seq + 1 and zlib.crc32(row.body) == row.crc:
            return Checked(seq, digest, seq + 1, False)  # rows are missing, and this one is not
        else:
            bad = row.seq
    return Checked(seq, digest, bad, bad >= 0)


class Snapshot(NamedTuple):
    """The state after row `seq`, kept so that a start need not fold the whole journal.

    `digest` is that row's, `hash` the state's, `state` the core's in msgpack; `orders` by id, in a batch only those
    that changed since the last snapshot, and those that were forgotten with nothing as their body.
    """

    seq: int
    digest: bytes
    hash: str
    state: bytes
    orders: tuple[tuple[str, bytes], ...]


class Batch(NamedTuple):
    """What becomes durable in one piece: rows of the chain, facts by key, and rows of the tables that are drawn from
    the chain for readers, as statements with their values. A store may leave tables and snapshots out."""

    rows: tuple[Row, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, tuple[object, ...]], ...] = ()
    snapshot: Snapshot | None = None


class Ticket:
    """Whether a batch is durable. It is settled once, in the thread that drives the journal: `done`, or `failed` with
    the reason, after which nothing of the journal is durable any more."""

    __slots__ = ("_then", "done", "failed")

    def __init__(self) -> None:
        self.done = False
        self.failed = ""
        self._then: list[Callable[[Ticket], None]] = []

    @property
    def settled(self) -> bool:
        """Whether it is known what became of the batch."""
        return self.done or bool(self.failed)

    def then(self, call: Callable[["Ticket"], None]) -> None:
        """Calls with this ticket once it is settled; at once where it is. Calls come in the order they were given."""
        if self.settled:
            call(self)
        else:
            self._then.append(call)

    def settle(self, failed: str = "") -> None:
        """It is known what became of the batch; a second word changes nothing."""
        if self.settled:
            return
        self.done, self.failed = not failed, failed
        waiting, self._then = self._then, []
        for call in waiting:
            call(self)


def done_ticket() -> Ticket:
    """A ticket for what needs no disk."""
    ticket = Ticket()
    ticket.settle()
    return ticket


class Store(Protocol):
    """What keeps batches. It is opened once by one writer; what it kept is read before the first batch is given."""

    @property
    def name(self) -> str:
        """What an error calls it."""

    def rows(self, after: int = -1) -> Iterator[Row]:
        """The rows that were kept after row `after`, in order, damaged ones as they are."""

    def facts(self) -> dict[str, str]:
        """The facts that were kept."""

    def snapshot(self) -> Snapshot | None:
        """The last snapshot with every order, None where none was kept."""

    def cut(self, after: int) -> None:
        """Forgets every row after row `after`, durably: they are damaged."""

    def write(self, batch: Batch) -> Ticket:
        """Takes a batch; batches become durable in the order given. After a failure every ticket fails, for ever."""

    def finish(self) -> None:
        """Returns once every ticket is settled; `WorkspaceError` where one failed."""

    def close(self) -> None:
        """Ends it. What was taken and is not durable may be gone."""


class Journal(Protocol):
    """Where a driver writes down what happens."""

    def append(self, entry: Event | Entry) -> None:
        """Takes an entry; once this returns, it is as durable as the journal promises."""


class MemoryJournal:
    """A journal that lasts as long as the process: for replays and tests."""

    def __init__(self) -> None:
        self.entries: list[Event | Entry] = []

    def append(self, entry: Event | Entry) -> None:
        self.entries.append(entry)

    def events(self) -> list[Event]:
        """What the core was given."""
        return [
            entry
            for entry in self.entries
            if not isinstance(entry, NewOrder | ParentOrder | CancelOrder | Refused | Alert)
        ]

    def commands(self) -> list[Command]:
        """What the core said to do."""
        return [
            entry for entry in self.entries if isinstance(entry, NewOrder | ParentOrder | CancelOrder | Refused | Alert)
        ]


def play_back(events: list[Event], core: TradingCore) -> list[Command]:
    """The commands that a fresh core gives to a journal's events; those of the journal, if nothing has changed."""
    return [command for event in events for command in core.on(event)]
