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
from flea_lab.backtest.latched import refusal, refused
from flea_lab.backtest.market import Ints
from flea_lab.backtest.metrics import LAST as LAST_EQUITY
from flea_lab.backtest.metrics import PEAK as PEAK_EQUITY
from flea_lab.backtest.metrics import observe_run
from flea_lab.backtest.quiet import Block, Board, convict, pends, quiet, quiet_one, units_of
from flea_lab.backtest.rules import fill_at_open, judge, verdict, wanted
from flea_lab.backtest.steady import first_beyond, stretch
from flea_lab.compiled import borrow, compiled, copy_row, own_row, unowned
from flea_lab.execution.router import quantise
from flea_lab.lanes import WIDTH
from flea_lab.ledger import (
    COLUMNS,
    DEN,
    MARK,
    MIN_NOTIONAL,
    NUM,
    PENDING,
    Book,
    apply_funding,
    equity_uusd,
    held_uusd,
    position_uusd,
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
    KILL_LATCH,
    LAST,
    PASSED,
    PEAK,
    REDUCE_LATCH,
    GateState,
)
from flea_lab.signal.kernel import Floats
from flea_lab.signal.turns import Turns, keep_turns, write_turns
from flea_lab.strategy.sizing import INCREMENT, change_uusd, goal_uusd

CASH, SETTLED, TAKEN = range(3)
PURSE = 3
CONVICTION = 7


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


class Noted(NamedTuple):
    """Where decisions are written, as they lie in a `DECISION`: `decisions` `(capacity, 8)`, and the same memory as
    floats, of which the last of a row is the conviction."""

    decisions: Ints
    convictions: Floats


def room_for(capacity: int) -> Noted:
    """Room for so many decisions; memory is taken as it is written."""
    rows = np.empty((capacity, CONVICTION + 1), np.int64)
    return Noted(rows, rows.view(np.float64))


@compiled
def mark_at(board: Board, book: Book, i: int) -> None:
    """Values every position at its last close at or before bar `i`."""
    for s in range(book.shape[0]):
        book[s, MARK] = int(board.marks[s, i])


@compiled
def open_at(board: Board, book: Book, purse: Ints, i: int, rules: Rules) -> None:
    """Funding due and fills at the opens of bar `i`."""
    settled = purse[SETTLED]
    if settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
        mark_at(board, book, max(i - 1, 0))
        while settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
            purse[CASH] += apply_funding(book, board.fund_row[settled], board.fund_rate[settled])
            settled += 1
        purse[SETTLED] = settled
    for s in range(book.shape[0]):
        if book[s, PENDING] != 0 and board.close_ticks[s, i] > 0:
            purse[CASH] += fill_at_open(book, s, board.open_ticks[s, i], int(rules.slippage_e8), int(rules.fee_e8))


@compiled
def open_stop(board: Board, row: Book, book: Book, purse: Ints, i: int, rules: Rules) -> None:
    """`open_at` by way of memory, of a `book` of one symbol that is kept in registers: funding asks for a row by its
    number, which would keep it out of them."""
    copy_row(book, row, COLUMNS)
    open_at(board, row, purse, i, rules)
    copy_row(row, book, COLUMNS)


@compiled
def decide(
    board: Board, block: Block, accounts: Accounts, k: int, book: Book, i: int, first: int, equity: int, rules: Rules,
    noted: Noted,
) -> None:  # fmt: skip
    """Decides every symbol at the close of bar `i`."""
    for s in range(book.shape[0]):
        conviction = block.conviction[s, i - first]
        if not abs(conviction) >= rules.min_conviction or board.close_ticks[s, i] == 0:
            continue
        size = wanted(book, s, equity, conviction, rules)
        if size != 0:
            act(board, block, accounts, k, book, s, i, first, equity, size, conviction, rules, noted)


