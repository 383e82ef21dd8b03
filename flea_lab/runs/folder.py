"""Run folders: made aside, described by a manifest that is written last, renamed whole.

::

    runs/<name>-<config id>-<inputs>[-2]/    a finished run: manifest.json, config.toml, report, frames
    runs/failed-<name>-<config id>[-2]/      a run that failed or was interrupted: error.txt, and what it had written
    runs/.partial-<name>-<config id>-<x>/    a run at work, holding the lock of its .lock file; without it, a dead one
    runs/_assets/                            what the reports share

A folder under a final name is therefore always whole, whatever stopped the process.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from flea_lab.errors import WorkspaceError
from flea_lab.runs.digest import file_digest, one_line, stored_digest
from flea_lab.runs.manifest import MANIFEST, WORDS, Manifest, read_manifest, sealed
from flea_lab.runs.notebook import cell_digests
from flea_lab.workspace import Workspace, write_whole

if TYPE_CHECKING:
    import pandas as pd

ERROR = "error.txt"
LOCK = ".lock"
PARTIAL = ".partial-"
FAILED = "failed-"
_held: dict[Path, int] = {}  # the lock of every partial folder that this process is filling


class Run(Struct, frozen=True, kw_only=True):
    """One folder below `runs`. Without a manifest, `why` is one line that says what is wrong with it."""

    folder: Path
    state: Literal["ok", "failed", "running"]
    manifest: Manifest | None = None
    why: str = ""


def begin(home: Workspace, name: str, config_id: str) -> Path:
    """A new partial folder for a run, locked by this process until `finish` or `fail`."""
    runs = home.ready().runs
    with one_line(runs):
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{name}-{config_id[:10]}-", dir=runs))
        lock = os.open(partial / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held[partial] = lock
    return partial


def finish(partial: Path, manifest: Manifest) -> Path:
    """The run's final folder: outputs digested, the manifest written last and flushed, the folder renamed whole.

    A name that is taken gets -2, -3 ... Where the disk refuses, a `WorkspaceError`, and the folder stays partial.
    """
    stem = manifest.stem
    with one_line(partial):
        outputs = {name: digest for name, digest in digests_of(partial).items() if name != MANIFEST}
        frames = {name: stored_digest(partial / name) for name in outputs if name.endswith(".parquet")}
        cells = [digest for file in sorted(partial.glob("*.ipynb")) for digest in cell_digests(file)]
        for final in _free_names(partial.parent, stem):
            command = f"flea {WORDS[manifest.kind]} {final / 'config.toml'}"
            command += f" --grid {final / 'grid.toml'}" if manifest.kind in ("sweep", "walkforward") else ""
            if told := manifest.options.get("search"):
                command += f" --search {told['how']} --trials {told['trials']} --seed {told['seed']}"
                command += f" --metric {told['metric']}"
            done = replace(manifest, outputs=outputs, frames=frames, cells=cells)
            text = msgspec.json.encode(sealed(replace(done, reproduce=manifest.reproduce or command)))
            write_whole(partial / MANIFEST, msgspec.json.format(text, indent=2))
            if _renamed(partial, final):
                return final
    raise WorkspaceError(f"run folder {partial}: no free name {stem}-*")  # pragma: no cover


def fail(partial: Path, line: str, trace: str = "") -> Path:
    """The folder of a run that did not finish, under a name that says so; `line` opens its error.txt."""
    stem = partial.name.removeprefix(PARTIAL).rsplit("-", 1)[0]
    with contextlib.suppress(OSError):  # on a full disk the name still has to say it
        (partial / ERROR).write_text(f"{line}\n\n{trace}".rstrip() + "\n", encoding="utf-8")
        (partial / MANIFEST).unlink(missing_ok=True)
    with one_line(partial):
        for final in _free_names(partial.parent, FAILED + stem):
            if _renamed(partial, final):
                return final
    raise WorkspaceError(f"run folder {partial}: no free name {FAILED}{stem}-*")  # pragma: no cover


def list_runs(home: Workspace) -> list[Run]:
    """Every run below `home`, newest first. A folder whose manifest is missing or unreadable is a failed one."""
    if not home.runs.is_dir():
        return []
    with one_line(home.runs):
        folders = [path for path in home.runs.iterdir() if path.is_dir() and _is_run(path.name)]
        newest_first = sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return [_look(folder) for folder in newest_first]


def edited_outputs(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the run's files that are not as its manifest says, or gone; `WorkspaceError` where they cannot be
    read."""
    with one_line(folder):
        found = digests_of(folder)
    return sorted(name for name, digest in manifest.outputs.items() if found.get(name) != digest)


def save_frames(folder: Path, frames: "Mapping[str, pd.DataFrame]") -> dict[str, str]:
    """SHA-256 by file name of `frames`, written as `<name>.parquet` into `folder`, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = {}
    for name, frame in frames.items():
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), out, compression="zstd")
        with one_line(folder):
            write_whole(folder / f"{name}.parquet", out.getvalue())
        written[f"{name}.parquet"] = hashlib.sha256(out.getvalue()).hexdigest()
    return written


def save_text(folder: Path, name: str, text: str) -> Path:
    """`folder / name` with `text`, whole or not at all; `WorkspaceError` where the disk refuses."""
    with one_line(folder):
        write_whole(folder / name, text.encode())
    return folder / name


def iso_utc(ns: int) -> str:
    """A time in ns since 1970 as ISO 8601 UTC, to the second.

    >>> iso_utc(1_746_372_780_000_000_000)
    '2025-05-04T15:33:00Z'
    """
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _look(folder: Path) -> Run:
    if folder.name.startswith(PARTIAL):
        state: Literal["failed", "running"] = "running" if _is_locked(folder) else "failed"
        return Run(folder=folder, state=state, why="" if state == "running" else "its process died before it finished")
    if folder.name.startswith(FAILED):
        return Run(folder=folder, state="failed", why=_first_line(folder / ERROR) or "it left no word")
    try:
        return Run(folder=folder, state="ok", manifest=read_manifest(folder))
    except WorkspaceError as error:
        return Run(folder=folder, state="failed", why=str(error).split(": ", 1)[-1])


def _is_run(name: str) -> bool:
    return name.startswith(PARTIAL) or not name.startswith((".", "_"))


def _is_locked(partial: Path) -> bool:
    try:
        lock = os.open(partial / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _free_names(runs: Path, stem: str) -> Iterator[Path]:
    names = (runs / (stem if n == 1 else f"{stem}-{n}") for n in range(1, 10_000))
    return (path for path in names if not path.exists())


def _renamed(partial: Path, final: Path) -> bool:
    """Whether `partial` is `final` now; False where another process took the name first."""
    try:
        partial.rename(final)
    except OSError:
        if final.exists():
            return False
        raise
    lock = _held.pop(partial, None)
    if lock is not None:
        os.close(lock)
    (final / LOCK).unlink(missing_ok=True)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 by name of every file below `folder`, but for the lock of a run at work."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
