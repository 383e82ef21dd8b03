"""Many combinations over one market: columns of opinions once for all who share them, then every account over them.

The market goes by in blocks. Memory is one block of columns for a few combinations at a time and one state a
combination, however many bars.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from flea_lab.backtest.account import PURSE, SETTLED, TAKEN, Accounts, Noted, account_block
from flea_lab.backtest.arrays import CODES, SINK_COLUMNS, decisions_of, new_sink
from flea_lab.backtest.batch import Batch
from flea_lab.backtest.cell import Rules
from flea_lab.backtest.fold import Folded
from flea_lab.backtest.guard import Unsettled, VpinColumns
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import ACCUMULATORS, METRICS, begin, summarise
from flea_lab.backtest.quiet import Block, Board
from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH
from flea_lab.model.market import DAY_NS
from flea_lab.risk.checks import GATE_SIZE, new_gate
from flea_lab.risk.tolerance import NEVER_NS
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import Floats

BLOCK = 1_024
COLUMN_BYTES = 1 << 20
"""What the columns of a block may take: they are read soon after they are written, and should not leave the cache."""

RULE = {name: at for at, name in enumerate(Rules._fields)}


def fold_batch(batch: Batch, market: Market, start: int) -> Floats:
    """Metrics of every combination, shape `(n, len(METRICS))`; one thread, nothing recorded."""
    out = np.empty((batch.n, len(METRICS)))
    board = board_of(market, start)
    for first, last in groups(batch, len(market.symbols)):
        Cells(batch, market, board, start, first, last).run(out[first:last])
    return out


def fold_one(batch: Batch, market: Market, start: int) -> Folded:
    """The only combination of a batch with its decisions, without curves; to the bit what `fold` finds."""
    most = (market.n - start) * len(market.symbols)  # a symbol decides once a bar; memory is taken as it is written
    noted = Noted(np.empty((most, SINK_COLUMNS), np.int64), np.empty(most))
    out, cells = np.empty((1, len(METRICS))), Cells(batch, market, board_of(market, start), start, 0, 1)
    cells.run(out, noted)
    taken = int(cells.accounts.purse[0, TAKEN])
    sink = new_sink(0, len(market.symbols), 0)
    return Folded(out[0], decisions_of(noted.decisions, noted.convictions, taken), sink)


def bytes_needed(batch: Batch, n_symbols: int, bars: int) -> int:
    """Most bytes that `fold_batch` holds at once beside the market, window memories of kernels not counted."""
    widest = max(last - first for first, last in groups(batch, n_symbols))
    state = 8 * (batch.rules.shape[1] + n_symbols * batch.book.shape[1] + GATE_SIZE + ACCUMULATORS + CODES + PURSE)
    guards = len(batch.vpins) * n_symbols * (BLOCK + WIDTH) * 9
    return bars * n_symbols * 8 + COLUMN_BYTES * 2 + guards + widest * state + batch.n * len(METRICS) * 8


def groups(batch: Batch, n_symbols: int) -> Iterator[tuple[int, int]]:
    """Stretches of combinations whose distinct columns fit in `COLUMN_BYTES`, at least one combination each."""
    most = max(COLUMN_BYTES // (16 * n_symbols * BLOCK), 1)
    first, seen = 0, [set[int]() for _ in batch.kernels]
    for i, row in enumerate(batch.which.tolist()):
        for at, which in enumerate(row):
            seen[at].add(which)
        if sum(map(len, seen)) > most and i > first:
            yield first, i
            first, seen = i, [{which} for which in row]
    yield first, batch.n


def board_of(market: Market, start: int) -> Board:
    """The market as accounts read it from bar `start` on."""
    closes = market.close_ticks
    at = np.where(closes > 0, np.arange(market.n), 0)
    marks = np.take_along_axis(closes, np.maximum.accumulate(at, axis=1), axis=1).astype(np.float64)
    marks = np.concatenate([marks, np.repeat(marks[:, -1:], WIDTH, axis=1)], axis=1)
    close_ns = market.close_ns
    days = np.flatnonzero(np.diff(close_ns // DAY_NS)) + 1
    stops = np.unique(np.concatenate([[start], days, market.fund_at]))
    return Board(
        marks,
        marks.max(axis=1),
        np.ascontiguousarray(market.open_ticks),
        np.ascontiguousarray(closes),
        close_ns,
        market.fund_at,
        market.fund_row,
        market.fund_rate,
        stops[stops >= start].astype(np.int64),
    )


class Cells:
    """Combinations `first` to `last` of a batch over a market: their columns, their accounts."""

    def __init__(self, batch: Batch, market: Market, board: Board, start: int, first: int, last: int) -> None:
        """Everything as it is before the first bar."""
        self.market, self.board, self.start = market, board, start
        which, columns, rows = batch.which[first:last], [], np.empty((last - first, len(batch.kernels)), np.int64)
        width, symbols, offset = BLOCK + WIDTH, len(market.symbols), 0
        used = [np.unique(which[:, a], return_inverse=True) for a in range(len(batch.kernels))]
        said = np.full((2, sum(len(found) for found, _ in used), symbols, width), np.nan)
        for a, (found, place) in enumerate(used):
            params = [batch.params[a][j] for j in found]
            made = Columns(batch.kernels[a], params, market.bars, market.features, market.close_ticks, width)
            made.direction, made.confidence = said[:, offset : offset + len(found)]
            columns.append(made)
            rows[:, a] = offset + place
            offset += len(found)
        rules = batch.rules[first:last]
        self.vpin, vpin_rows = _vpins(batch, market, rules, batch.vpin_which[first:last], width)
        self.unsettled, doubt_rows = _doubts(market, rules, width)
        self.steps: list[Any] = [*columns, self.vpin, self.unsettled]
        self.block = Block(
            said[0], said[1], self.vpin.out, self.unsettled.out, np.empty((symbols, width)), np.empty(width),
            np.empty(width), np.empty(symbols),
        )  # fmt: skip
        self.accounts = _accounts(batch, rules, first, last, rows, vpin_rows, doubt_rows)
        self.accounts.purse[:, SETTLED] = np.searchsorted(board.fund_at, start)

    def run(self, out: Floats, noted: Noted | None = None) -> None:
        """The whole market; metrics to `out`, decisions to `noted`."""
        noted = noted or Noted(np.empty((0, SINK_COLUMNS), np.int64), np.empty(0))
        for first in range(0, self.start, BLOCK):
            self._advance(first, min(first + BLOCK, self.start))
        for first in range(self.start, self.market.n, BLOCK):
            last = min(first + BLOCK, self.market.n)
            self._advance(first, last)
            stop_at = int(np.searchsorted(self.board.stops, first))
            account_block(self.board, self.block, self.accounts, noted, first, last, stop_at)
        a = self.accounts
        _summaries(a.acc, a.book, a.vetoes, self.market.bars_per_year, out)

    def _advance(self, first: int, last: int) -> None:
        for step in self.steps:
            step.advance(first, last)


def _vpins(batch: Batch, market: Market, rules: Floats, which: Ints, width: int) -> tuple[VpinColumns, Ints]:
    applied = rules[:, RULE["vpin_applied"]]
    kinds, rows = np.unique(np.column_stack([which, applied]), axis=0, return_inverse=True)
    kept = np.flatnonzero(kinds[:, 1] != 0.0)
    place = np.full(len(kinds), -1, np.int64)
    place[kept] = np.arange(len(kept))
    guards = [batch.vpins[int(kinds[k, 0])] for k in kept]
    return VpinColumns(market, guards, kinds[kept, 1].tolist(), width), place[rows.reshape(-1)]


def _doubts(market: Market, rules: Floats, width: int) -> tuple[Unsettled, Ints]:
    kinds, rows = np.unique(rules[:, [RULE["longest_hole_ns"], RULE["settle_bars"]]], axis=0, return_inverse=True)
    kept = np.flatnonzero(kinds[:, 0] < NEVER_NS)
    place = np.full(len(kinds), -1, np.int64)
    place[kept] = np.arange(len(kept))
    asked = [(int(kinds[k, 0]), int(kinds[k, 1])) for k in kept]
    return Unsettled(market, asked, width), place[rows.reshape(-1)]


def _accounts(batch: Batch, rules: Floats, first: int, last: int, alphas: Ints, vpin: Ints, doubt: Ints) -> Accounts:
    n = last - first
    gate, acc = np.empty((n, GATE_SIZE), np.int64), np.empty((n, ACCUMULATORS))
    purse = np.zeros((n, PURSE), np.int64)
    purse[:, 0] = rules[:, RULE["initial"]]
    _begin(purse[:, 0].copy(), gate, acc)
    book = np.repeat(batch.book[None], n, axis=0)
    weights = np.ascontiguousarray(batch.weights[first:last])
    vetoes = np.zeros((n, CODES), np.int64)
    return Accounts(np.ascontiguousarray(rules), book, gate, acc, vetoes, purse, alphas, weights, vpin, doubt)


@compiled
def _begin(cash: Ints, gate: Ints, acc: Floats) -> None:
    for k in range(cash.shape[0]):
        new_gate(gate[k], cash[k])
        begin(acc[k], cash[k])


@compiled
def _summaries(acc: Floats, book: Ints, vetoes: Ints, bars_per_year: float, out: Floats) -> None:
    for k in range(acc.shape[0]):
        summarise(acc[k], book[k], vetoes[k], bars_per_year, out[k])
