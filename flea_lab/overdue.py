"""Whether a report that a schedule owes is there: the schedule's ledger, read by whoever waits for one.

Rules. The ledger is opened for reading only and is never locked. What cannot be read is not there: silence is no proof
of a report. A run that ended well and whose report is gone from the disk is no report either.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from flea_lab.workspace import Workspace

FOLDER = "schedule"
LEDGER = "ledger.sqlite"
GOOD = ("ok", "caught_up")
"""What a run ended well is called: in time, or after it had been missed."""


class Standing(Struct, frozen=True, kw_only=True):
    """How a job of the schedule stands. `owed_ns` is the last planned time whose deadline has passed, None where there
    is none yet; `missing` says why there is nothing for it, "" where there is. `unknown` says why nobody can tell.
    `beat_ns` is when a scheduler was last heard of, 0 where never."""

    owed_ns: int | None = None
    missing: str = ""
    unknown: str = ""
    beat_ns: int = 0


def ledger_file(home: Workspace) -> Path:
    """Where the run ledger of a workspace is, whether it is there or not."""
    return home.root / FOLDER / LEDGER


def standing(home: Workspace, job: str, deadline_s: float, now_ns: int) -> Standing:
    """How `job` stands at `now_ns`, where its report may come `deadline_s` after its planned time."""
    file = ledger_file(home)
    if not file.is_file():
        return Standing(unknown="no schedule has run in this workspace")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as db:
            return _standing(db, home, job, now_ns - round(deadline_s * 1e9))
    except sqlite3.Error as error:
        return Standing(unknown=f"the ledger of the schedule cannot be read ({error})")


def last_beat_ns(home: Workspace) -> int | None:
    """When a scheduler of the workspace was last heard of; None where none ever was, or its ledger cannot be read."""
    file = ledger_file(home)
    if not file.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as db:
            beat = db.execute("SELECT max(beat_ns) FROM scheduler").fetchone()[0]
    except sqlite3.Error:
        return None
    return None if beat is None else int(beat)


def _standing(db: sqlite3.Connection, home: Workspace, job: str, limit_ns: int) -> Standing:
    beat = db.execute("SELECT max(beat_ns) FROM scheduler").fetchone()[0] or 0
    known = db.execute("SELECT next_ns FROM jobs WHERE name=?", (job,)).fetchone()
    if known is None:
        return Standing(unknown=f"no job {job!r} in the schedule", beat_ns=beat)
    last = db.execute("SELECT max(planned_ns) FROM runs WHERE job=? AND planned_ns<=?", (job, limit_ns)).fetchone()[0]
    passed = [at for at in (last, known[0]) if at is not None and at <= limit_ns]
    if not passed:
        return Standing(beat_ns=beat)
    owed = max(passed)
    found = db.execute(
        "SELECT status, report FROM runs WHERE job=? AND planned_ns>=? ORDER BY planned_ns", (job, owed)
    ).fetchall()
    good = [report for status, report in found if status in GOOD]
    if any(not report or (home.root / report).exists() for report in good):
        return Standing(owed_ns=owed, beat_ns=beat)
    if good:
        why = f"its report {good[-1]} is gone"
    elif found:
        why = f"its run is {found[0][0]}"
    else:
        why = "it was never started"
    return Standing(owed_ns=owed, missing=why, beat_ns=beat)
