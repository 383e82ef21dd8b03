"""What in a running process is not what a new one would have: the package, the signals, the environment, the folder.

Functions and classes that came from a cell, or from a module that was loaded again since, are known by where they say
they are from; constants by the line of the source that sets them. Other packages than this one are not looked at.
"""

import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from flea_lab.errors import FleaError
from flea_lab.runs.code import changed_modules
from flea_lab.runs.digest import file_digest
from flea_lab.runs.place import ROOT
from flea_lab.workspace import workspace

CELL = "__main__"
LITERAL = re.compile(r"^([A-Z][A-Z0-9_]*)(?:: [^=]+)? = (.+?)(?:  #.*)?$", re.MULTILINE)
SIGNALS = "flea_workspace_"
FRESH = 623
"""Where numpy's global generator stands before anything was drawn from it."""
OF_THE_KERNEL = re.compile(
    r"JPY_|CLICOLOR|FORCE_COLOR|TERM$|PAGER$|GIT_PAGER$|MPLBACKEND$|PYDEVD_|LINES$|COLUMNS$|KMP_|ZMQ_|_$|SHLVL$|PWD$"
    r"|PYTEST_|IPY"
)
"""Variables that a kernel, or what it loads, sets for itself."""


def stale() -> list[str]:
    """A line for every module of the package that was edited after this process had loaded it."""
    return [f"module: {path} was edited after this process had loaded it" for path in changed_modules()]


def replaced() -> list[str]:
    """A line for everything in a loaded module of the package that is not what its source says."""
    found = []
    for name, module in _package():
        if name == CELL:
            continue
        found += [f"module: {one}" for one in (*_foreign(name, module), *_constants(name, module))]
    return sorted(set(found))


def signal_versions(names: Iterable[str]) -> list[str]:
    """A line for every signal of `names` in the workspace that is, or was, another than the one that was loaded."""
    lines: list[str] = []
    for name in dict.fromkeys(names):
        try:
            file = workspace().signals / f"{name}.py"
        except FleaError:  # no workspace, no signals in it
            return lines
        loaded = [key for key in list(sys.modules) if re.fullmatch(rf"{SIGNALS}{re.escape(name)}_[0-9a-f]{{16}}", key)]
        if len(loaded) > 1:
            lines.append(f"signal: {name} was loaded in {len(loaded)} versions")
        elif loaded and not (file.is_file() and loaded[0].endswith(file_digest(file)[:16])):
            lines.append(f"signal: {name} was edited after this process had loaded it")
    return lines


def other_environment(began: Mapping[str, str]) -> list[str]:
    """A line for every variable that is not as it was when the process began; values are not told."""
    changed = {name for name in {*began, *os.environ} if began.get(name) != os.environ.get(name)}
    did = {name: "set" if name in os.environ else "taken away" for name in changed if not OF_THE_KERNEL.match(name)}
    return [f"environment: {name} was {how} in this process" for name, how in sorted(did.items())]


def first_environment() -> dict[str, str]:
    """The environment that the process was given; where the system does not tell, the one of now."""
    try:
        given = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(one).partition("=") for one in given.split(b"\0") if one)
    return {name: value for name, _, value in pairs}


def random_state() -> Any:
    """What tells numpy's global random state from another; None where it is untouched since numpy was loaded."""
    module = sys.modules.get("numpy.random")
    if module is None:
        return None
    generator = module.get_bit_generator()
    state = generator.state.get("state", {})
    untouched = getattr(generator, "seed_seq", None) is not None and state.get("pos") == FRESH
    return None if untouched else (state.get("pos"), bytes(state.get("key", b"")))


def _package() -> list[tuple[str, ModuleType]]:
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and (name == "flea_lab" or name.startswith("flea_lab."))
    ]


def _foreign(name: str, module: ModuleType) -> Iterator[str]:
    """What came from a cell, and what its own module does not hold any more."""
    for key, value in list(vars(module).items()):
        home = getattr(value, "__module__", None)
        if home == CELL:
            yield f"{name}.{key} is one from a cell"
        elif isinstance(value, FunctionType | type) and isinstance(home, str) and home.startswith("flea_lab"):
            if home != name and _gone(home, value):
                yield f"{home}.{value.__qualname__} is another than {name} has: loaded again, or replaced"
            elif isinstance(value, type) and home == name:
                yield from _methods(f"{name}.{key}", value)


def _gone(home: str, value: FunctionType | type) -> bool:
    owner = sys.modules.get(home)
    if owner is None or "." in value.__qualname__:
        return False
    now = vars(owner).get(value.__qualname__)
    return isinstance(now, FunctionType | type) and now is not value and getattr(now, "__wrapped__", None) is not value


def _methods(name: str, of: type) -> Iterator[str]:
    for key, value in list(vars(of).items()):
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        if getattr(inner, "__module__", None) == CELL:
            yield f"{name}.{key} is one from a cell"


def _constants(name: str, module: ModuleType) -> Iterator[str]:
    file = Path(str(getattr(module, "__file__", "")))
    if file.suffix != ".py" or not file.is_relative_to(ROOT):
        return
    try:
        source = file.read_text(encoding="utf-8")
    except OSError:
        return
    for key, text in LITERAL.findall(source):
        if f"global {key}" in source or key not in vars(module):
            continue
        try:
            said = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            continue
        now = vars(module)[key]
        if isinstance(said, int | float | str | tuple) and (type(now) is not type(said) or now != said):
            yield f"{name}.{key} is {now!r:.40}, its source says {said!r:.40}"
