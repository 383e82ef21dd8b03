"""`%%signal NAME`: a cell becomes a signal kernel that any config can name, once it keeps the law.

The text of the cell is written to a file below common imports and imported like every other signal of the workspace;
nothing of it is run in the notebook. A cell that breaks the law leaves what was there before.
"""

import keyword
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flea_lab.errors import FleaError, KernelError, WorkspaceError
from flea_lab.signal.kernel import Kernel
from flea_lab.signal.ranges import ranges
from flea_lab.signal.registry import MODULES, builtin_kernels, load_kernel
from flea_lab.testing import KernelReport, check_kernel
from flea_lab.workspace import workspace

HEADER = '''"""The signal {name}, from a notebook cell that begins below the imports."""

# ruff: noqa: F401
import math
from math import nan
from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from flea_lab.settings import Bars, Bps, Fraction, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, deviation, highest, lowest, mean, push, total

'''

TEST = '''"""The law that the signal {name} keeps."""

from pathlib import Path

from flea_lab.signal.registry import load_kernel
from flea_lab.testing import check_kernel


def test_{name}_keeps_the_law() -> None:
    check_kernel(load_kernel(Path(__file__).with_name("{name}.py")))
'''

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
TAKEN = frozenset(re.findall(r"\w+", " ".join(re.findall(r"import (.*)", HEADER))))


class SignalRefused(KernelError):
    """A cell that did not become a signal; a notebook shows its one line instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"KernelError: {self}"]


@dataclass(frozen=True)
class SavedSignal:
    """A signal of the workspace, its file and what the law has seen."""

    kernel: Kernel
    report: KernelReport
    path: Path


def save_signal(name: str, text: str, folder: Path) -> SavedSignal:
    """`text` as the signal `name` in `folder`, with its test beside it, after it has kept the law.

    `KernelError` in one line for a name that cannot be, a text that cannot be imported or compiled, and a broken law;
    then `folder` is as it was, an earlier signal of that name included.
    """
    _check_name(name)
    try:
        with tempfile.TemporaryDirectory(prefix=".checking-", dir=folder) as beside:
            draft = Path(beside) / f"{name}.py"
            draft.write_text(HEADER.format(name=name) + text.rstrip() + "\n", encoding="utf-8")
            test = draft.with_name(f"test_{name}.py")
            test.write_text(TEST.format(name=name), encoding="utf-8")
            report = _checked(draft)
            for file in (test, draft):
                os.replace(file, folder / file.name)
    except OSError as error:
        raise WorkspaceError(f"signal {name} cannot be saved in {folder}: {error.strerror}") from None
    path = folder / f"{name}.py"
    return SavedSignal(load_kernel(path), report, path)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name.startswith("test_"):
        raise KernelError(f"signal name {name!r}: lower-case letters, digits and _, at most 40, and no keyword")
    if name in builtin_kernels():
        raise KernelError(f"signal name {name!r} is a built-in signal's, choose another")
    if name in TAKEN:
        raise KernelError(f"signal name {name!r} is something that a signal cell imports, choose another")


def _checked(draft: Path) -> KernelReport:
    try:
        return check_kernel(load_kernel(draft))
    except KernelError as error:
        raise KernelError(_in_the_cell(str(error), draft.stem)) from error
    finally:
        # the file is about to move: what is imported from here must not be found again
        for module in [m for m in sys.modules if m.startswith(f"{MODULES}{draft.stem}_")]:
            if getattr(sys.modules[module], "__file__", None) == str(draft):
                del sys.modules[module]


def _in_the_cell(text: str, name: str) -> str:
    """`text` with lines of the file as lines of the cell, whose first is the `%%signal` line."""
    above = HEADER.count("\n") - 1

    def moved(found: re.Match[str]) -> str:
        return f"line {int(found[1]) - above} of the cell"

    return re.sub(rf"\b{name}\.py, line (\d+)", moved, text).replace(f"signal {name}.py:", f"signal {name}:")


def summary(saved: SavedSignal) -> str:
    """What a person wants to know of a new signal: parameters with ranges, inputs, warm-up, how a config names it."""
    kernel, report = saved.kernel, saved.report
    known = ranges(kernel.params)
    width = max((len(one.name) for one in known), default=0)
    lines = [f"{one.name:<{width}} = {one.default!r}  ({one})" for one in known] or ["none"]
    given = ", ".join(f"{one.name} = {_toml(one.default)}" for one in known)
    warm = "depends on the data" if report.warmup is None else f"{report.warmup} bar{'s' * (report.warmup != 1)}"
    refused = f", {report.limits_refused} of them refused by its settings" if report.limits_refused else ""
    tried = f"{len(report.laws)} laws on {report.n_bars:,} bars, and with {report.limits_tried} limits{refused}"
    rows = {
        "parameters": f"\n{'':14}".join(lines),
        "inputs": ", ".join(kernel.inputs + kernel.optional),
        "warm-up": warm,
        "law": f"kept: {tried}",
        "said": f"an opinion on {report.opinions:,} of {report.n_bars:,} bars",
        "saved": f"{saved.path}, with test_{saved.path.name}",
        "in a config": f'[[signals]]\n{"":14}kernel = "{kernel.name}"'
        + (f"\n{'':14}params = {{ {given} }}" if given else ""),
    }
    return "\n".join([f"signal {kernel.name} is ready", *(f"{'  ' + key:<14}{text}" for key, text in rows.items())])


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else repr(value)


def load_ipython_extension(shell: Any) -> None:
    """Registers `%%signal NAME`, which saves into the workspace and leaves the kernel under its name."""

    def signal(line: str, cell: str) -> None:
        """%%signal NAME: the cell as a signal kernel of this workspace, checked against the law before it is saved."""
        try:
            words = line.split()
            if len(words) != 1:
                raise KernelError(f"%%signal {line.strip()}: needs one name, as in %%signal breakout")
            saved = save_signal(words[0], cell, workspace().ready().signals)
        except FleaError as error:
            raise SignalRefused(str(error)) from None
        shell.user_ns[saved.kernel.name] = saved.kernel
        print(summary(saved))

    shell.register_magic_function(signal, magic_kind="cell", magic_name="signal")
