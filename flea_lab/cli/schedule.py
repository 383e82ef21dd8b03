"""`flea schedule`: commands at planned times, their ledger, and what comes next."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flea_lab.errors import ConfigError
from flea_lab.workspace import workspace

if TYPE_CHECKING:
    from flea_lab.schedule.job import Schedule

app = typer.Typer(no_args_is_help=True, help="Commands at planned times: run, list, add, remove, history, next.")

File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="The schedule; by default pipelines/schedule.toml.")
]


@app.command("run")
def run(
    file: File = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is due: for cron or a systemd timer.")] = False,
) -> None:
    """Keep the schedule until stopped; one scheduler a workspace. With --once, status 1 where a run did not end well.

    Runs that were missed are made up for once. What still runs at the end goes on, and is the next scheduler's.
    """
    from flea_lab.schedule.service import run_schedule

    bad = run_schedule(_file(file), once=once)
    if once and bad:
        raise typer.Exit(1)


@app.command("list")
def list_(file: File = None) -> None:
    """List the jobs: their times, when each is due next, what became of it last, and whether a scheduler is there."""
    from flea_lab.clock import WallClock
    from flea_lab.schedule.table import LIST, list_rows, standing_line, table

    schedule, home, now_ns = _load(file), workspace(), WallClock().now_ns()
    rows = list_rows(schedule, home, now_ns)
    print(table(LIST, rows) if rows else f"no jobs in {schedule.file}: flea schedule add")
    print(standing_line(home, now_ns))


@app.command("next")
def next_(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Of this job only.")] = None,
    file: File = None,
    most: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000, help="How many.")] = 10,
) -> None:
    """Show what is planned next, in the time zone of each job and in UTC."""
    from flea_lab.clock import WallClock
    from flea_lab.schedule.table import NEXT, next_rows, table

    schedule = _load(file)
    _known(schedule, job)
    print(table(NEXT, next_rows(schedule, WallClock().now_ns(), most, job)))


@app.command("history")
def history(
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Of this job only.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000, help="How many.")] = 20,
) -> None:
    """Show what ran, was missed or skipped: when, for how long, how it ended, its report or log. The newest is last."""
    from flea_lab.overdue import ledger_file
    from flea_lab.schedule.table import HISTORY, history_rows, table

    file = ledger_file(workspace())
    rows = history_rows(file, job, last)
    print(table(HISTORY, rows) if rows else f"nothing{f' of {job}' if job else ''} in {file}")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the job.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Its words; no shell reads them.")],
    cron: Annotated[str | None, typer.Option("--cron", help='Five fields, say "10 2 * * *".')] = None,
    every_s: Annotated[int | None, typer.Option("--every-s", help="Or every so many seconds.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="Time zone of the cron, say Europe/Berlin.")] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout-s", help="Ended after this long.")] = None,
    deadline_s: Annotated[float | None, typer.Option("--deadline-s", help="Told where not done by then.")] = None,
    retries: Annotated[int | None, typer.Option("--retries", help="Attempts after the first.")] = None,
    backoff_s: Annotated[float | None, typer.Option("--backoff-s", help="Before the second; then doubled.")] = None,
    misfire: Annotated[str | None, typer.Option("--misfire", help="run or skip what was missed.")] = None,
    artefact: Annotated[str | None, typer.Option("--artefact", help="What it must leave, below FLEA_HOME.")] = None,
    file: File = None,
) -> None:
    """Add a job to the schedule's file: flea schedule add NAME --cron "10 2 * * *" -- flea report CONFIG."""
    from flea_lab.schedule.edit import add_job

    given: dict[str, Any] = {
        "name": name, "command": command, "cron": cron, "every_s": every_s, "zone": zone, "timeout_s": timeout_s,
        "deadline_s": deadline_s, "retries": retries, "backoff_s": backoff_s, "misfire": misfire, "artefact": artefact,
    }  # fmt: skip
    add_job(_file(file), {key: value for key, value in given.items() if value is not None})
    print(f"added {name} to {_file(file)}; a running scheduler takes it up by itself")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the job.")],
    file: File = None,
) -> None:
    """Take a job out of the schedule's file. Its history stays; what runs of it goes on to its end."""
    from flea_lab.schedule.edit import remove_job

    remove_job(_file(file), name)
    print(f"removed {name} from {_file(file)}; its history stays")


def _file(file: Path | None) -> Path:
    from flea_lab.schedule.job import DEFAULT

    return DEFAULT if file is None else file


def _load(file: Path | None) -> "Schedule":
    from flea_lab.schedule.job import load_schedule

    return load_schedule(_file(file))


def _known(schedule: "Schedule", job: str | None) -> None:
    if job is not None and job not in schedule.jobs:
        raise ConfigError(f"job {job!r}: not in {schedule.file.name}, known are {', '.join(schedule.jobs) or 'none'}")
