"""What the sweep's engine takes from the compiler, in plain Python over numpy: the same IEEE operations, lane by lane.

With these its modules can be executed without being compiled, to the same bits: that is slow for a market and quick for
a bug that is to be looked for, whose engine would take half a minute of compiling.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from flea_lab.lanes import WIDTH

Lanes = Any
"""An array of eight floats."""


def plain(function: Any) -> Any:
    """`function` as it is."""
    return function


def _flat(array: Any) -> Any:
    assert array.flags.c_contiguous
    return array.reshape(-1)


class Nowhere:
    """A borrowed place that is not in its array: harmless until somebody looks."""

    shape = (0,)

    def __getitem__(self, at: Any) -> Any:
        raise IndexError("read beyond an array")

    def __setitem__(self, at: Any, value: Any) -> None:
        raise IndexError("written beyond an array")


def borrow(array: Any, at: int, size: int) -> Any:
    inside = 0 <= at <= at + size <= array.size
    return _flat(array)[at : at + size] if inside else _flat(array)[:0] if size == 0 else Nowhere()


def read_floats(array: Any, at: int, size: int) -> Any:
    return tuple(borrow(array, at, size).tolist())


def write_floats(array: Any, at: int, values: Any) -> None:
    borrow(array, at, len(values))[:] = values


def load(array: Any, at: int) -> Lanes:
    return borrow(array, at, WIDTH).copy()


def store(array: Any, at: int, lanes: Lanes) -> None:
    borrow(array, at, WIDTH)[:] = lanes


COMPILED: dict[str, Callable[..., Any]] = {
    "compiled": plain,
    "compiled_afresh": plain,
    "unowned": plain,
    "direct": lambda function, *_: function,
    "own_row": lambda array, size: borrow(array, 0, size).copy().reshape(1, size),
    "copy_row": lambda source, target, size: borrow(target, 0, size).__setitem__(slice(None), borrow(source, 0, size)),
    "quotient": lambda a, b: a // b,
    "known": lambda array, *_: array,
    "borrow": borrow,
    "fetch": lambda *_: None,
    "read_floats": read_floats,
    "write_floats": write_floats,
}

LANES: dict[str, Callable[..., Any]] = {
    "load": load,
    "store": store,
    "splat": lambda value: np.full(WIDTH, float(value)),
    "from_lane": lambda first: np.arange(WIDTH) >= first,
    "absolute": np.abs,
    "rounded": np.rint,
    "floored": np.floor,
    "inverse": lambda lanes: 1.0 / lanes,
    "lower": lambda a, b: np.where(a < b, a, b),
    "higher": lambda a, b: np.where(a > b, a, b),
    "chosen": np.where,
    "later": lambda before, now, count: np.concatenate([before[WIDTH - count :], now[: WIDTH - count]]),
    "lane": lambda lanes, at: lanes[at],
    "bits": lambda mask: sum(1 << at for at in np.flatnonzero(mask).tolist()),
    "lowest_bit": lambda number: (number & -number).bit_length() - 1 if number else 64,
    "count_bits": lambda number: int(number).bit_count(),
}


@contextmanager
def interpreting() -> Iterator[None]:
    """While this holds, a module that is executed takes its compiler from here."""
    with (
        patch.multiple("flea_lab.compiled", **COMPILED),
        patch.multiple("flea_lab.lanes", **LANES),
        patch("numba.np.unsafe.ndarray.to_fixed_tuple", lambda array, size: tuple(array[:size].tolist())),
    ):
        yield
