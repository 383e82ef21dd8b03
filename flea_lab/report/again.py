"""A stored run executed again: from its manifest alone, on the data that it read, without the page."""

import tempfile
from pathlib import Path
from typing import Any

import nbformat

from flea_lab import runs
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.frames import iso
from flea_lab.errors import WorkspaceError
from flea_lab.report.data_evidence import data_range
from flea_lab.runs.notebook import injected


def execute_again(folder: Path) -> Path:
    """The folder, in this process' workspace, of a second run of what the manifest in `folder` says.

    The data are cut to the range that the first one read. `WorkspaceError` where nothing says what was executed.
    """
    manifest = runs.read_manifest(folder)
    if manifest.kind == "sweep":
        config = config_of(manifest, folder.name)
        from flea_lab.report.sweep import run_sweep, search_of

        metric, search = manifest.options.get("metric", "sharpe"), search_of(manifest)
        return run_sweep(config, manifest.grid or {}, metric=metric, search=search, progress=False, with_page=False)[0]
    from flea_lab.report.run import Job, run_job  # each of the two brings what the other does not need

    source = manifest.notebook
    if source is None:
        raise WorkspaceError(f"run {folder.name}: stored before its notebook was written down; report it again")
    subject = day_of(manifest, folder.name) if manifest.kind == "operations" else config_of(manifest, folder.name)
    with tempfile.TemporaryDirectory(prefix="flea-again-") as aside:
        job = Job(
            kind=manifest.kind,
            config=subject,
            notebook=_notebook(folder, source, Path(aside)),
            parameter=source.parameter,
            value=subject.to_dict() if source.value is None else _pinned(source.value, subject),
            title="",
        )
        return run_job(job, page=False, progress=False)


def config_of(manifest: runs.Manifest, name: str) -> RunConfig:
    """The config of a stored run, its data pinned to the range that it read."""
    values = dict(manifest.config)
    read = data_range(manifest)
    if read is not None:
        values["data"] = {**values.get("data", {}), "start": iso(read[0]), "end": iso(read[1])}
    return from_dict(values, f"run {name}")


def day_of(manifest: runs.Manifest, name: str) -> runs.Subject:
    """The question of a stored report on a day of operations; `WorkspaceError` where it would ask for more now."""
    from flea_lab.report.operations_facts import load_asked, settled

    asked = load_asked(manifest.config)
    now = settled(asked)
    if now != asked:
        raise WorkspaceError(f"run {name}: no account had traded, now {', '.join(now.accounts)} have: report it again")
    return asked


def _pinned(value: dict[str, Any], config: runs.Subject) -> dict[str, Any]:
    """The notebook's parameter with the pinned config in the place of the first one's, where it holds one."""
    return {**value, "config": config.to_dict()} if isinstance(value.get("config"), dict) else value


def _notebook(folder: Path, source: runs.Source, aside: Path) -> Path:
    """The notebook to execute: the checkout's, or, where that has none, the stored one without what came of it."""
    if (runs.ROOT / source.path).is_file():
        return runs.ROOT / source.path
    stored = folder / Path(source.path).name
    if not stored.is_file() or runs.notebook_digest(stored) != source.digest:
        raise WorkspaceError(f"run {folder.name}: its notebook {source.path} is gone, and the stored one was edited")
    notebook = nbformat.read(stored, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not injected(cell)]
    nbformat.write(notebook, aside / stored.name)
    return aside / stored.name
