"""The scheduler: a thin driver that carries out what `decide` says, and writes down what became of it.

Rules. A run is in the ledger, on the disk, before its process starts; where it cannot be written nothing is started,
and that is told on stderr and on the alert channels until it can. How a run ended is kept until it is written. A run
that the ledger calls running and this process did not start is taken over where it lives, and settled by what it left
behind where not. Running jobs are left to the next scheduler when this one ends.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.model.alert import Severity
from flea_lab.overdue import GOOD
from flea_lab.schedule.books import AlertPut, Books
from flea_lab.schedule.decide import Action, Drop, End, Late, Miss, Skip, Start, decide, outcome, wake_ns
from flea_lab.schedule.job import Planned, Schedule, load_schedule
from flea_lab.schedule.ledger import Attempt, Ledger, Run, Status
from flea_lab.schedule.process import Exit, Known, Processes, exit_file
from flea_lab.schedule.wording import duration, ended_how, moment, past
from flea_lab.workspace import Workspace

BEAT_S = 5.0
TICK_S = 1.0
"""How often the scheduler looks at its processes, at least."""
SLEPT_S = 5.0
"""How far the wall clock must have run ahead of elapsed time for the machine to have slept."""


class Keeper:
    """Keeps the schedule of one workspace; `step` is called again and again, by the one who holds its lock."""

    def __init__(
        self,
        schedule: Schedule,
        home: Workspace,
        clock: Clock,
        ledger: Ledger,
        processes: Processes,
        alert: AlertPut,
        *,
        elapsed_s: Callable[[], float],
        pid: int | None = None,
    ) -> None:
        """`elapsed_s` runs on while the wall clock is set, and stands while the machine sleeps."""
        self.schedule, self._home, self._clock, self._ledger = schedule, home, clock, ledger
        self._processes, self._alert, self._elapsed_s = processes, alert, elapsed_s
        self._pid = os.getpid() if pid is None else pid
        self._mine: set[str] = set()
        self._books = Books(ledger, alert)
        self._stamp = _stamp(schedule)
        self._beat_ns, self._seen = 0, (clock.now_ns(), elapsed_s())
        self.stuck = False  # whether something could not be written in the last step
        self.bad = 0  # runs of this scheduler that did not end well
        ledger.hello(self._pid, clock.now_ns(), schedule.file)
        ledger.know({name: job.stamp for name, job in schedule.jobs.items()}, clock.now_ns())

    def step(self) -> None:
        """Does what there is to do now."""
        now_ns = self._clock.now_ns()
        self.stuck = False
        try:
            self._reload(now_ns)
            self._books.flush()
            self._look_at_sleep(now_ns)
            for run in self._books.active():
                if run.status == "running":
                    self._look(run, now_ns)
            self._carry_out(decide(self.schedule, self._books.settled(), self._books.active(), now_ns), now_ns)
            self._note(now_ns)
        except WorkspaceError as error:
            self.stuck = True
            self._alert("critical", str(error), "ledger")

    def next_ns(self) -> int | None:
        """When there is something to do, ends of processes aside; None where nothing is planned."""
        return wake_ns(self.schedule, self._books.settled(), self._books.active())

    def wait_s(self) -> float:
        """How long nothing is to be done, at most `TICK_S`."""
        if self.stuck or self._books.owing:
            return TICK_S
        try:
            at = self.next_ns()
        except WorkspaceError:
            return TICK_S
        return TICK_S if at is None else min(max((at - self._clock.now_ns()) / 1e9, 0.01), TICK_S)

    def busy(self) -> bool:
        """Whether a run is active, or its end not written down."""
        return self._books.owing or bool(self._books.active())

    def close(self) -> list[Run]:
        """The runs that go on without a scheduler, which ends here in order."""
        left = [run for run in self._books.active() if run.status == "running"]
        self._books.flush()
        try:
            self._ledger.goodbye(self._clock.now_ns())
        except WorkspaceError as error:
            self._alert("critical", str(error), "ledger")
        return left

    # ---- what goes on

    def _note(self, now_ns: int) -> None:
        """Notes what comes next, and that a scheduler is there."""
        settled = self._ledger.settled_until()
        jobs = self.schedule.jobs
        self._ledger.plan_next(
            {name: jobs[name].timing.first_after(at) for name, at in settled.items() if name in jobs}
        )
        if not 0 <= now_ns - self._beat_ns < BEAT_S * 1e9:
            self._ledger.beat(now_ns)
            self._beat_ns = now_ns

    def _reload(self, now_ns: int) -> None:
        """Takes up the schedule's file where it has changed; one that cannot be understood changes nothing."""
        stamp = _stamp(self.schedule)
        if stamp == self._stamp:
            return
        try:
            fresh = load_schedule(self.schedule.file)
        except ConfigError as error:
            self._alert("critical", f"the schedule of before goes on: {error}", "schedule file")
        else:
            try:
                self._ledger.know({name: job.stamp for name, job in fresh.jobs.items()}, now_ns)
            except WorkspaceError as error:
                self._alert("critical", f"the schedule of before goes on: {error}", "schedule file")
                return  # tried again
            self.schedule = fresh
            self._alert("info", f"the schedule was taken up again: {len(fresh.jobs)} jobs", "schedule taken up")
        self._stamp = stamp

    def _look_at_sleep(self, now_ns: int) -> None:
        before_ns, before_s = self._seen
        self._seen = now_ns, self._elapsed_s()
        slept_s = (now_ns - before_ns) / 1e9 - (self._seen[1] - before_s)
        if abs(slept_s) < SLEPT_S:
            return
        how = f"slept {duration(slept_s)}" if slept_s > 0 else f"had its clock set back by {duration(-slept_s)}"
        self._alert("warning", f"the machine {how}, or its clock was set: limits of what runs are moved by it", "slept")
        for run in self._books.active():
            if run.status == "running":
                self._books.change(run, slept_ns=run.slept_ns + round(slept_s * 1e9))

    # ---- processes

    def _look(self, run: Run, now_ns: int) -> None:
        """Takes over what another scheduler left, and settles what has ended."""
        if run.id not in self._mine:
            run = self._take_over(run)
        known = Known(run.pid or 0, run.token)
        found = self._processes.ended(run.id, known, self._log(run))
        if found is None:
            return
        left = self._processes.end(run.id, known, force=True)
        self._settle(run, found, now_ns, f"{left} processes that it left were ended" if left else "")

    def _take_over(self, run: Run) -> Run:
        self._mine.add(run.id)
        known = Known(run.pid or 0, run.token) if run.pid else self._processes.find(run.id)
        alive = known is not None and self._processes.ended(run.id, known, self._log(run)) is None
        what = f"it still ran, and scheduler {self._pid} took it over" if alive else "it had ended"
        note = _with(run.note, f"left by a scheduler that is gone: {what}")
        self._alert("warning", f"job {run.job}: the run of {moment(run.planned_ns)} was {note}", f"left {run.id}")
        values = {"note": note} if known is None else {"note": note, "pid": known.pid, "token": known.token}
        return self._books.change(run, **values)

    def _settle(self, run: Run, found: Exit, now_ns: int, note: str = "") -> None:
        """Writes down how an attempt ended, and what follows from that."""
        job = self.schedule.jobs.get(run.job)
        status: Status = "ok"
        report = ""
        if run.term_ns is not None:
            status, note = "timeout", _with(f"took longer than {duration(run.timeout_s)}", note)
        elif found.code is None:
            status, note = "killed", _with("nobody knows how it ended", note)
        elif found.code < 0:
            status, note = "killed", _with(f"by signal {-found.code}", note)
        elif found.code > 0:
            status = "failed"
        elif job is not None and job.job.artefact:
            report = self._report(job, run)
            if not report:
                status, note = "failed", _with(f"it left no {job.job.artefact}", note)
        since_ns = run.term_ns or run.started_ns or 0  # a file's time may be a tick of the clock before
        ended_ns = min(max(found.ended_ns or now_ns, since_ns), now_ns)
        ended = Attempt(status=status, ended_ns=ended_ns, exit_code=found.code, note=note)
        self._conclude(job, run, ended, report, now_ns)

    def _conclude(self, job: Planned | None, run: Run, ended: Attempt, report: str, now_ns: int) -> None:
        then = outcome(job, run, ended.status, now_ns)
        note = _with(run.note, ended.note)
        severity: Severity = "critical" if job is None else job.job.on_failure
        self._mine.discard(run.id)
        written = self._books.end(
            run, ended, status=then.status, ended_ns=ended.ended_ns, exit_code=ended.exit_code, report=report,
            retry_ns=then.retry_ns, pid=None, token="", note=note,
        )  # fmt: skip
        if written:
            exit_file(self._log(run)).unlink(missing_ok=True)
        what = f"job {run.job}: the run of {moment(run.planned_ns)}"
        if then.status == "retrying" and then.retry_ns is not None:
            text = f"{what}: attempt {run.attempt} {ended_how(ended)}; tried again at {moment(then.retry_ns)}"
            self._alert("warning", text, f"retry {run.id} {run.attempt}")
        elif then.status not in GOOD:
            self.bad += 1
            times = f" in attempt {run.attempt}" if run.attempt > 1 else ""
            self._alert(severity, f"{what} {ended_how(ended)}{times}; log {run.log}", f"failed {run.id}")
        elif run.told:
            self._alert("info", f"{what} has ended well, {past(ended.ended_ns, run.due_ns)}", f"ended {run.id}")

    def _report(self, job: Planned, run: Run) -> str:
        """The newest file of the job's pattern that is not older than the attempt, below the workspace; "" without."""
        newest, at = "", (run.started_ns or 0) - 2_000_000_000
        for file in self._home.root.glob(job.job.artefact):
            try:
                modified = file.stat().st_mtime_ns
            except OSError:
                continue
            if modified >= at:
                newest, at = file.relative_to(self._home.root).as_posix(), modified
        return newest

    # ---- actions

    def _carry_out(self, actions: Iterable[Action], now_ns: int) -> None:
        unrecorded: dict[str, str] = {}
        for action in actions:
            match action:
                case End():
                    self._stop(action, now_ns)
                case Late(run):
                    self._tell_late(run)
                case Drop(run):
                    self._drop(run, now_ns)
                case Start() | Skip() | Miss():
                    why = unrecorded.get(action.job) or self._passed(action, now_ns)
                    if why:
                        unrecorded[action.job] = why  # a later time of it must not hide this one
                        at = moment(max(action.planned_ns) if isinstance(action, Miss) else action.planned_ns)
                        text = f"job {action.job}: the run of {at} is not started unrecorded: {why}"
                        self._alert("critical", text, f"unrecorded {action.job} {at}")
        self.stuck = bool(unrecorded)

    def _passed(self, action: Start | Skip | Miss, now_ns: int) -> str:
        """Why what came due could not be written down; "" where it was, and was done."""
        try:
            self._pass(action, now_ns)
        except WorkspaceError as error:
            return str(error)
        return ""

    def _pass(self, action: Start | Skip | Miss, now_ns: int) -> None:
        match action:
            case Start():
                self._start(action, now_ns)
            case Skip():
                self._skip(action, now_ns)
            case Miss():
                self._miss(action, now_ns)

    def _start(self, action: Start, now_ns: int) -> None:
        job = self.schedule.jobs[action.job]
        log = self._log_name(job, action.planned_ns, action.attempt)
        told = now_ns >= action.due_ns
        if action.run is None:
            run = Run(
                id=self._clock.new_id(), job=action.job, planned_ns=action.planned_ns, due_ns=action.due_ns,
                status="running", timeout_s=job.job.timeout_s, started_ns=now_ns, log=log, late=action.late, told=told,
                note=f"begun {past(now_ns, action.planned_ns)}" if action.late else "",
            )  # fmt: skip
            if not self._books.add([run]):
                return  # somebody has run it already
            if action.late:
                text = f"job {run.job}: the run of {moment(run.planned_ns)} was missed, and is made up for now"
                self._alert("warning", text, f"late {run.id}")
        else:
            run = replace(
                action.run, status="running", attempt=action.attempt, started_ns=now_ns, log=log, retry_ns=None,
                term_ns=None, pid=None, token="", slept_ns=0,
            )  # fmt: skip
            if not self._ledger.begin_again(run):
                return
        self._mine.add(run.id)
        try:
            known = self._processes.start(run.id, job.argv, self.schedule.folder, self._log(run), _about(run))
        except WorkspaceError as error:
            self._settle(run, Exit(127), now_ns, str(error))
            return
        self._books.change(run, pid=known.pid, token=known.token)

    def _skip(self, action: Skip, now_ns: int) -> None:
        before = f"the run of {moment(action.active.planned_ns)} is still {action.active.status}"
        row = self._row(action.job, action.planned_ns, action.due_ns, "skipped_overlap", now_ns, before)
        if self._books.add([row]):
            self.bad += 1
            text = f"job {row.job}: the run of {moment(row.planned_ns)} is skipped: {before}"
            self._alert(self.schedule.jobs[row.job].job.on_failure, text, f"skipped {row.id}")

    def _miss(self, action: Miss, now_ns: int) -> None:
        rows = [
            self._row(action.job, at, due, "missed", now_ns, "nobody was there to start it")
            for at, due in zip(action.planned_ns, action.due_ns, strict=True)
        ]
        if action.more:
            rows[0] = replace(rows[0], note=f"nobody was there to start it, nor at least {action.more:,} before it")
        if self._books.add(rows):
            self.bad += len(rows)
            n, first, last = len(rows) + action.more, moment(rows[0].planned_ns), moment(rows[-1].planned_ns)
            span = f"the run of {last} was" if n == 1 else f"{n:,} runs were"
            text = f"job {action.job}: {span} missed" + (f", {first} to {last}" if n > 1 else "")
            self._alert(self.schedule.jobs[action.job].job.on_failure, text, f"missed {rows[-1].id}")

    def _row(self, job: str, planned_ns: int, due_ns: int, status: Status, now_ns: int, note: str) -> Run:
        return Run(
            id=self._clock.new_id(), job=job, planned_ns=planned_ns, due_ns=due_ns, status=status, attempt=0,
            ended_ns=now_ns, told=True, note=note,
        )  # fmt: skip

    def _stop(self, action: End, now_ns: int) -> None:
        run = action.run
        n = self._processes.end(run.id, Known(run.pid or 0, run.token), force=action.force)
        if not action.force:
            what = f"{n} processes" if n != 1 else "1 process"
            text = f"job {run.job}: the run of {moment(run.planned_ns)} took longer than {duration(run.timeout_s)}"
            self._alert("warning", f"{text}: {what} asked to end", f"timeout {run.id} {run.attempt}")
            self._books.change(run, term_ns=now_ns)

    def _drop(self, run: Run, now_ns: int) -> None:
        self.bad += 1
        note = _with(run.note, "not tried again: its job has left the schedule")
        self._books.change(run, status="failed", ended_ns=run.ended_ns or now_ns, retry_ns=None, note=note)
        self._alert("warning", f"job {run.job}: the run of {moment(run.planned_ns)} {note}", f"dropped {run.id}")

    def _tell_late(self, run: Run) -> None:
        job = self.schedule.jobs.get(run.job)
        doing = "still runs" if run.status == "running" else f"waits for attempt {run.attempt + 1}"
        text = f"job {run.job}: the run of {moment(run.planned_ns)} is late: due by {moment(run.due_ns)}, it {doing}"
        self._alert("critical" if job is None else job.job.on_failure, text, f"due {run.id}")
        self._books.change(run, told=True)

    # ---- logs

    def _log_name(self, job: Planned, planned_ns: int, attempt: int) -> str:
        """Where an attempt's output goes, below the workspace; the oldest of the job's logs make room for it."""
        folder = self._home.root / "schedule" / "logs" / job.name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            old = sorted(folder.glob("*.log"))
            for file in old[: max(len(old) + 1 - self.schedule.keep_logs, 0)]:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(f"folder {folder}: {error.strerror}") from None
        stamp = moment(planned_ns).replace(":", "").replace("-", "")
        return f"schedule/logs/{job.name}/{stamp}-{attempt}.log"

    def _log(self, run: Run) -> Path:
        return self._home.root / run.log


def _about(run: Run) -> dict[str, str]:
    """What a job may know of itself, in its environment."""
    return {"FLEA_SCHEDULE_JOB": run.job, "FLEA_SCHEDULE_PLANNED": moment(run.planned_ns)}


def _with(note: str, more: str) -> str:
    return "; ".join(part for part in (note, more) if part)[:500]


def _stamp(schedule: Schedule) -> tuple[int, int]:
    try:
        found = schedule.file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
