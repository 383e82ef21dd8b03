"""A session looks after the schedule: a report that is due and is not there is told, and lets positions only shrink
where the config asks for that.

Rules. It looks from a thread of its own and waits for the loop never: the ledger is opened for reading only, and a look
that hangs holds up nothing. Silence is not trusted: a ledger that cannot be read, or that knows no such job, is told at
once and counts as a missing report after the deadline. What a person cleared is not closed again for the same report.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from flea_lab.clock import Clock
from flea_lab.config import ReportWatch
from flea_lab.live.alerts import Severity
from flea_lab.model.trading import Reduce
from flea_lab.overdue import Standing, standing
from flea_lab.workspace import Workspace, workspace

AGAIN_NS = 3_600_000_000_000
"""How often what stays missing is told again."""

SILENT_S = 120.0
"""After how long without a word from a scheduler that is told."""

Put = Callable[[Severity, str, str], None]
"""`Alerts.put`, with a key."""


class Overseer:
    """Looks at the ledger of the schedule for one session; `demote` takes why only orders that reduce may pass."""

    def __init__(
        self, settings: ReportWatch, home: Workspace, clock: Clock, alert: Put, demote: Callable[[str], None]
    ) -> None:
        self._settings, self._home, self._clock = settings, home, clock
        self._alert, self._demote = alert, demote
        self._begun_ns = self._unknown_ns = clock.now_ns()
        self._told: dict[str, tuple[str, int]] = {}
        self._demoted: int | None = None

    def look(self) -> Standing:
        """How the report stands, once whoever has to hear of it has."""
        now_ns, name = self._clock.now_ns(), self._settings.due
        found = standing(self._home, name, self._settings.deadline_s, now_ns)
        self._look_at_scheduler(found, now_ns)
        if not found.unknown:
            self._unknown_ns = now_ns
        overdue = found.unknown and now_ns - self._unknown_ns >= self._settings.deadline_s * 1e9
        why = found.missing or (
            f"for {self._settings.deadline_s:g} s nobody can tell: {found.unknown}" if overdue else ""
        )
        if why:
            self._tell("critical", "report", f"the report {name!r} of the schedule is missing: {why}", now_ns)
            owed = found.owed_ns if found.owed_ns is not None else -1
            if self._settings.demote and self._demoted != owed:
                self._demoted = owed
                self._demote(f"the report {name!r} of the schedule is missing: {why}")
        elif found.unknown:
            self._tell("warning", "report", f"the report {name!r} of the schedule: {found.unknown}", now_ns)
        else:
            self._well("report", f"the report {name!r} of the schedule is there")
            self._demoted = None
        return found

    def _look_at_scheduler(self, found: Standing, now_ns: int) -> None:
        if found.unknown and not found.beat_ns:
            return  # there is no ledger that could say so
        silent_s = (now_ns - max(found.beat_ns, 0)) / 1e9
        if silent_s > SILENT_S:
            text = f"no scheduler has been heard of for more than {SILENT_S:g} s: flea schedule list"
            self._tell("critical", "scheduler", text, now_ns)
        else:
            self._well("scheduler", "a scheduler is there again")

    def _tell(self, severity: Severity, about: str, text: str, now_ns: int) -> None:
        said, at_ns = self._told.get(about, ("", 0))
        if said != text or not 0 <= now_ns - at_ns < AGAIN_NS:
            self._told[about] = text, now_ns
            self._alert(severity, text, f"schedule {about}")

    def _well(self, about: str, text: str) -> None:
        if self._told.pop(about, None) is not None:
            self._alert("info", text, f"schedule {about}")


@contextmanager
def overseen(settings: ReportWatch, clock: Clock, alert: Put, reduce: Callable[[Reduce], None]) -> Iterator[None]:
    """Has the schedule looked after while a session lasts, where its config names a report.

    `reduce` is called from another thread, and must not wait.
    """
    if not settings.due:
        yield
        return

    def demote(why: str) -> None:
        reduce(Reduce(ts_event=clock.now_ns(), reason=why))

    overseer, ending = Overseer(settings, workspace(), clock, alert, demote), threading.Event()
    thread = threading.Thread(
        target=partial(_work, overseer, alert, settings.every_s, ending), name="reports", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(timeout=2.0)


def _work(overseer: Overseer, alert: Put, every_s: float, ending: threading.Event) -> None:
    while True:
        try:
            overseer.look()
        except Exception as error:  # whatever it is: told, and looked again; a thread that died would be silence
            alert("critical", f"the schedule cannot be looked at: {type(error).__name__}: {error}", "schedule look")
        if ending.wait(every_s):
            return
