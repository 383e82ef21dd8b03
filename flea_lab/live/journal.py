"""The runner's journal: one SQLite file that says all that happened to an account, and from which it goes on.

Rules. What the core was given and what it said are rows in their order; they become durable together, with the state
after them, and before any of it is carried out. So what is in the file is always whole: an event with its commands and
the state they led to, or none of it. Rows carry a checksum. One writer; readers open it read-only and never lock it.

::

    entries      seq, kind (0 event, 1 command, 2 an event that was refused), ts_recv ns, body msgpack, crc
    orders       id, symbol, status, body msgpack          every order as it stands
    fills        seq, ts ns, symbol, side, lots, price_ticks, decision_ticks, fee_uusd, reference_ticks, fill_id, order
    funding      seq, ts ns, symbol, rate, paid_uusd
    curve        ts ns, equity, cash, gross (micro-USD), latches (bits of `LATCH_BITS`)
    timings      order; when its bar was received, it was decided, the venue's answer was there: ns UTC, ours
    reconciles   at ns UTC, ts ns (the venue's), equal, ours, theirs (JSON)
    findings     seq, ts_from, ts_to ns UTC (venue), channel, symbol, kind, detail, resolved: faults of the data
    runs         n, started, ended ns UTC, how, pid, code digest, first_seq
    state        the core's state after row `seq`, msgpack
    meta         key, value
"""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from flea_lab.core import CoreState
from flea_lab.errors import WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import Entry
from flea_lab.model.finding import Finding
from flea_lab.model.market import Funding
from flea_lab.model.trading import Fill
from flea_lab.risk.gate import LATCHES

FILE = "journal.sqlite"
EVENT, COMMAND, FAULT = range(3)
LATCH_BITS = ("kill_switch", "reducing", "daily_loss", "drawdown")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, kind INTEGER, ts_recv INTEGER, body BLOB, crc INTEGER);
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, symbol TEXT, status TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS fills (
  seq INTEGER PRIMARY KEY, ts INTEGER, symbol TEXT, side TEXT, lots INTEGER, price_ticks INTEGER,
  decision_ticks INTEGER, fee_uusd INTEGER, reference_ticks INTEGER, fill_id TEXT, client_order_id TEXT);
CREATE TABLE IF NOT EXISTS funding (seq INTEGER, ts INTEGER, symbol TEXT, rate REAL, paid_uusd INTEGER);
CREATE TABLE IF NOT EXISTS curve (
  ts INTEGER PRIMARY KEY, equity INTEGER, cash INTEGER, gross INTEGER, latches INTEGER);
CREATE TABLE IF NOT EXISTS timings (
  client_order_id TEXT PRIMARY KEY, received INTEGER, decided INTEGER, answered INTEGER);
CREATE TABLE IF NOT EXISTS reconciles (at INTEGER, ts INTEGER, equal INTEGER, ours TEXT, theirs TEXT);
CREATE TABLE IF NOT EXISTS findings (
  seq INTEGER, ts_from INTEGER, ts_to INTEGER, channel TEXT, symbol TEXT, kind TEXT, detail TEXT, resolved TEXT);
