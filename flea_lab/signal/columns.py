"""Opinions as columns: one kernel for many parameters over a block of bars, with its state kept between blocks.

A sweep asks for the opinion of each distinct row of parameters once, however many combinations share it, and for each
part of a kernel once, however many rows share that. The columns are the stream's, to the bit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flea_lab.compiled import borrow, compiled, compiled_afresh, read_floats, unowned, write_floats
from flea_lab.errors import KernelError
from flea_lab.lanes import WIDTH
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Identity
from flea_lab.signal.kernel import FIELDS, N_FEATURES, N_FIELDS, N_PLAIN, Bar, Kernel, joined_bar
from flea_lab.signal.part import picked
from flea_lab.signal.part_columns import Layout, Pool, layout
from flea_lab.signal.part_fills import Ints, each, views
from flea_lab.signal.rolling import Floats
from flea_lab.signal.turns import Turns, keep_turns, new_turns, room_for

_NO_TURNS = new_turns(0, 0)


class Columns:
    """Direction and confidence of an alpha for `params`, each distinct, over the symbols of a market.

    `bars` `(n_symbols, n, N_PLAIN)`, `features` `(n_symbols, n or 1, N_FEATURES)`, `close_ticks` `(n_symbols, n)`:
    a market's, and so is `column`, for one whose symbols have every bar. What is not ready is NaN, and so is a bar that
    the symbol does not have, on which nothing steps.

    `advance` goes on by a block and gives the columns of all parameters; or `enter` does what they share, and
    `opinions` (or `convictions`) is asked for some of them at a time, each once a block, so that what was written is
    still at hand.
    """

    def __init__(
        self, kernel: Kernel, params: Sequence[Settings], bars: Floats, features: Floats, close_ticks: Ints, block: int,
        column: Callable[[int], Floats] | None = None,
    ) -> None:  # fmt: skip
        if not kernel.is_alpha:
            raise KernelError(f"kernel {kernel.name} has outputs {kernel.outputs}: columns hold an alpha's opinion")
        self.kernel, self.block, self.n, self.at, self.first = kernel, block, len(params), 0, 0
        self._market = np.ascontiguousarray(bars), np.ascontiguousarray(features), np.ascontiguousarray(close_ticks)
        rows, n_symbols = (
            np.array([kernel.own_row(p) for p in params]).reshape(len(params), kernel.n_params),
            len(close_ticks),
        )
        self._opinions: _Stepped | _Parted
        if kernel.parts:
            self._opinions = _Parted(kernel, params, rows, n_symbols, block, column)
        else:
            self._opinions = _Stepped(kernel, params, rows, n_symbols)

    @functools.cached_property
    def direction(self) -> Floats:
        """What `advance` writes, `(n_params, n_symbols, block)`; column `j` holds bar `first + j`."""
        return np.full((self.n, len(self._market[2]), self.block), np.nan)

    @functools.cached_property
    def confidence(self) -> Floats:
        """Beside `direction`."""
        return np.full_like(self.direction, np.nan)

    def advance(self, first: int, last: int) -> None:
        """`direction` and `confidence` of all parameters over bars `first` to `last`, which is not among them."""
        self.enter(first, last)
        self.opinions(0, self.n, self.direction, self.confidence)

    def enter(self, first: int, last: int) -> None:
        """Goes on to bars `first` to `last`, which is not among them, and computes what parameters share.

        `KernelError` where `first` is not the bar that the last call ended before, or the block is too small.
        """
        if first != self.at or not first <= last <= min(first + self.block, self._market[2].shape[1]):
            told = f"bars {first} to {last} asked of columns at bar {self.at}"
            limit = f"in blocks of {self.block} of {self._market[2].shape[1]}"
            raise KernelError(f"kernel {self.kernel.name}: {told}, {limit}")
        self.first, self.at = first, last
        self._opinions.enter(*self._market, first, last)

    def opinions(self, low: int, high: int, direction: Floats, confidence: Floats) -> None:
        """Writes the opinions of parameters `low` to `high`, which is not among them, over the bars entered last.

        The arrays are C-contiguous, of shape `(high - low or more, n_symbols, block)`. Each parameter once a block.
        """
        self._require(low, high, direction)
        self._require(low, high, confidence)
        self._opinions.fill(low, high, *self._market, self.first, self.at, direction, confidence, 0.0, False, _NO_TURNS)

    def convictions(self, low: int, high: int, least: float, out: Floats, turns: Turns | None = None) -> None:
        """As `opinions`, but writes the one number that `combine` makes of an alpha alone whose weight is 1.

        With `turns`, rows for one symbol, columns that seldom change are left there instead, as `keep_turns` does, and
        the others fill `out` from its beginning. The block must be at least `WIDTH` shorter than `block`.
        """
        self._require(low, high, out)
        kept = _NO_TURNS if turns is None else turns
        if turns is not None and not (self._fits(turns, high - low) and self.at - self.first + WIDTH <= self.block):
            told = f"changes of columns {low} to {high} over {len(out[0])} symbols into {turns.at.shape}"
            raise KernelError(f"kernel {self.kernel.name}: {told}, in blocks of {self.block}")
        self._opinions.fill(low, high, *self._market, self.first, self.at, out, out, least, True, kept)

    def _fits(self, turns: Turns, rows: int) -> bool:
        room = turns.at.shape[1] >= room_for(self.at - self.first)
        return len(self._market[2]) == 1 and room and len(turns.many) >= rows

    def _require(self, low: int, high: int, out: Floats) -> None:
        fits = out.shape[1:] == (len(self._market[2]), self.block) and out.flags.carray and out.dtype == np.float64
        if not (fits and 0 <= low <= high <= self.n and out.shape[0] >= high - low):
            told = f"columns {low} to {high} of {self.n} into {out.dtype} of shape {out.shape}"
            raise KernelError(f"kernel {self.kernel.name}: {told}, in blocks of {self.block}")


class _Stepped:
    """A kernel without parts: every row steps by itself."""

    def __init__(self, kernel: Kernel, params: Sequence[Settings], rows: Floats, n_symbols: int) -> None:
        starts = [kernel.start(p) for p in params]
        self._rows = rows
        self._sizes = np.array([len(start) for start in starts], dtype=np.int64)
        self._at = (np.cumsum(self._sizes) - self._sizes) * n_symbols
        self._mem = np.concatenate([start for start in starts for _ in range(n_symbols)])
        self._run = _step_columns(Identity(kernel))

    def enter(self, *_: Any) -> None:
        """Nothing is shared."""

    def fill(
        self, low: int, high: int, bars: Floats, features: Floats, closes: Ints, first: int, last: int,
        direction: Floats, confidence: Floats, least: float, alone: bool, turns: Turns,
    ) -> None:  # fmt: skip
        self._run(
            low, high, self._mem, self._at, self._sizes, self._rows, bars, features, closes, first, last,
            direction, confidence, least, alone, *turns,
        )  # fmt: skip


class _Parted:
    """A kernel with parts: they are computed once for all rows, then the step reads their columns."""

    def __init__(
        self, kernel: Kernel, params: Sequence[Settings], rows: Floats, n_symbols: int, block: int,
        column: Callable[[int], Floats] | None,
    ) -> None:  # fmt: skip
        found: Layout = layout(kernel, rows)
        fields = {FIELDS.index(name) for name in kernel.inputs + kernel.optional}
        self._pool = Pool(found, fields, n_symbols, block, column)
        self._rows, self._first = rows, found.first
        self._parts = self._pool.at[found.parts]
        sizes = [0 if kernel.stateless else kernel.n_state + kernel.own_memory(p) for p in params]
        self._sizes = np.array(sizes, dtype=np.int64)
        self._at = (np.cumsum(self._sizes) - self._sizes) * n_symbols
        self._mem = np.zeros(int(self._sizes.sum()) * n_symbols)
        for at, size in zip(self._at, self._sizes, strict=True):
            for s in range(n_symbols if size else 0):
                self._mem[at + s * size : at + s * size + kernel.n_state] = list(kernel.state())
        self._run = _part_columns(Identity(kernel))

    def enter(self, bars: Floats, features: Floats, closes: Ints, first: int, last: int) -> None:
        self._pool.advance(bars, features, closes, first, last)

    def fill(
        self, low: int, high: int, bars: Floats, features: Floats, closes: Ints, first: int, last: int,
        direction: Floats, confidence: Floats, least: float, alone: bool, turns: Turns,
    ) -> None:  # fmt: skip
        del bars, features  # the pool has what is read of them
        pool = self._pool
        self._run(
            low, high, pool.values, pool.at, pool.seen, pool.bars, self._mem, self._at, self._sizes, self._rows,
            self._parts, self._first, closes, first, last, direction, confidence, least, alone, *turns,
        )  # fmt: skip


@compiled
def next_row(columns: Floats, block: int, n: int, turns: Turns, at: int, row: int) -> int:
    """Where the column after the one in row `row`, which is number `at`, goes: into the same row where `turns` has room
    for that one and kept it."""
    if turns.many.shape[0] == 0:
        return row + 1
    turns.place[at] = row
    return row if keep_turns(borrow(columns, row * block, block), n, turns, at) else row + 1


@compiled
def convicted(direction: float, confidence: float, least: float) -> float:
    """`combine` of one alpha whose weight is 1."""
    said = 0.0 + direction * confidence if confidence >= least else 0.0  # 0.0 +: a sum is never -0.0
    return said if direction == direction and confidence == confidence else np.nan


@functools.cache
def _step_columns(key: Identity) -> Callable[..., None]:
    """The compiled loop of a kernel without parts over rows, symbols and bars; compiled once a process."""
    kernel = key.kernel
    step, state_type, n_state, n_params = kernel.step, kernel.state, kernel.n_state, kernel.n_params
    params_type: Any = kernel.params_tuple
    direction_at, confidence_at = kernel.columns

    @compiled_afresh
    def column(
        mem: Floats, at: int, size: int, rows: Floats, row_at: int, bars: Floats, bar0: int, features: Floats,
        feature0: int, stride: int, closes: Ints, close0: int, n: int, direction: Floats, confidence: Floats, out: int,
        least: float, alone: bool,
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
            if alone:
                said[j] = convicted(state[direction_at], state[confidence_at], least)
            else:
                said[j], sure[j] = state[direction_at], state[confidence_at]
        write_floats(mem, at, state)

    @compiled_afresh
    def run(
        low: int, high: int, mem_: Floats, at_: Ints, sizes_: Ints, rows_: Floats, bars_: Floats, features_: Floats,
        closes_: Ints, first: int, last: int, direction_: Floats, confidence_: Floats, least: float, alone: bool,
        turn_at: Ints, turn_said: Floats, turn_many: Ints, turn_place: Ints,
    ) -> None:  # fmt: skip
        turns = Turns(unowned(turn_at), unowned(turn_said), unowned(turn_many), unowned(turn_place))
        mem, at, sizes, rows, closes = unowned(mem_), unowned(at_), unowned(sizes_), unowned(rows_), unowned(closes_)
        bars, features = unowned(bars_), unowned(features_)
        direction, confidence = unowned(direction_), unowned(confidence_)
        n_symbols, n = closes.shape
        offered, block = features.shape[1], direction.shape[2]
        stride, row = N_FEATURES if offered > 1 else 0, 0  # none: one row for all bars
        for d in range(low, high):
            for s in range(n_symbols):
                column(
                    mem, at[d] + s * sizes[d], sizes[d], rows, d * n_params, bars, (s * n + first) * N_PLAIN, features,
                    s * offered * N_FEATURES + first * stride, stride, closes, s * n + first, last - first,
                    direction, confidence, (row * n_symbols + s) * block, least, alone,
                )  # fmt: skip
            row = next_row(direction, block, last - first, turns, d - low, row)

    return run


@functools.cache
def _part_columns(key: Identity) -> Callable[..., None]:
    """The compiled loop of a kernel with parts over rows, symbols and bars; compiled once a process."""
    kernel = key.kernel
    n_params, n_parts = kernel.n_params, len(kernel.parts)
    over = _stateless(kernel) if kernel.stateless else _stateful(kernel)

    @compiled_afresh
    def run(
        low: int, high: int, values_: Floats, places_: Ints, seen_: Ints, bars_: Ints, mem_: Floats, at_: Ints,
        sizes_: Ints, rows_: Floats, parts_: Ints, firsts_: Ints, closes_: Ints, first: int, last: int,
        direction_: Floats, confidence_: Floats, least: float, alone: bool,
        turn_at: Ints, turn_said: Floats, turn_many: Ints, turn_place: Ints,
    ) -> None:  # fmt: skip
        turns = Turns(unowned(turn_at), unowned(turn_said), unowned(turn_many), unowned(turn_place))
        values, places, seen, bars = unowned(values_), unowned(places_), unowned(seen_), unowned(bars_)
        mem, at, sizes, rows = unowned(mem_), unowned(at_), unowned(sizes_), unowned(rows_)
        parts, firsts, closes = unowned(parts_), unowned(firsts_), unowned(closes_)
        direction, confidence = unowned(direction_), unowned(confidence_)
        n_symbols, block = closes.shape[0], direction.shape[2]
        whole, row = read_floats(places, 0, N_FIELDS), 0
        for d in range(low, high):
            for s in range(n_symbols):
                n, out = bars[s], (row * n_symbols + s) * block
                said, sure = borrow(direction, out, last - first), borrow(confidence, out, last - first)
                begin = min(max(firsts[d] - 1 - seen[s], 0), n)
                for j in range(begin):
                    said[j] = sure[j] = np.nan
                memory = borrow(mem, at[d] + s * sizes[d], sizes[d])
                prow = read_floats(rows, d * n_params, n_params)
                read = read_floats(parts, d * n_parts, n_parts)
                told, count = s * values.shape[1] + begin, n - begin
                over(
                    values, told, whole, read, prow, memory, borrow(direction, out + begin, count),
                    borrow(confidence, out + begin, count), count, least, alone,
                )  # fmt: skip
                if n < last - first:
                    _spread(said, sure, closes, s * closes.shape[1] + first, n)
            row = next_row(direction, block, last - first, turns, d - low, row)

    return run


@compiled
def _spread(said: Floats, sure: Floats, closes: Ints, at: int, n: int) -> None:
    """Moves what stands in the first `n` places to the bars that there are, from the last on; NaN on the others."""
    candles, k = borrow(closes, at, said.shape[0]), n
    for j in range(said.shape[0] - 1, -1, -1):
        if candles[j] == 0:
            said[j] = sure[j] = np.nan
        else:
            k -= 1
            said[j], sure[j] = said[k], sure[k]


def _stateless(kernel: Kernel) -> Callable[..., None]:
    """Every bar by itself: a loop that may take several at once."""
    step, params_type, (opened, bar_at, x_at) = kernel.step, kernel.params_tuple, _readers(kernel)
    direction_at, confidence_at = kernel.columns

    @compiled_afresh
    def over(
        values: Floats, base: int, places: Any, read: Any, prow: Any, memory: Floats, said: Floats, sure: Floats,
        n: int, least: float, alone: bool,
    ) -> None:  # fmt: skip
        params, columns = params_type(*prow), opened(values, base, places, read, n)
        if alone:
            for j in range(n):
                state = step(bar_at(columns, j), params, x_at(columns, j))
                said[j] = convicted(state[direction_at], state[confidence_at], least)
            return
        for j in range(n):  # from 0: an index that could be negative costs the vector
            state = step(bar_at(columns, j), params, x_at(columns, j))
            said[j], sure[j] = state[direction_at], state[confidence_at]

    return over


def _stateful(kernel: Kernel) -> Callable[..., None]:
    """Bar after bar, as the stream does."""
    step, params_type, (opened, bar_at, x_at) = kernel.step, kernel.params_tuple, _readers(kernel)
    direction_at, confidence_at = kernel.columns
    state_type, n_state = kernel.state, kernel.n_state

    @compiled_afresh
    def over(
        values: Floats, base: int, places: Any, read: Any, prow: Any, memory: Floats, said: Floats, sure: Floats,
        n: int, least: float, alone: bool,
    ) -> None:  # fmt: skip
        params, columns = params_type(*prow), opened(values, base, places, read, n)
        state, own = state_type(*read_floats(memory, 0, n_state)), borrow(memory, n_state, memory.shape[0] - n_state)
        for j in range(n):  # from 0: an index that could be negative costs the vector
            state = step(state, bar_at(columns, j), params, own, x_at(columns, j))
            if alone:
                said[j] = convicted(state[direction_at], state[confidence_at], least)
            else:
                said[j], sure[j] = state[direction_at], state[confidence_at]
        write_floats(memory, 0, state)

    return over


def _readers(kernel: Kernel) -> tuple[Callable[..., Any], ...]:
    """Compiled: the columns that the step reads, and of bar `j` in them the bar and the values of the parts.

    Fields that the kernel does not declare are NaN: that it does not read them is the law.
    """
    fields = [FIELDS.index(name) for name in FIELDS if name in kernel.inputs + kernel.optional]
    n, parts_type = len(fields) + len(kernel.parts), kernel.parts_tuple
    chosen, both, all_at = picked(tuple(fields)), views(0, n), each(0, n)
    bar_values = picked(tuple(fields.index(i) if i in fields else n for i in range(N_FIELDS)))
    x_values = picked(tuple(range(len(fields), n)))

    @compiled_afresh
    def opened(values: Floats, base: int, places: Any, read: Any, count: int) -> Any:
        return both(values, base, chosen(places) + read, count)

    @compiled_afresh
    def bar_at(columns: Any, j: int) -> Any:
        return Bar(*bar_values((*all_at(columns, j), np.nan)))

    @compiled_afresh
    def x_at(columns: Any, j: int) -> Any:
        return parts_type(*x_values(all_at(columns, j)))

    return opened, bar_at, x_at
