"""One kernel on some bars: how the law runs it, and how it complains."""

import dis
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import NoReturn

import numpy as np
from numba.core.errors import NumbaError

from flea_lab.errors import ConfigError, KernelError
from flea_lab.settings import Settings
from flea_lab.signal.kernel import FIELDS, Floats, Kernel
from flea_lab.signal.ranges import ranges

MOST_MEMORY = 5_000_000
NOISE = (
    "Failed in ", "During: ", "File ", "Overload ", "There are ", "With argument", "<source", "^", "-", ">>>",
    "No implementation", "No match",
)  # fmt: skip
"""How the lines of a numba message begin that say nothing to the author of a kernel."""


@dataclass(frozen=True)
class Case:
    """A kernel with its parameters on some bars, and the ways to run and to complain."""

    kernel: Kernel
    params: Settings
    bars: Floats

    @cached_property
    def out(self) -> Floats:
        """Every state field after every bar, shape `(n_bars, n_state)`."""
        return self.fold(self.bars)

    @property
    def outputs(self) -> Floats:
        return self.out[:, list(self.kernel.columns)]

    @property
    def warmup(self) -> int | None:
        return warmup_of(self.kernel, self.params)

    def fold(self, bars: Floats, mem: Floats | None = None) -> Floats:
        """Every state field after every bar of `bars`, from the start or from `mem`."""
        mem = self.kernel.start(self.params) if mem is None else mem
        try:
            return self.kernel.fold(mem, bars, self.params, self.kernel.state._fields)
        except NumbaError as error:
            cause = _cause(error, source_of(self.kernel))
            raise KernelError(f"kernel {self.kernel.name} cannot be compiled: {cause}") from error
        except Exception as error:
            text = f"kernel {self.kernel.name} raises {type(error).__name__}: {error} ({self.named})"
            raise KernelError(text) from error

    @property
    def named(self) -> str:
        """The parameters, for a message."""
        return ", ".join(f"{name}={getattr(self.params, name)}" for name in self.params.__struct_fields__)

    def cuts(self) -> list[int]:
        """Bars after which to stop: the first and last, around the warm-up, and some between."""
        n, warm = len(self.bars), self.warmup or 1
        cuts = {1, 2, warm - 1, warm, warm + 1, n // 4 + 7, n // 3, n // 2 + 1, n - 1}
        return sorted(cut for cut in cuts if 0 < cut < n)

    def broken(self, law: str, bar: int, what: str) -> NoReturn:
        """Names the law, the bar and its inputs, what was seen and the parameters."""
        seen = ", ".join(f"{name} {self.bars[bar, FIELDS.index(name)]:.10g}" for name in self.kernel.inputs)
        text = f"kernel {self.kernel.name} breaks the law {law!r} at bar {bar} ({seen}): {what}"
        raise KernelError(f"{text} [{self.named}]" if self.named else text)

    def same(self, law: str, got: Floats, expected: Floats, what: str) -> None:
        """Refuses the first bit in which `got` differs from `expected`, both `(n, n_state)`."""
        found = first_difference(got, expected)
        if found is not None:
            bar, column = found
            field = self.kernel.state._fields[column]
            self.broken(law, bar, f"{field} is {got[bar, column]:.17g}, not {expected[bar, column]:.17g}, {what}")


def first_difference(a: Floats, b: Floats) -> tuple[int, int] | None:
    """Row and column of the first bit that differs; any NaN equals any NaN."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    differs = (a.view(np.int64) != b.view(np.int64)) & ~(np.isnan(a) & np.isnan(b))
    if not differs.any():
        return None
    bar, column = np.argwhere(differs)[0]
    return int(bar), int(column)


def source_of(kernel: Kernel) -> CodeType | None:
    """The step as it was written; None where it is no compiled function."""
    return getattr(getattr(kernel.step, "py_func", None), "__code__", None)


def _cause(error: BaseException, source: CodeType | None) -> str:
    """The line of numba's message that says something, and the line of the kernel's file that it means."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = re.findall(r"(?:Typing|NumbaType|NumbaValue)Error: (.+)", text)
    cause = (own or [line for line in lines if not line.startswith(NOISE)] or lines)[0].rstrip(".")
    if source is None:
        return cause
    file = Path(source.co_filename).name
    unknown = re.search(r"name '(\w+)' is not defined", cause)
    placed = [int(line) for line in re.findall(rf'File ".*?{re.escape(file)}", line (\d+)', text)]
    if unknown:
        named = (i for i in dis.get_instructions(source) if i.argval == unknown[1] and i.positions)
        placed = [i.positions.lineno for i in named if i.positions and i.positions.lineno]
    return f"{cause} ({file}, line {placed[0]})" if placed else cause


def declared(kernel: Kernel) -> Settings:
    """The default parameters."""
    try:
        known = ranges(kernel.params)
        for one in known:
            if not one.choices and not one.low < one.high:
                raise KernelError(f"parameter {one.name} from {one.low:g} to {one.high:g} has no room")
    except KernelError as error:
        raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {error}") from None
    try:
        return kernel.load({one.name: one.default for one in known}, "its own defaults")
    except ConfigError as error:
        raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {error}") from None


def _uses_memory(kernel: Kernel) -> bool:
    source = source_of(kernel)
    if source is None:
        return False
    loads = [i.argval for i in dis.get_instructions(source) if "LOAD_FAST" in i.opname]
    # from Python 3.13 one instruction may load two variables
    loaded = {name for names in loads for name in (names if isinstance(names, tuple) else (names,))}
    return source.co_varnames[3] in loaded


def warmup_of(kernel: Kernel, params: Settings) -> int | None:
    """Warm-up in bars, None where it depends on the data; refuses impossible ones, of warm-up and of memory."""
    asked = {"memory": kernel.memory} | ({"warmup": kernel.warmup} if kernel.warmup else {})
    told = {}
    for name, ask in asked.items():
        try:
            told[name] = ask(params)
        except Exception as error:
            text = f"kernel {kernel.name} breaks the law 'declares': {name} fails, {type(error).__name__}: {error}"
            raise KernelError(text) from error
        least, most = (0, MOST_MEMORY) if name == "memory" else (1, MOST_MEMORY)
        if not isinstance(told[name], int) or not least <= told[name] <= most:
            text = f"{name} is {told[name]!r}, it must be a whole number from {least} to {most:,}"
            raise KernelError(f"kernel {kernel.name} breaks the law 'declares': {text}")
    if told["memory"] == 0 and _uses_memory(kernel):
        text = "its step uses memory but it has none, declare memory=lambda p: ..."
        raise KernelError(f"kernel {kernel.name} breaks the law 'keeps to its memory': {text}")
    return told.get("warmup")


def checked(kernel: Kernel, bars: Floats) -> Floats:
    """`bars` as the law can use them: every declared input finite."""
    bars = np.ascontiguousarray(bars, dtype=np.float64)
    if bars.ndim != 2 or bars.shape[1] != len(FIELDS) or len(bars) < 3:
        raise KernelError(f"kernel {kernel.name}: bars of shape {bars.shape}, the law needs (3 or more, {len(FIELDS)})")
    for name in kernel.inputs:
        bad = np.flatnonzero(~np.isfinite(bars[:, FIELDS.index(name)]))
        if len(bad):
            raise KernelError(f"kernel {kernel.name}: the law needs bars with {name}, it is not finite at bar {bad[0]}")
    return bars
