"""The SQLite store of a live journal: one file, one writer, and readers that never hold it up.

Rules. WAL with synchronous=FULL, read back at the start: a commit returns when it is on the disk. With `post` commits
run on a thread of their own, and all that waits goes into one. The WAL is carried over into the file when nothing has
been written for a while, or when it has grown too large, after the tickets of a commit are told: never in an order's
way. A commit, a sync or a checkpoint that fails ends the store: none is tried again, since what the system still holds
in memory may look written and not be. Not for network file systems.
"""

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path

from flea_lab.errors import WorkspaceError
from flea_lab.journal import BASE, Batch, Row, Snapshot, Ticket
from flea_lab.live.format import FORMAT, SCHEMA, upgrade

FILE = "journal.sqlite"
IDLE_S = 0.5
"""How long nothing must have been written before the WAL is carried over."""
SMALL, LARGE = 256 * 1024, 32 * 1024 * 1024
"""Bytes of a WAL that is left alone, and of one that is carried over between two commits."""

_KEPT = "INSERT INTO kept VALUES (?,?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
"""Orders keep their places: they are read back oldest first."""

Post = Callable[[Callable[[], None]], object]
"""Has something called in the thread that drives the journal: `loop.call_soon_threadsafe`."""


class SqliteStore:
    """A journal's file, opened for writing."""

    def __init__(self, path: Path, post: Post | None = None) -> None:
        """Opens or makes it; `WorkspaceError` where it is damaged, of a later format, or cannot be made durable."""
        self.path, self._post = path, post
        self._wal = path.with_name(f"{path.name}-wal")
        self._jobs: queue.SimpleQueue[tuple[Batch, Ticket] | threading.Event | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[tuple[list[Ticket], str]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failed, self._kept = "", False
        with _one_line(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "wal_autocheckpoint=0"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._db.execute("PRAGMA synchronous").fetchone() != (2,):
            raise WorkspaceError(f"journal {self.path}: cannot be made durable")  # pragma: no cover
        if self._db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise WorkspaceError(f"journal {self.path}: damaged; move it away and reconcile by hand")
        upgrade(self._db, str(self.path))
        self._db.executescript(SCHEMA)
        self._db.execute(f"PRAGMA user_version={FORMAT}")

    @property
    def name(self) -> str:
        """What an error calls it."""
        return str(self.path)

    def rows(self, after: int = -1) -> Iterator[Row]:
        """The rows that were kept after row `after`."""
        return read_rows(self.path, after)

    def facts(self) -> dict[str, str]:
        """The facts that were kept."""
        with closing(open_read_only(self.path)) as db:
            return {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}

    def snapshot(self) -> Snapshot | None:
        """The last snapshot."""
        return read_snapshot(self.path)

    def cut(self, after: int) -> None:
        """Forgets every row after row `after`, and a snapshot that was taken later."""
        with _one_line(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM entries WHERE seq>?", (after,))
            self._db.execute("DELETE FROM state WHERE seq>?", (after,))
            self._db.execute("COMMIT")

    def write(self, batch: Batch) -> Ticket:
        """Takes a batch."""
        ticket = Ticket()
        if self._failed or self._post is None:
            ticket.settle(self._failed or self._keep([batch]))
            return ticket
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        self._jobs.put((batch, ticket))
        return ticket

    def finish(self) -> None:
        """Returns once every ticket is settled."""
        if self._thread is not None:
            done = threading.Event()
            self._jobs.put(done)
            done.wait()
            self._settle()
        if self._failed:
            raise WorkspaceError(f"journal {self.path}: {self._failed}")

    def close(self) -> None:
        """Ends the thread after what it was given, and closes the file."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        self._db.close()

    # ---- the writer's thread

    def _work(self) -> None:
        dirty = False
        while True:
            try:
                first = self._jobs.get(timeout=IDLE_S if dirty else None)
            except queue.Empty:
                dirty = False
                self._carry_over(SMALL)
                continue
            jobs = [first]
            with suppress(queue.Empty):
                while True:
                    jobs.append(self._jobs.get_nowait())
            given = [job for job in jobs if isinstance(job, tuple)]
            if given:
                failed = self._failed or self._keep([batch for batch, _ in given])
                self._tell([ticket for _, ticket in given], failed)
                dirty = True
            for job in jobs:
                if isinstance(job, threading.Event):
                    job.set()
            if None in jobs:
                return
            self._carry_over(LARGE)

    def _keep(self, batches: list[Batch]) -> str:
        """Why the batches are not durable, "" where they are: all of them in one commit."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert(batches)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._failed = str(error) or type(error).__name__
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
        return self._failed

    def _insert(self, batches: list[Batch]) -> None:
        db = self._db
        db.executemany("INSERT INTO entries VALUES (?,?,?,?,?,?)", [row for batch in batches for row in batch.rows])
        tables = [one for batch in batches for one in batch.tables]
        for statement, group in groupby(tables, key=lambda one: one[0]):
            db.executemany(statement, [values for _, values in group])
        facts = dict(fact for batch in batches for fact in batch.facts)
        if facts:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", list(facts.items()))
        for batch in batches:
            if batch.snapshot is not None:
                seq, digest, state_hash, state, orders = batch.snapshot
                if not self._kept:  # the first one of a process holds every order
                    db.execute("DELETE FROM kept")
                    self._kept = True
                db.executemany(_KEPT, [one for one in orders if one[1]])
                db.executemany("DELETE FROM kept WHERE id=?", [(name,) for name, body in orders if not body])
                db.execute("INSERT OR REPLACE INTO state VALUES (0,?,?,?,?)", (seq, state, digest, state_hash))

    def _carry_over(self, least: int) -> None:
        """Carries a WAL of `least` bytes or more over into the file."""
        try:
            if self._failed or self._wal.stat().st_size < least:
                return
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except FileNotFoundError:
            return
        except (sqlite3.Error, OSError) as error:
            self._failed = str(error) or type(error).__name__

    def _tell(self, tickets: list[Ticket], failed: str) -> None:
        self._told.put((tickets, failed))
        assert self._post is not None
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._post(self._settle)

    def _settle(self) -> None:
        """Settles what the writer has told, in the thread that drives the journal."""
        with suppress(queue.Empty):
            while True:
                tickets, failed = self._told.get_nowait()
                for ticket in tickets:
                    ticket.settle(failed)


def open_read_only(path: Path) -> sqlite3.Connection:
    """The journal at `path` for reading; it never holds the runner up. `WorkspaceError` where there is none."""
    if not path.is_file():
        raise WorkspaceError(f"journal {path}: no such file, so nothing has run there")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)


def read_rows(path: Path, after: int = -1) -> Iterator[Row]:
    """The rows of a journal after row `after`, damaged ones as they are."""
    with _one_line(path), closing(open_read_only(path)) as db:
        query = "SELECT seq, kind, ts_recv, body, crc, digest FROM entries WHERE seq>? ORDER BY seq"
        for seq, kind, ts_recv, body, crc, digest in db.execute(query, (after,)):
            if isinstance(body, bytes) and isinstance(digest, bytes) and isinstance(kind, int):
                yield Row(seq, kind, ts_recv, body, crc, digest)
            else:
                yield Row(seq, -1, 0, b"", -1, b"")  # no row of ours: its checksum does not hold


def last_base(path: Path) -> int:
    """Number of the last row that holds a whole state, 0 where none does."""
    with _one_line(path), closing(open_read_only(path)) as db:
        found = db.execute("SELECT max(seq) FROM entries WHERE kind=?", (BASE,)).fetchone()[0]
        return 0 if found is None else int(found)


def read_snapshot(path: Path) -> Snapshot | None:
    """The last snapshot of a journal with every order as it stood then; None where there is none."""
    with _one_line(path), closing(open_read_only(path)) as db:
        db.execute("BEGIN")
        row = db.execute("SELECT seq, digest, hash, body FROM state").fetchone()
        if row is None:
            return None
        orders = tuple(db.execute("SELECT id, body FROM kept ORDER BY rowid").fetchall())
        seq, digest, told, body = row
        return Snapshot(seq, digest, told, body, orders)


class _one_line:
    """An error of the database as one `WorkspaceError` that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (sqlite3.Error, OSError)):
            raise WorkspaceError(f"journal {self._path}: {error}") from error
