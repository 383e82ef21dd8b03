"""One combination on one symbol that has every bar: its account, fills and equity in the pass that decides, to the bit
what the accounts of a sweep come to.

What is left to such a backtest is to wait for memory: a decision and its fill read far from what was read before. So
what the next ones will read is asked for while this one is counted, times are counted from those of the block where no
bar lacks, and a fill is written where its price is at hand. Where a latch might close, or numbers are too large for
floats, it gives up, and the accounts of a sweep do it all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from flea_lab.backtest.account import begin_day, breached, widest
from flea_lab.backtest.arrays import CODES, new_sink
from flea_lab.backtest.batch import Batch
from flea_lab.backtest.cell import N_RULES, Rules
from flea_lab.backtest.cells import RULE, board_of
from flea_lab.backtest.fold import Folded
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import ACCUMULATORS, LAST, METRICS, PEAK, begin, observe_run, summarise
from flea_lab.backtest.quiet import ROUNDING, SLACK, Block, Board, convict, quiet_one, units_of
from flea_lab.backtest.rules import fill_at_open, verdict
from flea_lab.compiled import borrow, compiled, direct, fetch, own_row, unowned
from flea_lab.decision import DECISION
from flea_lab.execution.router import quantise
from flea_lab.lanes import WIDTH, absolute, bits, higher, load, lower, splat, store
from flea_lab.ledger import (
    COLUMNS,
    DEN,
    FEES,
    MARK,
    MIN_NOTIONAL,
    NUM,
    PENDING,
    apply_funding,
    equity_uusd,
    position_uusd,
)
from flea_lab.model.market import MS_NS
from flea_lab.money import CENT, slipped_ticks
from flea_lab.risk.checks import BELOW_MINIMUM, GATE_SIZE, PASSED, GateState, new_gate
from flea_lab.risk.checks import LAST as LAST_OF_GATE
from flea_lab.risk.checks import PEAK as PEAK_OF_GATE
from flea_lab.risk.tolerance import NEVER_NS
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import Floats
from flea_lab.signal.turns import find_turns, room_for
from flea_lab.strategy.sizing import INCREMENT, change_uusd, goal_uusd

BARS = 16_384
"""Bars of a block: a handful of columns of it stay in the cache."""

CHANGES = room_for(BARS)
"""Places for the changes of the conviction in a block."""

ROWS = 4 * BARS
"""Decisions for which there is room at first: memory that the last backtest gave back is had again at once, more than
32 MiB never is."""

AHEAD = 3
"""Changes between the one at hand and the one whose bar is fetched."""

FAR = 128
"""Bars between a mark and the one that is asked for meanwhile."""

CASH, SETTLED, TAKEN, FILLED = range(4)
FILL_COLUMNS = 7
DECISION_COLUMNS = 8
CONVICTION = 7


class Own(NamedTuple):
    """The account: `rules` `(N_RULES,)`, `weights` and rows of the opinions `alphas`, the book, the gate, what metrics
    keep, vetoes a code, and the purse (cash, settlements behind, decisions, fills)."""

    rules: Floats
    weights: Floats
    alphas: Ints
    book: Ints
    gate: GateState
    acc: Floats
    vetoes: Ints
    purse: Ints


class Told(NamedTuple):
    """Where it is written what happens: `decisions` as they lie in a `DECISION`, the same memory as floats, `fills` as
    in a `FILL`, and `equity` at every close."""

    decisions: Ints
    convictions: Floats
    fills: Ints
    equity: Ints


class Found(NamedTuple):
    """What a combination came to, its fills as rows of `FILL_COLUMNS`, its equity at every close."""

    folded: Folded
    fills: Ints
    equity: Ints


def fits(batch: Batch, market: Market) -> bool:
    """Whether this is a combination that `play` can do."""
    rules = Rules(*batch.rules[0].tolist())
    guarded = rules.vpin_applied != 0.0 or rules.longest_hole_ns < NEVER_NS
    return len(market.symbols) == 1 and market.whole and bool(batch.book[0, DEN] == 1) and not guarded


def play(batch: Batch, market: Market, start: int) -> Found | None:
    """The only combination of a batch that `fits`; None where a latch might close or numbers grow too large."""
    board, bars_per_year, n = board_of(market, start), market.bars_per_year, market.n
    own, told = _own(batch, board, start), _told(n - start)
    rules = Rules(*batch.rules[0].tolist())
    least = rules.min_confidence if len(batch.kernels) == 1 and batch.weights[0, 0] == 1.0 else None
    block = _block(len(batch.kernels), least is not None)
    width = block.equity.shape[0]
    offered = market.bars, market.features, market.close_ticks, width, market.column
    columns = [Columns(kernel, params, *offered) for kernel, params in zip(batch.kernels, batch.params, strict=True)]
    for first in range(0, start, BARS):
        _opine(columns, block, least, first, min(first + BARS, start))
    account, stop_at = _entered(board, block, own, told), 0
    for first in range(start, n, BARS):
        last = min(first + BARS, n)
        _opine(columns, block, least, first, last)
        told = _with_room(told, *own.purse[[TAKEN, FILLED]].tolist())
        stop_at = account(board, block, own, told, first, last, start, stop_at, market.interval_ms * MS_NS)
        if stop_at < 0:
            return None
    out = np.empty(len(METRICS))
    _summary(own.acc, own.book, own.vetoes, bars_per_year, out)
    taken, filled = own.purse[[TAKEN, FILLED]].tolist()
    decisions = told.decisions[:taken].view(DECISION).reshape(taken)
    return Found(Folded(out, decisions, new_sink(0, 1, 0)), told.fills[:filled], told.equity)


def _opine(columns: list[Columns], block: Block, least: float | None, first: int, last: int) -> None:
    """The opinions of bars `first` to `last`; of one alpha whose weight is 1 its conviction."""
    for a, step in enumerate(columns):
        step.enter(first, last)
        if least is None:
            step.opinions(0, 1, block.direction[a:], block.confidence[a:])
        else:
            step.convictions(0, 1, least, block.conviction[None])


def _block(alphas: int, alone: bool) -> Block:
    width, rows, none = BARS + WIDTH, 0 if alone else alphas, np.empty((0, 1, 0))
    direction, confidence = np.empty((rows, 1, width)), np.empty((rows, 1, width))
    unsettled = np.empty((0, 1, 0), np.uint8)
    return Block(
        direction, confidence, none, unsettled, np.empty((1, width)), np.empty(width), np.empty(width), np.empty(1)
    )


def _own(batch: Batch, board: Board, start: int) -> Own:
    gate, acc = np.empty(GATE_SIZE, np.int64), np.empty(ACCUMULATORS)
    purse, alphas = np.zeros(4, np.int64), np.arange(len(batch.kernels))
    purse[CASH], purse[SETTLED] = batch.rules[0, RULE["initial"]], np.searchsorted(board.fund_at, start)
    _begin(int(purse[CASH]), gate, acc)
    vetoes = np.zeros(CODES, np.int64)
    return Own(batch.rules[0].copy(), batch.weights[0].copy(), alphas, batch.book.copy(), gate, acc, vetoes, purse)


def _told(n: int) -> Told:
    """Room for the equity of `n` bars, and for the decisions and fills of the first blocks."""
    rows = np.empty((ROWS, DECISION_COLUMNS), np.int64)
    return Told(rows, rows.view(np.float64), np.empty((ROWS, FILL_COLUMNS), np.int64), np.empty(n, np.int64))


def _with_room(told: Told, taken: int, filled: int) -> Told:
    """`told`, or what it holds with twice the room, where a block might decide more often than there is room for."""
    have = len(told.decisions)
    if taken + BARS <= have:
        return told
    rows, fills = np.empty((2 * have, DECISION_COLUMNS), np.int64), np.empty((2 * have, FILL_COLUMNS), np.int64)
    rows[:taken], fills[:filled] = told.decisions[:taken], told.fills[:filled]
    return Told(rows, rows.view(np.float64), fills, told.equity)


def _entered(*arguments: Any) -> Callable[..., int]:
    """`_account` as it is called with such arrays: which kinds they are is asked once for all that are as writable."""
    key = tuple(array.flags.writeable for found in arguments for array in found)
    if key not in _ENTERED:
        _ENTERED[key] = direct(_account, *arguments, 0, 0, 0, 0, 0)
    return _ENTERED[key]


_ENTERED: dict[tuple[bool, ...], Callable[..., int]] = {}


@compiled
def _begin(cash: int, gate: GateState, acc: Floats) -> None:
    new_gate(gate, cash)
    begin(acc, cash)


@compiled
def _summary(acc: Floats, book: Ints, vetoes: Ints, bars_per_year: float, out: Floats) -> None:
    summarise(acc, book, vetoes, bars_per_year, out)


@compiled
def stretch(
    board: Board, block: Block, rules: Rules, said: float, cash: float, first: int, i: int, stop: int, extremes: Floats
) -> bool:  # fmt: skip
    """Writes equity and gross of bars `i` to `stop` as `quiet_one` does, where all have the conviction `said`; whether
    something may be wanted on one of them."""
    low, high = load(extremes, 0), load(extremes, WIDTH)
    held, unit, zero = splat(cash), splat(block.units[0]), splat(0.0)
    share = rules.base_fraction * said
    band, live = rules.band * rules.base_fraction * (1.0 - SLACK), rules.live_basis != 0.0
    goal, edge = splat(rules.initial * share), splat(rules.initial * band - ROUNDING)
    loud = zero > zero
    while i < stop:
        fetch(board.marks, i + FAR)
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
def open_alone(board: Board, own: Own, book: Ints, told: Told, i: int, rules: Rules) -> None:
    """Funding due and the fill at the open of bar `i`, which is written down."""
    purse, settled = own.purse, own.purse[SETTLED]
    if settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
        book[0, MARK] = int(board.marks[0, max(i - 1, 0)])
        while settled < board.fund_at.shape[0] and board.fund_at[settled] == i:
            purse[CASH] += apply_funding(book, board.fund_row[settled], board.fund_rate[settled])
            settled += 1
        purse[SETTLED] = settled
    lots = book[0, PENDING]
    if lots == 0:
        return
    paid, reference, row = book[0, FEES], board.open_ticks[0, i], told.fills[purse[FILLED]]
    purse[CASH] += fill_at_open(book, 0, reference, int(rules.slippage_e8), int(rules.fee_e8))
    row[0] = i
    row[1] = 0
    row[2] = lots
    row[3] = slipped_ticks(reference, lots > 0, int(rules.slippage_e8))
    row[4] = book[0, FEES] - paid
    row[5] = reference
    row[6] = purse[TAKEN] - 1  # whoever lacks no bar has its last order filled before it decides again
    purse[FILLED] += 1


@compiled
def order(own: Own, book: Ints, told: Told, ts_ns: int, equity: int, size: int, said: float, rules: Rules) -> None:
    """Has `size` looked at by the gate and, if it passes, makes it an order; the decision is written down."""
    purse, lots = own.purse, 0
    code = verdict(own.gate, book, 0, equity, size, np.nan, rules, False)
    if code == PASSED:
        lots = quantise(size, book[0, MARK], book[0, NUM], book[0, DEN], book[0, MIN_NOTIONAL])
        if lots == 0:
            code = BELOW_MINIMUM
        book[0, PENDING] += lots
    own.vetoes[code] += 1
    row = told.decisions[purse[TAKEN]]
    row[0] = ts_ns
    row[1] = 0
    row[2] = 1 if size > 0 else -1
    row[3] = abs(size) // CENT
    row[4] = abs(lots)
    row[5] = book[0, MARK]
    row[6] = code
    told.convictions[purse[TAKEN], CONVICTION] = said
    purse[TAKEN] += 1


@compiled
def walk_alone(
    board: Board, block: Block, own: Own, told: Told, first: int, last: int, stop_at: int, interval_ns: int,
    rules: Rules, extremes: Floats, turns: Ints,
) -> int:  # fmt: skip
    """`walk_one` of a sweep, which writes fills too; the number of the next stop, -1 where a latch might have closed or
    numbers are too large for floats."""
    book, gate, purse = own_row(own.book, COLUMNS), own.gate, own.purse
    book[0, DEN] = 1  # which it is: no division by it is left
    extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
    highest, i, live = 0.0, first, rules.live_basis != 0.0
    goal, asked, basis = 0, np.nan, int(rules.initial)
    n_turns, turn = find_turns(borrow(block.conviction, 0, block.conviction.shape[1]), last - first, turns), 0
    begin_ns = board.close_ns[first]
    even = board.close_ns[last - 1] - begin_ns == (last - 1 - first) * interval_ns  # no bar lacks in the block
    rests, exact = units_of(board, block, book, purse[CASH])
    stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
    while exact and i < last:
        if i == stop or not rests:
            open_alone(board, own, book, told, i, rules)
            rests, exact = units_of(board, block, book, purse[CASH])
        if i == stop:
            highest = max(highest, widest(extremes, 1))
            if breached(gate, highest, widest(extremes, 0), rules):
                return -1
            begin_day(board, block, book, gate, purse[CASH], i, first)
            extremes[:WIDTH], extremes[WIDTH:] = np.inf, -np.inf
            stop_at += 1
            stop = board.stops[stop_at] if stop_at < board.stops.shape[0] else last
        until, held = min(stop, last), purse[CASH] * 1.0
        if n_turns < 0:
            at = quiet_one(board, block, rules, held, first, i, until, extremes)
        else:
            while turns[turn] < i - first:
                turn += 1
            if turn < n_turns - AHEAD:
                fetch(board.open_ticks, first + turns[turn + AHEAD] + 1)
            at = min(first + turns[turn], until)
            said = block.conviction[0, i - first]
            # the bar of the change is written with the others, for its own conviction does not matter to that
            if stretch(board, block, rules, said, held, first, i, min(at + 1, until), extremes):
                at = quiet_one(board, block, rules, held, first, i, at, extremes)
        if at < until:
            conviction = block.conviction[0, at - first]
            if abs(conviction) >= rules.min_conviction:
                book[0, MARK] = int(board.marks[0, at])
                equity = equity_uusd(book, purse[CASH])
                if live or abs(conviction) != asked:
                    basis, asked = equity if live else basis, abs(conviction)
                    goal = goal_uusd(basis, rules.base_fraction, asked)
                toward, position = -goal if conviction < 0.0 else goal, position_uusd(book, 0)
                size = change_uusd(int(rules.mode), toward, basis, rules.base_fraction, rules.band, position)
                if size != 0:
                    ts_ns = begin_ns + (at - first) * interval_ns if even else board.close_ns[at]
                    order(own, book, told, ts_ns, equity, size, conviction, rules)
                    rests = book[0, PENDING] == 0
            at += 1
        i = at
    own.book[0] = book[0]
    whole = exact and not breached(gate, max(highest, widest(extremes, 1)), widest(extremes, 0), rules)
    return stop_at if whole else -1


@compiled
def _account(
    board_: Board, block_: Block, own_: Own, told_: Told, first: int, last: int, start: int, stop_at: int,
    interval_ns: int,
) -> int:  # fmt: skip
    """Bars `first` to `last`, whose opinions `block` holds; as `walk_alone`."""
    board = Board(
        unowned(board_.marks), unowned(board_.highest), unowned(board_.open_ticks), unowned(board_.close_ticks),
        unowned(board_.close_ns), unowned(board_.fund_at), unowned(board_.fund_row), unowned(board_.fund_rate),
        unowned(board_.stops),
    )  # fmt: skip
    b, o, t = block_, own_, told_
    block = Block(
        unowned(b.direction), unowned(b.confidence), unowned(b.vpin), unowned(b.unsettled), unowned(b.conviction),
        unowned(b.equity), unowned(b.gross), unowned(b.units),
    )  # fmt: skip
    own = Own(
        unowned(o.rules), unowned(o.weights), unowned(o.alphas), unowned(o.book), unowned(o.gate), unowned(o.acc),
        unowned(o.vetoes), unowned(o.purse),
    )  # fmt: skip
    told = Told(unowned(t.decisions), unowned(t.convictions), unowned(t.fills), unowned(t.equity))
    extremes, turns = np.empty(2 * WIDTH), np.empty(CHANGES, np.int64)
    rules = Rules(*to_fixed_tuple(own.rules, N_RULES))
    if block.confidence.shape[0] > 0:
        convict(block, own.alphas, own.weights, rules.min_confidence, last - first)
    scratch = unowned(extremes), unowned(turns)
    stop_at = walk_alone(board, block, own, told, first, last, stop_at, interval_ns, rules, *scratch)
    if stop_at >= 0:
        observe_run(own.acc, block.equity, block.gross, last - first)
        own.gate[PEAK_OF_GATE], own.gate[LAST_OF_GATE] = int(own.acc[PEAK]), int(own.acc[LAST])
        curve, equity = borrow(told.equity, first - start, last - first), borrow(block.equity, 0, last - first)
        for i in range(last - first):
            curve[i] = int(equity[i])
    return stop_at
