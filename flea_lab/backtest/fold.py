"""The fused fold: signal, combination, sizing, risk, fill, account and metrics of one combination in one pass.

Every rule is the compiled function that the core calls; the order of things within a bar is the core's. Memory is one
state a symbol, however many bars; a sink, where one is given, only writes down what happens anyway.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from flea_lab.backtest.arrays import (
    Sink,
    State,
    Tape,
    decisions_of,
    new_sink,
    new_state,
    tape,
    unowned_cell,
    unowned_sink,
    unowned_state,
    unowned_tape,
    write_curves,
    write_decision,
)
from flea_lab.backtest.cell import N_RULES, VPIN_ON_TRADES, Cell, Rules, vpin_kernel
from flea_lab.backtest.market import Market
from flea_lab.backtest.metrics import METRICS, observe, summarise
from flea_lab.backtest.rules import fill_at_open, judge, verdict, wanted
from flea_lab.compiled import compiled, compiled_afresh, known
from flea_lab.decision import Decisions
from flea_lab.execution.router import quantise
from flea_lab.ledger import COLUMNS, DEN, MARK, MIN_NOTIONAL, NUM, PENDING, apply_funding, equity_uusd, held_uusd
from flea_lab.risk.checks import BELOW_MINIMUM, PASSED
from flea_lab.risk.tolerance import DOUBT_COLUMNS, LEFT, NEVER_NS, take_bar
from flea_lab.signal.ensemble import Ensemble
from flea_lab.signal.kernel import N_FEATURES, N_PLAIN, Floats, Kernel, joined_bar
from flea_lab.strategy.combine import combine


class Folded(NamedTuple):
    """What left the fold: metrics `(len(METRICS),)`, the decisions and, where asked for, the curves of `Sink`."""

    metrics: Floats
    decisions: Decisions
    sink: Sink


def fold(market: Market, kernels: tuple[Kernel, ...], cell: Cell, start: int, *, curves: bool = False) -> Folded:
    """One combination over a market with its decisions recorded; bars before `start` only warm the signals.

    Decisions are never cut off: where the guess of their number was too small, the fold runs again with room for all.
    """
    run, metrics, capacity = fold_for(kernels, len(market.symbols), cell), np.empty(len(METRICS)), 4096
    played = tape(market)
    while True:
        sink = new_sink(capacity, len(market.symbols), market.n if curves else 0, len(kernels))
        state = new_state(cell, len(market.symbols))
        taken = run(played, cell, state, start, market.bars_per_year, sink, metrics)
        if taken <= capacity:
            return Folded(metrics, decisions_of(sink.decisions, sink.convictions, taken), sink)
        capacity = taken


@compiled
def open_bar(played: Tape, state: State, i: int, settled: int, slippage_e8: int, fee_e8: int) -> tuple[int, int]:
    """Funding due and fills at the opens of bar `i`: the change in cash, and how many settlements are behind us."""
    change = 0
    while settled < played.fund_at.shape[0] and played.fund_at[settled] == i:
        change += apply_funding(state.book, played.fund_row[settled], played.fund_rate[settled])
        settled += 1
    for s in range(state.book.shape[0]):
        if played.close_ticks[s, i] > 0:
            change += fill_at_open(state.book, s, played.open_ticks[s, i], slippage_e8, fee_e8)
    return change, settled


@compiled
def decide_bar(
    played: Tape, state: State, rules: Rules, i: int, cash: int, sink: Sink, taken: int, vpin_column: int, watched: bool
) -> int:
    """Judges the account at the close of bar `i` and decides every symbol; returns how many decisions there are."""
    book = state.book
    equity = equity_uusd(book, cash)
    judge(state.gate, book, played.close_ns[i], equity, rules)
    for s in range(book.shape[0]):
        if played.close_ticks[s, i] == 0:
            continue
        conviction = state.conviction[s]
        size = wanted(book, s, equity, conviction, rules)
        if size == 0:
            continue
        unsettled = watched and state.doubts[s, LEFT] > 0
        code = verdict(state.gate, book, s, equity, size, state.vpin_mem[s, vpin_column], rules, unsettled)
        lots = 0
        if code == PASSED:
            lots = quantise(size, book[s, MARK], book[s, NUM], book[s, DEN], book[s, MIN_NOTIONAL])
            if lots == 0:
                code = BELOW_MINIMUM
            book[s, PENDING] += lots
        state.vetoes[code] += 1
        write_decision(sink, taken, played.close_ns[i], s, size, lots, book[s, MARK], code, conviction)
        taken += 1
    gross = held_uusd(book)
    observe(state.acc, equity * 1.0, gross * 1.0)
    write_curves(sink, i, state, equity, cash, gross)
    return taken


def fold_for(kernels: tuple[Kernel, ...], n_symbols: int, cell: Cell) -> Callable[..., int]:
    """The compiled fold of these kernels over so many symbols, as `cell` needs it; compiled once a process.

    Where every hole is tolerated nothing looks for them.
    """
    return _fold(Ensemble(kernels).step, len(kernels), n_symbols, Rules(*cell.rules).longest_hole_ns < NEVER_NS)


@functools.cache
def _fold(step: Callable[..., None], n_alphas: int, n_symbols: int, watched: bool) -> Callable[..., int]:
    run_vpin, vpin_column = vpin_kernel().run, vpin_kernel().columns[0]

    @compiled_afresh
    def step_bar(played: Tape, cell: Cell, state: State, rules: Rules, i: int, trace: Floats) -> None:
        n, width, offered = played.close_ticks.shape[1], cell.mem.shape[1], played.features.shape[1]
        for s in range(n_symbols):
            if played.close_ticks[s, i] == 0:
                continue
            state.book[s, MARK] = played.close_ticks[s, i]
            if watched:
                take_bar(state.doubts, s, played.close_ns[i], int(rules.longest_hole_ns), int(rules.settle_bars))
            features_at = (s * offered + (i if offered > 1 else 0)) * N_FEATURES  # none: one row for all bars
            bar = joined_bar(played.bars, (s * n + i) * N_PLAIN, played.features, features_at)
            step(state.mem, s * n_alphas * width, width, cell.sizes, cell.prow, bar, state.opinions)
            state.conviction[s] = combine(state.opinions, cell.weights, rules.min_confidence)
            if rules.vpin_applied == VPIN_ON_TRADES:
                state.vpin_mem[s, vpin_column] = bar.vpin
            elif rules.vpin_applied != 0.0:
                size, n_params = state.vpin_mem.shape[1], cell.vpin_prow.shape[1]
                run_vpin(state.vpin_mem, s * size, size, bar, cell.vpin_prow, s * n_params)
            if trace.shape[1] > 0:
                trace[s, i, 0] = state.conviction[s]
                for k in range(n_alphas):
                    trace[s, i, 1 + 2 * k] = state.opinions[k, 0]
                    trace[s, i, 2 + 2 * k] = state.opinions[k, 1]

    @compiled_afresh
    def shaped_tape(t: Tape) -> Tape:
        opens, closes = known(t.open_ticks, 0, n_symbols), known(t.close_ticks, 0, n_symbols)
        bars, features = known(t.bars, 0, n_symbols), known(t.features, 0, n_symbols)
        return Tape(bars, features, opens, closes, t.close_ns, t.fund_at, t.fund_row, t.fund_rate)

    @compiled_afresh
    def shaped_state(t: State) -> State:
        mem, vpin_mem = known(known(t.mem, 0, n_symbols), 1, n_alphas), known(t.vpin_mem, 0, n_symbols)
        opinions, conviction = known(known(t.opinions, 0, n_alphas), 1, 2), known(t.conviction, 0, n_symbols)
        book = known(known(t.book, 0, n_symbols), 1, COLUMNS)
        doubts = known(known(t.doubts, 0, n_symbols), 1, DOUBT_COLUMNS)
        return State(mem, vpin_mem, opinions, conviction, book, t.gate, t.acc, t.vetoes, doubts)

    @compiled_afresh
    def fold(
        tape_: Tape, cell_: Cell, state_: State, start: int, bars_per_year: float, sink_: Sink, metrics: Floats
    ) -> int:
        played, state = shaped_tape(unowned_tape(tape_)), shaped_state(unowned_state(state_))
        cell, sink = unowned_cell(cell_), unowned_sink(sink_)
        rules = Rules(*to_fixed_tuple(cell.rules, N_RULES))
        slippage_e8, fee_e8, cash = int(rules.slippage_e8), int(rules.fee_e8), int(rules.initial)
        taken = settled = 0
        for i in range(played.close_ticks.shape[1]):
            change, settled = open_bar(played, state, i, settled, slippage_e8, fee_e8)
            cash += change
            step_bar(played, cell, state, rules, i, sink.trace)
            if i >= start:
                taken = decide_bar(played, state, rules, i, cash, sink, taken, vpin_column, watched)
        summarise(state.acc, state.book, state.vetoes, bars_per_year, metrics)
        return taken

    return fold
