"""Several kernels stepped together: the alphas of one desk on one symbol, in one compiled call."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import borrow, compiled_afresh
from flea_lab.settings import Settings
from flea_lab.signal.kernel import Bar, Floats, Kernel

Sizes = npt.NDArray[np.int64]

_HERE = Path(__file__).parent


class Ensemble:
    """The alphas of a desk: kernels in a fixed order, compiled into one step once a process.

    The step is `step(mem, at, width, sizes, prow, bar, opinions)`: kernel `k` keeps its state and memory in `sizes[k]`
    floats of `mem` from flat position `at + k * width`; `prow` of shape `(n_alphas, n_params)` holds the parameters,
    `opinions` of shape `(n_alphas, 2)` receives direction and confidence. `key` names the step among those that this
    package's own kernels make; "" where one is somebody's own.
    """

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        self.kernels = tuple(kernels)
        self.step = _step(tuple(Identity(kernel) for kernel in kernels))
        self.key = " ".join(kernel.name for kernel in kernels) if all(map(_ours, kernels)) else ""

    def rows(self, params: Sequence[Settings]) -> Floats:
        """Parameters of every kernel, shape `(n_alphas, n_params)`, padded with zeros."""
        return _padded([kernel.row(p) for kernel, p in zip(self.kernels, params, strict=True)])

    def start(self, params: Sequence[Settings]) -> tuple[Floats, Sizes]:
        """State before the first bar, shape `(n_alphas, width)`, and the floats each kernel uses of it."""
        starts = [kernel.start(p) for kernel, p in zip(self.kernels, params, strict=True)]
        return _padded(starts), np.array([len(start) for start in starts], dtype=np.int64)


def warmup(kernels: Sequence[Kernel], params: Sequence[Settings]) -> int:
    """Bars up to and including the first on which every kernel can be ready."""
    return max((k.warmup(p) for k, p in zip(kernels, params, strict=True) if k.warmup is not None), default=1)


def _padded(rows: list[Floats]) -> Floats:
    out = np.zeros((len(rows), max((len(row) for row in rows), default=0)))
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out


def _ours(kernel: Kernel) -> bool:
    """Whether all of `kernel` is a module of this folder, of which there is one of each name."""
    step = kernel.step.py_func  # type: ignore[attr-defined]
    module = f"flea_lab.signal.{kernel.name}"
    placed = Path(step.__code__.co_filename) == _HERE / f"{kernel.name}.py"
    return placed and not step.__closure__ and kernel.state.__module__ == kernel.params.__module__ == module


class Identity:
    """A kernel as a key: equal when name, source and step are, so that one declared again in a cell is another."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.key = (kernel.name, kernel.source, id(kernel.step))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.key == self.key


@functools.cache
def _step(kernels: tuple[Identity, ...]) -> Callable[..., Any]:
    return _chain([key.kernel for key in kernels], 0)


def _chain(kernels: list[Kernel], k: int) -> Callable[..., Any]:
    """Kernel `k` and all after it as one compiled step; the position in the chain is a compile-time constant."""
    if k == len(kernels):

        @compiled_afresh
        def end(mem: Floats, at: int, width: int, sizes: Sizes, prow: Floats, bar: Bar, opinions: Floats) -> None:
            return

        return end

    run = kernels[k].run
    direction, confidence = kernels[k].columns
    rest = _chain(kernels, k + 1)

    @compiled_afresh
    def step(mem: Floats, at: int, width: int, sizes: Sizes, prow: Floats, bar: Bar, opinions: Floats) -> None:
        here = at + k * width
        run(mem, here, sizes[k], bar, prow, k * prow.shape[1])
        state = borrow(mem, here, sizes[k])
        opinions[k, 0] = state[direction]
        opinions[k, 1] = state[confidence]
        rest(mem, at, width, sizes, prow, bar, opinions)

    return step
