"""A notebook's kernel as it runs: what was bound or changed between its cells, and all that a file would not tell.

`watch_kernel` listens from the cell that calls it; what was before is in IPython's own history. `hidden_state` puts
together what no second execution would know, one line each, its part first.
"""

import os
import sys
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from flea_lab.errors import WorkspaceError
from flea_lab.runs.altered import (
    first_environment,
    other_environment,
    random_state,
    replaced,
    signal_versions,
    stale,
)
from flea_lab.runs.history import Ran, against_file, code_cells, defined_names

UNKNOWN = "file unknown: nothing says which notebook this kernel belongs to, so its cells cannot be compared"
MOST = 5_000
"""Values that are looked at in one name; a change beyond is not seen."""
VSCODE = "__vsc_ipynb_file__"


class KernelWatch:
    """What one shell executes, and what its names are from one cell to the next."""

    def __init__(self, shell: Any, environment: Mapping[str, str] | None = None, random: Any = None) -> None:
        """`environment` and `random` are what the process began with; by default what it was given, and untouched."""
        self.heard: list[Ran] = []
        self.outside: dict[str, str] = {}
        self._shell = shell
        self._environment = dict(first_environment() if environment is None else environment)
        self._random = random
        self._emptied = False
        self._now: tuple[int, str | None] = (0, None)
        self._seen = _look(shell.user_ns)
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def ran(self) -> list[Ran]:
        """Every execution with a number, the one at work included."""
        known = {(one.number, one.source.strip("\n")): one for one in self.heard}
        found = []
        for count, source in enumerate(self._shell.history_manager.input_hist_raw):
            if count == 0:
                continue
            cell = self._now[1] if self._now[0] == count else None
            found.append(known.get((count, source.strip("\n")), Ran(count, source, cell)))
        return found

    def lines(self, signals: Iterable[str], file: Path | None, *, executed_by_us: bool) -> list[str]:
        """What is hidden in this kernel, a line each; what executes for us compares the cells itself."""
        shell, ran = self._shell, self.ran()
        found = [] if executed_by_us else _cells(ran, file)
        found += [
            f"cell failed: In [{one.number}] ended with {one.failed}, and it went on" for one in ran if one.failed
        ]
        if self._emptied:
            found.append("kernel reset: the namespace was emptied without a new kernel; modules are as they were")
        found += [f"name: {line}" for line in self.outside.values()]
        found += [f"name: {name} is bound by no executed cell" for name in self._unbound() if name not in self.outside]
        found += [*stale(), *replaced(), *signal_versions(signals), *other_environment(self._environment)]
        if random_state() != self._random:
            found.append("random state: numpy's global generator was seeded or drawn from")
        first = str((shell.user_ns.get("_dh") or [os.getcwd()])[0])
        if not os.path.samefile(first, os.getcwd()):
            found.append(f"folder: changed to {os.getcwd()}")
        return found

    def _unbound(self) -> list[str]:
        shell = self._shell
        known = defined_names(shell.history_manager.input_hist_parsed) | set(shell.user_ns_hidden)
        return sorted(name for name in shell.user_ns if not name.startswith("_") and name not in known)

    def _before(self, info: Any) -> None:
        if not info.store_history:
            return
        if self.heard and self.heard[-1].number >= self._shell.execution_count:
            self._emptied, self.heard = True, []
        self._now = (self._shell.execution_count, getattr(info, "cell_id", None))
        now = _look(self._shell.user_ns)
        for name, (value, content) in now.items():
            was = self._seen.get(name)
            if was is None or was[0] is not value:
                self.outside[name] = f"{name} was bound outside of any cell"
            elif was[1] != content:
                self.outside[name] = f"{name} was changed outside of any cell"

    def _after(self, result: Any) -> None:
        info = result.info
        if info is None or not info.store_history or result.execution_count is None:
            return
        error = result.error_before_exec or result.error_in_exec
        failed = type(error).__name__ if error is not None else ""
        self.heard.append(Ran(result.execution_count, info.raw_cell, getattr(info, "cell_id", None), failed))
        self._seen = _look(self._shell.user_ns)


