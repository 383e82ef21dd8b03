"""The ledger as a scheduler keeps it: what happened and cannot be written yet is kept in mind until it can.

Rules. Nothing begins that is not written. What has happened, a process that began or ended, is true whether or not the
disk takes it: it is told, counts from then on, and is written as soon as that works.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from msgspec.structs import replace

from flea_lab.errors import WorkspaceError
from flea_lab.model.alert import Severity
from flea_lab.schedule.ledger import Attempt, Ledger, Run
from flea_lab.schedule.wording import ended_how


class AlertPut(Protocol):
    """`Alerts.put`."""

    def __call__(self, severity: Severity, text: str, key: str = "") -> None:
        """Takes an alert."""


class Books:
    """The runs of a ledger that is open for writing."""

    def __init__(self, ledger: Ledger, alert: AlertPut) -> None:
        self.ledger, self._alert = ledger, alert
        self._changes: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, tuple[Run, Attempt, dict[str, Any]]] = {}

    def active(self) -> list[Run]:
        """The active runs, as they are."""
        found = [run for run in self.ledger.active() if run.id not in self._ends]
        known = [replace(run, **self._changes.get(run.id, {})) for run in found]
        return [run for run in known if run.active]

    def settled(self) -> dict[str, int]:
        """Up to where every planned time of each job is accounted for; without jobs of which a run's end is not written
        yet: nothing of theirs can begin."""
        found = self.ledger.settled_until()
        for run, *_ in self._ends.values():
            found.pop(run.job, None)
        return found

    def add(self, runs: Iterable[Run]) -> bool:
        """As `Ledger.add`: raises where it cannot be."""
        return self.ledger.add(runs)

    def change(self, run: Run, **values: Any) -> Run:
        """`run` with other values."""
        wanted = {**self._changes.get(run.id, {}), **values}
        try:
            self.ledger.change(run, **wanted)
            self._changes.pop(run.id, None)
        except WorkspaceError as error:
            self._changes[run.id] = wanted
            self._alert("critical", str(error), "ledger")
        return replace(run, **wanted)

    def end(self, run: Run, ended: Attempt, **values: Any) -> bool:
        """Whether it is written that an attempt of `run` ended so, with these values."""
        values = {**self._changes.pop(run.id, {}), **values}
        try:
            self.ledger.end(run, ended, **values)
        except WorkspaceError as error:
            self._ends[run.id] = run, ended, values
            self._alert("critical", f"{error}: that job {run.job} {ended_how(ended)} is kept in mind", f"kept {run.id}")
            return False
        return True

    def flush(self) -> None:
        """Writes what could not be written, where that works by now."""
        if not self._ends and not self._changes:
            return
        try:
            for key, (run, ended, values) in list(self._ends.items()):
                self.ledger.end(run, ended, **values)
                del self._ends[key]
            for run in self.ledger.active():
                if run.id in self._changes:
                    self.ledger.change(run, **self._changes[run.id])
                    del self._changes[run.id]
            self._changes.clear()
        except WorkspaceError as error:
            self._alert("critical", str(error), "ledger")

    @property
    def owing(self) -> bool:
        """Whether something that happened is not written."""
        return bool(self._ends or self._changes)
