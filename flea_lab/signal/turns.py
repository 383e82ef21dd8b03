"""The bars on which a column's conviction changes: what seldom changes is kept as its changes, a fortieth of a column.

They are found where the column is written, while it is at hand, and the column is then left to the next one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import borrow, compiled
from flea_lab.lanes import WIDTH, bits, count_bits, later, load, lowest_bit, splat
from flea_lab.signal.rolling import Floats

Ints = npt.NDArray[np.int64]

WORD = 64
AT_ONCE = 4
"""Changes of a word that are written whether there are as many or not: how many there are cannot be predicted."""

SELDOM = 8
"""Bars to a change from which on stretches are worth looking for."""


class Turns(NamedTuple):
    """Columns by their changes: the bars `at` `(rows, room)` and what is `said` from there on `(rows, room)`; `many`
    `(rows,)` of them, behind which stands the length of the block. Where `many` is -1 the column changes too often and
    stands in row `place` `(rows,)` of the columns."""

    at: Ints
    said: Floats
    many: Ints
    place: Ints


def new_turns(rows: int, bars: int) -> Turns:
    """Room for so many columns of so many bars."""
    room = room_for(bars)
    return Turns(np.zeros((rows, room), np.int64), np.zeros((rows, room)), *np.full((2, rows), -1))


def room_for(bars: int) -> int:
    """Places that the changes of so many bars may take while they are looked for."""
    return bars // SELDOM + 2 * WORD


@compiled
def changed(column: Floats, i: int) -> int:
    """Which of eight bars from bar `i` on, which is not the first, do not have the number of the bar before."""
    return bits(load(column, i) == load(column, i - 1)) ^ 255


@compiled
def find_turns(column: Floats, n: int, turns: Ints) -> int:
    """Writes the bars of a column of `n` whose number is not that of the bar before, the first bar always, then `n`.
    Returns how many; -1 where they are more than a bar in `SELDOM`, which are not all written down."""
    count, opening = 0, load(column, 0)
    word = bits(opening == later(splat(np.nan), opening, 1)) ^ 255
    for base in range(0, n, WORD):
        if base > 0:
            word = changed(column, base)
        if base + WORD <= n:  # written out: a loop takes twice as long
            word |= changed(column, base + 8) << 8 | changed(column, base + 16) << 16
            word |= changed(column, base + 24) << 24 | changed(column, base + 32) << 32
            word |= changed(column, base + 40) << 40 | changed(column, base + 48) << 48
            word |= changed(column, base + 56) << 56
        else:
            for i in range(base + WIDTH, n, WIDTH):
                word |= changed(column, i) << (i - base)
            word &= (1 << (n - base)) - 1
        found = count_bits(word)
        if (count + found) * SELDOM > n + WORD:
            return -1
        for begin in range(0, found, AT_ONCE):
            for at in range(AT_ONCE):
                turns[count + begin + at] = base + lowest_bit(word)
                word &= word - 1
        count += found
    turns[count] = n
    return count if count * SELDOM <= n else -1


@compiled
def keep_turns(column: Floats, n: int, turns: Turns, row: int) -> bool:
    """Keeps row `row` of `turns`, a `column` of `n` bars; False where it has to be kept whole."""
    room = turns.at.shape[1]
    at, said = borrow(turns.at, row * room, room), borrow(turns.said, row * room, room)
    count = find_turns(column, n, at)
    turns.many[row] = count
    for k in range(count):
        said[k] = column[at[k]]
    return count >= 0


@compiled
def write_turns(turns: Turns, row: int, out: Floats) -> None:
    """The column that row `row` of `turns` was, to `out` `(1, width)`."""
    for k in range(turns.many[row]):
        for j in range(turns.at[row, k], turns.at[row, k + 1]):
            out[0, j] = turns.said[row, k]
