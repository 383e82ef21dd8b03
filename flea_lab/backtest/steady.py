"""Stretches of bars with one conviction: where it changes, found once a block, and what an account is worth between.

Which bar comes next is known without asking what the last one did to the account, so that a processor has several of
them under way.
"""

import numpy as np

from flea_lab.backtest.cell import Rules
from flea_lab.backtest.market import Ints
from flea_lab.backtest.quiet import ROUNDING, SLACK, Block, Board, quiet_one
from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH, absolute, bits, count_bits, higher, later, load, lower, lowest_bit, splat, store
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import INCREMENT

WORD = 64
AT_ONCE = 4
"""Changes of a word that are written whether there are as many or not: how many there are cannot be predicted."""

SELDOM = 8
"""Bars to a change from which on stretches are worth looking for."""


@compiled
def find_turns(conviction: Floats, n: int, turns: Ints) -> int:
    """Writes the bars of a block whose conviction is not that of the bar before, the first bar always, then `n`.
    Returns how many; more than a bar in `SELDOM` are not written down."""
    before, count, i = splat(np.nan), 0, 0
    while i < n:
        word, base = 0, i
        while i < min(n, base + WORD):
            now = load(conviction, i)
            word |= (bits(now == later(before, now, 1)) ^ 255) << (i - base)
            before = now
            i += WIDTH
        if n - base < WORD:
            word &= (1 << (n - base)) - 1
        found = count_bits(word)
        if (count + found) * SELDOM > n + WORD:
            return n
        for begin in range(0, found, AT_ONCE):
            for at in range(AT_ONCE):
                turns[count + begin + at] = base + lowest_bit(word)
                word &= word - 1
        count += found
    turns[count] = n
    return count


@compiled
def steady(
    board: Board, block: Block, rules: Rules, cash: float, first: int, i: int, stop: int, extremes: Floats
) -> bool:
    """Writes equity and gross of bars `i` to `stop` as `quiet_one` does, all with the conviction of bar `i`; whether
    something may be wanted on one of them."""
    said = block.conviction[0, i - first]
    low, high = load(extremes, 0), load(extremes, WIDTH)
    held, unit, zero = splat(cash), splat(block.units[0]), splat(0.0)
    share = rules.base_fraction * said
    band, live = rules.band * rules.base_fraction * (1.0 - SLACK), rules.live_basis != 0.0
    goal, edge = splat(rules.initial * share), splat(rules.initial * band - ROUNDING)
    loud = zero > zero
    while i < stop:
        value = unit * load(board.marks, i)
        equity = held + value
        store(block.equity, i - first, equity)
        store(block.gross, i - first, absolute(value))
        low, high = lower(equity, low), higher(equity, high)
        if live:
            loud = loud | (absolute(equity * splat(share) - value) >= equity * splat(band) - splat(ROUNDING))
        else:
            loud = loud | (absolute(goal - value) >= edge)
        i += WIDTH
    store(extremes, 0, low)
    store(extremes, WIDTH, high)
    if not abs(said) >= rules.min_conviction:
        return False
    return said != 0.0 if int(rules.mode) == INCREMENT else bits(loud) != 0


@compiled
def ahead(
    board: Board, block: Block, rules: Rules, cash: float, first: int, i: int, until: int, turns: Ints, turn: int,
    extremes: Floats,
) -> tuple[int, int]:  # fmt: skip
    """As `quiet_one`, by the `turns` of the block from number `turn` on where that is not -1; and which is the next."""
    if turn < 0:
        return quiet_one(board, block, rules, cash, first, i, until, extremes), turn
    while turns[turn] < i - first:
        turn += 1
    at = min(first + turns[turn], until)
    if steady(board, block, rules, cash, first, i, min(at + 1, until), extremes):
        at = quiet_one(board, block, rules, cash, first, i, at, extremes)
    return at, turn
