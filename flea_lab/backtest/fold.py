"""The fused fold: signal, combination, sizing, risk, fill, account and metrics of one combination in one pass.

Every rule is the compiled function that the core calls; the order of things within a bar is the core's. Memory is one
state a symbol, however many bars; a sink, where one is given, only writes down what happens anyway.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from flea_lab.backtest.cell import N_RULES, Cell, Rules, vpin_kernel
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import ACCUMULATORS, METRICS, begin, observe, summarise
from flea_lab.compiled import compiled, compiled_afresh
from flea_lab.decision import DECISION, Decisions
from flea_lab.execution.router import quantise
from flea_lab.ledger import (
    DEN,
    LOTS,
    MARK,
    MIN_NOTIONAL,
    NUM,
    PENDING,
    Book,
    apply_fill,
    apply_funding,
    equity_uusd,
    gross_uusd,
    held_uusd,
    position_uusd,
)
from flea_lab.money import CENT
from flea_lab.risk.checks import (
    BELOW_MINIMUM,
    DAILY_LATCH,
    DRAWDOWN_LATCH,
    GATE_SIZE,
    NAMES,
    PASSED,
    GateState,
    advance,
    new_gate,
    review,
    worst_uusd,
)
from flea_lab.sandbox.matching import fee_uusd, fill_ticks
from flea_lab.signal.ensemble import Ensemble
from flea_lab.signal.kernel import Floats, Kernel, bar_at
from flea_lab.strategy.combine import combine
from flea_lab.strategy.sizing import intent_uusd

CODES = len(NAMES)
SINK_COLUMNS = 7


class Sink(NamedTuple):
    """Where a fold writes what it did; an array of length 0 records nothing.

    `decisions` `(capacity, 7)` and `convictions` `(capacity,)`; `equity`, `cash`, `gross` `(n,)` at every close in
    micro-dollars; `lots` and `trace` `(n_symbols, n)`: the position and the conviction after every bar.
    """

    decisions: Ints
    convictions: Floats
    equity: Ints
    cash: Ints
    gross: Ints
    lots: Ints
    trace: Floats


class Folded(NamedTuple):
    """What left the fold: metrics `(len(METRICS),)`, the decisions and, where asked for, the curves of `Sink`."""

    metrics: Floats
    decisions: Decisions
    sink: Sink


def no_sink() -> Sink:
    """A sink that records nothing."""
    ints, floats = np.zeros(0, np.int64), np.zeros(0)
    return Sink(
        np.zeros((0, SINK_COLUMNS), np.int64), floats, ints, ints, ints, np.zeros((0, 0), np.int64), np.zeros((0, 0))
    )


def fold(market: Market, kernels: tuple[Kernel, ...], cell: Cell, start: int, *, curves: bool = False) -> Folded:
    """One combination over a market with its decisions recorded; bars before `start` only warm the signals.

    The decisions are counted by a first pass where the guess of their number was too small, never cut off.
    """
    run = fold_for(kernels)
    n, symbols = market.n, len(market.symbols)
    metrics = np.empty(len(METRICS))
    capacity = 4096
    while True:
        sink = Sink(
            np.empty((capacity, SINK_COLUMNS), np.int64),
            np.empty(capacity),
            *(np.zeros(n if curves else 0, np.int64) for _ in range(3)),
            np.zeros((symbols if curves else 0, n if curves else 0), np.int64),
            np.full((symbols if curves else 0, n if curves else 0), np.nan),
        )
        taken = run(*tape(market), *cell_arguments(cell), start, market.bars_per_year, *sink, metrics)
        if taken <= capacity:
            return Folded(metrics, _decisions(sink, taken), sink)
        capacity = taken


def tape(market: Market) -> tuple[Any, ...]:
    """The market as the fold's first arguments."""
    return (
        market.bars,
        market.open_ticks,
        market.close_ticks,
        market.close_ns,
        market.fund_at,
        market.fund_row,
        market.fund_rate,
    )