@compiled
def act(
    board: Board, block: Block, accounts: Accounts, k: int, book: Book, s: int, i: int, first: int, equity: int,
    size: int, conviction: float, rules: Rules, noted: Noted,
) -> None:  # fmt: skip
    """Has `size` looked at by the gate and, if it passes, makes it an order."""
    vpin_row, doubt_row, at = accounts.vpin[k], accounts.doubt[k], i - first
    unsettled = doubt_row >= 0 and block.unsettled[doubt_row, s, at] != 0
    vpin = block.vpin[vpin_row, s, at] if vpin_row >= 0 else np.nan
    code = verdict(accounts.gate[k], book, s, equity, size, vpin, rules, unsettled)
    lots = 0
    if code == PASSED:
        lots = quantise(size, book[s, MARK], book[s, NUM], book[s, DEN], book[s, MIN_NOTIONAL])
        if lots == 0:
            code = BELOW_MINIMUM
        book[s, PENDING] += lots
    accounts.vetoes[k, code] += 1
    taken = accounts.purse[k, TAKEN]
    note(noted, taken, board.close_ns[i], s, size, lots, book[s, MARK], code, conviction)
    accounts.purse[k, TAKEN] = taken + 1


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
        noted.convictions[at, CONVICTION] = conviction


@compiled
def breached(gate: GateState, highest: float, lowest: float, rules: Rules) -> bool:
    """Whether a latch may have closed at an equity between `lowest` and `highest`, whatever came first."""
    base, peak = gate[DAY_OPEN] * 1.0, max(gate[PEAK] * 1.0, highest)
    if gate[DAILY_LATCH] == 0 and not (base > 0.0 and (base - lowest) / base <= rules.max_daily_loss):
        return True
    return gate[DRAWDOWN_LATCH] == 0 and not (lowest > 0.0 and (peak - lowest) / peak <= rules.max_drawdown)


@compiled
def walk_judging(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, rules: Rules, noted: Noted
) -> None:
    """Every bar of a block as the fold takes it."""
    book, gate, purse = accounts.book[k], accounts.gate[k], accounts.purse[k]
    for i in range(first, last):
        open_at(board, book, purse, i, rules)
        mark_at(board, book, i)
        equity = equity_uusd(book, purse[CASH])
        judge(gate, book, board.close_ns[i], equity, rules)
        decide(board, block, accounts, k, book, i, first, equity, rules, noted)
        block.equity[i - first] = equity
        block.gross[i - first] = held_uusd(book)


@compiled
def widest(extremes: Floats, way: int) -> float:
    """The lowest equity of a quiet stretch, or with `way` 1 the highest."""
    found = extremes[way * WIDTH]
    for at in range(1, WIDTH):
        value = extremes[way * WIDTH + at]
        found = max(found, value) if way == 1 else min(found, value)
    return found


@compiled
def begin_day(board: Board, block: Block, book: Book, gate: GateState, cash: int, i: int, first: int) -> None:
    """What `advance` does at the first bar of a day, before it judges."""
    ts_ns = board.close_ns[i]
    if ts_ns // DAY_NS <= gate[DAY]:
        return
    if gate[DAY] >= 0:
        mark_at(board, book, i)
        before = int(block.equity[i - first - 1]) if i > first else gate[LAST]
        gate[DAY_OPEN] = equity_uusd(book, cash) if ts_ns % DAY_NS == 0 else before
        gate[DAILY_LATCH] = 0
    gate[DAY] = ts_ns // DAY_NS


