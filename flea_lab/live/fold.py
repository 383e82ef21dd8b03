"""State as the fold of a journal: the core that its rows lead to. A start, a recovery and a check are this one path.

Rules. Events are given to the core, and what it says must be the commands that follow, to the byte. A fault changed
nothing. A base is a state that is taken over whole: other code, other settings or an older format led to it. A mark
must be the hash of the state so far. After a repair the kill switch is closed, and order ids go on far from where they
were. A snapshot only saves time: it is the state that the rows before it fold to, and one that is damaged is left out.
"""

from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct

from flea_lab.core import TradingCore
from flea_lab.core_state import GO_BACK, CoreState, read_state
from flea_lab.errors import DataError, FleaError, WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import BASE, COMMAND, EVENT, FACT, MARK, REPAIR, Entry, Row, Snapshot
from flea_lab.model.trading import Command, Halt

SKIPPED = 1_000
"""Order ids left out after a repair: those of orders that may have gone with the rows that were lost."""

Build = Callable[[int | None], TradingCore]
"""A fresh core of a journal's config, from how long a limit order rests (ns)."""

_encode = msgspec.msgpack.Encoder().encode
_entry = msgspec.msgpack.Decoder(Entry)


class Base(Struct, frozen=True, kw_only=True):
    """A whole state. `limit_ttl_ns` is 0 where limit orders rest for ever."""

    state: CoreState
    orders: tuple[Order, ...]
    limit_ttl_ns: int


class Parted(WorkspaceError):
    """The rows of a journal and what this code makes of them are not the same."""


class StateHash:
    """The hash of a core's state with its orders, cheap to ask for again: only orders that changed are read."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Order, int]] = {}
        self._sum = 0

    def of(self, core: TradingCore, state: CoreState) -> tuple[str, tuple[tuple[str, bytes], ...]]:
        """The hash of `core` whose dump is `state`, and the orders that changed since it was last asked for: of those
        that were forgotten the name alone."""
        changed, orders = [], core.router.blotter.orders()
        for order in orders:
            name = order.command.client_order_id
            before = self._seen.get(name)
            if before is not None and before[0] is order:
                continue
            body = _encode(order)
            digest = int.from_bytes(blake2b(body, digest_size=16).digest())
            self._sum = (self._sum + digest - (0 if before is None else before[1])) % 2**128
            self._seen[name] = order, digest
            changed.append((name, body))
        if len(self._seen) > len(orders):
            for name in self._seen.keys() - {order.command.client_order_id for order in orders}:
                self._sum = (self._sum - self._seen.pop(name)[1]) % 2**128
                changed.append((name, b""))
        told = blake2b(_encode(state) + self._sum.to_bytes(16), digest_size=16).hexdigest()
        return told, tuple(changed)


def state_hash(core: TradingCore) -> str:
    """The hash of a core's state with its orders."""
    return StateHash().of(core, core.dump())[0]


