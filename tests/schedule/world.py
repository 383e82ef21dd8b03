"""A schedule on a virtual clock: the real scheduler and a real ledger over processes that are only said to run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flea_lab.schedule.job import Schedule, schedule_of
from flea_lab.schedule.keeper import Keeper
from flea_lab.schedule.ledger import Ledger, Run, history
from flea_lab.schedule.process import Exit, Known
from flea_lab.schedule.wording import moment
from flea_lab.workspace import Workspace

S_NS = 1_000_000_000
FOREVER = 10**9


class Does(NamedTuple):
    """What an attempt does: how long it takes, how it ends, whether it ends when asked to, who it leaves behind."""

    lasts_s: float = 1.0
    code: int | None = 0
    deaf: bool = False
    leaves: int = 0


class Process:
    """A process that is only said to run."""

    def __init__(self, run: str, job: str, does: Does, start_ns: int, pid: int) -> None:
        self.run, self.job, self.does, self.pid = run, job, does, pid
        self.ends_ns: int = start_ns + round(does.lasts_s * S_NS)
        self.code, self.killed = does.code, False


class Clock:
    """As `flea_lab.clock.Clock`."""

    def __init__(self, start_ns: int) -> None:
        self.ns, self.monotonic_ns, self._ids = start_ns, 0, 0

    def now_ns(self) -> int:
        return self.ns

    def new_id(self) -> str:
        self._ids += 1
        return f"id{self._ids:06d}"

    def jitter(self) -> float:
        return 0.5

    def elapsed_s(self) -> float:
        return self.monotonic_ns / S_NS

    def on(self, ns: int) -> None:
        """Time goes on by `ns`."""
        self.ns += ns
        self.monotonic_ns += ns


class SimProcesses:
    """As `flea_lab.schedule.process.Processes`. They live on when the scheduler is killed."""

    def __init__(self, clock: Clock, plays: Callable[[str, int, int], Does]) -> None:
        self._clock, self._plays = clock, plays
        self.all: list[Process] = []

    def start(self, run: str, argv: Sequence[str], folder: Path, log: Path, more: Mapping[str, str]) -> Known:
        job = more["FLEA_SCHEDULE_JOB"]
        assert not self.alive(job), f"two of {job} at once"
        attempt = int(log.stem.rsplit("-", 1)[1])
        process = Process(run, job, self._plays(job, self._clock.ns, attempt), self._clock.ns, len(self.all) + 100)
        self.all.append(process)
        return Known(process.pid, f"t{process.pid}")

    def alive(self, job: str) -> list[Process]:
        return [one for one in self.all if one.job == job and one.ends_ns > self._clock.ns]

    def ended(self, run: str, known: Known, log: Path) -> Exit | None:
        found = [one for one in self.all if one.run == run and (known.pid in (0, one.pid))]
        if not found:
            return Exit(None)
        process = found[-1]
        if process.ends_ns > self._clock.ns:
            return None
        return Exit(process.code, process.ends_ns)

    def find(self, run: str) -> Known | None:
        found = [one for one in self.all if one.run == run and one.ends_ns > self._clock.ns]
        return Known(found[-1].pid, f"t{found[-1].pid}") if found else None

    def end(self, run: str, known: Known, *, force: bool) -> int:
        left = 0
        for one in self.all:
            if one.run == run and one.ends_ns > self._clock.ns and (force or not one.does.deaf):
                one.ends_ns, one.code, one.killed = self._clock.ns, -9 if force else -15, True
                left += 1
        return left

    def next_ns(self) -> int | None:
        return min((one.ends_ns for one in self.all if one.ends_ns > self._clock.ns), default=None)


class Told(NamedTuple):
    """An alert."""

    ns: int
    severity: str
    text: str


class World:
    """One workspace, its schedule, and time that goes on as fast as it can be computed."""

    def __init__(
        self, home: Path, values: dict[str, Any], start_ns: int, plays: Callable[[str, int, int], Does] | None = None
    ) -> None:
        self.home = Workspace(home).ready()
        (home / "schedule").mkdir(exist_ok=True)
        self.schedule: Schedule = schedule_of({"folder": str(home), **values}, home / "schedule.toml")
        self.clock = Clock(start_ns)
        self.processes = SimProcesses(self.clock, plays or (lambda *_: Does()))
        self.told: list[Told] = []
        self.file = home / "schedule" / "ledger.sqlite"
        self.ledger: Ledger | None = None
        self.keeper: Keeper | None = None
        self._pids = 1
        self.begin()

    def begin(self) -> None:
        """A scheduler starts."""
        self._pids += 1
        self.ledger = Ledger(self.file, durable=False)
        self.keeper = Keeper(
            self.schedule,
            self.home,
            self.clock,
            self.ledger,
            self.processes,
            self._alert,
            elapsed_s=self.clock.elapsed_s,
            pid=self._pids,
        )

    def _alert(self, severity: str, text: str, key: str = "") -> None:
        self.told.append(Told(self.clock.ns, severity, text))

    def kill(self) -> None:
        """The scheduler is killed: nothing of it is left but what is on the disk."""
        assert self.ledger is not None
        self.ledger.close()
        self.keeper = self.ledger = None

    def until(self, ns: int) -> None:
        """Time goes on to `ns`, and whatever is due on the way happens."""
        while True:
            wake = None
            if self.keeper is not None:
                self.keeper.step()
                wake = self.keeper.next_ns()
            times = [at for at in (wake, self.processes.next_ns()) if at is not None]
            stuck = self.keeper is not None and self.keeper.stuck
            at = max(min([*times, ns]), self.clock.ns + (60 * S_NS if stuck else 1_000_000))
            if at > ns or self.clock.ns >= ns:
                self.clock.on(max(ns - self.clock.ns, 0))
                break
            self.clock.on(at - self.clock.ns)
        if self.keeper is not None:
            self.keeper.step()

    def sleep(self, ns: int) -> None:
        """The machine sleeps: the wall clock goes on, nothing else does."""
        self.clock.ns += ns
        for one in self.processes.all:
            if one.ends_ns > self.clock.ns - ns:
                one.ends_ns += ns

    def fill_disk(self) -> None:
        """From now on SQLite refuses every write to the ledger."""
        assert self.ledger is not None
        self.ledger._db.execute("PRAGMA query_only=ON")

    def make_room(self) -> None:
        """There is room again."""
        assert self.ledger is not None
        self.ledger._db.execute("PRAGMA query_only=OFF")

    def runs(self, job: str | None = None) -> list[Run]:
        """What the ledger says, oldest first."""
        return history(self.file, job, 1_000_000)

    def story(self, job: str) -> list[tuple[str, str]]:
        """Planned time and status of every run of a job."""
        return [(moment(run.planned_ns), run.status) for run in self.runs(job)]

    def said(self, words: str, since_ns: int = 0) -> list[Told]:
        """The alerts that hold `words`."""
        return [one for one in self.told if words in one.text and one.ns >= since_ns]

    def end(self) -> None:
        """Lets go of everything."""
        if self.ledger is not None:
            self.ledger.close()
