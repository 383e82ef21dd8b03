"""The run ledger of a schedule: one SQLite file, its owner's alone, and the only truth about what ran.

Rules. One row a job and planned time, so that nothing runs twice for one planned time, whoever asks. A row is on the
disk before its process starts; WAL with synchronous=FULL. What cannot be written raises, and whoever asked does not
act. A row that has come to its end is never changed.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from flea_lab.errors import WorkspaceError

Status = Literal["running", "retrying", "ok", "caught_up", "failed", "timeout", "killed", "missed", "skipped_overlap"]
ACTIVE = ("running", "retrying")
FORMAT = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS scheduler (
  one INTEGER PRIMARY KEY CHECK (one = 1), pid INTEGER, started_ns INTEGER, beat_ns INTEGER, ended_ns INTEGER, file TEXT
);
CREATE TABLE IF NOT EXISTS jobs (
  name TEXT PRIMARY KEY, stamp TEXT NOT NULL, since_ns INTEGER NOT NULL, next_ns INTEGER
);
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, job TEXT NOT NULL, planned_ns INTEGER NOT NULL, due_ns INTEGER NOT NULL, status TEXT NOT NULL,
  attempt INTEGER NOT NULL, timeout_s REAL NOT NULL, started_ns INTEGER, ended_ns INTEGER, exit_code INTEGER,
  pid INTEGER, token TEXT NOT NULL, log TEXT NOT NULL, report TEXT NOT NULL, beat_ns INTEGER, retry_ns INTEGER,
  term_ns INTEGER, slept_ns INTEGER NOT NULL, late INTEGER NOT NULL, told INTEGER NOT NULL, note TEXT NOT NULL,
  UNIQUE (job, planned_ns)
);
CREATE INDEX IF NOT EXISTS active ON runs (status) WHERE status IN ('running', 'retrying');
CREATE INDEX IF NOT EXISTS planned ON runs (planned_ns);
CREATE TABLE IF NOT EXISTS attempts (
  run TEXT NOT NULL, n INTEGER NOT NULL, started_ns INTEGER, ended_ns INTEGER, status TEXT NOT NULL, exit_code INTEGER,
  log TEXT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (run, n)
);
"""


class Run(Struct, frozen=True, kw_only=True):
    """One planned time of a job and what became of it; times ns UTC.

    `late` says that it began after its grace, `told` that its lateness was alerted, `slept_ns` how long the machine
    slept in its current attempt; `term_ns` is when it was asked to end.
    """

    id: str
    job: str
    planned_ns: int
    due_ns: int
    status: Status
    attempt: int = 1
    timeout_s: float = 3_600.0
    started_ns: int | None = None
    ended_ns: int | None = None
    exit_code: int | None = None
    pid: int | None = None
    token: str = ""
    log: str = ""
    report: str = ""
    beat_ns: int | None = None
    retry_ns: int | None = None
    term_ns: int | None = None
    slept_ns: int = 0
    late: bool = False
    told: bool = False
    note: str = ""

    @property
    def active(self) -> bool:
        """Whether it has not come to its end."""
        return self.status in ACTIVE


FIELDS = tuple(msgspec.structs.fields(Run))
NAMES = tuple(one.name for one in FIELDS)


class Scheduler(Struct, frozen=True):
    """The scheduler that was last heard of: its process, since when, when last, and when it ended (None: it did not
    say so)."""

    pid: int
    started_ns: int
    beat_ns: int
    ended_ns: int | None
    file: str


