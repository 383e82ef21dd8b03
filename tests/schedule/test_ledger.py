"""The ledger: one row a planned time, whole or not at all; a full disk, a later format, a damaged file."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from flea_lab.errors import WorkspaceError
from flea_lab.overdue import ledger_file, standing
from flea_lab.schedule.ledger import Attempt, Ledger, Run, attempts_of, has_begun, history, last_runs, scheduler_of
from flea_lab.workspace import workspace


def run_of(at: int, **more: object) -> Run:
    return Run(id=f"r{at}", job="a", planned_ns=at, due_ns=at + 10, status="running", **more)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_a_planned_time_is_taken_once_by_whoever_is_first(file: Path) -> None:
    first, second = Ledger(file), Ledger(file)
    assert first.add([run_of(1)])
    assert not second.add([run_of(2), Run(id="x", job="a", planned_ns=1, due_ns=2, status="running")])
    assert [run.planned_ns for run in history(file)] == [1], "nothing of what came with it was written either"
    again = Run(id="r1", job="a", planned_ns=1, due_ns=11, status="running", attempt=2, started_ns=5)
    assert not first.begin_again(again), "it does not wait for another attempt"
    first.change(run_of(1), status="retrying")
    assert second.begin_again(again) and not first.begin_again(again)
    first.close(), second.close()


def test_what_has_come_to_its_end_is_never_changed(file: Path) -> None:
    ledger = Ledger(file)
    run = run_of(1, started_ns=1)
    ledger.add([run])
    done = ledger.end(run, Attempt(status="ok", ended_ns=9, exit_code=0), status="ok", ended_ns=9, exit_code=0)
    ledger.change(done, status="failed", exit_code=1)
    [kept] = history(file)
    assert (kept.status, kept.exit_code, kept.ended_ns) == ("ok", 0, 9)
    assert attempts_of(file, "r1") == [(1, Attempt(status="ok", ended_ns=9, exit_code=0))]
    ledger.close()


def test_on_a_full_disk_a_write_raises_and_leaves_nothing(file: Path) -> None:
    ledger = Ledger(file)
    ledger.add([run_of(0)])
    ledger._db.execute(f"PRAGMA max_page_count={ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    with suppress(WorkspaceError):
        for at in range(1, 10_000, 10):
            ledger.add([run_of(at + n, note="x" * 500) for n in range(10)])
    kept = len(history(file, last=100_000))
    assert kept % 10 == 1, "ten rows are written, or none of them"
    with pytest.raises(WorkspaceError, match=r"ledger .*: cannot be written \(database or disk is full\)"):
        ledger.add([run_of(10**9 + n, note="x" * 500) for n in range(10)])
    ledger._db.execute("PRAGMA max_page_count=100000")
    assert ledger.add([run_of(10**9)]) and len(history(file, last=100_000)) == kept + 1
    ledger.close()


def test_a_ledger_is_its_owners_and_what_is_none_is_refused(file: Path) -> None:
    Ledger(file).close()
    assert file.stat().st_mode & 0o777 == 0o600 and has_begun(file)
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(WorkspaceError, match=r"of a later format \(9, this is 1\)"):
        Ledger(file)
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(WorkspaceError, match="file is not a database"):
        Ledger(file)
    with pytest.raises(WorkspaceError, match="no such file, so no schedule has run in this workspace"):
        history(file.with_name("gone.sqlite"))
    assert scheduler_of(file.with_name("gone.sqlite")) is None and last_runs(file.with_name("gone.sqlite")) == {}


def test_nobody_can_tell_of_a_report_where_there_is_no_ledger(home: Path) -> None:
    assert standing(workspace(), "day", 60.0, 10**18).unknown == "no schedule has run in this workspace"
    ledger_file(workspace()).parent.mkdir(parents=True)
    Ledger(ledger_file(workspace())).close()
    assert standing(workspace(), "day", 60.0, 10**18).unknown == "no job 'day' in the schedule"
