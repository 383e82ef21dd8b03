"""Parts as columns: each once for every distinct setting, over a block of bars of every symbol.

Columns hold the bars that a symbol has, one after the other: a missing bar is in none of them. Before the block a
column keeps the values that a window may still reach back to, so a window is a slice of it.
"""

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import numpy as np

from flea_lab.compiled import borrow, compiled
from flea_lab.lanes import in_lines
from flea_lab.signal.kernel import N_FEATURES, N_FIELDS, N_PLAIN, Kernel
from flea_lab.signal.part import Part
from flea_lab.signal.part_fills import Ints, run_part
from flea_lab.signal.rolling import Floats


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
        distinct, which = np.unique(table, axis=0, return_inverse=True) if len(rows) > 1 else (table, np.zeros(1, int))
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
        shares = np.array([False] * N_FIELDS + [column.part.oldest for column in found.columns])
        for i, column in reversed([*enumerate(found.columns, N_FIELDS)]):  # who reads a column comes after it
            window = int(column.values[0]) if column.part.kind == "windowed" else 1
            for place in column.sources:
                keep[place] = max(keep[place], window - 1 + (keep[i] if shares[i] else 0))
                held[place] = True
        keep[shares] = 0
        room = np.where(held & ~shares, -(-(keep + block) // 8) * 8, 0)
        begins = np.cumsum(room) - room
        self.at: Ints = np.where(held, begins + keep, -1)
        for i in np.flatnonzero(shares).tolist():  # the column of its source, as many bars earlier
            column = found.columns[i - N_FIELDS]
            self.at[i] = self.at[column.sources[0]] - int(column.values[0]) + 1
        self.values = in_lines((n_symbols, int(room.sum())), nan)
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
        if part.oldest:  # nothing to compute
            continue
        columns = [found.columns[i] for i in members]
        sizes = np.array([column.size if part.kind == "recursive" else 0 for column in columns], dtype=np.int64)
        starts = [part.start(column.values) for column in columns] if part.kind == "recursive" else []
        jobs.append(
            _Job(
                run=run_part(part, len(columns)),
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
