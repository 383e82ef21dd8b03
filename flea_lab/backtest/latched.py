"""Stretches on which a latch refuses whatever is wanted: how often something is, eight bars at a time, to the bit.

A latch that has closed takes pending orders back and lets nothing pass, so lots and cash stand still until it opens or
a settlement is due; what is left to find out is how many decisions it refuses.
"""

from flea_lab.backtest.cell import Rules
from flea_lab.backtest.quiet import EXACT, Block, Board, valued
from flea_lab.compiled import compiled
from flea_lab.lanes import (
    WIDTH,
    absolute,
    bits,
    chosen,
    count_bits,
    higher,
    load,
    lower,
    rounded,
    splat,
    store,
)
from flea_lab.ledger import Book
from flea_lab.money import CENT, USD
from flea_lab.risk.checks import DAILY_LATCH, DAILY_LOSS, DRAWDOWN, DRAWDOWN_LATCH, KILL_LATCH, REDUCE_LATCH, GateState
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import INCREMENT


@compiled
def refusal(gate: GateState, rules: Rules) -> int:
    """The code of the latch that refuses everything now; 0 where none does, or money may not fit into floats."""
    if gate[KILL_LATCH] != 0 or gate[REDUCE_LATCH] != 0 or not (rules.base_fraction <= 1.0 and rules.initial < EXACT):
        return 0
    if gate[DAILY_LATCH] != 0:
        return DAILY_LOSS
    return DRAWDOWN if gate[DRAWDOWN_LATCH] != 0 else 0


@compiled
def refused(
    board: Board, block: Block, book: Book, rules: Rules, cash: float, first: int, i: int, stop: int, extremes: Floats
) -> int:
    """How many decisions bars `i` to `stop` bring where nothing pends and none passes; writes equity and gross of them
    as `quiet` does."""
    n_symbols, n_marks, width = book.shape[0], board.marks.shape[1], block.conviction.shape[1]
    low, high = load(extremes, 0), load(extremes, WIDTH)
    least, zero, held, initial = splat(rules.min_conviction), splat(0.0), splat(cash), splat(rules.initial)
    usd, share, hundred = splat(USD * 1.0), splat(rules.base_fraction), splat(100.0)
    band, cent = splat(rules.band), splat(CENT * 1.0)
    live, found = zero == splat(1.0 - rules.live_basis), 0
    while i < stop:
        equity, gross, at = held, zero, i - first
        for s in range(n_symbols):
            value = valued(splat(block.units[s]) * load(board.marks, s * n_marks + i), book, s)
            equity, gross = equity + value, gross + absolute(value)
        store(block.equity, at, equity)
        store(block.gross, at, gross)
        low, high = lower(equity, low), higher(equity, high)
        basis, within = chosen(live, equity, initial), (1 << min(stop - i, WIDTH)) - 1
        for s in range(n_symbols):
            conviction = load(block.conviction, s * width + at)
            # as `goal_uusd` and `change_uusd`, on whole numbers that floats hold
            goal = rounded(basis / usd * share * absolute(conviction) * hundred) * cent
            wanted = absolute(goal) > zero
            if int(rules.mode) != INCREMENT:
                goal = chosen(conviction < zero, zero - goal, goal)
                change = absolute(goal - valued(splat(block.units[s]) * load(board.marks, s * n_marks + i), book, s))
                wanted = (change >= band * basis * share) & (change >= cent)
            found += count_bits(bits((absolute(conviction) >= least) & wanted) & within)
        i += WIDTH
    store(extremes, 0, low)
    store(extremes, WIDTH, high)
    return found
