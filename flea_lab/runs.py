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
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from msgspec.structs import replace

import flea_lab
from flea_lab.config import RunConfig
from flea_lab.errors import WorkspaceError
from flea_lab.workspace import Workspace, workspace, write_whole

MANIFEST = "manifest.json"
ERROR = "error.txt"
LOCK = ".lock"
Kind = Literal["backtest", "sweep", "session", "walkforward", "operations"]
WORDS: dict[Kind, str] = {
    "backtest": "report",
    "sweep": "sweep",
    "session": "session",
    "walkforward": "walkforward",
    "operations": "operations",
}
"""The command that makes a run of each kind."""
PARTIAL = ".partial-"
FAILED = "failed-"
ROOT = Path(flea_lab.__file__).resolve().parents[1]
"""The checkout, or the folder that the package is installed in."""
REPORT_NOTEBOOK = ROOT / "notebooks" / "reports" / "backtest.ipynb"
"""What a report executes: part of the code of a run, not of what trades."""
SESSION_NOTEBOOK = ROOT / "notebooks" / "reports" / "session.ipynb"
"""What a report on a live session executes."""
WALK_NOTEBOOK = ROOT / "notebooks" / "reports" / "walkforward.ipynb"
"""What a walk-forward report executes."""
OPERATIONS_NOTEBOOK = ROOT / "notebooks" / "reports" / "operations.ipynb"
"""What a daily operations report executes."""

PACKAGES = ("numpy", "pandas", "numba", "msgspec", "pyarrow", "plotly", "papermill", "vectorbt")
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")
_held: dict[Path, int] = {}  # the lock of every partial folder that this process is filling


class CodeState(Struct, frozen=True, kw_only=True):
    """Which code ran. `commit` and `dirty` are None where git does not know the package: unversioned."""

    digest: str
    commit: str | None
    dirty: bool | None


class Manifest(Struct, frozen=True, kw_only=True):
    """What a finished run is made of and what came out.

    `metrics` are None where they are undefined (NaN is not JSON). `outputs` are filled in by `finish`, and `reproduce`
    where it is not given. Times are ISO 8601 UTC. `decisions_digest` is None where nothing decided.
    """

    kind: Kind
    name: str
    config: dict[str, Any]
    config_id: str
    source: str
    synthetic: bool
    data: list[dict[str, Any]]
    code: CodeState
    versions: dict[str, str]
    started: str
    finished: str
    metrics: dict[str, float | None]
    result_digest: str
    decisions_digest: str | None = None
    seed: int | None = None
    grid: dict[str, Any] | None = None
    flea_version: str = flea_lab.__version__
    outputs: dict[str, str] = {}
    reproduce: str = ""

    @property
    def inputs_digest(self) -> str:
        """SHA-256 over what the config does not hold: data, code and grid."""
        return _json_digest({"data": self.data, "code": self.code.digest, "grid": self.grid})


class Run(Struct, frozen=True, kw_only=True):
    """One folder below `runs`. Without a manifest, `why` is one line that says what is wrong with it."""

    folder: Path
    state: Literal["ok", "failed", "running"]
    manifest: Manifest | None = None
    why: str = ""


