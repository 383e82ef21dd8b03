"""Bars on which nothing happens to an account, eight at a time: what it is worth, and where something may be wanted.

Lots and cash stand still between two events, so equity follows from the closes alone, in floats that are whole numbers.
Whether a bar is quiet may be judged too strictly, never too loosely.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.backtest.cell import Rules
from flea_lab.backtest.market import Ints
from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH, absolute, bits, chosen, floored, higher, load, lower, lowest_bit, splat, store
from flea_lab.ledger import DEN, LOTS, NUM, PENDING, Book
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import INCREMENT

Flags = npt.NDArray[np.uint8]
EXACT = 2.0**52
"""Micro-dollars below which floats hold every whole number that a quiet run forms."""

SLACK = 1e-9
ROUNDING = 6_000.0
"""Micro-dollars: more than what rounding to whole cents can move a wanted position."""


class Board(NamedTuple):
    """The market as accounts read it: `marks` `(n_symbols, n + ROOM)` the last close in ticks as floats, 0 before the
    first, `highest` `(n_symbols,)` its maximum; `stops` the bars on which a day begins or funding settles."""

    marks: Floats
    highest: Floats
    open_ticks: Ints
    close_ticks: Ints
    close_ns: Ints
    fund_at: Ints
    fund_row: Ints
    fund_rate: Floats
    stops: Ints


class Block(NamedTuple):
    """What is known of a block: `direction` and `confidence` `(rows, n_symbols, width)`, `vpin` `(rows, n_symbols,
    width)`, `unsettled` `(rows, n_symbols, width)`; and scratch: `conviction` `(n_symbols, width)`, `equity` and
    `gross` `(block + ROOM,)`, `units` `(n_symbols,)`. `width` is the longest block and room for `WIDTH` more, `ROOM` is
    that of `steady`. Without rows of `confidence` those of `direction` are convictions already."""

    direction: Floats
    confidence: Floats
    vpin: Floats
    unsettled: Flags
    conviction: Floats
    equity: Floats
    gross: Floats
    units: Floats


@compiled
def convict(block: Block, alphas: Ints, weights: Floats, min_confidence: float, n: int) -> None:
    """`combine` of every bar of the block, eight at a time, to the bit."""
    zero, nothing, least = splat(0.0), splat(np.nan), splat(min_confidence)
    width, n_symbols = block.direction.shape[2], block.direction.shape[1]
    alone = alphas.shape[0] == 1 and weights[0] == 1.0  # a division by 1 changes nothing
    for s in range(n_symbols):
        for i in range(0, n, WIDTH):
            total = weight = zero
            ready = zero == zero
            for k in range(alphas.shape[0]):
                at = (alphas[k] * n_symbols + s) * width + i
                direction, confidence = load(block.direction, at), load(block.confidence, at)
                ready = ready & (direction == direction) & (confidence == confidence)
                sure, w = confidence >= least, splat(weights[k])
                total = total + chosen(sure, direction * confidence * w, zero)
                weight = weight + chosen(sure, w, zero)
            if not alone:
                total = chosen(weight > zero, total / weight, zero)
            store(block.conviction, s * width + i, chosen(ready, total, nothing))


@compiled
def quiet(
    board: Board, block: Block, book: Book, rules: Rules, cash: float, first: int, i: int, stop: int, extremes: Floats
) -> int:
    """The first bar from `i` on at which something may be wanted, at most `stop`; writes equity and gross of the quiet
    bars before it, and of some after it, which are written again. Widens `extremes`, lowest and highest equity."""
    n_symbols, n_marks, width = book.shape[0], board.marks.shape[1], block.conviction.shape[1]
    low, high = load(extremes, 0), load(extremes, WIDTH)
    least, zero, held, initial = splat(rules.min_conviction), splat(0.0), splat(cash), splat(rules.initial)
    share, slack = splat(rules.base_fraction), splat(ROUNDING)
    band = splat(rules.band * rules.base_fraction * (1.0 - SLACK))
    live = zero == splat(1.0 - rules.live_basis)
    while i < stop:
        equity, gross, at = held, zero, i - first
        for s in range(n_symbols):
            value = valued(splat(block.units[s]) * load(board.marks, s * n_marks + i), book, s)
            equity, gross = equity + value, gross + absolute(value)
        store(block.equity, at, equity)
        store(block.gross, at, gross)
        low, high = lower(equity, low), higher(equity, high)
        found = 0
        for s in range(n_symbols):
            conviction = load(block.conviction, s * width + at)
            spoken = absolute(conviction) >= least
            if int(rules.mode) == INCREMENT:
                found |= bits(spoken & (absolute(conviction) > zero))
                continue
            value = valued(splat(block.units[s]) * load(board.marks, s * n_marks + i), book, s)
            basis = chosen(live, equity, initial)
            gap = absolute(basis * share * conviction - value)
            found |= bits(spoken & (gap >= basis * band - slack))
        if found != 0:
            i += lowest_bit(found)
            break
        i += WIDTH
    store(extremes, 0, low)
    store(extremes, WIDTH, high)
    return min(i, stop)


@compiled
def valued(value: Floats, book: Book, s: int) -> Floats:
    """`value` in parts of a micro-dollar, as many as the grid of row `s` has, in whole ones: `money.nearest` on lanes
    of whole numbers below 2**52."""
    den = book[s, DEN]
    if den == 1:
        return value
    size = floored((absolute(value) + splat(den // 2 * 1.0)) / splat(den * 1.0))
    return chosen(value < splat(0.0), splat(0.0) - size, size)


@compiled
def quiet_one(
    board: Board, block: Block, rules: Rules, cash: float, first: int, i: int, stop: int, extremes: Floats
) -> int:
    """`quiet` for one symbol whose ticks are worth whole micro-dollars."""
    low, high = load(extremes, 0), load(extremes, WIDTH)
    least, zero, held, unit = splat(rules.min_conviction), splat(0.0), splat(cash), splat(block.units[0])
    share, slack = splat(rules.base_fraction), splat(ROUNDING)
    band = splat(rules.band * rules.base_fraction * (1.0 - SLACK))
    target, live = int(rules.mode) != INCREMENT, rules.live_basis != 0.0
    full, edge = splat(rules.initial) * share, splat(rules.initial) * band - slack
    while i < stop:
        value, conviction = unit * load(board.marks, i), load(block.conviction, i - first)
        equity = held + value
        store(block.equity, i - first, equity)
        store(block.gross, i - first, absolute(value))
        low, high = lower(equity, low), higher(equity, high)
        loud = absolute(conviction)
        spoken = loud >= least
        if not target:
            found = bits(spoken & (loud > zero))
        elif live:
            found = bits(spoken & (absolute(equity * share * conviction - value) >= equity * band - slack))
        else:
            found = bits(spoken & (absolute(full * conviction - value) >= edge))
        if found != 0:
            i += lowest_bit(found)
            break
        i += WIDTH
    store(extremes, 0, low)
    store(extremes, WIDTH, high)
    return min(i, stop)


@compiled
def pends(book: Book) -> bool:
    """Whether an order waits to be filled."""
    found = 0
    for s in range(book.shape[0]):
        found |= book[s, PENDING]
    return found != 0


@compiled
def units_of(board: Board, block: Block, book: Book, cash: int) -> tuple[bool, bool]:
    """Writes what a tick of every position is worth; whether nothing is pending, and whether floats hold it all."""
    largest = abs(cash * 1.0)
    for s in range(book.shape[0]):
        unit = book[s, LOTS] * 1.0 * book[s, NUM]
        block.units[s] = unit
        largest += abs(unit) * board.highest[s] + book[s, DEN]
    return not pends(book), largest < EXACT
