"""The file of a schedule: jobs with their commands, times and limits, validated before anything is planned."""

import os
import shlex
import sys
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from flea_lab.config import read_toml
from flea_lab.errors import ConfigError
from flea_lab.live.account import check_account
from flea_lab.model.alert import AlertSettings
from flea_lab.runs import ROOT
from flea_lab.schedule.timing import Cron, Every, Timing
from flea_lab.settings import Settings, load_settings

DEFAULT = ROOT / "pipelines" / "schedule.toml"

JobName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}\Z")]
Seconds = Annotated[float, Meta(ge=1.0, le=604_800.0, description="seconds")]
Pause = Annotated[float, Meta(ge=0.0, le=86_400.0, description="seconds")]
Retries = Annotated[int, Meta(ge=0, le=20, description="attempts after the first")]

NO_SHELL = frozenset(("|", "||", "&", "&&", ";", ">", ">>", "<", "<<"))
PYTHON = ("python", "python3")


class Job(Settings, frozen=True, kw_only=True):
    """One command and its times. `deadline_s` counts from the planned time and ends at the next one at the latest."""

    name: JobName
    command: tuple[str, ...] | str
    cron: str | None = None
    every_s: Annotated[int, Meta(ge=1, le=31_622_400, description="seconds")] | None = None
    zone: str = "UTC"
    timeout_s: Seconds = 3_600.0
    kill_after_s: Pause = 5.0
    deadline_s: Seconds = 3_600.0
    retries: Retries = 0
    backoff_s: Pause = 60.0
    misfire: Literal["run", "skip"] = "run"
    grace_s: Pause = 60.0
    on_failure: Literal["warning", "critical"] = "critical"
    artefact: str = ""


class Watched(Settings, frozen=True, kw_only=True):
    """Runners that should be there: accounts, and how often they are looked for."""

    runners: tuple[str, ...] = ()
    every_s: Seconds = 60.0


class ScheduleFile(Settings, frozen=True, kw_only=True):
    """What a schedule's TOML may hold."""

    jobs: tuple[Job, ...] = ()
    folder: str = "."
    keep_logs: Annotated[int, Meta(ge=1, le=1_000_000, description="logs a job")] = 500
    alerts: AlertSettings = field(default_factory=AlertSettings)
    watch: Watched = field(default_factory=Watched)


class Planned(Struct, frozen=True, dict=True):
    """A job with what its command and times come to."""

    job: Job
    argv: tuple[str, ...]
    timing: Timing

    @property
    def name(self) -> str:
        return self.job.name

    @cached_property
    def stamp(self) -> str:
        """What its times are, in words: a job whose stamp changes owes nothing of before."""
        return self.timing.stamp

    def due_ns(self, planned_ns: int) -> int:
        """By when the run planned for `planned_ns` must have ended well: its deadline, or the next planned time."""
        following = self.timing.first_after(planned_ns)
        deadline = planned_ns + round(self.job.deadline_s * 1e9)
        return deadline if following is None else min(deadline, following)


class Schedule(Struct, frozen=True):
    """A schedule as it is run: where its commands work, its jobs by name in the file's order."""

    file: Path
    folder: Path
    jobs: dict[str, Planned]
    keep_logs: int
    alerts: AlertSettings
    watch: Watched


def load_schedule(file: Path) -> Schedule:
    """The schedule in `file`. `ConfigError` names the job, the value and the limit where something cannot be."""
    file = file.expanduser().absolute()
    return schedule_of(read_toml(file, "schedule"), file)


def schedule_of(values: object, file: Path) -> Schedule:
    """The schedule of plain `values`, as if they were in `file`."""
    found = load_settings(values, ScheduleFile, file.name)
    jobs: dict[str, Planned] = {}
    for job in found.jobs:
        if job.name in jobs:
            raise ConfigError(f"jobs: the name {job.name!r} is there twice (in {file.name})")
        jobs[job.name] = planned(job, file.name)
    for account in found.watch.runners:
        check_account(account)
    folder = Path(os.path.normpath(file.parent / Path(found.folder).expanduser()))
    if not folder.is_dir():
        raise ConfigError(f"folder = {found.folder!r}: no such folder {folder} (in {file.name})")
    return Schedule(file, folder, jobs, found.keep_logs, found.alerts, found.watch)


def planned(job: Job, place: str) -> Planned:
    """`job`, its command split and its times understood."""
    where = f"(job {job.name!r} in {place})"
    if (job.cron is None) == (job.every_s is None):
        raise ConfigError(f"cron and every_s: one of them, not {'neither' if job.cron is None else 'both'} {where}")
    pattern = PurePosixPath(job.artefact)
    if pattern.is_absolute() or ".." in pattern.parts:
        raise ConfigError(f"artefact = {job.artefact!r}: a pattern below the workspace, without .. {where}")
    try:
        timing: Timing = Cron(job.cron, job.zone) if job.cron is not None else Every(job.every_s or 1, job.zone)
        return Planned(job, argv_of(job.command), timing)
    except ValueError as error:
        raise ConfigError(f"{error} {where}") from None


def argv_of(command: tuple[str, ...] | str) -> tuple[str, ...]:
    """The words of a command, `flea` and `python` as this interpreter runs them. A text is a `flea ...` line.

    `ValueError` says what cannot be: nothing here is given to a shell.
    """
    if isinstance(command, str):
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ValueError(f"command = {command!r}: {str(error).lower()}") from None
        if words[:1] != ("flea",):
            raise ValueError(f'command = {command!r}: a text begins with flea; others are a list, ["python", "x.py"]')
        marks = sorted(NO_SHELL.intersection(words))
        if marks:
            raise ValueError(f"command = {command!r}: {marks[0]} is a shell's, and no shell reads it")
    else:
        words = command
    if not words or not words[0]:
        raise ValueError("command = []: at least one word")
    if any("\0" in word for word in words):
        raise ValueError("command: a word holds the byte 0")
    if words[0] == "flea":
        return (sys.executable, "-P", "-m", "flea_lab", *words[1:])
    return (sys.executable, *words[1:]) if words[0] in PYTHON else tuple(words)
