"""What a fold reads, changes and writes: named tuples of arrays, made in Python, handed to compiled code.

Inside, the arrays are taken without their references (`unowned_*`): whoever called the fold holds them.
"""

import math
from typing import NamedTuple

import numpy as np

from flea_lab.backtest.cell import Cell, Rules
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import ACCUMULATORS, begin
from flea_lab.compiled import borrow, compiled, unowned
from flea_lab.decision import DECISION, Decisions
from flea_lab.errors import DataError
from flea_lab.ledger import LOTS, Book
from flea_lab.money import CENT
from flea_lab.risk.checks import (
    DAILY_LATCH,
    DAY_OPEN,
    DRAWDOWN_LATCH,
    GATE_SIZE,
    NAMES,
    PEAK,
    GateState,
    new_gate,
)
from flea_lab.risk.tolerance import DOUBT_COLUMNS, DoubtRows
from flea_lab.signal.kernel import Floats

CODES = len(NAMES)
SINK_COLUMNS = 7


class Tape(NamedTuple):
    """The market as the fold reads it; see `Market`."""

    bars: Floats
    features: Floats
    open_ticks: Ints
    close_ticks: Ints
    close_ns: Ints
    fund_at: Ints
    fund_row: Ints
    fund_rate: Floats


class State(NamedTuple):
    """What one fold changes as it goes: kernel states `(n_symbols, n_alphas, width)`, the VPIN states, opinions of the
    symbol at hand, conviction a symbol, the book, the gate, the accumulators of the metrics, vetoes a code, what is in
    doubt."""

    mem: Floats
    vpin_mem: Floats
    opinions: Floats
    conviction: Floats
    book: Book
    gate: GateState
    acc: Floats
    vetoes: Ints
    doubts: DoubtRows


class Sink(NamedTuple):
    """Where a fold writes what it did; an array of length 0 records nothing.

    `decisions` `(capacity, 7)` and `convictions` `(capacity,)`; `equity`, `cash`, `gross` `(n,)` at every close in
    micro-dollars; `lots` `(n_symbols, n)` the position after every bar; `trace` `(n_symbols, n, 1 + 2 n_alphas)` the
    conviction, then direction and confidence of every alpha; `gate` `(n, 3)` the day's base, the peak, and the latches
    (1 daily, 2 drawdown) after every bar.
    """

    decisions: Ints
    convictions: Floats
    equity: Ints
    cash: Ints
    gross: Ints
    lots: Ints
    trace: Floats
    gate: Ints


def new_sink(capacity: int, symbols: int, bars: int, n_alphas: int = 0) -> Sink:
    """A sink for `capacity` decisions and for curves of `bars` bars; 0 of either records none."""
    return Sink(
        np.empty((capacity, SINK_COLUMNS), np.int64),
        np.empty(capacity),
        np.zeros(bars, np.int64),
        np.zeros(bars, np.int64),
        np.zeros(bars, np.int64),
        np.zeros((symbols, bars), np.int64),
        np.full((symbols, bars, 1 + 2 * n_alphas), np.nan),
        np.zeros((bars, 3), np.int64),
    )


def tape(market: Market) -> Tape:
    """The market as the fold's first argument."""
    bars, features = np.ascontiguousarray(market.bars), np.ascontiguousarray(market.features)
    opens, closes = np.ascontiguousarray(market.open_ticks), np.ascontiguousarray(market.close_ticks)
    for array in (bars, features, opens, closes):
        array.flags.writeable = False  # of one type, a copy of a window's or not: else the fold is compiled twice
    return Tape(bars, features, opens, closes, market.close_ns, market.fund_at, market.fund_row, market.fund_rate)


