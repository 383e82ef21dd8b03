"""A schedule and its ledger as rows and frames: what is planned, how it stands, what ran."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from flea_lab.overdue import FOLDER, ledger_file
from flea_lab.schedule.job import Planned, Schedule
from flea_lab.schedule.ledger import Run, history, last_runs, scheduler_of
from flea_lab.schedule.lock import is_held
from flea_lab.schedule.wording import duration
from flea_lab.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

LIST = ("job", "times", "zone", "next", "UTC", "last run", "status", "report or log")
NEXT = ("job", "local", "UTC", "in")
HISTORY = ("planned (UTC)", "job", "status", "attempt", "began", "took", "exit", "report or log", "note")


def list_rows(schedule: Schedule, home: Workspace, now_ns: int) -> list[tuple[str, ...]]:
    """Every job: its times, when it is next due, in its zone and UTC, and what became of it last."""
    last = last_runs(ledger_file(home))
    return [_listed(job, last.get(name), now_ns) for name, job in schedule.jobs.items()]


def _listed(job: Planned, run: Run | None, now_ns: int) -> tuple[str, ...]:
    at = job.timing.first_after(now_ns)
    times = job.job.cron or f"every {duration(job.job.every_s or 0)}"
    following = ("never", "") if at is None else (local(at, job), utc(at))
    if run is None:
        return (job.name, times, job.job.zone, *following, "", "never", "")
    return (job.name, times, job.job.zone, *following, utc(run.planned_ns), run.status, run.report or run.log)


def next_rows(schedule: Schedule, now_ns: int, most: int, job: str | None = None) -> list[tuple[str, ...]]:
    """The next planned times of all jobs, or of one, in its zone and UTC."""
    chosen = [one for name, one in schedule.jobs.items() if job in (None, name)]
    times = sorted(
        ((at, one.name) for one in chosen for at in islice(one.timing.after(now_ns), most)),
    )
    found = {one.name: one for one in chosen}
    return [(name, local(at, found[name]), utc(at), duration(round((at - now_ns) / 1e9))) for at, name in times[:most]]


def history_rows(file: Path, job: str | None = None, last: int = 20) -> list[tuple[str, ...]]:
    """The last runs of the ledger, oldest first."""
    return [_ran(run) for run in history(file, job, last)]


def _ran(run: Run) -> tuple[str, ...]:
    late = (run.started_ns or run.planned_ns) - run.planned_ns
    took = "" if run.started_ns is None or run.ended_ns is None else duration((run.ended_ns - run.started_ns) / 1e9)
    return (
        utc(run.planned_ns),
        run.job,
        run.status,
        str(run.attempt or ""),
        "" if run.started_ns is None else f"+{duration(round(late / 1e9))}",
        took,
        "" if run.exit_code is None else str(run.exit_code),
        run.report or run.log,
        run.note,
    )


def standing_line(home: Workspace, now_ns: int) -> str:
    """Whether a scheduler is there, in one line."""
    found = scheduler_of(ledger_file(home))
    held = is_held(home.root / FOLDER)
    if found is None:
        return "no scheduler has run in this workspace: flea schedule run"
    if held:
        ago = duration(max(round((now_ns - found.beat_ns) / 1e9), 0))
        return f"scheduler: running, pid {found.pid}, last heard of {ago} ago"
    if found.ended_ns is not None:
        return f"scheduler: NOT running, it ended at {utc(found.ended_ns)} UTC"
    return f"scheduler: NOT running, it died after {utc(found.beat_ns)} UTC"


def table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under their head, in columns."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def history_frame(home: Workspace, job: str | None = None, last: int = 1_000) -> "pd.DataFrame":
    """The last runs of the ledger: `job`, `status`, `attempt`, `exit_code`, `report`, `log`, `note`, and the times
    `planned`, `due`, `started`, `ended` (UTC; NaT where there is none)."""
    import pandas as pd

    runs = history(ledger_file(home), job, last)
    found = pd.DataFrame(
        {name: [getattr(run, name) for run in runs] for name in ("job", "status", "attempt", "exit_code", "report")}
    )
    for name in ("planned", "due", "started", "ended"):
        times = pd.array([getattr(run, f"{name}_ns") for run in runs], dtype="Int64")
        found[name] = pd.to_datetime(times.to_numpy(dtype="float64", na_value=float("nan")) / 1e6, unit="ms", utc=True)
    found["log"], found["note"] = [run.log for run in runs], [run.note for run in runs]
    return found


def ended_of(home: Workspace, statuses: Mapping[str, str], times: int) -> Callable[[], bool]:
    """Says whether each of these jobs has so many runs that ended with its status: an end for `run_schedule`."""

    def done() -> bool:
        runs = history(ledger_file(home), last=1_000)
        found: Counter[tuple[str, str]] = Counter((run.job, run.status) for run in runs)
        return all(found[one] >= times for one in statuses.items())

    return done


def jobs_frame(schedule: Schedule, home: Workspace, now_ns: int) -> "pd.DataFrame":
    """`list_rows` as a frame."""
    import pandas as pd

    return pd.DataFrame(list_rows(schedule, home, now_ns), columns=list(LIST))


def next_frame(schedule: Schedule, now_ns: int, most: int = 10) -> "pd.DataFrame":
    """`next_rows` as a frame."""
    import pandas as pd

    return pd.DataFrame(next_rows(schedule, now_ns, most), columns=list(NEXT))


def local(ns: int, job: Planned) -> str:
    """A time in the zone of a job, with its offset."""
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, job.timing.zone):%a %Y-%m-%d %H:%M:%S %z}"


def utc(ns: int) -> str:
    """A time in UTC, to the second."""
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"
