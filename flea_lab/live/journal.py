"""The runner's journal: all that happened to an account, in a chain of rows, and from which its runner goes on.

Rules. What the core was given and what it said are rows in their order. They are gathered in a batch, which becomes
durable in one piece: an event with its commands, or none of it. An order leaves only when the ticket of its batch is
done. A store that failed once takes nothing more. Tables beside the rows are drawn from them, for readers.

::

    entries      seq, kind (see `flea_lab.journal`), ts_recv ns, body msgpack, crc, digest
    orders       id, symbol, status, body msgpack          every order as it stands
    fills        seq, ts ns, symbol, side, lots, price_ticks, decision_ticks, fee_uusd, reference_ticks, fill_id, order
    funding      seq, ts ns, symbol, rate, paid_uusd
    curve        ts ns, equity, cash, gross (micro-USD), latches (bits of `LATCH_BITS`)
    timings      order; when its bar was received, it was decided, the venue's answer was there: ns UTC, ours
    reconciles   at ns UTC, ts ns (the venue's), equal, ours, theirs (JSON)
    findings     seq, ts_from, ts_to ns UTC (venue), channel, symbol, kind, detail, resolved: faults of the data
    runs         n, started, ended ns UTC, how, pid, code digest, first_seq
    state, kept  a snapshot: the core's state after row `seq`, and the orders as they stood then
    meta         key, value
"""

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from flea_lab.core_state import CoreState
from flea_lab.errors import WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import (
    BASE,
    EVENT,
    FACT,
    FAULT,
    MARK,
    NOTE,
    REPAIR,
    Batch,
    Entry,
    Row,
    Snapshot,
    Store,
    Ticket,
    chained,
    check_chain,
    done_ticket,
)
from flea_lab.live.fold import Base, Source
from flea_lab.live.format import format_of
from flea_lab.live.store import FILE, SqliteStore, open_read_only
from flea_lab.model.finding import Finding
from flea_lab.model.market import Funding
from flea_lab.model.trading import Fill

LATCH_BITS = ("kill_switch", "reducing", "daily_loss", "drawdown")
LONG = 64
"""A fact of more characters than this is in its row as a digest, and itself beside the rows."""

_ORDER = """
INSERT INTO orders VALUES (?,?,?,?)
ON CONFLICT (id) DO UPDATE SET symbol = excluded.symbol, status = excluded.status, body = excluded.body
"""  # the row stays where it is: orders are read back oldest first


def open_journal(folder: Path, post: Callable[[Callable[[], None]], object] | None = None) -> "LiveJournal":
    """The journal in `folder`, made where there is none. `post` carries tickets into the thread that drives it, and
    commits then run on a thread of their own; without it a commit returns when it is durable."""
    store = SqliteStore(folder / FILE, post)
    try:
        return LiveJournal(store)
    except BaseException:
        store.close()
        raise