@compiled
def walk(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, rules: Rules,
    noted: Noted, extremes: Floats,
) -> bool:  # fmt: skip
    """A block as if no latch closed in it: False where one might have, or numbers are too large for floats."""
    book, gate, purse = accounts.book[k], accounts.gate[k], accounts.purse[k]
    extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
    highest, i = 0.0, first
    rests, fits = units_of(board, block, book, purse[CASH])
    stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
    while fits and i < last:
        if i == stop or not rests:
            open_at(board, book, purse, i, rules)
            rests, fits = units_of(board, block, book, purse[CASH])
        if i == stop:
            highest = max(highest, widest(extremes, 1))
            if breached(gate, highest, widest(extremes, 0), rules):
                return False
            begin_day(board, block, book, gate, purse[CASH], i, first)
            extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
            stop_at += 1
            stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
        until = min(stop, last) if rests else i + 1
        code = refusal(gate, rules) if rests and noted.decisions.shape[0] == 0 else PASSED
        if code != PASSED:
            found = refused(board, block, book, rules, purse[CASH] * 1.0, first, i, until, extremes)
            accounts.vetoes[k, code] += found
            purse[TAKEN] += found
            i = until
            continue
        at = quiet(board, block, book, rules, purse[CASH] * 1.0, first, i, until, extremes)
        at = at if rests else i  # what is pending counts where something is wanted, which a quiet bar does not know
        if at < until:
            mark_at(board, book, at)
            decide(board, block, accounts, k, book, at, first, int(block.equity[at - first]), rules, noted)
            rests = not pends(book)
            at += 1
        i = at
    return fits and not breached(gate, max(highest, widest(extremes, 1)), widest(extremes, 0), rules)


@compiled
def walk_one(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, rules: Rules,
    noted: Noted, extremes: Floats,
) -> bool:  # fmt: skip
    """`walk` for one symbol whose ticks are worth whole micro-dollars."""
    book, gate, purse = own_row(accounts.book[k], COLUMNS), accounts.gate[k], accounts.purse[k]
    extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
    highest, i, live = 0.0, first, rules.live_basis != 0.0
    goal, asked, basis = 0, np.nan, int(rules.initial)
    rests, fits = units_of(board, block, book, purse[CASH])
    stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
    while fits and i < last:
        if i == stop:
            open_stop(board, accounts.book[k], book, purse, i, rules)
        elif not rests and board.close_ticks[0, i] > 0:
            purse[CASH] += fill_at_open(book, 0, board.open_ticks[0, i], int(rules.slippage_e8), int(rules.fee_e8))
        if i == stop or not rests:
            rests, fits = units_of(board, block, book, purse[CASH])
        if i == stop:
            highest = max(highest, widest(extremes, 1))
            if breached(gate, highest, widest(extremes, 0), rules):
                return False
            begin_day(board, block, book, gate, purse[CASH], i, first)
            extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
            stop_at += 1
            stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
        until, held = min(stop, last) if rests else i + 1, purse[CASH] * 1.0
        code = refusal(gate, rules) if rests and noted.decisions.shape[0] == 0 else PASSED
        if code != PASSED:
            found = refused(board, block, book, rules, held, first, i, until, extremes)
            accounts.vetoes[k, code] += found
            purse[TAKEN] += found
            i = until
            continue
        at = quiet_one(board, block, rules, held, first, i, until, extremes)
        at = at if rests else i  # what is pending counts where something is wanted, which a quiet bar does not know
        if at < until:
            conviction = block.conviction[0, at - first]
            if board.close_ticks[0, at] != 0 and abs(conviction) >= rules.min_conviction:
                book[0, MARK] = board.close_ticks[0, at]
                equity = equity_uusd(book, purse[CASH])
                if live or abs(conviction) != asked:
                    basis, asked = equity if live else basis, abs(conviction)
                    goal = goal_uusd(basis, rules.base_fraction, asked)
                size = change_uusd(
                    int(rules.mode),
                    -goal if conviction < 0.0 else goal,
                    basis,
                    rules.base_fraction,
                    rules.band,
                    position_uusd(book, 0),
                )
                if size != 0:
                    act(board, block, accounts, k, book, 0, at, first, equity, size, conviction, rules, noted)
                    rests = book[0, PENDING] == 0
            at += 1
        i = at
    copy_row(book, accounts.book[k], COLUMNS)
    return fits and not breached(gate, max(highest, widest(extremes, 1)), widest(extremes, 0), rules)