class Ledger:
    """The ledger in `folder`, opened for writing."""

    def __init__(self, file: Path, *, durable: bool = True) -> None:
        """Opens or makes it; `WorkspaceError` where it is damaged or cannot be written. Not `durable`: for what is only
        simulated."""
        self.file = file
        with _told(file):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            os.chmod(file, 0o600)
            self._db = sqlite3.connect(file, isolation_level=None, timeout=5.0)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
                if self._db.execute("PRAGMA quick_check").fetchone() != ("ok",):
                    raise WorkspaceError(f"ledger {file}: damaged; move it away, and what ran is not known any more")
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                if version > FORMAT:
                    raise WorkspaceError(f"ledger {file}: of a later format ({version}, this is {FORMAT})")
                self._db.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={FORMAT};COMMIT;")  # at once
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    # ---- the scheduler

    def hello(self, pid: int, now_ns: int, file: Path) -> None:
        """A scheduler begins."""
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO scheduler VALUES (1,?,?,?,NULL,?)", (pid, now_ns, now_ns, str(file))
            )

    def beat(self, now_ns: int) -> None:
        """The scheduler is there, and so are the runs that it watches."""
        with self._writing():
            self._db.execute("UPDATE scheduler SET beat_ns=?", (now_ns,))
            self._db.execute("UPDATE runs SET beat_ns=? WHERE status='running'", (now_ns,))

    def goodbye(self, now_ns: int) -> None:
        """The scheduler ends in order."""
        with self._writing():
            self._db.execute("UPDATE scheduler SET beat_ns=?, ended_ns=?", (now_ns, now_ns))

    # ---- jobs

    def know(self, jobs: Mapping[str, str], now_ns: int) -> None:
        """Takes up the jobs of a schedule, stamps by name: what is new, or has other times, owes nothing of before."""
        known = dict(self._db.execute("SELECT name, stamp FROM jobs").fetchall())
        if known == dict(jobs):
            return
        with self._writing():
            for name in known.keys() - jobs.keys():
                self._db.execute("DELETE FROM jobs WHERE name=?", (name,))
            for name, stamp in jobs.items():
                if known.get(name) != stamp:
                    self._db.execute("INSERT OR REPLACE INTO jobs VALUES (?,?,?,NULL)", (name, stamp, now_ns))

    def plan_next(self, following: Mapping[str, int | None]) -> None:
        """Notes the next planned time of each job: for whoever waits when no scheduler does."""
        known = dict(self._db.execute("SELECT name, next_ns FROM jobs").fetchall())
        changed = [(at, name) for name, at in following.items() if known.get(name) != at]
        if changed:
            with self._writing():
                self._db.executemany("UPDATE jobs SET next_ns=? WHERE name=?", changed)

    def settled_until(self) -> dict[str, int]:
        """Up to where every planned time of each job is accounted for."""
        query = "SELECT name, max(since_ns, coalesce((SELECT max(planned_ns) FROM runs WHERE job=name), 0)) FROM jobs"
        return dict(self._db.execute(query).fetchall())

    # ---- runs

    def active(self) -> list[Run]:
        """The runs that have not come to their end, oldest first."""
        return _runs(self._db, "WHERE status IN ('running', 'retrying') ORDER BY planned_ns, job")

    def add(self, runs: Iterable[Run]) -> bool:
        """Whether these rows are new and on the disk; False, and nothing written, where one of them was there."""
        marks = ",".join("?" * len(NAMES))
        try:
            with self._writing():
                self._db.executemany(
                    f"INSERT INTO runs ({','.join(NAMES)}) VALUES ({marks})",
                    [tuple(getattr(run, name) for name in NAMES) for run in runs],
                )
        except sqlite3.IntegrityError:
            return False
        return True

    def begin_again(self, run: Run) -> bool:
        """Whether `run`, waiting for its next attempt, is `running` in it now, by this call."""
        with self._writing():
            done = self._db.execute(
                "UPDATE runs SET status='running', attempt=?, started_ns=?, log=?, retry_ns=NULL, term_ns=NULL, "
                "pid=NULL, token='', slept_ns=0 WHERE id=? AND status='retrying' AND attempt=?",
                (run.attempt, run.started_ns, run.log, run.id, run.attempt - 1),
            )
        return done.rowcount == 1

    def change(self, run: Run, **values: Any) -> Run:
        """`run` with other values, on the disk, while it is active; `attempts` hears of an attempt that ended."""
        changed = msgspec.structs.replace(run, **values)
        with self._writing():
            self._set(changed, values)
        return changed

    def end(self, run: Run, ended: "Attempt", **values: Any) -> Run:
        """`run` after its attempt ended, both on the disk in one piece."""
        changed = msgspec.structs.replace(run, **values)
        with self._writing():
            self._set(changed, values)
            self._db.execute(
                "INSERT OR REPLACE INTO attempts VALUES (?,?,?,?,?,?,?,?)",
                (run.id, run.attempt, run.started_ns, *ended.row(), run.log, ended.note),
            )
        return changed

    def _set(self, run: Run, values: Mapping[str, Any]) -> None:
        names = ",".join(f"{name}=?" for name in values)
        self._db.execute(
            f"UPDATE runs SET {names} WHERE id=? AND status IN ('running', 'retrying')",
            (*(getattr(run, name) for name in values), run.id),
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction; `WorkspaceError` where it is not on the disk, and then nothing of it is."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.IntegrityError:
            self._undo()
            raise
        except sqlite3.Error as error:
            self._undo()
            raise WorkspaceError(f"ledger {self.file}: cannot be written ({error})") from None
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


class Attempt(Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    status: Status
    ended_ns: int
    exit_code: int | None = None
    note: str = ""

    def row(self) -> tuple[int, str, int | None]:
        """As the table has it."""
        return self.ended_ns, self.status, self.exit_code


# ---- for readers


def history(file: Path, job: str | None = None, last: int = 20, since_ns: int = 0) -> list[Run]:
    """The `last` runs of the ledger in `file`, of one job where it is named, by planned time, oldest first."""
    with _told(file), closing(open_read_only(file)) as db:
        where, given = "WHERE planned_ns>=?", [since_ns]
        if job is not None:
            where, given = f"{where} AND job=?", [since_ns, job]  # type: ignore[list-item]
        return _runs(db, f"{where} ORDER BY planned_ns DESC, job DESC LIMIT ?", (*given, last))[::-1]


def scheduler_of(file: Path) -> Scheduler | None:
    """The scheduler that was last heard of; None where none ever was."""
    if not has_begun(file):
        return None
    with _told(file), closing(open_read_only(file)) as db:
        row = db.execute("SELECT pid, started_ns, beat_ns, ended_ns, file FROM scheduler").fetchone()
        return None if row is None else Scheduler(*row)


def last_runs(file: Path) -> dict[str, Run]:
    """The last run of each job that has one."""
    if not has_begun(file):
        return {}
    with _told(file), closing(open_read_only(file)) as db:
        where = "WHERE planned_ns = (SELECT max(planned_ns) FROM runs AS other WHERE other.job = runs.job)"
        return {run.job: run for run in _runs(db, where)}


def attempts_of(file: Path, run: str) -> list[tuple[int, Attempt]]:
    """The attempts of a run that ended, by number."""
    with _told(file), closing(open_read_only(file)) as db:
        query = "SELECT n, ended_ns, status, exit_code, note FROM attempts WHERE run=? ORDER BY n"
        rows = db.execute(query, (run,)).fetchall()
    return [(n, Attempt(status=how, ended_ns=at, exit_code=code, note=note)) for n, at, how, code, note in rows]


def has_begun(file: Path) -> bool:
    """Whether there is a ledger: none is while it is being made."""
    if not file.is_file():
        return False
    with _told(file), closing(open_read_only(file)) as db:
        return bool(db.execute("PRAGMA user_version").fetchone()[0])


def open_read_only(file: Path) -> sqlite3.Connection:
    """The ledger in `file` for reading."""
    if not file.is_file():
        raise WorkspaceError(f"ledger {file}: no such file, so no schedule has run in this workspace")
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)


def _runs(db: sqlite3.Connection, where: str, given: tuple[Any, ...] = ()) -> list[Run]:
    found = db.execute(f"SELECT {','.join(NAMES)} FROM runs {where}", given)
    return [
        msgspec.convert(dict(zip(NAMES, row, strict=True)), Run, strict=False)  # SQLite's booleans are 0 and 1
        for row in found
    ]


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceError(f"ledger {file}: {(error.strerror or str(error)).lower()}") from None
    except sqlite3.Error as error:
        raise WorkspaceError(f"ledger {file}: {error}") from None