def begin(home: Workspace, name: str, config_id: str) -> Path:
    """A new partial folder for a run, locked by this process until `finish` or `fail`."""
    runs = home.ready().runs
    with _one_line(runs):
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{name}-{config_id[:10]}-", dir=runs))
        lock = os.open(partial / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held[partial] = lock
    return partial


def finish(partial: Path, manifest: Manifest) -> Path:
    """The run's final folder: outputs digested, the manifest written last and flushed, the folder renamed whole.

    A name that is taken gets -2, -3 ... Where the disk refuses, a `WorkspaceError`, and the folder stays partial.
    """
    stem = f"{manifest.name}-{manifest.config_id[:10]}-{manifest.inputs_digest[:8]}"
    with _one_line(partial):
        outputs = {name: digest for name, digest in _digests(partial).items() if name != MANIFEST}
        for final in _free_names(partial.parent, stem):
            command = f"flea {WORDS[manifest.kind]} {final / 'config.toml'}"
            command += f" --grid {final / 'grid.toml'}" if manifest.kind in ("sweep", "walkforward") else ""
            text = msgspec.json.encode(replace(manifest, outputs=outputs, reproduce=manifest.reproduce or command))
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
    with _one_line(partial):
        for final in _free_names(partial.parent, FAILED + stem):
            if _renamed(partial, final):
                return final
    raise WorkspaceError(f"run folder {partial}: no free name {FAILED}{stem}-*")  # pragma: no cover


def list_runs(home: Workspace) -> list[Run]:
    """Every run below `home`, newest first. A folder whose manifest is missing or unreadable is a failed one."""
    if not home.runs.is_dir():
        return []
    with _one_line(home.runs):
        folders = [path for path in home.runs.iterdir() if path.is_dir() and _is_run(path.name)]
        newest_first = sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return [_look(folder) for folder in newest_first]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder; `WorkspaceError` where there is none, or it is not one."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise WorkspaceError(f"run folder {folder}: no {MANIFEST}, so the run did not finish") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"run folder {folder}: {MANIFEST} cannot be read ({error})") from None


def edited_outputs(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the run's files that are not as its manifest says, or gone; `WorkspaceError` where they cannot be
    read."""
    with _one_line(folder):
        found = _digests(folder)
    return sorted(name for name, digest in manifest.outputs.items() if found.get(name) != digest)


def save_frames(folder: Path, frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """SHA-256 by file name of `frames`, written as `<name>.parquet` into `folder`, each whole or not at all."""
    written = {}
    for name, frame in frames.items():
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), out, compression="zstd")
        with _one_line(folder):
            write_whole(folder / f"{name}.parquet", out.getvalue())
        written[f"{name}.parquet"] = hashlib.sha256(out.getvalue()).hexdigest()
    return written


def save_text(folder: Path, name: str, text: str) -> Path:
    """`folder / name` with `text`, whole or not at all; `WorkspaceError` where the disk refuses."""
    with _one_line(folder):
        write_whole(folder / name, text.encode())
    return folder / name


def result_digest(metrics: Mapping[str, float | None], decisions_digest: str | None, curve: pd.DataFrame) -> str:
    """SHA-256 over what a re-run must give again: metrics, decisions, and the numbers of `curve`, column by column."""
    hasher = hashlib.sha256(_json_digest([defined(metrics), decisions_digest]).encode())
    for name in curve.columns:
        values = curve[name].to_numpy()
        kind = "<i8" if values.dtype.kind in "iub" else "<f8"
        hasher.update(name.encode() + np.ascontiguousarray(values, dtype=kind).tobytes())
    return hasher.hexdigest()


def defined(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """`metrics` as JSON can hold them: what is not finite is None."""
    finite = {name: value is not None and math.isfinite(value) for name, value in metrics.items()}
    return {name: float(value) if value is not None and finite[name] else None for name, value in metrics.items()}


def code_state(config: RunConfig, notebook: Path | None = None) -> CodeState:
    """The code of a run: the package, the notebook that drives it, and the user's own signals that `config` names."""
    own = [workspace().signals / f"{alpha.kernel}.py" for alpha in config.signals]
    files = [*(ROOT / "flea_lab").rglob("*.py"), *([notebook] if notebook else []), *(p for p in own if p.is_file())]
    hasher = hashlib.sha256()
    with _one_line(ROOT):
        for file in sorted(files, key=lambda file: (file.parent.name, file.as_posix())):
            name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT / "flea_lab") else file.name
            hasher.update(f"{name} {_digest(file)}\n".encode())
    changed = dirty(ROOT)
    commit = None if changed is None else (_git(ROOT, "rev-parse", "HEAD") or "").strip() or None
    return CodeState(digest=hasher.hexdigest(), commit=commit, dirty=changed)


def dirty(root: Path = ROOT) -> bool | None:
    """Whether git says that package or notebooks differ from the last commit; None where git does not track them."""
    if _git(root, "ls-files", "--error-unmatch", "flea_lab/__init__.py") is None:
        return None
    changed = _git(root, "status", "--porcelain", "--", "flea_lab", "notebooks")
    return None if changed is None else bool(changed)


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the packages that a result can depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def iso_utc(ns: int) -> str:
    """A time in ns since 1970 as ISO 8601 UTC, to the second.

    >>> iso_utc(1_746_372_780_000_000_000)
    '2025-05-04T15:33:00Z'
    """
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_toml(values: Mapping[str, Any]) -> str:
    """Plain values (as `RunConfig.to_dict` gives them) as TOML; None is left out, which is how TOML says it.

    >>> to_toml({"name": "a", "risk": {"limit": 0.5}})
    'name = "a"\\n\\n[risk]\\nlimit = 0.5\\n'
    """
    return "\n".join(_toml_lines(values, "")).lstrip("\n") + "\n"


def _toml_lines(values: Mapping[str, Any], path: str) -> Iterator[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lists = {key: value for key, value in values.items() if _is_table_list(value)}
    for key, value in values.items():
        if value is not None and key not in tables and key not in lists:
            yield f"{_key(key)} = {_toml_value(value)}"
    for key, rows in lists.items():
        for row in rows:
            yield from ("", f"[[{path}{_key(key)}]]", *_toml_lines(row, f"{path}{_key(key)}."))
    for key, table in tables.items():
        yield from ("", f"[{path}{_key(key)}]", *_toml_lines(table, f"{path}{_key(key)}."))


def _is_table_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    return json.dumps(value)  # JSON's strings, numbers and booleans are TOML's


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


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {file.relative_to(folder).as_posix(): _digest(file) for file in files}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _json_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _git(root: Path, *words: str) -> str | None:
    """What git answers, or None where there is no git, no repository, or git refuses."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def _one_line(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WorkspaceError(f"run folder {place}: {reason[0].lower()}{reason[1:]}") from None