@compiled
def walk_turns(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, rules: Rules,
    noted: Noted, extremes: Floats, turns: Ints, says: Floats,
) -> bool:  # fmt: skip
    """`walk_one` from one of the block's `turns` to the next, where no latch is closed; `says` from each of them on."""
    book, gate, purse = own_row(accounts.book[k], COLUMNS), accounts.gate[k], accounts.purse[k]
    book[0, DEN] = 1  # which it is, and the compiler now knows: no division by it is left
    extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
    highest, i, live, turn = 0.0, first, rules.live_basis != 0.0, 0
    goal, asked, basis = 0, np.nan, int(rules.initial)
    rests, fits = units_of(board, block, book, purse[CASH])
    stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
    while fits and i < last:
        if i == stop:
            open_stop(board, accounts.book[k], book, purse, i, rules)
        elif not rests and board.close_ticks[0, i] > 0:
            purse[CASH] += fill_at_open(book, 0, board.open_ticks[0, i], int(rules.slippage_e8), int(rules.fee_e8))
        if i == stop or not rests:
            rests, fits = units_of(board, block, book, purse[CASH])
        if i == stop:
            highest = max(highest, widest(extremes, 1))
            if breached(gate, highest, widest(extremes, 0), rules):
                return False
            begin_day(board, block, book, gate, purse[CASH], i, first)
            extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
            stop_at += 1
            stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
        while turns[turn] < i - first:
            turn += 1
        begins, until, held, unit = first + turns[turn], min(stop, last), purse[CASH] * 1.0, block.units[0]
        said = says[turn] if begins == i else says[turn - 1]
        # an increment is wanted on every bar of its opinion; what is pending counts where something is wanted
        waits = rests and not (int(rules.mode) == INCREMENT and abs(said) >= rules.min_conviction and said != 0.0)
        at = min(begins, until) if waits else i
        if stretch(board, block, rules, said, held, unit, first, i, min(at + 1, until), extremes) and at > i:
            at = first_beyond(board, rules, said, held, unit, i, at)
        if at < until:
            conviction = says[turn] if at == begins else said
            if board.close_ticks[0, at] != 0 and abs(conviction) >= rules.min_conviction:
                book[0, MARK] = board.close_ticks[0, at]
                equity = equity_uusd(book, purse[CASH])
                if live or abs(conviction) != asked:
                    basis, asked = equity if live else basis, abs(conviction)
                    goal = goal_uusd(basis, rules.base_fraction, asked)
                toward, position = -goal if conviction < 0.0 else goal, position_uusd(book, 0)
                size = change_uusd(int(rules.mode), toward, basis, rules.base_fraction, rules.band, position)
                if size != 0:
                    act(board, block, accounts, k, book, 0, at, first, equity, size, conviction, rules, noted)
                    rests = book[0, PENDING] == 0
            at += 1
        i = at
    copy_row(book, accounts.book[k], COLUMNS)
    return fits and not breached(gate, max(highest, widest(extremes, 1)), widest(extremes, 0), rules)