def cell_arguments(cell: Cell) -> tuple[Any, ...]:
    """The combination as the fold's next arguments."""
    return (
        cell.rules,
        cell.weights,
        cell.prow,
        cell.mem,
        cell.sizes,
        cell.vpin_prow,
        cell.vpin_mem,
        cell.book,
    )


def _decisions(sink: Sink, taken: int) -> Decisions:
    out = np.empty(taken, DECISION)
    for column, name in enumerate((DECISION.names or ())[:SINK_COLUMNS]):
        out[name] = sink.decisions[:taken, column]
    out["conviction"] = sink.convictions[:taken]
    return out


@compiled
def fill_at_open(book: Book, s: int, open_ticks: int, slippage_e8: int, fee_e8: int) -> int:
    """Fills what is pending in row `s`; returns the change in cash."""
    lots = book[s, PENDING]
    if lots == 0:
        return 0
    ticks = fill_ticks(open_ticks, lots > 0, slippage_e8)
    fee = fee_uusd(lots, ticks, book[s, NUM], book[s, DEN], fee_e8)
    book[s, PENDING] = 0
    return apply_fill(book, s, lots, ticks, fee, open_ticks)


@compiled
def judge(gate: GateState, book: Book, ts_ns: int, equity: int, rules: Rules) -> None:
    """Judges the account at a close; a latch that closes takes every pending order back."""
    before = gate[DAILY_LATCH] + 2 * gate[DRAWDOWN_LATCH]
    advance(gate, ts_ns, equity, rules.max_daily_loss, rules.max_drawdown)
    fresh = (gate[DAILY_LATCH] == 1 and before % 2 == 0) or (gate[DRAWDOWN_LATCH] == 1 and before < 2)
    if fresh:
        for s in range(book.shape[0]):
            book[s, PENDING] = 0


@compiled
def verdict(gate: GateState, book: Book, s: int, equity: int, position: int, size: int, vpin: float, rules: Rules) -> int:
    """The gate's code for `size` signed micro-dollars in row `s`."""
    return review(
        gate,
        equity,
        position,
        size,
        gross_uusd(book),
        worst_uusd(size, int(rules.slippage_e8)),
        rules.max_concentration,
        rules.of_exposure != 0.0,
        rules.max_order,
        rules.vpin_applied != 0.0,
        vpin,
        rules.vpin_limit,
    )


@compiled
def wanted(book: Book, s: int, equity: int, conviction: float, rules: Rules) -> int:
    """Signed micro-dollars that the desk wants in row `s`."""
    basis = equity if rules.live_basis != 0.0 else int(rules.initial)
    return intent_uusd(
        int(rules.mode),
        basis,
        rules.base_fraction,
        rules.band,
        conviction,
        rules.min_conviction,
        position_uusd(book, s),
    )


@compiled
def write_decision(
    out: Ints, convictions: Floats, at: int, ts: int, s: int, size: int, lots: int, ticks: int, code: int, why: float
) -> None:
    """Row `at` of the sink, if it has one."""
    if at < out.shape[0]:
        out[at, 0] = ts
        out[at, 1] = s
        out[at, 2] = 1 if size > 0 else -1
        out[at, 3] = abs(size) // CENT
        out[at, 4] = abs(lots)
        out[at, 5] = ticks
        out[at, 6] = code
        convictions[at] = why


@compiled
def write_curves(
    equity_out: Ints,
    cash_out: Ints,
    gross_out: Ints,
    lots_out: Ints,
    i: int,
    book: Book,
    equity: int,
    cash: int,
    gross: int,
) -> None:
    """Bar `i` of the curves, if they are wanted."""
    if equity_out.shape[0] > 0:
        equity_out[i] = equity
        cash_out[i] = cash
        gross_out[i] = gross
        for s in range(book.shape[0]):
            lots_out[s, i] = book[s, LOTS]