class Fold:
    """A core that follows the rows of a journal. Counts what it took."""

    def __init__(self, build: Build, limit_ttl_ns: int | None = None, core: TradingCore | None = None) -> None:
        self._build, self._ttl_ns, self._core = build, limit_ttl_ns, core
        self._due: deque[Command] = deque()
        self.events = self.commands = self.marks = 0

    @property
    def core(self) -> TradingCore:
        """The core as it stands; a fresh one before the first event."""
        if self._core is None:
            self._core = self._build(self._ttl_ns)
        return self._core

    def take(self, row: Row) -> None:
        """Takes the next row; `Parted` where the core does not say what the journal has."""
        if row.kind == COMMAND:
            self._command(row)
            return
        self.end(row.seq)
        if row.kind == EVENT:
            self._event(row)
        elif row.kind == FACT and self._core is None:
            key, *told = msgspec.msgpack.decode(row.body)
            if key == "limit_ttl_ns" and told[0] is not None:
                self._ttl_ns = int(told[0]) or None
        elif row.kind == BASE:
            self._base(row)
        elif row.kind == MARK:
            self.marks += 1
            if state_hash(self.core) != msgspec.msgpack.decode(row.body, type=str):
                raise Parted(f"row {row.seq}: the state is another than the one that was marked here")
        elif row.kind == REPAIR:
            self._repair(msgspec.msgpack.decode(row.body, type=str))

    def take_all(self, rows: Iterable[Row]) -> "Fold":
        """Takes all rows; itself."""
        seq = -1
        for row in rows:
            self.take(row)
            seq = row.seq
        self.end(seq + 1)
        return self

    def end(self, seq: int) -> None:
        """Nothing more belongs to the last event: `Parted` where the core said more than the journal has."""
        if self._due:
            raise Parted(f"row {seq}: the core says {type(self._due[0]).__name__} first, the journal does not")

    def _event(self, row: Row) -> None:
        event = _entry.decode(row.body)
        self.events += 1
        try:
            self._due.extend(self.core.on(event))
        except FleaError as error:
            raise Parted(f"row {row.seq}: the core refuses this {type(event).__name__}: {error}") from None
        self.core.take_paid()

    def _command(self, row: Row) -> None:
        self.commands += 1
        said = self._due.popleft() if self._due else None
        if said is None or _encode(said) != row.body:
            there = type(_entry.decode(row.body)).__name__
            here = "nothing" if said is None else f"another {type(said).__name__}"
            raise Parted(f"row {row.seq}: the journal has {there}, the core says {here}")

    def _base(self, row: Row) -> None:
        try:
            base = msgspec.msgpack.decode(row.body, type=Base)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise Parted(f"row {row.seq}: its state cannot be read by this code ({error}): {GO_BACK}") from None
        self._core = self._build(base.limit_ttl_ns or None)
        restore(self._core, base.state, base.orders)

    def _repair(self, why: str) -> None:
        self.core.gate.on(Halt(ts_event=0, reason=why))
        self.core.router.resume(self.core.router.minted + SKIPPED)


def base_of(core: TradingCore, limit_ttl_ns: int) -> Base:
    """The whole state of a core."""
    return Base(state=core.dump(), orders=core.router.blotter.orders(), limit_ttl_ns=limit_ttl_ns)


def restore(core: TradingCore, state: CoreState, orders: Iterable[Order]) -> None:
    """Brings a fresh core to a saved state; `DataError` where it is not of its config and code."""
    core.load(state)
    for order in orders:
        core.router.blotter.restore(order)


class Recovered(NamedTuple):
    """The core that a journal leads to, how many rows were folded, and why a snapshot was left out ("": it was not)."""

    core: TradingCore
    folded: int
    left_out: str


class Source(NamedTuple):
    """What a fold begins from: rows after a row, the last snapshot, and the row of the last base (-1: none)."""

    rows: Callable[[int], Iterable[Row]]
    snapshot: Snapshot | None
    base: int


def recover(source: Source, build: Build, limit_ttl_ns: int | None) -> Recovered:
    """The state of a journal: from its last snapshot where that is whole, else from its last base, else from the first
    row. `Parted` where this code does not do what the journal's did."""
    why = ""
    snapshot = source.snapshot
    if snapshot is not None and snapshot.seq >= source.base:
        core = build(limit_ttl_ns)
        why = _loaded(core, snapshot, source)
        if not why:
            fold = Fold(build, limit_ttl_ns, core).take_all(source.rows(snapshot.seq))
            return Recovered(fold.core, fold.events, "")
    fold = Fold(build, limit_ttl_ns).take_all(source.rows(source.base - 1))
    return Recovered(fold.core, fold.events, why)


def _loaded(core: TradingCore, snapshot: Snapshot, source: Source) -> str:
    """Why the snapshot is not the state of these rows; "" where `core` has it now."""
    at = next(iter(source.rows(snapshot.seq - 1)), None)
    if at is None or at.seq != snapshot.seq or at.digest != snapshot.digest:
        return "it is of other rows"
    decoder = msgspec.msgpack.Decoder(Order)
    try:
        state = read_state(snapshot.state)
        restore(core, state, [decoder.decode(body) for _, body in snapshot.orders])
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, DataError) as error:
        return f"it cannot be read ({error})"
    return "" if state_hash(core) == snapshot.hash else "it is damaged"