def new_state(cell: Cell, n_symbols: int) -> State:
    """Everything as it is before the first bar. `DataError` for a cell of another number of symbols: the compiled fold
    trusts it."""
    if len(cell.book) != n_symbols:
        raise DataError(f"the cell was built for {len(cell.book)} symbols, the market holds {n_symbols}")
    gate, acc = np.zeros(GATE_SIZE, np.int64), np.zeros(ACCUMULATORS)
    cash = int(Rules(*cell.rules).initial)
    new_gate(gate, cash)
    begin(acc, cash)
    return State(
        np.repeat(cell.mem[None], n_symbols, axis=0),
        cell.vpin_mem.copy(),
        np.full((len(cell.mem), 2), math.nan),
        np.full(n_symbols, math.nan),
        cell.book.copy(),
        gate,
        acc,
        np.zeros(CODES, np.int64),
        np.zeros((n_symbols, DOUBT_COLUMNS), np.int64),
    )


def decisions_of(rows: Ints, convictions: Floats, taken: int) -> Decisions:
    """The first `taken` decisions, written as in a `Sink`, as a decision stream."""
    out = np.empty(taken, DECISION)
    for column, name in enumerate((DECISION.names or ())[:SINK_COLUMNS]):
        out[name] = rows[:taken, column]
    out["conviction"] = convictions[:taken]
    return out


@compiled
def write_decision(
    sink: Sink, at: int, ts: int, s: int, size: int, lots: int, ticks: int, code: int, conviction: float
) -> None:
    """Row `at` of the sink, if it has one."""
    if at < sink.decisions.shape[0]:
        row = borrow(sink.decisions, at * SINK_COLUMNS, SINK_COLUMNS)
        row[0] = ts
        row[1] = s
        row[2] = 1 if size > 0 else -1
        row[3] = abs(size) // CENT
        row[4] = abs(lots)
        row[5] = ticks
        row[6] = code
        sink.convictions[at] = conviction


@compiled
def write_curves(sink: Sink, i: int, state: State, equity: int, cash: int, gross: int) -> None:
    """Bar `i` of the curves, if they are wanted."""
    if sink.equity.shape[0] > 0:
        sink.equity[i] = equity
        sink.cash[i] = cash
        sink.gross[i] = gross
        sink.gate[i, 0] = state.gate[DAY_OPEN]
        sink.gate[i, 1] = state.gate[PEAK]
        sink.gate[i, 2] = state.gate[DAILY_LATCH] + 2 * state.gate[DRAWDOWN_LATCH]
        for s in range(state.book.shape[0]):
            sink.lots[s, i] = state.book[s, LOTS]


@compiled
def unowned_tape(t: Tape) -> Tape:
    """`t` with unowned arrays."""
    return Tape(
        unowned(t.bars),
        unowned(t.features),
        unowned(t.open_ticks),
        unowned(t.close_ticks),
        unowned(t.close_ns),
        unowned(t.fund_at),
        unowned(t.fund_row),
        unowned(t.fund_rate),
    )


@compiled
def unowned_cell(t: Cell) -> Cell:
    """`t` with unowned arrays."""
    return Cell(
        unowned(t.rules),
        unowned(t.weights),
        unowned(t.prow),
        unowned(t.mem),
        unowned(t.sizes),
        unowned(t.vpin_prow),
        unowned(t.vpin_mem),
        unowned(t.book),
    )


@compiled
def unowned_state(t: State) -> State:
    """`t` with unowned arrays."""
    return State(
        unowned(t.mem),
        unowned(t.vpin_mem),
        unowned(t.opinions),
        unowned(t.conviction),
        unowned(t.book),
        unowned(t.gate),
        unowned(t.acc),
        unowned(t.vetoes),
        unowned(t.doubts),
    )


@compiled
def unowned_sink(t: Sink) -> Sink:
    """`t` with unowned arrays."""
    return Sink(
        unowned(t.decisions),
        unowned(t.convictions),
        unowned(t.equity),
        unowned(t.cash),
        unowned(t.gross),
        unowned(t.lots),
        unowned(t.trace),
        unowned(t.gate),
    )
