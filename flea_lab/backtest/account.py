"""Many combinations' accounts over a block of bars, from columns of opinions: to the bit what the fold does.

Between two events (a fill, a decision, midnight, a settlement) lots and cash stand still, so equity follows from the
closes alone: such quiet bars go eight at a time, and the bar on which something happens through the scalar functions
that the fold and the core call. Whether a bar is quiet may be judged too strictly, never too loosely.

A block is first walked as if no latch closed in it; its extremes say whether one might have. If so it is walked again
from where it began, judging every bar.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba.np.unsafe.ndarray import to_fixed_tuple

from flea_lab.backtest.cell import N_RULES, Rules
from flea_lab.backtest.market import Ints
from flea_lab.backtest.metrics import LAST as LAST_EQUITY
from flea_lab.backtest.metrics import PEAK as PEAK_EQUITY
from flea_lab.backtest.metrics import observe_run
from flea_lab.backtest.rules import fill_at_open, judge, verdict, wanted
from flea_lab.compiled import compiled, unowned
from flea_lab.execution.router import quantise
from flea_lab.lanes import WIDTH, absolute, bits, chosen, floored, higher, load, lower, lowest_bit, splat, store
from flea_lab.ledger import (
    COLUMNS,
    DEN,
    LOTS,
    MARK,
    MIN_NOTIONAL,
    NUM,
    PENDING,
    Book,
    apply_funding,
    equity_uusd,
    held_uusd,
)
from flea_lab.model.market import DAY_NS
from flea_lab.money import CENT
from flea_lab.risk.checks import (
    BELOW_MINIMUM,
    DAILY_LATCH,
    DAY,
    DAY_OPEN,
    DRAWDOWN_LATCH,
    GATE_SIZE,
    LAST,
    PASSED,
    PEAK,
    GateState,
)
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import INCREMENT

Flags = npt.NDArray[np.uint8]
EXACT = 2.0**52
"""Micro-dollars below which floats hold every whole number that a quiet run forms."""

SLACK = 1e-9
ROUNDING = 6_000.0
"""Micro-dollars: more than what rounding to whole cents can move a wanted position."""

CASH, SETTLED, TAKEN = range(3)
PURSE = 3


class Board(NamedTuple):
    """The market as accounts read it: `marks` `(n_symbols, n + WIDTH)` the last close in ticks as floats, 0 before the
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


class Accounts(NamedTuple):
    """Cells: `rules` `(n, N_RULES)`, the `book` `(n, n_symbols, COLUMNS)`, `gate`, `acc`, `vetoes`, `purse` (cash,
    settlements behind, decisions taken) a row a cell; `alphas` `(n, n_alphas)` rows of the opinions, `weights` of them,
    `vpin` and `doubt` rows of those columns, -1 where there is none."""

    rules: Floats
    book: npt.NDArray[np.int64]
    gate: Ints
    acc: Floats
    vetoes: Ints
    purse: Ints
    alphas: Ints
    weights: Floats
    vpin: Ints
    doubt: Ints


class Block(NamedTuple):
    """What is known of a block: `direction` and `confidence` `(rows, n_symbols, width)`, `vpin` `(rows, n_symbols,
    width)`, `unsettled` `(rows, n_symbols, width)`; and scratch: `conviction` `(n_symbols, width)`, `equity` and
    `gross` `(width,)`, `units` `(n_symbols,)`. `width` is the longest block and room for `WIDTH` more."""

    direction: Floats
    confidence: Floats
    vpin: Floats
    unsettled: Flags
    conviction: Floats
    equity: Floats
    gross: Floats
    units: Floats


class Noted(NamedTuple):
    """Where decisions are written: `decisions` `(capacity, 7)`, `convictions` `(capacity,)`."""

    decisions: Ints
    convictions: Floats