_watches: "weakref.WeakKeyDictionary[Any, KernelWatch]" = weakref.WeakKeyDictionary()


def watch_kernel(shell: Any = None, **began: Any) -> KernelWatch | None:
    """The watch over `shell`, or over the notebook that this process is the kernel of; None where it is none."""
    shell = shell if shell is not None else _shell()
    if shell is None:
        return None
    if shell not in _watches:
        _watches[shell] = KernelWatch(shell, **began)
    return _watches[shell]


def hidden_state(subject: Any = None, *, signals: Iterable[str] = (), executed_by_us: bool = False) -> list[str]:
    """What no second execution of a run on `subject`, or with `signals`, would know, a line each; in a notebook also
    what its file does not tell. `executed_by_us`: whoever executes the notebook compares (see `not_as_written`)."""
    signals = [*signals, *(str(one.kernel) for one in getattr(subject, "signals", ()))]
    watch = watch_kernel()
    if watch is None:
        return [*stale(), *signal_versions(signals)]
    return watch.lines(signals, notebook_file(_shell()), executed_by_us=executed_by_us)


def executed_cells() -> list[str]:
    """The sources that this notebook's kernel has executed, in order; none outside of a notebook."""
    watch = watch_kernel()
    return [] if watch is None else [one.source for one in watch.ran() if one.source.strip()]


def not_as_written(cells: Iterable[Mapping[str, Any]], ran: Iterable[str], written: bool = True) -> list[str]:
    """A line where the executed code cells of a notebook, in order, are not numbered from 1 on, where their kernel has
    executed anything else before its result was stored, or where they are not `written` so in the notebook's file."""
    code = [(cell.get("execution_count"), "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    done = [(count, source.strip("\n")) for count, source in code if source.strip()]
    said = [source.strip("\n") for source in ran]
    lines = [] if written else ["cell edited: the executed notebook has other cells than its file"]
    if [count for count, _ in done] != list(range(1, len(done) + 1)):
        lines.append("cell order: the executed notebook's cells are not numbered from 1 on")
    if said != [source for _, source in done[: len(said)]] or not said:
        lines.append("cell edited: the kernel has executed another text than the notebook's cells")
    return lines


def notebook_file(shell: Any) -> Path | None:
    """The notebook of the kernel's front end, where Jupyter or VS Code say it and it is there."""
    for named in (os.environ.get("JPY_SESSION_NAME"), shell.user_ns.get(VSCODE)):
        if named and Path(named).suffix == ".ipynb" and Path(named).is_file():
            return Path(named)
    return None


def _cells(ran: list[Ran], file: Path | None) -> list[str]:
    if file is None:
        return [UNKNOWN]
    try:
        return against_file(ran, code_cells(file))
    except WorkspaceError as error:
        return [f"{UNKNOWN} ({error})"]


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _look(names: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each name of a person's with its value, held so that no other takes its place, and what it holds."""
    skipped = {"In", "Out", "exit", "quit", "open", "get_ipython"}
    kept = {name: value for name, value in list(names.items()) if not name.startswith("_") and name not in skipped}
    return {name: (value, _content(value, [MOST])) for name, value in kept.items()}


def _content(value: Any, left: list[int]) -> Any:
    """What can be compared of a value: of nested plain ones all, of a widget what it is set to, else which it is."""
    left[0] -= 1
    if left[0] < 0:
        return None
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, dict):
        return [(repr(key), _content(one, left)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [_content(one, left) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(one) for one in value)
    if isinstance(value, msgspec.Struct):
        return [_content(getattr(value, name, None), left) for name in value.__struct_fields__]
    if type(value).__module__.startswith("ipywidgets."):
        return [id(value), _content(getattr(value, "value", None), left)]
    return id(value)