class LiveJournal:
    """The journal of one account over a store, opened for writing. `repaired` says what was cut off at its end."""

    def __init__(self, store: Store) -> None:
        """Takes up what the store kept. `WorkspaceError` where it is damaged anywhere but at its end."""
        self.store = store
        self._encode = msgspec.msgpack.Encoder().encode
        told: list[Row] = []
        found = check_chain(_noting(store.rows(), told))
        if found.bad >= 0 and not found.tail:
            raise WorkspaceError(
                f"journal {store.name}: row {found.bad} is damaged and rows after it are not; move it away and "
                "reconcile by hand"
            )
        self._seq, self._digest = found.seq, found.digest
        self._sealed = found.seq
        self._rows: list[tuple[int, int, bytes]] = []
        self._tables: list[tuple[str, tuple[object, ...]]] = []
        self._changed: dict[str, str] = {}
        self._last = done_ticket()
        self.repaired = ""
        cut = found.bad >= 0
        told = [row for row in told if row.seq <= found.seq]
        self._base = max((row.seq for row in told if row.kind == BASE), default=-1)
        self._first = any(row.kind == EVENT for row in told)
        self._facts = self._told([row for row in told if row.kind == FACT], cut)
        if cut:
            store.cut(found.seq)
            self.repaired = f"row {found.bad} is damaged: it and what came after it is cut off"
            self.repair(self.repaired)
            self.finish()

    @property
    def seq(self) -> int:
        """Number of the last row given, -1 before the first."""
        return self._seq

    @property
    def begun(self) -> bool:
        """Whether a core was ever given anything in it."""
        return self._base >= 0 or self._first

    @property
    def waiting(self) -> bool:
        """Whether something was taken that has not been given to the store."""
        return bool(self._rows or self._tables or self._changed)

    def append(self, entry: Entry, kind: int = EVENT, ts_recv: int = 0) -> None:
        """Takes what the core was given, or said."""
        self._row(kind, self._encode(entry), ts_recv)

    def retract(self, fault: bool) -> None:
        """The last row was an event that the core refused: it is kept as a fault, or was nothing and is dropped."""
        _, ts_recv, body = self._rows.pop()
        if fault:
            self._rows.append((FAULT, ts_recv, body))
        else:
            self._seq -= 1

    def order(self, order: Order) -> None:
        """Takes an order as it stands."""
        command = order.command
        self._table(_ORDER, (command.client_order_id, command.symbol, order.status.value, self._encode(order)))

    def fill(self, fill: Fill, decision_ticks: int) -> None:
        """Takes an execution that counted."""
        values = (
            self._seq, fill.ts_event, fill.symbol, fill.side, fill.lots, fill.price_ticks,
            decision_ticks, fill.fee_uusd, fill.reference_ticks, fill.fill_id, fill.client_order_id,
        )  # fmt: skip
        self._table(f"INSERT INTO fills VALUES ({','.join('?' * len(values))})", values)

    def paid(self, funding: Funding, paid_uusd: int) -> None:
        """Takes a settlement that the account felt."""
        values = (self._seq, funding.ts_event, funding.symbol, funding.rate, paid_uusd)
        self._table("INSERT INTO funding VALUES (?,?,?,?,?)", values)

    def finding(self, found: Finding) -> None:
        """Takes a fault of the data."""
        about = found.channel, found.symbol, found.kind, found.detail, found.resolved
        self._note("finding", "INSERT INTO findings VALUES (?,?,?,?,?,?,?,?)", (found.ts_from, found.ts_to, *about))

    def curve(self, ts: int, equity: int, cash: int, gross: int, closed: tuple[str, ...]) -> None:
        """Takes the account at a decided bar; `closed` are the latches that are closed."""
        latches = sum(1 << i for i, name in enumerate(LATCH_BITS) if name in closed)
        self._table("INSERT OR REPLACE INTO curve VALUES (?,?,?,?,?)", (ts, equity, cash, gross, latches))

    def timing(self, client_order_id: str, received: int, decided: int, answered: int) -> None:
        """Takes the times of one order's way out."""
        values = (client_order_id, received, decided, answered)
        self._table("INSERT OR REPLACE INTO timings VALUES (?,?,?,?)", values)

    def reconcile(self, at: int, ts: int, equal: bool, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        """Takes one comparison with the venue, both sides of it."""
        sides = [msgspec.json.encode(side).decode() for side in (ours, theirs)]
        values = (at, ts, int(equal), *sides)
        self._row(NOTE, self._encode(("reconcile", *values)))
        self._table("INSERT INTO reconciles VALUES (?,?,?,?,?)", values)

    def meta(self, key: str, value: str) -> None:
        """Takes a fact about the whole journal; one that is known already is nothing."""
        if self._facts.get(key) == value:
            return
        self._facts[key] = self._changed[key] = value
        told = (key, value) if len(value) <= LONG else (key, None, _digest(value))
        self._row(FACT, self._encode(told))

    def begin_run(self, at: int, pid: int, code: str) -> None:
        """Takes the start of a process."""
        values = (at, pid, code, self._seq + 1)
        self._row(NOTE, self._encode(("run", *values)))
        self._table("INSERT INTO runs (started, pid, code, first_seq) VALUES (?,?,?,?)", values)

    def end_run(self, at: int, how: str) -> None:
        """Takes the end of the process, in words."""
        self._row(NOTE, self._encode(("end", at, how)))
        self._table("UPDATE runs SET ended=?, how=? WHERE n=(SELECT max(n) FROM runs)", (at, how))

    def base(self, base: Base) -> None:
        """Takes a whole state: what follows goes on from it, whatever led to it."""
        self._row(BASE, self._encode(base))
        self._base = self._seq

    def mark(self, state_hash: str) -> None:
        """Takes the hash of the state that the rows so far led to."""
        self._row(MARK, self._encode(state_hash))

    def repair(self, why: str) -> None:
        """Takes that something of the state cannot be vouched for: whoever folds it is halted, and skips order ids."""
        self._row(REPAIR, self._encode(why))
        self.meta("latches", ",".join(dict.fromkeys(["kill_switch", *self.last_latches()])))

    def source(self) -> Source:
        """What the state of this journal is folded from."""
        return Source(self.store.rows, self.store.snapshot(), self._base)

    def drop_waiting(self) -> None:
        """Forgets what was taken and not given to the store: none of it was carried out."""
        self._rows.clear()
        self._tables.clear()
        self._changed.clear()
        self._seq = self._sealed

    def commit(self, snapshot: tuple[str, CoreState, tuple[tuple[str, bytes], ...]] | None = None) -> Ticket:
        """The ticket of all that was taken, done when it is durable. `snapshot` is the state as hash, as it is, and
        the orders that changed since the last one. `WorkspaceError` where the store has failed."""
        self.check()
        if not self.waiting and snapshot is None:
            return self._last
        rows, digest = [], self._digest
        for seq, (kind, ts_recv, body) in enumerate(self._rows, self._sealed + 1):
            row = chained(digest, seq, kind, ts_recv, body)
            rows.append(row)
            digest = row.digest
        taken = None
        if snapshot is not None:
            state_hash, state, orders = snapshot
            taken = Snapshot(self._seq, digest, state_hash, self._encode(state), orders)
        batch = Batch(tuple(rows), tuple(self._changed.items()), tuple(self._tables), taken)
        self._last = self.store.write(batch)
        self._digest, self._sealed = digest, self._seq
        self._rows, self._tables, self._changed = [], [], {}
        self.check()
        return self._last

    def check(self) -> None:
        """`WorkspaceError` where the store has failed."""
        if self._last.failed:
            raise WorkspaceError(f"journal {self.store.name}: {self._last.failed}")

    def finish(self) -> None:
        """Returns when everything that was taken is durable; `WorkspaceError` where the store fails."""
        self.commit()
        self.store.finish()

    def get(self, key: str) -> str | None:
        """A fact about the whole journal."""
        return self._facts.get(key)

    def last_latches(self) -> tuple[str, ...]:
        """The latches that are closed, by name; a halt may be later than the last decided bar."""
        return tuple(name for name in (self.get("latches") or "").split(",") if name)

    def close(self) -> None:
        """Closes; what was not committed is gone."""
        self.store.close()

    def _row(self, kind: int, body: bytes, ts_recv: int = 0) -> None:
        self._seq += 1
        self._rows.append((kind, ts_recv, body))

    def _table(self, statement: str, values: tuple[object, ...]) -> None:
        self._tables.append((statement, values))

    def _note(self, what: str, statement: str, values: tuple[object, ...]) -> None:
        """A row about what was observed, and the table that shows it with the row's number first."""
        self._row(NOTE, self._encode((what, *values)))
        self._table(statement, (self._seq, *values))

    def _told(self, rows: list[Row], cut: bool) -> dict[str, str]:
        """The facts as the rows tell them last; those beside the rows must be the ones that the rows name."""
        beside, facts = self.store.facts(), {}
        last: dict[str, list[Any]] = {}
        for row in rows:
            key, *told = msgspec.msgpack.decode(row.body)
            last[key] = told
        for key, told in last.items():
            value = told[0] if len(told) == 1 else beside.get(key)
            if len(told) > 1 and (value is None or _digest(value) != told[1]):
                if cut:
                    continue  # it is later than the rows that are left
                raise WorkspaceError(f"journal {self.store.name}: its fact {key!r} is damaged")
            facts[key] = str(value)
        return facts


def _digest(value: str) -> bytes:
    return blake2b(value.encode(), digest_size=16).digest()


def _noting(rows: Iterator[Row], into: list[Row]) -> Iterator[Row]:
    begun = False
    for row in rows:
        if row.kind in (FACT, BASE) or (row.kind == EVENT and not begun):
            into.append(row)
            begun = begun or row.kind == EVENT
        yield row


def entries(path: Path, last: int = 2**62) -> Iterator[tuple[int, int, Entry]]:
    """Every row of a journal up to row `last` that is an event, a command or a fault, as (seq, kind, entry), checksums
    checked. `WorkspaceError` names a damaged row."""
    decoder = msgspec.msgpack.Decoder(Entry)
    db = open_read_only(path)
    try:
        query = "SELECT seq, kind, body, crc FROM entries WHERE seq<=? ORDER BY seq"
        for seq, kind, body, crc in db.execute(query, (last,)):
            if zlib.crc32(body) != crc:
                raise WorkspaceError(f"journal {path}: row {seq} is damaged")
            if kind <= FAULT:
                yield seq, kind, decoder.decode(body)
    finally:
        db.close()


def read_meta(path: Path) -> dict[str, str]:
    """The facts about the whole journal. `WorkspaceError` where it cannot be read or is of a later format than ours."""
    with closing(open_read_only(path)) as db:
        try:
            format_of(db, str(path))
            return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
        except sqlite3.Error as error:
            raise WorkspaceError(f"journal {path}: {error}") from None
