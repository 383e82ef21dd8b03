"""What digests alone say of a stored run: which of its parts are not what its manifest says, without executing it.

A difference belongs to one component: parameters, data partition, code module, kernel (a signal), package version,
edited output, manifest; a second execution adds the result. Each line says what was there and what is there now.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

import flea_lab
from flea_lab import runs
from flea_lab.data.disk import read_parquet
from flea_lab.errors import WorkspaceError
from flea_lab.report.data_evidence import Gone, Grown, Unequal, changed_data
from flea_lab.report.pieces import flattened
from flea_lab.runs.manifest import seal_of
from flea_lab.runs.notebook import cell_digests, injected_parameters
from flea_lab.signal.registry import builtin_kernels
from flea_lab.workspace import Workspace

PARAMETERS, DATA, CODE, KERNEL = "parameters", "data partition", "code module", "kernel"
PACKAGE, OUTPUT, MANIFEST, RESULT = "package version", "edited output", "manifest", "result"
INPUTS = (PARAMETERS, DATA, CODE, KERNEL, PACKAGE)
OF_CANDLES = ("backtest", "sweep", "walkforward")
"""Kinds of runs whose data are candles of the store, pinned in the manifest."""
SHORT = 12
NOT_THERE = "not there"


class Difference(Struct, frozen=True):
    """One thing that is not as it was: its component, what it is, and both values or digests."""

    component: str
    what: str
    was: str
    now: str

    def line(self) -> str:
        """The difference in a line, digests shortened."""
        return f"{self.component:<16}{self.what}: was {_short(self.was)}, is {_short(self.now)}"


@dataclass
class Evidence:
    """What was found: `differences`, `notes` on what cannot be told, why the run can be neither held against its
    digests nor executed again (`gone`), why it cannot be executed although all digests can be told (`closed`), and what
    another result could come from that is no difference (`grown`)."""

    folder: Path
    manifest: runs.Manifest | None = None
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)

    def add(self, component: str, what: str, was: object, now: object) -> None:
        """Takes down one difference."""
        self.differences.append(Difference(component, what, str(was), str(now)))


def look(folder: Path, home: Workspace, root: Path = runs.ROOT) -> Evidence:
    """All that digests say of the run in `folder`, held against the workspace `home` and the checkout at `root`."""
    found = Evidence(folder)
    try:
        manifest = found.manifest = runs.read_manifest(folder)
    except WorkspaceError as error:
        found.add(MANIFEST, runs.MANIFEST, "whole", "unreadable")
        found.gone.append(str(error))
        return found
    intact = _manifest(found, manifest)
    _outputs(found, manifest, intact)
    _data(found, manifest, home)
    _code(found, manifest, root, _kernels(found, manifest, home, root))
    _packages(found, manifest, root)
    found.notes += [f"marked when it was stored: {line}" for line in manifest.hidden]
    return found


def changed_settings(before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    """Dotted path, old and new value of every setting that differs between two nested values; None is "not set"."""
    old, new = dict(flattened(before)), dict(flattened(after))
    for path in sorted({*old, *new}):
        was, now = old.get(path, "not set"), new.get(path, "not set")
        if was != now:
            yield path, was, now


def _manifest(found: Evidence, manifest: runs.Manifest) -> bool:
    """Whether the manifest is as it was written, as far as it can be told."""
    if not manifest.seal:
        found.notes.append("stored before manifests were sealed: whether it was edited cannot be told")
        return True
    seal = seal_of((found.folder / runs.MANIFEST).read_bytes())
    if seal != manifest.seal:
        found.add(MANIFEST, f"{runs.MANIFEST} was edited, its seal does not fit", manifest.seal, seal)
        return False
    name = found.folder.name
    number = name.removeprefix(f"{manifest.stem}-")
    if name != manifest.stem and not (number != name and number.isdigit()):
        found.add(MANIFEST, "the folder's name", manifest.stem, name)
    return True


def _outputs(found: Evidence, manifest: runs.Manifest, intact: bool) -> None:
    now = runs.digests_of(found.folder)
    for name in sorted({*manifest.outputs, *now} - {runs.MANIFEST}):
        was, found_now = manifest.outputs.get(name, NOT_THERE), now.get(name, NOT_THERE)
        if was == found_now:
            if name in manifest.frames:
                _frame(found, manifest, name)
        elif not (found_now != NOT_THERE and was != NOT_THERE and _explained(found, manifest, name)):
            found.add(OUTPUT, name, was, found_now)
    if intact:
        _agreed(found, manifest)


def _frame(found: Evidence, manifest: runs.Manifest, name: str) -> None:
    """A frame whose file has the right digest and whose content has not: the manifest was made to agree."""
    content = runs.frame_digest(read_parquet(found.folder / name).to_pandas())
    if content != manifest.frames[name]:
        found.add(OUTPUT, name, manifest.frames[name], content)


def _explained(found: Evidence, manifest: runs.Manifest, name: str) -> bool:
    """Whether an edited file was said to be so more precisely: settings by their path, a notebook cell by cell."""
    before = len(found.differences)
    expected = {"config.toml": manifest.config, "grid.toml": manifest.grid}.get(name)
    if expected is not None:
        for path, was, now in changed_settings(expected, _read_toml(found.folder / name)):
            found.add(PARAMETERS, f"{name}: {path}", was, now)
    elif name.endswith(".ipynb") and manifest.cells:
        _notebook(found, manifest, name)
    return len(found.differences) > before


def _notebook(found: Evidence, manifest: runs.Manifest, name: str) -> None:
    try:
        cells, given = cell_digests(found.folder / name), _given(found.folder / name, manifest)
    except WorkspaceError:
        return
    put_in = _wrong_parameters(found, manifest, name, given)
    if len(cells) != len(manifest.cells):
        found.add(OUTPUT, f"{name}: number of cells", len(manifest.cells), len(cells))
        return
    wrong = [n for n, (was, now) in enumerate(zip(manifest.cells, cells, strict=True), 1) if was != now]
    for n in wrong:
        if not (put_in and len(wrong) == 1):
            found.add(OUTPUT, f"{name}: cell {n}", manifest.cells[n - 1], cells[n - 1])


def _agreed(found: Evidence, manifest: runs.Manifest) -> None:
    """Files that are as the manifest says, and say something else than it: config, grid, the notebook's parameters."""
    now = runs.digests_of(found.folder)
    for name, expected in (("config.toml", manifest.config), ("grid.toml", manifest.grid)):
        if expected is not None and now.get(name) == manifest.outputs.get(name, ""):
            for path, was, found_now in changed_settings(_read_toml(found.folder / name), expected):
                found.add(PARAMETERS, f"{name} and manifest: {path}", was, found_now)
    for name in manifest.outputs:
        if name.endswith(".ipynb") and now.get(name) == manifest.outputs[name]:
            _wrong_parameters(found, manifest, name, _given(found.folder / name, manifest))