@compiled
def account_cell(
    board: Board, block: Block, accounts: Accounts, k: int, first: int, last: int, stop_at: int, noted: Noted,
    saved: Ints, extremes: Floats, turns: Turns, row: int, written: bool,
) -> None:  # fmt: skip
    """One cell over bars `first` to `last`. Row `row` of `turns` has its changes, -1 where they are not looked for; its
    convictions are `written` in the block, or follow from them."""
    rules = Rules(*to_fixed_tuple(accounts.rules[k], N_RULES))
    book, gate, purse, vetoes = accounts.book[k], accounts.gate[k], accounts.purse[k], accounts.vetoes[k]
    acc, n_book, n_gate, n_vetoes = accounts.acc[k], book.size, gate.size, vetoes.size
    flat = book.reshape(n_book)
    saved[:n_book], saved[n_book : n_book + n_gate] = flat, gate
    saved[n_book + n_gate : n_book + n_gate + n_vetoes] = vetoes
    saved[n_book + n_gate + n_vetoes : n_book + n_gate + n_vetoes + PURSE] = purse
    latched = (gate[DAILY_LATCH] | gate[DRAWDOWN_LATCH] | gate[KILL_LATCH] | gate[REDUCE_LATCH]) != 0
    if latched and not written:
        write_turns(turns, row, block.conviction)
        written = True
    if row >= 0 and turns.many[row] >= 0 and not latched:
        at, says = turns.at[row], turns.said[row]
        quick = walk_turns(board, block, accounts, k, first, last, stop_at, rules, noted, extremes, at, says)
    elif book.shape[0] == 1 and book[0, DEN] == 1:
        quick = walk_one(board, block, accounts, k, first, last, stop_at, rules, noted, extremes)
    else:
        quick = walk(board, block, accounts, k, first, last, stop_at, rules, noted, extremes)
    if not quick:
        flat[:], gate[:] = saved[:n_book], saved[n_book : n_book + n_gate]
        vetoes[:] = saved[n_book + n_gate : n_book + n_gate + n_vetoes]
        purse[:] = saved[n_book + n_gate + n_vetoes : n_book + n_gate + n_vetoes + PURSE]
        if not written:
            write_turns(turns, row, block.conviction)
        walk_judging(board, block, accounts, k, first, last, rules, noted)
    observe_run(acc, block.equity, block.gross, last - first)
    if quick:
        gate[PEAK], gate[LAST] = int(acc[PEAK_EQUITY]), int(acc[LAST_EQUITY])


@compiled
def account_block(
    board_: Board, block_: Block, accounts_: Accounts, noted_: Noted, turns_: Turns, first: int, last: int, stop_at: int
) -> None:
    """Every cell over bars `first` to `last`, whose columns `block` and `turns` hold, the last row of `turns` left for
    what is combined here; `stop_at` is the first stop not before."""
    board = Board(
        unowned(board_.marks), unowned(board_.highest), unowned(board_.open_ticks), unowned(board_.close_ticks),
        unowned(board_.close_ns), unowned(board_.fund_at), unowned(board_.fund_row), unowned(board_.fund_rate),
        unowned(board_.stops),
    )  # fmt: skip
    direction, confidence, vpin = unowned(block_.direction), unowned(block_.confidence), unowned(block_.vpin)
    unsettled, mixed = unowned(block_.unsettled), unowned(block_.conviction)
    equity, gross, units = unowned(block_.equity), unowned(block_.gross), unowned(block_.units)
    a, t = accounts_, turns_
    accounts = Accounts(
        unowned(a.rules), unowned(a.book), unowned(a.gate), unowned(a.acc), unowned(a.vetoes), unowned(a.purse),
        unowned(a.alphas), unowned(a.weights), unowned(a.vpin), unowned(a.doubt),
    )  # fmt: skip
    noted = Noted(unowned(noted_.decisions), unowned(noted_.convictions))
    turns = Turns(unowned(t.at), unowned(t.said), unowned(t.many), unowned(t.place))
    kept = accounts.book.shape[1] * COLUMNS + GATE_SIZE + accounts.vetoes.shape[1] + PURSE
    saved_, extremes_, own = np.empty(kept, np.int64), np.empty(2 * WIDTH), turns.many.shape[0] - 1
    for k in range(accounts.rules.shape[0]):
        row, conviction, written = accounts.alphas[k, 0], mixed, True
        if confidence.shape[0] > 0:
            row = own
            scratch = Block(direction, confidence, vpin, unsettled, mixed, equity, gross, units)
            convict(scratch, accounts.alphas[k], accounts.weights[k], accounts.rules[k, 0], last - first)
            if own >= 0:
                keep_turns(borrow(mixed, 0, mixed.shape[1]), last - first, turns, own)
        elif own < 0:
            row, conviction = -1, direction[row]
        elif turns.many[row] >= 0:
            written = False
        else:
            conviction = direction[turns.place[row]]
        block = Block(direction, confidence, vpin, unsettled, conviction, equity, gross, units)
        saved, extremes = unowned(saved_), unowned(extremes_)
        account_cell(board, block, accounts, k, first, last, stop_at, noted, saved, extremes, turns, row, written)
