"""Many combinations over one market: columns of opinions once for all who share them, then every account over them.

The market goes by in blocks. Memory is one block of columns for a few combinations at a time and one state a
combination, however many bars.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from flea_lab.backtest.account import PURSE, SETTLED, TAKEN, Accounts, Noted, account_block, room_for
from flea_lab.backtest.arrays import CODES, new_sink
from flea_lab.backtest.batch import Batch
from flea_lab.backtest.cell import Rules
from flea_lab.backtest.fold import Folded
from flea_lab.backtest.guard import Unsettled, VpinColumns
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import ACCUMULATORS, METRICS, begin, summarise
from flea_lab.backtest.quiet import Block, Board
from flea_lab.backtest.steady import ROOM
from flea_lab.compiled import compiled, direct
from flea_lab.decision import DECISION
from flea_lab.lanes import WIDTH, in_lines
from flea_lab.ledger import DEN
from flea_lab.model.market import DAY_NS
from flea_lab.risk.checks import GATE_SIZE, new_gate
from flea_lab.risk.tolerance import NEVER_NS
from flea_lab.settings import Settings
from flea_lab.signal.columns import Columns
from flea_lab.signal.kernel import Floats
from flea_lab.signal.turns import new_turns

BLOCK = 1_024
ALONE = 8_192
"""Bars of a block of one combination by itself, whose columns are few: more share what a block costs to begin."""

COLUMN_BYTES = 1 << 20
"""What the opinions of a block may take: they are read soon after they are written, and should not leave the cache."""

POOL_BYTES = 1 << 25
"""What the parts of a block may take, from which opinions are made: each is made once for all who go together."""

RULE = {name: at for at, name in enumerate(Rules._fields)}


def fold_batch(batch: Batch, market: Market, start: int) -> Floats:
    """Metrics of every combination, shape `(n, len(METRICS))`; one thread, nothing recorded."""
    out = np.empty((batch.n, len(METRICS)))
    board = board_of(market, start)
    most = most_cells(batch, len(market.symbols))
    for first in range(0, batch.n, most):
        last = min(first + most, batch.n)
        Cells(batch, market, board, start, first, last, BLOCK).run(out[first:last])
    return out


def fold_one(batch: Batch, market: Market, start: int, curve: Ints | None = None) -> Folded:
    """The only combination of a batch with its decisions, without other curves than the equity from `start` on in
    `curve`; to the bit what `fold` finds."""
    noted = room_for((market.n - start) * len(market.symbols))  # a symbol decides once a bar
    out, cells = np.empty((1, len(METRICS))), Cells(batch, market, board_of(market, start), start, 0, 1, ALONE)
    cells.run(out, noted, curve)
    rows = noted.decisions[: int(cells.accounts.purse[0, TAKEN])].copy()
    return Folded(out[0], rows.view(DECISION).reshape(len(rows)), new_sink(0, len(market.symbols), 0))


def most_cells(batch: Batch, n_symbols: int) -> int:
    """How many combinations go through a market together, so that what they share keeps to `POOL_BYTES`."""
    parts = sum(max(1, len(kernel.parts)) for kernel in batch.kernels)
    return max(1, POOL_BYTES // (8 * n_symbols * BLOCK * parts))


def tiles(which: Ints, bars: int, columns: int) -> Iterator[tuple[int, int]]:
    """Stretches of combinations whose distinct opinions, of so many `columns` each, fit in `COLUMN_BYTES`, a
    block being `bars` of all symbols together; at least one combination each. `which` `(n, k)` says which opinions they
    have."""
    most = max(COLUMN_BYTES // (8 * columns * bars), 1)
    first, seen = 0, [set[int]() for _ in which[0]]
    for i, row in enumerate(which.tolist()):
        for at, one in enumerate(row):
            seen[at].add(one)
        if sum(map(len, seen)) > most and i > first:
            yield first, i
            first, seen = i, [{one} for one in row]
    yield first, len(which)


def board_of(market: Market, start: int) -> Board:
    """The market as accounts read it from bar `start` on."""
    board = market.once(_whole_board, _whole_board)
    later = board.stops[np.searchsorted(board.stops, start, side="right") :]
    return board._replace(stops=np.concatenate([[start], later]))


def _whole_board(market: Market) -> Board:
    marks, stops = np.empty((len(market.symbols), market.n + ROOM)), np.empty(market.n, np.int64)
    opens, closes = np.ascontiguousarray(market.open_ticks), np.ascontiguousarray(market.close_ticks)
    count = _mark(market.close_ns, closes, market.fund_at, marks, stops)
    funding = market.fund_at, market.fund_row, market.fund_rate
    return Board(marks, marks.max(axis=1), opens, closes, market.close_ns, *funding, stops[:count].copy())


@compiled
def _mark(close_ns: Ints, closes: Ints, fund_at: Ints, marks: Floats, stops: Ints) -> int:
    """Fills `marks` and `stops` of a board; returns how many stops there are."""
    count, settled, before, n = 0, 0, np.int64(-1), close_ns.shape[0]
    for i in range(n):
        fresh = close_ns[i] >= before + DAY_NS or before < 0
        if fresh:
            before = close_ns[i] // DAY_NS * DAY_NS
        funded = False
        while settled < fund_at.shape[0] and fund_at[settled] <= i:
            funded = funded or fund_at[settled] == i
            settled += 1
        if fresh or funded:
            stops[count] = i
            count += 1
    for s in range(closes.shape[0]):
        last = 0.0
        for i in range(n):
            last = closes[s, i] * 1.0 if closes[s, i] > 0 else last
            marks[s, i] = last
        marks[s, n:] = last
    return count


class Tile(NamedTuple):
    """Combinations whose opinions are held together: of every alpha which of its columns, `low` to `high`, and from
    which row they lie; their accounts."""

    spans: tuple[tuple[int, int, int], ...]
    accounts: Accounts


class Cells:
    """Combinations `first` to `last` of a batch over a market: their columns, their accounts."""

    def __init__(
        self, batch: Batch, market: Market, board: Board, start: int, first: int, last: int, block: int
    ) -> None:
        """Everything as it is before the first bar; bars go by in blocks of `block`."""
        self.market, self.board, self.start, self.bars = market, board, start, block
        which, rules, weights = batch.which[first:last], batch.rules[first:last], batch.weights[first:last]
        least = rules[0, RULE["min_confidence"]]
        # of one alpha whose weight is 1 its conviction is written at once, a column instead of three
        alone = weights.shape[1] == 1 and (weights == 1.0).all() and (rules[:, RULE["min_confidence"]] == least).all()
        self._least = float(least) if alone else None
        spans, stretches, params, rows, most = _placed(batch, which, len(market.symbols) * block, 1 if alone else 2)
        width, symbols = block + WIDTH, len(market.symbols)
        told = market.bars, market.features, market.close_ticks, width, market.column if market.whole else None
        self.columns = [Columns(kernel, own, *told) for kernel, own in zip(batch.kernels, params, strict=True)]
        self.vpin, vpin_rows = _vpins(batch, market, rules, batch.vpin_which[first:last], width)
        self.unsettled, doubt_rows = _doubts(market, rules, width)
        direction = in_lines((most, symbols, width), np.nan)
        confidence = in_lines((0 if alone else most, symbols, width), np.nan)
        self.block = Block(
            direction, confidence, self.vpin.out, self.unsettled.out, in_lines((symbols, width), np.nan),
            in_lines((block + ROOM,), 0.0), in_lines((block + ROOM,), 0.0), np.empty(symbols),
        )  # fmt: skip
        seldom = symbols == 1 and batch.book[0, DEN] == 1  # where stretches of one conviction are taken whole
        self.turns = new_turns(most + 1 if seldom else 0, block)
        self.accounts = _accounts(batch, rules, first, last, rows, vpin_rows, doubt_rows)
        self.accounts.purse[:, SETTLED] = np.searchsorted(board.fund_at, start)
        self.tiles = [
            Tile(span, Accounts._make(each[low:high] for each in self.accounts))
            for span, (low, high) in zip(spans, stretches, strict=True)
        ]

    def run(self, out: Floats, noted: Noted | None = None, curve: Ints | None = None) -> None:
        """The whole market; metrics to `out`, decisions to `noted`, equity at every close to `curve`."""
        noted = noted or room_for(0)
        for first in range(0, self.start, self.bars):
            for _ in self._advance(first, min(first + self.bars, self.start)):
                pass  # warms the signals only
        account = direct(account_block, self.board, self.block, self.accounts, noted, self.turns, 0, 0, 0)
        for first in range(self.start, self.market.n, self.bars):
            last = min(first + self.bars, self.market.n)
            stop_at = int(np.searchsorted(self.board.stops, first))
            for tile in self._advance(first, last):
                account(self.board, self.block, tile.accounts, noted, self.turns, first, last, stop_at)
            if curve is not None:
                curve[first - self.start : last - self.start] = self.block.equity[: last - first]
        a = self.accounts
        _summaries(a.acc, a.book, a.vetoes, self.market.bars_per_year, out)

    def _advance(self, first: int, last: int) -> Iterator[Tile]:
        """Goes on to bars `first` to `last`; every tile while its opinions of them are held."""
        for step in self.columns:
            step.enter(first, last)
        self.vpin.advance(first, last)
        self.unsettled.advance(first, last)
        direction, confidence, seldom = self.block.direction, self.block.confidence, len(self.turns.many) > 0
        for tile in self.tiles:
            for step, (low, high, row) in zip(self.columns, tile.spans, strict=True):
                if self._least is not None:
                    step.convictions(low, high, self._least, direction[row:], self.turns if seldom else None)
                else:
                    step.opinions(low, high, direction[row:], confidence[row:])
            yield tile


def _placed(batch: Batch, which: Ints, bars: int, columns: int) -> tuple[Any, Any, Any, Ints, int]:
    """Where opinions go: of every tile its spans and which combinations it has; of every alpha its parameters, tile
    after tile; the rows that every combination reads, and how many rows a tile has at most."""
    stretches = list(tiles(which, bars, columns))
    params: list[list[Settings]] = [[] for _ in batch.kernels]
    rows, most, spans = np.empty(which.shape, np.int64), 0, []
    for low, high in stretches:
        row, span = 0, []
        for a, own in enumerate(params):
            found, place = np.unique(which[low:high, a], return_inverse=True)
            span.append((len(own), len(own) + len(found), row))
            own += [batch.params[a][j] for j in found.tolist()]
            rows[low:high, a] = row + place
            row += len(found)
        spans.append(tuple(span))
        most = max(most, row)
    return spans, stretches, params, rows, most


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
