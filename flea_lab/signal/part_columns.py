"""Parts as columns: each once for every distinct setting, over a block of bars of every symbol.

Columns hold the bars that a symbol has, one after the other: a missing bar is in none of them. Before the block a
column keeps the values that a window may still reach back to, so a window is a slice of it.
"""

import functools
from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import borrow, compiled, compiled_afresh, read_floats, unowned, write_floats
from flea_lab.signal.kernel import N_FEATURES, N_FIELDS, N_PLAIN, Kernel
from flea_lab.signal.part import Part
from flea_lab.signal.rolling import Floats

Ints = npt.NDArray[np.int64]


class Column(NamedTuple):
    """One part with its parameters and the columns that it reads."""

    part: Part
    sources: tuple[int, ...]
    values: tuple[float, ...]
    size: int
    first: int
    ready: int


class Layout(NamedTuple):
    """Which columns a kernel's parameters ask for.

    `columns` in the order in which they can be computed; place `i` of the pool is a field of the bar for `i <
    N_FIELDS`, else column `i - N_FIELDS`. `parts` `(n_params, n_parts)` says where the parts of each row of parameters
    stand, `first` `(n_params,)` from which count of bars its step is called.
    """

    columns: tuple[Column, ...]
    parts: Ints
    first: Ints


def layout(kernel: Kernel, rows: Floats) -> Layout:
    """The distinct columns behind `rows`, own parameters of shape `(n_params, kernel.n_params)`."""
    columns: list[Column] = []
    known: dict[tuple[int, tuple[int, ...], tuple[float, ...]], int] = {}
    parts = np.empty((len(rows), len(kernel.parts)), np.int64)
    for k, node in enumerate(kernel.parts):
        values = [rows[:, c] if c is not None else np.full(len(rows), n) for c, n in zip(*node[3:], strict=True)]
        sources = [parts[:, p - N_FIELDS] if p >= N_FIELDS else np.full(len(rows), float(p)) for p in node.sources]
        table = np.column_stack([*sources, *values])
        distinct, which = np.unique(table, axis=0, return_inverse=True)
        at = np.empty(len(distinct), np.int64)
        for i, row in enumerate(distinct.tolist()):
            places, told = tuple(int(p) for p in row[: len(sources)]), tuple(row[len(sources) :])
            at[i] = known.setdefault((id(node.part), places, told), N_FIELDS + len(columns))
            if at[i] < N_FIELDS + len(columns):
                continue
            first = max([1, *(columns[p - N_FIELDS].ready for p in places if p >= N_FIELDS)])
            ready = first - 1 + int(node.part.warmup(node.part.named(told)))
            columns.append(Column(node.part, places, told, node.part.size(told), first, ready))
        parts[:, k] = at[which.reshape(-1)]
    ready_at = np.array([0] * N_FIELDS + [column.ready for column in columns])
    return Layout(tuple(columns), parts, ready_at[parts].max(axis=1))


