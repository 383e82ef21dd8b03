"""Executes the session's notebook into a run folder. The journal is only read, so the session may be running."""

import json
from pathlib import Path
from typing import Any

from flea_lab.clock import Clock
from flea_lab.config import from_dict
from flea_lab.errors import WorkspaceError
from flea_lab.live.journal import read_meta
from flea_lab.live.store import FILE
from flea_lab.report.run import Job, check_notebook, run_job
from flea_lab.report.session_facts import find_journal
from flea_lab.runs import SESSION_NOTEBOOK
from flea_lab.workspace import workspace

PARAMETER = "session"


def run_session_report(
    account_or_folder: str | Path,
    *,
    notebook: Path = SESSION_NOTEBOOK,
    standalone: bool = False,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Path:
    """The finished run folder of a report on the session of an account (a name) or in a folder (a path).

    It says what the session did up to now; `report.run.run_report` says the rest. `WorkspaceError` where nothing has
    run there.
    """
    check_notebook(notebook, PARAMETER)
    journal = find_journal(account_or_folder)
    meta = read_meta(journal)
    if "config" not in meta:
        raise WorkspaceError(f"journal {journal}: no session has begun in it")
    config = from_dict(json.loads(meta["config"]), f"journal {journal}")
    value = _named(journal)
    words = next(iter(value.values()))
    title = f"{config.name}: session report, account {meta['account']}"
    job = Job("session", config, notebook, PARAMETER, value, title, reproduce=f"flea session {words}")
    return run_job(job, standalone=standalone, progress=progress, clock=clock)


def _named(journal: Path) -> dict[str, Any]:
    """The notebook's parameter for `journal`: the account where it is this workspace's, so that no path is stored."""
    journal = journal.absolute()
    if journal.name == FILE and journal.parent.parent == workspace().root / "journals":
        return {"account": journal.parent.name}
    return {"folder": str(journal)}