CREATE TABLE IF NOT EXISTS runs (
  n INTEGER PRIMARY KEY, started INTEGER, ended INTEGER, how TEXT, pid INTEGER, code TEXT, first_seq INTEGER);
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 0), seq INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
"""

_ORDER = """
INSERT INTO orders VALUES (?,?,?,?)
ON CONFLICT (id) DO UPDATE SET symbol = excluded.symbol, status = excluded.status, body = excluded.body
"""  # the row stays where it is: orders are read back oldest first


class Saved(Struct, frozen=True, kw_only=True):
    """What a journal goes on from: the state after row `seq`, and every order."""

    seq: int
    state: CoreState
    orders: tuple[Order, ...]


class SqliteJournal:
    """The journal of one account, opened for writing. Nothing is durable before `commit` returns."""

    def __init__(self, folder: Path) -> None:
        """Opens or makes the journal in `folder`; `WorkspaceError` where it is damaged or cannot be made durable."""
        self.path = folder / FILE
        self._encode = msgspec.msgpack.Encoder().encode
        self._rows: list[tuple[str, tuple[Any, ...]]] = []
        with _one_line(self.path):
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=10.0)
            try:
                last = self._opened()
            except BaseException:
                self._db.close()
                raise
        self._seq = -1 if last is None else int(last)

    def _opened(self) -> int | None:
        """The last row of the database, which is sound and durable."""
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._db.execute("PRAGMA synchronous").fetchone() != (2,):
            raise WorkspaceError(f"journal {self.path}: cannot be made durable")  # pragma: no cover
        if self._db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise WorkspaceError(f"journal {self.path}: damaged; move it away and reconcile by hand")
        self._db.executescript(_SCHEMA)
        last: int | None = self._db.execute("SELECT max(seq) FROM entries").fetchone()[0]
        return last

    @property
    def seq(self) -> int:
        """Number of the last row given, -1 before the first."""
        return self._seq

    def append(self, entry: Entry, kind: int = EVENT, ts_recv: int = 0) -> None:
        """Takes a row."""
        self._seq += 1
        body = self._encode(entry)
        self._rows.append(
            ("INSERT INTO entries VALUES (?,?,?,?,?)", (self._seq, kind, ts_recv, body, zlib.crc32(body)))
        )

    def retract(self, fault: bool) -> None:
        """The last row was an event that the core refused: it is kept as a fault, or was nothing and is dropped."""
        statement, values = self._rows.pop()
        if fault:
            self._rows.append((statement, (values[0], FAULT, *values[2:])))
        else:
            self._seq -= 1

    def order(self, order: Order) -> None:
        """Takes an order as it stands."""
        command = order.command
        values = (command.client_order_id, command.symbol, order.status.value, self._encode(order))
        self._rows.append((_ORDER, values))

    def fill(self, fill: Fill, decision_ticks: int) -> None:
        """Takes an execution that counted."""
        values = (
            self._seq, fill.ts_event, fill.symbol, fill.side, fill.lots, fill.price_ticks,
            decision_ticks, fill.fee_uusd, fill.reference_ticks, fill.fill_id, fill.client_order_id,
        )  # fmt: skip
        self._rows.append((f"INSERT INTO fills VALUES ({','.join('?' * len(values))})", values))

    def paid(self, funding: Funding, paid_uusd: int) -> None:
        """Takes a settlement that the account felt."""
        values = (self._seq, funding.ts_event, funding.symbol, funding.rate, paid_uusd)
        self._rows.append(("INSERT INTO funding VALUES (?,?,?,?,?)", values))

    def finding(self, found: Finding) -> None:
        """Takes a fault of the data."""
        about = found.channel, found.symbol, found.kind, found.detail, found.resolved
        values = (self._seq, found.ts_from, found.ts_to, *about)
        self._rows.append((f"INSERT INTO findings VALUES ({','.join('?' * len(values))})", values))

    def curve(self, ts: int, equity: int, cash: int, gross: int, closed: tuple[str, ...]) -> None:
        """Takes the account at a decided bar; `closed` are the latches that are closed."""
        latches = sum(1 << i for i, name in enumerate(LATCH_BITS) if name in closed)
        self._rows.append(("INSERT OR REPLACE INTO curve VALUES (?,?,?,?,?)", (ts, equity, cash, gross, latches)))

    def timing(self, client_order_id: str, received: int, decided: int, answered: int) -> None:
        """Takes the times of one order's way out."""
        values = (client_order_id, received, decided, answered)
        self._rows.append(("INSERT OR REPLACE INTO timings VALUES (?,?,?,?)", values))

    def reconcile(self, at: int, ts: int, equal: bool, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        """Takes one comparison with the venue."""
        sides = [msgspec.json.encode(side).decode() for side in (ours, theirs)]
        self._rows.append(("INSERT INTO reconciles VALUES (?,?,?,?,?)", (at, ts, int(equal), *sides)))

    def meta(self, key: str, value: str) -> None:
        """Takes a fact about the whole journal."""
        self._rows.append(("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, value)))

    def begin_run(self, at: int, pid: int, code: str) -> None:
        """Takes the start of a process."""
        self._rows.append(
            (
                "INSERT INTO runs (started, pid, code, first_seq) VALUES (?,?,?,?)",
                (at, pid, code, self._seq + 1),
            )
        )

    def end_run(self, at: int, how: str) -> None:
        """Takes the end of the process, in words."""
        self._rows.append(("UPDATE runs SET ended=?, how=? WHERE n=(SELECT max(n) FROM runs)", (at, how)))

    def drop_waiting(self) -> None:
        """Forgets what was taken and is not durable: it never went with a state, and none of it was carried out."""
        self._rows.clear()

    @property
    def waiting(self) -> bool:
        """Whether rows were taken that are not durable yet."""
        return bool(self._rows)

    def commit(self, state: CoreState | None = None) -> None:
        """Makes all that was taken durable, with the core's state after it. `WorkspaceError` where the disk refuses;
        the rows are then still waiting."""
        rows = list(self._rows)
        if state is not None:
            rows.append(("INSERT OR REPLACE INTO state VALUES (0,?,?)", (self._seq, self._encode(state))))
        with _one_line(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in rows:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._rows.clear()

    def saved(self) -> Saved | None:
        """What to go on from; None in a new journal."""
        with _one_line(self.path):
            row = self._db.execute("SELECT seq, body FROM state").fetchone()
            orders = self._db.execute("SELECT body FROM orders ORDER BY rowid").fetchall()
        if row is None:
            return None
        decoder = msgspec.msgpack.Decoder(Order)
        try:
            return Saved(
                seq=row[0],
                state=msgspec.msgpack.decode(row[1], type=CoreState),
                orders=tuple(decoder.decode(body) for (body,) in orders),
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            raise WorkspaceError(
                f"journal {self.path}: its state cannot be read ({error}); move it away and reconcile by hand"
            ) from None

    def get(self, key: str) -> str | None:
        """A fact about the whole journal, as it was last made durable."""
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def last_latches(self) -> tuple[str, ...]:
        """The latches that are closed in the last state, by name; a halt may be later than the last decided bar."""
        saved = self.saved()
        if saved is None:
            return ()
        gate = np.frombuffer(saved.state.arrays["gate"], dtype=np.int64)
        return tuple(name for name, index in LATCHES.items() if gate[index])

    def last_code(self) -> str | None:
        """The code digest of the last run; None before the first."""
        row = self._db.execute("SELECT code FROM runs ORDER BY n DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Closes; what was not committed is gone."""
        self._db.close()


def open_read_only(path: Path) -> sqlite3.Connection:
    """The journal at `path` for reading; it never holds the runner up. `WorkspaceError` where there is none."""
    if not path.is_file():
        raise WorkspaceError(f"journal {path}: no such file, so nothing has run there")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)


def entries(path: Path, last: int = 2**62) -> Iterator[tuple[int, int, Entry]]:
    """Every row of a journal up to row `last` as (seq, kind, entry), checksums checked. `WorkspaceError` names a
    damaged row."""
    decoder = msgspec.msgpack.Decoder(Entry)
    db = open_read_only(path)
    try:
        query = "SELECT seq, kind, body, crc FROM entries WHERE seq<=? ORDER BY seq"
        for seq, kind, body, crc in db.execute(query, (last,)):
            if zlib.crc32(body) != crc:
                raise WorkspaceError(f"journal {path}: row {seq} is damaged")
            yield seq, kind, decoder.decode(body)
    finally:
        db.close()


def read_meta(path: Path) -> dict[str, str]:
    """The facts about the whole journal."""
    db = open_read_only(path)
    try:
        return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
    finally:
        db.close()


class _one_line:
    """An error of the database as one `WorkspaceError` that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (sqlite3.Error, OSError)):
            raise WorkspaceError(f"journal {self._path}: {error}") from error