def _wrong_parameters(found: Evidence, manifest: runs.Manifest, name: str, given: Any) -> bool:
    if manifest.notebook is None or given is None:
        return False
    stated = manifest.notebook.value if manifest.notebook.value is not None else manifest.config
    before = len(found.differences)
    for path, was, now in changed_settings(stated, given):
        found.add(PARAMETERS, f"{name}: {path}", was, now)
    return len(found.differences) > before


def _given(file: Path, manifest: runs.Manifest) -> Any:
    """The one parameter that was put into the stored notebook; None where it has none that can be read."""
    values = injected_parameters(file)
    return None if values is None or manifest.notebook is None else values.get(manifest.notebook.parameter)


def _data(found: Evidence, manifest: runs.Manifest, home: Workspace) -> None:
    if manifest.kind in OF_CANDLES and not manifest.data:
        found.closed.append(
            f"a {manifest.kind} on a market that was not read from the store ({manifest.source}): nothing says what to "
            "execute it on"
        )
    for one in changed_data(manifest, home):
        if isinstance(one, Unequal):
            found.add(DATA, one.what, one.was, one.now)
        elif isinstance(one, Gone):
            found.add(DATA, one.what, one.was, NOT_THERE)
            found.gone.append(one.why)
        elif isinstance(one, Grown):
            found.notes.append(f"{one.what}: as they were; {one.why}")
            found.grown.append(one.why)
        else:
            found.notes.append(one)


def _kernels(found: Evidence, manifest: runs.Manifest, home: Workspace, root: Path) -> set[str]:
    """The paths in the package of the signals that the run names: their own component, not modules among others."""
    paths = set()
    for name, was in manifest.kernels.items():
        own = home.signals / f"{name}.py"
        built_in = builtin_kernels().get(name)
        path = f"{built_in.params.__module__.replace('.', '/')}.py" if built_in else ""
        paths.add(path)
        file = root / path if built_in else own
        if not file.is_file():
            found.add(KERNEL, f"signal {name} ({path or own.name})", was, NOT_THERE)
            found.gone.append(f"signal {name} is neither built in nor in {home.signals}")
        elif (now := runs.file_digest(file)) != was:
            found.add(KERNEL, f"signal {name} ({path or own.name})", was, now)
    return paths


def _code(found: Evidence, manifest: runs.Manifest, root: Path, kernels: set[str]) -> None:
    if not manifest.modules:
        found.notes.append("stored before modules were written down: which of them changed cannot be told")
    for path, was in manifest.modules.items():
        file = root / path
        now = runs.file_digest(file) if file.is_file() else NOT_THERE
        if now != was and path not in kernels:
            found.add(CODE, path, was, now)
    notebook = manifest.notebook
    if notebook is not None and (root / notebook.path).is_file():
        now = runs.notebook_digest(root / notebook.path)
        if now != notebook.digest:
            found.add(CODE, notebook.path, notebook.digest, now)


def _packages(found: Evidence, manifest: runs.Manifest, root: Path) -> None:
    now = {**runs.versions(), "flea_lab": flea_lab.__version__}
    was = {**manifest.versions, "flea_lab": manifest.flea_version}
    for name, version in was.items():
        if now.get(name) != version:
            found.add(PACKAGE, name, version, now.get(name, "not installed"))
    lock = runs.lock_digest(root)
    if manifest.lock is not None and lock is not None and lock != manifest.lock:
        found.add(PACKAGE, "requirements.lock", manifest.lock, lock)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _short(value: str) -> str:
    return value[:SHORT] if len(value) == 64 and set(value) <= set("0123456789abcdef") else value