class Pool:
    """The columns of a layout for every symbol, advanced block by block.

    `values` `(n_symbols, width)` holds them, `at[i]` says where the block of place `i` begins in it (-1 where it is not
    held), `seen` `(n_symbols,)` counts a symbol's bars before the block and `bars` those in it.
    """

    def __init__(
        self, found: Layout, fields: set[int], n_symbols: int, block: int,
        field_of: Callable[[int], Floats] | None = None,
    ) -> None:  # fmt: skip
        """`field_of` gives a field of the bar `(n_symbols, n)` where no symbol lacks a bar."""
        keep = np.zeros(N_FIELDS + len(found.columns), np.int64)
        held = np.array([i in fields for i in range(N_FIELDS)] + [True] * len(found.columns))
        for column in found.columns:
            window = int(column.values[0]) if column.part.kind == "windowed" else 1
            for place in column.sources:
                keep[place] = max(keep[place], window - 1)
                held[place] = True
        room = np.where(held, -(-(keep + block) // 8) * 8, 0)
        begins = np.cumsum(room) - room
        self.at: Ints = np.where(held, begins + keep, -1)
        self.values = np.full((n_symbols, int(room.sum())), nan)
        self.seen, self.bars = np.zeros(n_symbols, np.int64), np.zeros(n_symbols, np.int64)
        self._keep: Ints = np.where(held, keep, 0)
        self._fields = [(int(self.at[i]), field_of(i)) for i in range(N_FIELDS) if held[i]] if field_of else None
        self._jobs = _jobs(found, self.at)
        self._mem = [np.repeat(job.mem[None], n_symbols, axis=0) for job in self._jobs]

    def advance(self, bars: Floats, features: Floats, closes: Ints, first: int, last: int) -> None:
        """The columns over bars `first` to `last`, which is not among them."""
        _shift(self.values, self.at, self._keep, self.seen, self.bars)
        if self._fields is None:
            _take(self.values, self.at, self.bars, bars, features, closes, first, last)
        else:
            self.bars[:] = last - first
            for at, field in self._fields:
                self.values[:, at : at + last - first] = field[:, first:last]
        for job, mem in zip(self._jobs, self._mem, strict=True):
            job.run(
                self.values, mem, job.sources, job.out, job.rows, job.mem_at, job.sizes, job.first, job.ready,
                self.seen, self.bars,
            )  # fmt: skip


class _Job(NamedTuple):
    """All columns of one part that can be computed in one call."""

    run: Callable[..., None]
    mem: Floats
    sources: Ints
    out: Ints
    rows: Floats
    mem_at: Ints
    sizes: Ints
    first: Ints
    ready: Ints


def _jobs(found: Layout, at: Ints) -> list[_Job]:
    groups: list[tuple[Part, list[int]]] = []
    for i, column in enumerate(found.columns):
        if (
            not groups
            or groups[-1][0] is not column.part
            or set(column.sources) & {N_FIELDS + k for k in groups[-1][1]}
        ):
            groups.append((column.part, []))
        groups[-1][1].append(i)
    jobs = []
    for part, members in groups:
        columns = [found.columns[i] for i in members]
        sizes = np.array([column.size if part.kind == "recursive" else 0 for column in columns], dtype=np.int64)
        starts = [part.start(column.values) for column in columns] if part.kind == "recursive" else []
        jobs.append(
            _Job(
                run=_run_part(part),
                mem=np.array([value for start in starts for value in start]),
                sources=np.array([[at[p] for p in column.sources] for column in columns], dtype=np.int64),
                out=at[[N_FIELDS + i for i in members]],
                rows=np.array([column.values or (0.0,) for column in columns]),
                mem_at=np.cumsum(sizes) - sizes,
                sizes=sizes,
                first=np.array([column.first for column in columns], dtype=np.int64),
                ready=np.array([column.ready for column in columns], dtype=np.int64),
            )
        )
    return jobs


@compiled
def _shift(values: Floats, at: Ints, keep: Ints, seen: Ints, held: Ints) -> None:
    """Keeps the ends of all columns before the place of their block."""
    width = values.shape[1]
    for s in range(values.shape[0]):
        for place in range(at.shape[0]):
            begin = s * width + at[place] - keep[place]
            column = borrow(values, begin, keep[place] + held[s])
            for i in range(keep[place]):
                column[i] = column[i + held[s]]
        seen[s] += held[s]


@compiled
def _take(
    values: Floats, at: Ints, held: Ints, bars: Floats, features: Floats, closes: Ints, first: int, last: int
) -> None:
    """Takes the bars of the next block."""
    n, offered, width = closes.shape[1], features.shape[1], values.shape[1]
    for s in range(closes.shape[0]):
        taken = 0
        for i in range(first, last):
            taken += closes[s, i] != 0
        held[s] = taken
        for place in range(N_FIELDS):
            if at[place] < 0:
                continue
            plain = place < N_PLAIN
            source = (
                borrow(bars, s * n * N_PLAIN, n * N_PLAIN)
                if plain
                else borrow(features, s * offered * N_FEATURES, offered * N_FEATURES)
            )
            stride = N_PLAIN if plain else N_FEATURES if offered > 1 else 0  # none: one row for all bars
            shift = place if plain else place - N_PLAIN
            column, k = borrow(values, s * width + at[place], taken), 0
            for i in range(first, last):
                if closes[s, i] != 0:
                    column[k] = source[i * stride + shift]
                    k += 1


@functools.cache
def _run_part(part: Part) -> Callable[..., None]:
    """The compiled loop of a part over symbols, settings and bars."""
    fill, n_sources, n_params = _FILLS[part.kind](part), len(part.sources), max(part.n_params, 1)

    @compiled_afresh
    def run(
        values_: Floats, mem_: Floats, sources_: Ints, out_: Ints, rows_: Floats, mem_at_: Ints, sizes_: Ints,
        first_: Ints, ready_: Ints, seen_: Ints, bars_: Ints,
    ) -> None:  # fmt: skip
        values, mem, sources, out, rows = (
            unowned(values_),
            unowned(mem_),
            unowned(sources_),
            unowned(out_),
            unowned(rows_),
        )
        mem_at, sizes, first, ready = unowned(mem_at_), unowned(sizes_), unowned(first_), unowned(ready_)
        seen, bars = unowned(seen_), unowned(bars_)
        for s in range(values.shape[0]):
            base, n = s * values.shape[1], bars[s]
            for d in range(out.shape[0]):
                begin = min(max(first[d] - 1 - seen[s], 0), n)
                known = min(max(ready[d] - 1 - seen[s], 0), n)
                places = read_floats(sources, d * n_sources, n_sources)
                prow = read_floats(rows, d * n_params, n_params)
                memory = borrow(mem, s * mem.shape[1] + mem_at[d], sizes[d])
                column = borrow(values, base + out[d], n)
                fill(values, base, places, column, prow, memory, begin, known, n)
                for j in range(known):
                    column[j] = nan

    return run


def _recursive(part: Part) -> Callable[..., None]:
    step, state_type, n_state = part.step, part.state, part.n_state
    assert state_type is not None
    params_type, sources_type, value_at = part.params_tuple, part.sources_tuple, state_type._fields.index("value")
    opened, at = views(0, len(part.sources)), each(0, len(part.sources))
    if part.column is not None:
        return _grown(part, part.column)

    @compiled_afresh
    def fill(
        values: Floats,
        base: int,
        places: Any,
        column: Floats,
        prow: Any,
        memory: Floats,
        begin: int,
        known: int,
        n: int,
    ) -> None:
        state, params = state_type(*read_floats(memory, 0, n_state)), params_type(*prow)
        own, x = borrow(memory, n_state, memory.shape[0] - n_state), opened(values, base + begin, places, n - begin)
        out = borrow(column, begin, n - begin)
        for j in range(n - begin):  # from 0: an index that could be negative costs time
            state = step(state, sources_type(*at(x, j)), params, own)
            out[j] = state[value_at]
        write_floats(memory, 0, state)

    return fill


def _grown(part: Part, column_of: Callable[..., Any]) -> Callable[..., None]:
    """As the part itself writes a column: what one step after the other would say."""
    state_type, n_state, params_type = part.state, part.n_state, part.params_tuple
    assert state_type is not None

    @compiled_afresh
    def fill(
        values: Floats, base: int, places: Any, column: Floats, prow: Any, memory: Floats,
        begin: int, known: int, n: int,
    ) -> None:  # fmt: skip
        state, own = state_type(*read_floats(memory, 0, n_state)), borrow(memory, n_state, memory.shape[0] - n_state)
        reach, out = borrow(values, base + places[0] + begin, n - begin), borrow(column, begin, n - begin)
        write_floats(memory, 0, column_of(state, reach, params_type(*prow), own, out))

    return fill


def _pointwise(part: Part) -> Callable[..., None]:
    call, params_type, sources_type = part.call, part.params_tuple, part.sources_tuple
    opened, at = views(0, len(part.sources)), each(0, len(part.sources))

    @compiled_afresh
    def fill(
        values: Floats,
        base: int,
        places: Any,
        column: Floats,
        prow: Any,
        memory: Floats,
        begin: int,
        known: int,
        n: int,
    ) -> None:
        params, x, out = (
            params_type(*prow),
            opened(values, base + known, places, n - known),
            borrow(column, known, n - known),
        )
        for j in range(n - known):
            out[j] = call(sources_type(*at(x, j)), params)

    return fill


def _windowed(part: Part) -> Callable[..., None]:
    call, params_type, sources_type = part.call, part.params_tuple, part.sources_tuple
    windows = views(0, len(part.sources))
    if part.column is not None:
        return _whole(part, part.column)

    @compiled_afresh
    def fill(
        values: Floats,
        base: int,
        places: Any,
        column: Floats,
        prow: Any,
        memory: Floats,
        begin: int,
        known: int,
        n: int,
    ) -> None:
        params, window = params_type(*prow), int(prow[0])
        first, out = base + known - window + 1, borrow(column, known, n - known)
        for j in range(n - known):
            out[j] = call(sources_type(*windows(values, first + j, places, window)), params)

    return fill


def _whole(part: Part, column_of: Callable[..., Any]) -> Callable[..., None]:
    """As the part itself writes a column: what one window after the other would say."""
    params_type = part.params_tuple

    @compiled_afresh
    def fill(
        values: Floats, base: int, places: Any, column: Floats, prow: Any, memory: Floats,
        begin: int, known: int, n: int,
    ) -> None:  # fmt: skip
        count, window = n - known, int(prow[0])
        if count > 0:
            reach = borrow(values, base + places[0] + known - window + 1, count + window - 1)
            column_of(reach, borrow(column, known, count), params_type(*prow))

    return fill


_FILLS: dict[str, Callable[[Part], Callable[..., None]]] = {
    "recursive": _recursive,
    "windowed": _windowed,
    "pointwise": _pointwise,
}


def views(k: int, n: int) -> Callable[..., Any]:
    """Compiled `views(values, base, places, n)`: the columns at `places` as a tuple."""
    if k == n - 1:

        @compiled_afresh
        def last(values: Floats, base: int, places: Any, n: int) -> Any:
            return (borrow(values, base + places[k], n),)

        return last

    rest = views(k + 1, n)

    @compiled_afresh
    def opened(values: Floats, base: int, places: Any, n: int) -> Any:
        return (borrow(values, base + places[k], n), *rest(values, base, places, n))

    return opened


def each(k: int, n: int) -> Callable[..., Any]:
    """Compiled `each(columns, j)`: value `j` of every column as a tuple."""
    if k == n - 1:

        @compiled_afresh
        def last(columns: Any, j: int) -> Any:
            return (columns[k][j],)

        return last

    rest = each(k + 1, n)

    @compiled_afresh
    def looked(columns: Any, j: int) -> Any:
        return (columns[k][j], *rest(columns, j))

    return looked
