"""The tables of a journal file, and how a file of the first format becomes one of this one.

Rules. A file says its format in `user_version`. A later format than ours is refused. The first format (no chain, the
state saved whole with every commit) is upgraded in place, in one transaction: its rows are chained as they are, and the
saved state becomes a row from which everything goes on. A latch that was closed in it is closed afterwards.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from flea_lab.core_state import read_state
from flea_lab.errors import DataError, WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.journal import BASE, FACT, GENESIS, Row, chained
from flea_lab.live.fold import Base
from flea_lab.risk.gate import LATCHES

FORMAT = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  seq INTEGER PRIMARY KEY, kind INTEGER, ts_recv INTEGER, body BLOB, crc INTEGER, digest BLOB);
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
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 0), seq INTEGER, body BLOB, digest BLOB,
  hash TEXT);
CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
"""


def format_of(db: sqlite3.Connection, place: str) -> int:
    """The format that the file says it has; `WorkspaceError` where that is a later one than ours."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > FORMAT:
        raise WorkspaceError(f"journal {place}: is of format {found}, this code knows up to {FORMAT}: run newer code")
    return found


def upgrade(db: sqlite3.Connection, place: str) -> None:
    """Brings the file up to this format; `WorkspaceError` where it is of a later one, or cannot be read."""
    found = format_of(db, place)
    old = [row[1] for row in db.execute("PRAGMA table_info(entries)")]
    if found == FORMAT or not old:
        return
    if old != ["seq", "kind", "ts_recv", "body", "crc"]:
        raise WorkspaceError(f"journal {place}: its entries are of no known format; move it away")
    db.execute("BEGIN IMMEDIATE")
    try:
        _upgrade_first(db, place)
        db.execute(f"PRAGMA user_version={FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _upgrade_first(db: sqlite3.Connection, place: str) -> None:
    db.execute("ALTER TABLE entries ADD COLUMN digest BLOB")
    seq, digest = -1, GENESIS
    for row in _rows(db, place):
        db.execute("UPDATE entries SET digest=? WHERE seq=?", (row.digest, row.seq))
        seq, digest = row.seq, row.digest
    facts = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
    base = _saved(db, place, facts)
    if base is not None:
        gate = np.frombuffer(base.state.arrays["gate"], dtype=np.int64)
        facts["latches"] = ",".join(name for name, index in LATCHES.items() if gate[index])
        db.execute("INSERT OR REPLACE INTO meta VALUES ('latches',?)", (facts["latches"],))
    bodies: list[tuple[int, Any]] = [
        (FACT, (key, None, blake2b(value.encode(), digest_size=16).digest())) for key, value in facts.items()
    ]
    if base is not None:
        bodies.append((BASE, base))
    for kind, told in bodies:
        row = chained(digest, seq + 1, kind, 0, msgspec.msgpack.encode(told))
        db.execute("INSERT INTO entries VALUES (?,?,?,?,?,?)", row)
        seq, digest = row.seq, row.digest
    db.execute("DROP TABLE IF EXISTS state")


def _rows(db: sqlite3.Connection, place: str) -> Iterator[Row]:
    """The rows of the first format, chained."""
    digest = GENESIS
    rows = db.execute("SELECT seq, kind, ts_recv, body, crc FROM entries ORDER BY seq").fetchall()
    for n, (seq, kind, ts_recv, body, crc) in enumerate(rows):
        if seq != n or zlib.crc32(body) != crc:
            raise WorkspaceError(f"journal {place}: row {n} is damaged; move it away and reconcile by hand")
        row = chained(digest, seq, kind, ts_recv, body)
        digest = row.digest
        yield row


def _saved(db: sqlite3.Connection, place: str, facts: dict[str, str]) -> Base | None:
    """The state that the first format saved with its last commit."""
    found = db.execute("SELECT body FROM state").fetchone()
    if found is None:
        return None
    decoder = msgspec.msgpack.Decoder(Order)
    try:
        return Base(
            state=read_state(found[0]),
            orders=tuple(decoder.decode(body) for (body,) in db.execute("SELECT body FROM orders ORDER BY rowid")),
            limit_ttl_ns=int(facts.get("limit_ttl_ns", "0")),
        )
    except DataError as error:
        raise WorkspaceError(f"journal {place}: {error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise WorkspaceError(
            f"journal {place}: its state cannot be read ({error}); move it away and reconcile by hand"
        ) from None