@compiled
def convict(block: Block, alphas: Ints, weights: Floats, min_confidence: float, n: int) -> None:
    """`combine` of every bar of the block, eight at a time, to the bit."""
    zero, nothing, least = splat(0.0), splat(np.nan), splat(min_confidence)
    width, n_symbols = block.direction.shape[2], block.direction.shape[1]
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
            found = chosen(weight > zero, total / weight, zero)
            store(block.conviction, s * width + i, chosen(ready, found, nothing))


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
            value = splat(block.units[s]) * load(board.marks, s * n_marks + i)
            if book[s, DEN] != 1:
                value = _nearest(value, book[s, DEN])
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
            value = splat(block.units[s]) * load(board.marks, s * n_marks + i)
            if book[s, DEN] != 1:
                value = _nearest(value, book[s, DEN])
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
def _nearest(value: Floats, den: int) -> Floats:
    """`money.nearest` on lanes of whole numbers below 2**52."""
    size = floored((absolute(value) + splat(den // 2 * 1.0)) / splat(den * 1.0))
    return chosen(value < splat(0.0), splat(0.0) - size, size)


@compiled
def units_of(board: Board, block: Block, book: Book, cash: int) -> bool:
    """Writes what a tick of every position is worth; whether bars may be quiet: nothing pending, nothing too large."""
    largest = abs(cash * 1.0)
    clear = True
    for s in range(book.shape[0]):
        unit = book[s, LOTS] * 1.0 * book[s, NUM]
        block.units[s] = unit
        largest += abs(unit) * board.highest[s] + book[s, DEN]
        clear &= book[s, PENDING] == 0
    return clear & (largest < EXACT)


@compiled
def open_at(board: Board, book: Book, purse: Ints, i: int, rules: Rules) -> None:
    """Funding due and fills at the opens of bar `i`, and every mark of its close."""
    n_symbols, settled = book.shape[0], purse[SETTLED]
    if settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
        for s in range(n_symbols):
            book[s, MARK] = int(board.marks[s, i - 1]) if i > 0 else 0
        while settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
            purse[CASH] += apply_funding(book, board.fund_row[settled], board.fund_rate[settled])
            settled += 1
        purse[SETTLED] = settled
    for s in range(n_symbols):
        if book[s, PENDING] != 0 and board.close_ticks[s, i] > 0:
            purse[CASH] += fill_at_open(book, s, board.open_ticks[s, i], int(rules.slippage_e8), int(rules.fee_e8))
        book[s, MARK] = int(board.marks[s, i])


@compiled
def decide(
    board: Board, block: Block, accounts: Accounts, k: int, book: Book, i: int, first: int, equity: int, rules: Rules,
    noted: Noted,
) -> None:  # fmt: skip
    """Decides every symbol at the close of bar `i`."""
    gate, vetoes, purse = accounts.gate[k], accounts.vetoes[k], accounts.purse[k]
    vpin_row, doubt_row, at = accounts.vpin[k], accounts.doubt[k], i - first
    for s in range(book.shape[0]):
        conviction = block.conviction[s, at]
        if not abs(conviction) >= rules.min_conviction or board.close_ticks[s, i] == 0:
            continue
        size = wanted(book, s, equity, conviction, rules)
        if size == 0:
            continue
        unsettled = doubt_row >= 0 and block.unsettled[doubt_row, s, at] != 0
        vpin = block.vpin[vpin_row, s, at] if vpin_row >= 0 else np.nan
        code = verdict(gate, book, s, equity, size, vpin, rules, unsettled)
        lots = 0
        if code == PASSED:
            lots = quantise(size, book[s, MARK], book[s, NUM], book[s, DEN], book[s, MIN_NOTIONAL])
            if lots == 0:
                code = BELOW_MINIMUM
            book[s, PENDING] += lots
        vetoes[code] += 1
        note(noted, purse[TAKEN], board.close_ns[i], s, size, lots, book[s, MARK], code, conviction)
        purse[TAKEN] += 1


@compiled
def note(
    noted: Noted, at: int, ts: int, s: int, size: int, lots: int, ticks: int, code: int, conviction: float
) -> None:
    """Writes decision `at`, if there is room for it."""
    if at < noted.decisions.shape[0]:
        row = noted.decisions[at]
        row[0] = ts
        row[1] = s
        row[2] = 1 if size > 0 else -1
        row[3] = abs(size) // CENT
        row[4] = abs(lots)
        row[5] = ticks
        row[6] = code
        noted.convictions[at] = conviction


@compiled
def daily_loss(gate: GateState, lowest: float, rules: Rules) -> bool:
    """Whether equity as low as `lowest` may have closed the daily latch since the day began."""
    if gate[DAILY_LATCH] != 0:
        return False
    base = gate[DAY_OPEN] * 1.0
    return not (base > 0.0 and (base - lowest) / base <= rules.max_daily_loss)


@compiled
def drawdown(gate: GateState, highest: float, lowest: float, rules: Rules) -> bool:
    """Whether equity between `lowest` and `highest` may have closed the drawdown latch, whatever came first."""
    if gate[DRAWDOWN_LATCH] != 0:
        return False
    peak = max(gate[PEAK] * 1.0, highest)
    return not (lowest > 0.0 and (peak - lowest) / peak <= rules.max_drawdown)


@compiled
def new_day(gate: GateState, ts_ns: int, equity: int, before: int) -> None:
    """What `advance` does at the first bar of a day, before it judges; `before` is the equity at the last close."""
    if gate[DAY] >= 0:
        gate[DAY_OPEN] = equity if ts_ns % DAY_NS == 0 else before
        gate[DAILY_LATCH] = 0
    gate[DAY] = ts_ns // DAY_NS


@compiled
def walk_judging(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, rules: Rules, noted: Noted
) -> None:
    """Every bar of a block as the fold takes it."""
    book, gate, purse = accounts.book[k], accounts.gate[k], accounts.purse[k]
    for i in range(first, last):
        open_at(board, book, purse, i, rules)
        equity = equity_uusd(book, purse[CASH])
        judge(gate, book, board.close_ns[i], equity, rules)
        decide(board, block, accounts, k, book, i, first, equity, rules, noted)
        block.equity[i - first] = equity
        block.gross[i - first] = held_uusd(book)


@compiled
def walk(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, rules: Rules,
    noted: Noted, extremes: Floats,
) -> bool:  # fmt: skip
    """A block as if no latch closed in it: False where one might have, or numbers are too large for floats."""
    book, gate, purse = accounts.book[k], accounts.gate[k], accounts.purse[k]
    extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
    lowest, highest, i = np.inf, -np.inf, first
    may_rest = units_of(board, block, book, purse[CASH])
    while i < last:
        while stop_at < board.stops.shape[0] and board.stops[stop_at] < i:
            stop_at += 1
        stop = min(last, board.stops[stop_at]) if stop_at < board.stops.shape[0] else last
        if may_rest and i < stop:
            i = quiet(board, block, book, rules, purse[CASH] * 1.0, first, i, stop, extremes)
            if i >= last:
                break
        open_at(board, book, purse, i, rules)
        equity = equity_uusd(book, purse[CASH])
        if i == stop and board.close_ns[i] // DAY_NS > gate[DAY]:
            for at in range(WIDTH):
                lowest = min(lowest, extremes[at])
                highest = max(highest, extremes[WIDTH + at])
            if daily_loss(gate, lowest, rules) or drawdown(gate, highest, lowest, rules):
                return False
            before = int(block.equity[i - first - 1]) if i > first else gate[LAST]
            new_day(gate, board.close_ns[i], equity, before)
            gate[PEAK] = max(gate[PEAK], int(max(highest, 0.0)))
            extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
            lowest, highest = np.inf, -np.inf
        lowest, highest = min(lowest, equity * 1.0), max(highest, equity * 1.0)
        decide(board, block, accounts, k, book, i, first, equity, rules, noted)
        block.equity[i - first] = equity
        block.gross[i - first] = held_uusd(book)
        may_rest = units_of(board, block, book, purse[CASH])
        if not highest < EXACT:
            return False
        i += 1
    for at in range(WIDTH):
        lowest = min(lowest, extremes[at])
        highest = max(highest, extremes[WIDTH + at])
    return not (daily_loss(gate, lowest, rules) or drawdown(gate, highest, lowest, rules))


@compiled
def account_cell(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, noted: Noted,
    saved: Ints, extremes: Floats,
) -> None:  # fmt: skip
    """One cell over bars `first` to `last`."""
    rules = Rules(*to_fixed_tuple(accounts.rules[k], N_RULES))
    book, gate, purse, vetoes = accounts.book[k], accounts.gate[k], accounts.purse[k], accounts.vetoes[k]
    acc, n_book, n_gate, n_vetoes = accounts.acc[k], book.size, gate.size, vetoes.size
    flat = book.reshape(n_book)
    saved[:n_book], saved[n_book : n_book + n_gate] = flat, gate
    saved[n_book + n_gate : n_book + n_gate + n_vetoes] = vetoes
    saved[n_book + n_gate + n_vetoes : n_book + n_gate + n_vetoes + PURSE] = purse
    if walk(board, block, accounts, k, first, last, stop_at, rules, noted, extremes):
        observe_run(acc, block.equity, block.gross, last - first)
        gate[PEAK], gate[LAST] = int(acc[PEAK_EQUITY]), int(acc[LAST_EQUITY])
        return
    flat[:], gate[:] = saved[:n_book], saved[n_book : n_book + n_gate]
    vetoes[:] = saved[n_book + n_gate : n_book + n_gate + n_vetoes]
    purse[:] = saved[n_book + n_gate + n_vetoes : n_book + n_gate + n_vetoes + PURSE]
    walk_judging(board, block, accounts, k, first, last, rules, noted)
    observe_run(acc, block.equity, block.gross, last - first)


@compiled
def account_block(
    board_: Board, block_: Block, accounts_: Accounts, noted_: Noted, first: int, last: int, stop_at: int
) -> None:
    """Every cell over bars `first` to `last`, whose columns `block` holds; `stop_at` is the first stop not before."""
    board = Board(
        unowned(board_.marks), unowned(board_.highest), unowned(board_.open_ticks), unowned(board_.close_ticks),
        unowned(board_.close_ns), unowned(board_.fund_at), unowned(board_.fund_row), unowned(board_.fund_rate),
        unowned(board_.stops),
    )  # fmt: skip
    block = Block(
        unowned(block_.direction), unowned(block_.confidence), unowned(block_.vpin), unowned(block_.unsettled),
        unowned(block_.conviction), unowned(block_.equity), unowned(block_.gross), unowned(block_.units),
    )  # fmt: skip
    a = accounts_
    accounts = Accounts(
        unowned(a.rules), unowned(a.book), unowned(a.gate), unowned(a.acc), unowned(a.vetoes), unowned(a.purse),
        unowned(a.alphas), unowned(a.weights), unowned(a.vpin), unowned(a.doubt),
    )  # fmt: skip
    noted = Noted(unowned(noted_.decisions), unowned(noted_.convictions))
    kept = accounts.book.shape[1] * COLUMNS + GATE_SIZE + accounts.vetoes.shape[1] + PURSE
    saved, extremes = np.empty(kept, np.int64), np.empty(2 * WIDTH)
    for k in range(accounts.rules.shape[0]):
        convict(block, accounts.alphas[k], accounts.weights[k], accounts.rules[k, 0], last - first)
        account_cell(board, block, accounts, k, first, last, stop_at, noted, unowned(saved), unowned(extremes))
