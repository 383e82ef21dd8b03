"""Which code a run was made by: the package as a whole, the modules that were loaded, the signals, the versions."""

import contextlib
import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

import flea_lab
from flea_lab.config import RunConfig, alphas
from flea_lab.errors import FleaError
from flea_lab.runs.digest import file_digest, one_line
from flea_lab.runs.place import LOCK_FILE, ROOT
from flea_lab.workspace import workspace

PACKAGES = ("numpy", "pandas", "numba", "llvmlite", "msgspec", "pyarrow", "plotly", "papermill", "vectorbt")
NO_LOGIC = ("flea_lab/cli/", "flea_lab/__main__.py")
"""Modules that parse and print: a run that a command made is the one that a notebook makes."""


class Subject(Protocol):
    """What a run is about: a configuration, or a question that has an id as one has."""

    @property
    def name(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def signals(self) -> Sequence[Any]: ...

    def to_dict(self) -> dict[str, Any]: ...


class CodeState(Struct, frozen=True, kw_only=True):
    """Which code ran. `commit` and `dirty` are None where git does not know the package: unversioned."""

    digest: str
    commit: str | None
    dirty: bool | None


def code_state(config: Subject, notebook: Path | None = None) -> CodeState:
    """The code of a run: the package, the notebook that drives it, and the user's own signals that `config` names."""
    own = [workspace().signals / f"{alpha.kernel}.py" for alpha in config.signals]
    files = [*(ROOT / "flea_lab").rglob("*.py"), *([notebook] if notebook else []), *(p for p in own if p.is_file())]
    hasher = hashlib.sha256()
    with one_line(ROOT):
        for file in sorted(files, key=lambda file: (file.parent.name, file.as_posix())):
            name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT / "flea_lab") else file.name
            hasher.update(f"{name} {file_digest(file)}\n".encode())
    changed = dirty(ROOT)
    commit = None if changed is None else (_git(ROOT, "rev-parse", "HEAD") or "").strip() or None
    return CodeState(digest=hasher.hexdigest(), commit=commit, dirty=changed)


def dirty(root: Path = ROOT) -> bool | None:
    """Whether git says that package or notebooks differ from the last commit; None where git does not track them."""
    if _git(root, "ls-files", "--error-unmatch", "flea_lab/__init__.py") is None:
        return None
    changed = _git(root, "status", "--porcelain", "--", "flea_lab", "notebooks")
    return None if changed is None else bool(changed)


def loaded_modules() -> dict[str, str]:
    """SHA-256 by path of the source of every module of the package that this process has loaded, sorted.

    The command line is left out. Read from the disk now: `changed_modules` says which are not what was loaded.
    """
    found = {}
    with one_line(ROOT):
        for path in _loaded():
            found[path] = file_digest(ROOT / path)
    return dict(sorted(found.items()))


def changed_modules() -> list[str]:
    """Paths of the loaded modules whose file was written since this process began: what runs here is another code."""
    return sorted(path for path in _loaded() if path in _AT_START and _stamp(ROOT / path) != _AT_START[path])


def kernels_of(config: Subject) -> dict[str, str]:
    """SHA-256 of the source of every signal of `config`, by name, as this process loaded it; none where it cannot."""
    if not isinstance(config, RunConfig):
        return {}
    try:
        return {kernel.name: kernel.source for kernel in alphas(config).kernels}
    except FleaError:
        return {}


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the packages that a result can depend on, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def lock_digest(root: Path = ROOT) -> str | None:
    """SHA-256 of the lock file of the checkout at `root`; None where there is none."""
    file = root / LOCK_FILE
    return file_digest(file) if file.is_file() else None


def _loaded() -> list[str]:
    paths = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name == "flea_lab" or name.startswith("flea_lab.")) and file.endswith(".py"):
            path = Path(file).resolve()
            if path.is_relative_to(ROOT) and path.is_file():
                paths.append(path.relative_to(ROOT).as_posix())
    return [path for path in paths if not path.startswith(NO_LOGIC)]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


_AT_START = {
    file.relative_to(ROOT).as_posix(): _stamp(file) for file in Path(flea_lab.__file__).resolve().parent.rglob("*.py")
}


def _git(root: Path, *words: str) -> str | None:
    """What git answers, or None where there is no git, no repository, or git refuses."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
