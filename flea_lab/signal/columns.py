"""Opinions as columns: one kernel for many parameters over a block of bars, with its state kept between blocks.

A sweep asks for the opinion of each distinct row of parameters once, however many combinations share it. The columns
are the stream's, to the bit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import borrow, compiled_afresh, read_floats, unowned, write_floats
from flea_lab.errors import KernelError
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Identity
from flea_lab.signal.kernel import N_FEATURES, N_PLAIN, Bar, Floats, Kernel, joined_bar

Ints = npt.NDArray[np.int64]


class Columns:
    """Direction and confidence of an alpha for `params`, each distinct, over the symbols of a market.

    `bars` `(n_symbols, n, N_PLAIN)`, `features` `(n_symbols, n or 1, N_FEATURES)`, `close_ticks` `(n_symbols, n)`:
    a market's. `direction` and `confidence` `(n_params, n_symbols, block)` are written over by every `advance`;
    NaN where the kernel is not ready, and on a bar that the symbol does not have, on which it does not step.
    """

    def __init__(
        self, kernel: Kernel, params: Sequence[Settings], bars: Floats, features: Floats, close_ticks: Ints, block: int
    ) -> None:
        if not kernel.is_alpha:
            raise KernelError(f"kernel {kernel.name} has outputs {kernel.outputs}: columns hold an alpha's opinion")
        self.kernel, self.block, self.at = kernel, block, 0
        self._bars, self._features = np.ascontiguousarray(bars), np.ascontiguousarray(features)
        self._closes = np.ascontiguousarray(close_ticks)
        self.direction = np.full((len(params), len(close_ticks), block), np.nan)
        self.confidence = np.full_like(self.direction, np.nan)
        starts = [kernel.start(p) for p in params]
        self._sizes = np.array([len(start) for start in starts], dtype=np.int64)
        self._mem = np.concatenate([start for start in starts for _ in range(len(close_ticks))])
        self._rows = np.array([kernel.row(p) for p in params]).reshape(len(params), kernel.n_params)
        self._run = _columns(Identity(kernel))

    def advance(self, first: int, last: int) -> None:
        """Steps on bars `first` to `last`, which is not among them; column `j` holds bar `first + j`.

        `KernelError` where `first` is not the bar that the last call ended before, or the block is too small.
        """
        if first != self.at or not first <= last <= min(first + self.block, self._closes.shape[1]):
            told = f"bars {first} to {last} asked of columns at bar {self.at}"
            raise KernelError(
                f"kernel {self.kernel.name}: {told}, in blocks of {self.block} of {self._closes.shape[1]}"
            )
        self._run(
            self._mem, self._sizes, self._rows, self._bars, self._features, self._closes, first, last,
            self.direction, self.confidence,
        )  # fmt: skip
        self.at = last


@functools.cache
def _columns(key: Identity) -> Callable[..., None]:
    """The compiled loop of a kernel over rows, symbols and bars; compiled once a process."""
    kernel = key.kernel
    step, state_type, n_state, n_params = kernel.step, kernel.state, kernel.n_state, kernel.n_params
    params_type: Any = kernel.params_tuple
    direction_at, confidence_at = kernel.columns

    @compiled_afresh
    def column(
        mem: Floats, at: int, size: int, rows: Floats, row_at: int, bars: Floats, bar0: int, features: Floats,
        feature0: int, stride: int, closes: Ints, close0: int, n: int, direction: Floats, confidence: Floats, out: int,
    ) -> None:  # fmt: skip
        state = state_type(*read_floats(mem, at, n_state))
        params = params_type(*read_floats(rows, row_at, n_params))
        memory = borrow(mem, at + n_state, size - n_state)
        candles, said, sure = borrow(closes, close0, n), borrow(direction, out, n), borrow(confidence, out, n)
        for j in range(n):
            if candles[j] == 0:
                said[j] = sure[j] = np.nan
                continue
            bar: Bar = joined_bar(bars, bar0 + j * N_PLAIN, features, feature0 + j * stride)
            state = step(state, bar, params, memory)
            said[j], sure[j] = state[direction_at], state[confidence_at]
        write_floats(mem, at, state)

    @compiled_afresh
    def run(
        mem_: Floats, sizes_: Ints, rows_: Floats, bars_: Floats, features_: Floats, closes_: Ints, first: int,
        last: int, direction_: Floats, confidence_: Floats,
    ) -> None:  # fmt: skip
        mem, sizes, rows, closes = unowned(mem_), unowned(sizes_), unowned(rows_), unowned(closes_)
        bars, features = unowned(bars_), unowned(features_)
        direction, confidence = unowned(direction_), unowned(confidence_)
        n_symbols, n = closes.shape
        offered, block, at = features.shape[1], direction.shape[2], 0
        stride = N_FEATURES if offered > 1 else 0  # none: one row for all bars
        for d in range(sizes.shape[0]):
            for s in range(n_symbols):
                column(
                    mem, at, sizes[d], rows, d * n_params, bars, (s * n + first) * N_PLAIN, features,
                    s * offered * N_FEATURES + first * stride, stride, closes, s * n + first, last - first,
                    direction, confidence, (d * n_symbols + s) * block,
                )  # fmt: skip
                at += sizes[d]

    return run