def fold_for(kernels: tuple[Kernel, ...]) -> Callable[..., int]:
    """The compiled fold of these kernels; compiled once a process."""
    return _fold(Ensemble(kernels).step)


@functools.cache
def _fold(step: Callable[..., None]) -> Callable[..., int]:
    run_vpin = vpin_kernel().run
    vpin_column = vpin_kernel().columns[0]

    @compiled_afresh
    def fold(
        bars: Floats,
        open_ticks: Ints,
        close_ticks: Ints,
        close_ns: Ints,
        fund_at: Ints,
        fund_row: Ints,
        fund_rate: Floats,
        rules_row: Floats,
        weights: Floats,
        prow: Floats,
        mem0: Floats,
        sizes: Ints,
        vpin_prow: Floats,
        vpin_mem0: Floats,
        book0: Book,
        start: int,
        bars_per_year: float,
        out: Ints,
        convictions: Floats,
        equity_out: Ints,
        cash_out: Ints,
        gross_out: Ints,
        lots_out: Ints,
        trace: Floats,
        metrics: Floats,
    ) -> int:
        rules = Rules(*to_fixed_tuple(rules_row, N_RULES))
        n_symbols, n = open_ticks.shape
        slippage, fee = int(rules.slippage_e8), int(rules.fee_e8)
        cash = int(rules.initial)
        book, vpin_mem = book0.copy(), vpin_mem0.copy()
        mem = np.empty((n_symbols, mem0.shape[0], mem0.shape[1]))
        for s in range(n_symbols):
            mem[s] = mem0
        opinions = np.full((mem0.shape[0], 2), math.nan)
        convictions_now = np.full(n_symbols, math.nan)
        gate = np.zeros(GATE_SIZE, np.int64)
        new_gate(gate, cash)
        acc = np.empty(ACCUMULATORS)
        begin(acc, cash)
        vetoes = np.zeros(CODES, np.int64)
        taken = 0
        next_funding = 0
        for i in range(n):
            while next_funding < fund_at.shape[0] and fund_at[next_funding] == i:
                cash += apply_funding(book, fund_row[next_funding], fund_rate[next_funding])
                next_funding += 1
            for s in range(n_symbols):
                if close_ticks[s, i] > 0:
                    cash += fill_at_open(book, s, open_ticks[s, i], slippage, fee)
            for s in range(n_symbols):
                if close_ticks[s, i] > 0:
                    book[s, MARK] = close_ticks[s, i]
                    bar = bar_at(bars[s], i)
                    step(mem[s], sizes, prow, bar, opinions)
                    convictions_now[s] = combine(opinions, weights, rules.min_confidence)
                    if rules.vpin_applied != 0.0:
                        run_vpin(vpin_mem[s], bar, vpin_prow[s])
                    if trace.shape[0] > 0:
                        trace[s, i] = convictions_now[s]
            if i < start:
                continue
            equity = equity_uusd(book, cash)
            judge(gate, book, close_ns[i], equity, rules)
            for s in range(n_symbols):
                if close_ticks[s, i] == 0:
                    continue
                size = wanted(book, s, equity, convictions_now[s], rules)
                if size == 0:
                    continue
                position = position_uusd(book, s)
                code = verdict(gate, book, s, equity, position, size, vpin_mem[s, vpin_column], rules)
                lots = 0
                if code == PASSED:
                    lots = quantise(size, book[s, MARK], book[s, NUM], book[s, DEN], book[s, MIN_NOTIONAL])
                    if lots == 0:
                        code = BELOW_MINIMUM
                    book[s, PENDING] += lots
                vetoes[code] += 1
                write_decision(
                    out, convictions, taken, close_ns[i], s, size, lots, book[s, MARK], code, convictions_now[s]
                )
                taken += 1
            gross = held_uusd(book)
            observe(acc, equity, gross)
            write_curves(equity_out, cash_out, gross_out, lots_out, i, book, equity, cash, gross)
        summarise(acc, book, vetoes, bars_per_year, metrics)
        return taken

    return fold
