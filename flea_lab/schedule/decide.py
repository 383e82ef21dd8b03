"""What a scheduler has to do now: a pure function of the schedule, the ledger and the time.

Rules. Of the planned times that have passed the latest is started, the others are missed; whether one that is later
than its grace is still started is its misfire policy. While a run of a job is active, attempts that wait included, what
comes due is skipped. An attempt that runs longer than its limit is ended, by force where it does not go. What has not
ended well by its deadline is told once.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from flea_lab.schedule.job import Planned, Schedule
from flea_lab.schedule.ledger import Run, Status

FORCE_S = 5.0
"""How long a group that was asked to end may take, where its job has left the schedule."""

LONGEST_BACKOFF_S = 3_600.0
MOST_MISSED = 200
"""Missed runs of one job that have a row each; of more, the first row says how many."""

SUCCESS = 0


class Start(Struct, frozen=True):
    """Start attempt `attempt` of the run planned for `planned_ns`; `run` is its row where it has one. `late` says that
    it is made up for."""

    job: str
    planned_ns: int
    due_ns: int
    attempt: int
    late: bool
    run: Run | None = None


class Skip(Struct, frozen=True):
    """Do not start what is planned for `planned_ns`: the job's run of before is still active."""

    job: str
    planned_ns: int
    due_ns: int
    active: Run


class Miss(Struct, frozen=True):
    """Note that these planned times passed without a run, and `more` before them."""

    job: str
    planned_ns: tuple[int, ...]
    due_ns: tuple[int, ...]
    more: int = 0


class End(Struct, frozen=True):
    """End the process group of a run that took too long."""

    run: Run
    force: bool


class Late(Struct, frozen=True):
    """Tell that a run has not ended well by its deadline."""

    run: Run


class Drop(Struct, frozen=True):
    """Give up a run whose next attempt will not come: its job has left the schedule."""

    run: Run


Action = Start | Skip | Miss | End | Late | Drop


class Outcome(Struct, frozen=True):
    """What becomes of a run whose attempt ended: its status, and when it is tried again."""

    attempt: Status
    status: Status
    retry_ns: int | None = None


def decide(schedule: Schedule, settled: Mapping[str, int], active: Sequence[Run], now_ns: int) -> list[Action]:
    """What there is to do at `now_ns`.

    `settled` says up to where every planned time of a job is accounted for, `active` are the runs that have not ended.
    """
    found: list[Action] = []
    for run in active:
        found += _of_run(schedule.jobs.get(run.job), run, now_ns)
    busy = {run.job: run for run in active}
    for name, job in schedule.jobs.items():
        if name in settled:
            found += _of_job(job, settled[name], busy.get(name), now_ns)
    return found


def _of_run(job: Planned | None, run: Run, now_ns: int) -> list[Action]:
    found: list[Action] = []
    if not run.told and now_ns >= run.due_ns:
        found.append(Late(run))
    if run.status == "retrying":
        if job is None:
            found.append(Drop(run))
        elif run.retry_ns is not None and now_ns >= run.retry_ns:
            found.append(Start(run.job, run.planned_ns, run.due_ns, run.attempt + 1, run.late, run))
        return found
    at = ends_ns(run)
    if run.term_ns is not None:
        if now_ns >= forced_ns(job, run.term_ns):
            found.append(End(run, force=True))
    elif now_ns >= at:
        found.append(End(run, force=False))
    return found


def ends_ns(run: Run) -> int:
    """When the current attempt of `run` has taken too long."""
    return (run.started_ns or 0) + run.slept_ns + round(run.timeout_s * 1e9)


def forced_ns(job: Planned | None, term_ns: int) -> int:
    """When a group that was asked to end at `term_ns` is ended by force."""
    return term_ns + round((FORCE_S if job is None else job.job.kill_after_s) * 1e9)


def _of_job(job: Planned, settled_ns: int, active: Run | None, now_ns: int) -> list[Action]:
    following = job.timing.first_after(settled_ns)
    if following is None or following > now_ns:
        return []
    passed, more = job.timing.between(settled_ns, now_ns, MOST_MISSED)
    *before, latest = passed
    late = now_ns > latest + round(job.job.grace_s * 1e9)
    found: list[Action] = []
    if active is None and late and job.job.misfire == "skip":
        before, last = passed, None
    else:
        last = latest
    if before:
        found.append(Miss(job.name, tuple(before), tuple(map(job.due_ns, before)), more))
    if last is not None and active is not None:
        found.append(Skip(job.name, last, job.due_ns(last), active))
    elif last is not None:
        found.append(Start(job.name, last, job.due_ns(last), 1, late))
    return found


def outcome(job: Planned | None, run: Run, attempt: Status, now_ns: int) -> Outcome:
    """What becomes of `run` after an attempt that ended "ok", "failed", "timeout" or "killed"."""
    if attempt == "ok":
        return Outcome("ok", "caught_up" if run.late else "ok")
    if job is not None and run.attempt <= job.job.retries:
        pause_s = min(job.job.backoff_s * 2.0 ** (run.attempt - 1), max(LONGEST_BACKOFF_S, job.job.backoff_s))
        return Outcome(attempt, "retrying", now_ns + round(pause_s * 1e9))
    return Outcome(attempt, attempt)


def wake_ns(schedule: Schedule, settled: Mapping[str, int], active: Sequence[Run]) -> int | None:
    """The next time at which `decide` may have something new to say, ends of processes aside."""
    times: list[int | None] = [
        job.timing.first_after(settled[name]) for name, job in schedule.jobs.items() if name in settled
    ]
    for run in active:
        times += [None if run.told else run.due_ns, run.retry_ns if run.status == "retrying" else None]
        if run.status == "running":
            job_of = schedule.jobs.get(run.job)
            times.append(ends_ns(run) if run.term_ns is None else forced_ns(job_of, run.term_ns))
    return min((at for at in times if at is not None), default=None)
