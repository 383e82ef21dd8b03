"""How parts fill their columns: compiled loops over symbols, settings and bars, one a part.

A column is what the part's own step says bar after bar, or what the part itself writes for many bars at once.
"""

import functools
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import borrow, compiled_afresh, read_floats, unowned, write_floats
from flea_lab.signal.part import Part
from flea_lab.signal.rolling import Floats

Ints = npt.NDArray[np.int64]
ABREAST = 4
"""Columns of a recursive part that go together: each step waits for the one before it, four that do not wait for each
other take little more time than one."""


def run_part(part: Part, count: int) -> Callable[..., None]:
    """The compiled loop of a part over symbols, `count` settings, none of which reads another, and bars."""
    stepped = part.kind == "recursive" and (part.column is None or part.lone)
    return _run_part(part, stepped and count >= ABREAST)


@functools.cache
def _run_part(part: Part, abreast: bool) -> Callable[..., None]:
    fill, n_sources, n_params = _FILLS[part.kind](part), len(part.sources), max(part.n_params, 1)
    fill_abreast: Callable[..., Any] = _abreast(part) if abreast else fill  # compiled only where there are so many

    @compiled_afresh
    def run(
        values_: Floats, mem_: Floats, sources_: Ints, out_: Ints, rows_: Floats, mem_at_: Ints, sizes_: Ints,
        first_: Ints, ready_: Ints, seen_: Ints, bars_: Ints,
    ) -> None:  # fmt: skip
        values, mem, sources = unowned(values_), unowned(mem_), unowned(sources_)
        out, rows = unowned(out_), unowned(rows_)
        mem_at, sizes, first, ready = unowned(mem_at_), unowned(sizes_), unowned(first_), unowned(ready_)
        seen, bars = unowned(seen_), unowned(bars_)
        for s in range(values.shape[0]):
            base, n, done = s * values.shape[1], bars[s], 0
            if abreast:
                done = fill_abreast(
                    values, base, sources, out, rows, mem, s * mem.shape[1], mem_at, sizes, first, seen[s], n
                )
            for d in range(out.shape[0]):
                begin = min(max(first[d] - 1 - seen[s], 0), n)
                known = min(max(ready[d] - 1 - seen[s], 0), n)
                places = read_floats(sources, d * n_sources, n_sources)
                prow = read_floats(rows, d * n_params, n_params)
                memory = borrow(mem, s * mem.shape[1] + mem_at[d], sizes[d])
                column = borrow(values, base + out[d], n)
                if d >= done:
                    fill(values, base, places, column, prow, memory, begin, known, n)
                for j in range(known):
                    column[j] = nan

    return run


def _recursive(part: Part) -> Callable[..., None]:
    if part.column is not None:
        return _grown(part, part.column)
    step, state_type, n_state = part.step, part.state, part.n_state
    assert state_type is not None
    params_type, sources_type, value_at = part.params_tuple, part.sources_tuple, state_type._fields.index("value")
    opened, at = views(0, len(part.sources)), each(0, len(part.sources))

    @compiled_afresh
    def fill(
        values: Floats, base: int, places: Any, column: Floats, prow: Any, memory: Floats,
        begin: int, known: int, n: int,
    ) -> None:  # fmt: skip
        state, params = state_type(*read_floats(memory, 0, n_state)), params_type(*prow)
        own, x = borrow(memory, n_state, memory.shape[0] - n_state), opened(values, base + begin, places, n - begin)
        out = borrow(column, begin, n - begin)
        for j in range(n - begin):  # from 0: an index that could be negative costs time
            state = step(state, sources_type(*at(x, j)), params, own)
            out[j] = state[value_at]
        write_floats(memory, 0, state)

    return fill


def _abreast(part: Part) -> Callable[..., int]:
    """As `_recursive` for `ABREAST` columns at a time, from the first on, while they step on every bar of the block;
    returns how many columns are done."""
    step, state_type, n_state = part.step, part.state, part.n_state
    assert state_type is not None
    params_type, sources_type, value_at = part.params_tuple, part.sources_tuple, state_type._fields.index("value")
    n_sources, n_params = len(part.sources), max(part.n_params, 1)
    opened, at = views(0, n_sources), each(0, n_sources)

    @compiled_afresh
    def begun(
        values: Floats, base: int, sources: Ints, out: Ints, rows: Floats, mem: Floats, mem_at: int, size: int, d: int,
        n: int,
    ) -> Any:  # fmt: skip
        return (
            opened(values, base, read_floats(sources, d * n_sources, n_sources), n),
            params_type(*read_floats(rows, d * n_params, n_params)),
            borrow(mem, mem_at + n_state, size - n_state),
            borrow(values, base + out[d], n),
        )

    @compiled_afresh
    def moved(state: Any, column: Any, j: int) -> Any:
        x, params, memory, told = column
        after = step(state, sources_type(*at(x, j)), params, memory)
        told[j] = after[value_at]
        return after

    @compiled_afresh
    def fill(
        values: Floats, base: int, sources: Ints, out: Ints, rows: Floats, mem: Floats, mem_base: int, mem_at: Ints,
        sizes: Ints, first: Ints, seen: int, n: int,
    ) -> int:  # fmt: skip
        for d in range(0, out.shape[0] - ABREAST + 1, ABREAST):
            if max(first[d], first[d + 1], first[d + 2], first[d + 3]) > seen + 1:
                return d
            at0, at1 = mem_base + mem_at[d], mem_base + mem_at[d + 1]
            at2, at3 = mem_base + mem_at[d + 2], mem_base + mem_at[d + 3]
            c0 = begun(values, base, sources, out, rows, mem, at0, sizes[d], d, n)
            c1 = begun(values, base, sources, out, rows, mem, at1, sizes[d + 1], d + 1, n)
            c2 = begun(values, base, sources, out, rows, mem, at2, sizes[d + 2], d + 2, n)
            c3 = begun(values, base, sources, out, rows, mem, at3, sizes[d + 3], d + 3, n)
            s0, s1 = state_type(*read_floats(mem, at0, n_state)), state_type(*read_floats(mem, at1, n_state))
            s2, s3 = state_type(*read_floats(mem, at2, n_state)), state_type(*read_floats(mem, at3, n_state))
            for j in range(n):
                s0, s1, s2, s3 = moved(s0, c0, j), moved(s1, c1, j), moved(s2, c2, j), moved(s3, c3, j)
            write_floats(mem, at0, s0)
            write_floats(mem, at1, s1)
            write_floats(mem, at2, s2)
            write_floats(mem, at3, s3)
        return out.shape[0] - out.shape[0] % ABREAST

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
        values: Floats, base: int, places: Any, column: Floats, prow: Any, memory: Floats,
        begin: int, known: int, n: int,
    ) -> None:  # fmt: skip
        params, out = params_type(*prow), borrow(column, known, n - known)
        x = opened(values, base + known, places, n - known)
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
        values: Floats, base: int, places: Any, column: Floats, prow: Any, memory: Floats,
        begin: int, known: int, n: int,
    ) -> None:  # fmt: skip
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
