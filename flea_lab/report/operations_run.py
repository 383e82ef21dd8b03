"""Executes the notebook of daily operations into a run folder. Journals are only read: sessions may be running."""

from pathlib import Path

from flea_lab import runs
from flea_lab.clock import Clock
from flea_lab.report.operations_facts import Asked, settled
from flea_lab.report.run import Job, check_notebook, run_job

PARAMETER = "operations"


def run_operations_report(
    asked: Asked,
    *,
    notebook: Path = runs.OPERATIONS_NOTEBOOK,
    standalone: bool = False,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Path:
    """The finished run folder of a report on a day of operations; `report.run.run_report` says the rest."""
    check_notebook(notebook, PARAMETER)
    asked = settled(asked)
    words = " ".join(["flea operations", *asked.accounts, f"--day {asked.day}"])
    title = f"Operations on {asked.day}"
    job = Job("operations", asked, notebook, PARAMETER, asked.to_dict(), title, reproduce=words)
    return run_job(job, standalone=standalone, progress=progress, clock=clock)
