"""One combination by itself: statistics, decisions, equity, fills, round trips, to the bit what fold and replay find.

A long market goes through the columns and accounts of a sweep, or quicker where it is one symbol's, see `alone`; a
short one bar by bar through the fold: that takes less to compile, and about as long. Fold and sweep write no fills:
where no symbol lacks a bar, what passed the gate is filled at the next open; else, and for the equity of a short
market, an account is told what was decided, which has no signals to step and nothing to weigh.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from flea_lab.backtest.alone import fits, play
from flea_lab.backtest.batch import Batch
from flea_lab.backtest.cell import Rules
from flea_lab.backtest.cells import fold_one
from flea_lab.backtest.fold import fold
from flea_lab.backtest.market import Ints, Market
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.quiet import EXACT
from flea_lab.backtest.rules import fill_at_open, judge
from flea_lab.backtest.trips import FLAT, NAMES
from flea_lab.compiled import compiled
from flea_lab.decision import DECISION, Decisions
from flea_lab.ledger import DEN, FEES, LOTS, MARK, NUM, PENDING, Book, apply_funding
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS
from flea_lab.money import USD, slipped_ticks, value_uusd
from flea_lab.risk.checks import GATE_SIZE, PASSED, GateState, new_gate
from flea_lab.sandbox.matching import fee_uusd
from flea_lab.signal.kernel import Floats

SHORT = 250_000
"""Bars x symbols below which a backtest goes through the fold."""

FILL = np.dtype(
    [(n, "<i8") for n in ("bar", "symbol", "lots", "price_ticks", "fee_uusd", "reference_ticks", "decision")]
)
"""One fill: at the open of `bar`, `lots` signed, `reference_ticks` the open, `decision` its place among those."""

TRIP = np.dtype(
    [(n, "<i8") for n in ("symbol", "side", "entry_bar", "exit_bar")]
    + [(n, "<f8") for n in ("qty", "entry_price", "exit_price", "pnl_usd", "fee_usd", "return_frac")]
)
"""One closed round trip, `side` +1 or -1; see `backtest.trips`."""

Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class Single:
    """What one backtest came to; bars before `start` only warmed the signals up. `metrics` `(len(METRICS),)`."""

    batch: Batch
    market: Market
    start: int
    metrics: Floats
    decisions: Decisions
    curve: Ints | None = None
    filled: Records | None = None

    @property
    def equity(self) -> Ints:
        """Micro-dollars at every close from `start` on, `(n - start,)`."""
        return self._account[0] if self.curve is None else self.curve

    @cached_property
    def fills(self) -> Records:
        """Every fill in its order, of dtype `FILL`."""
        if self.filled is not None:
            return self.filled
        return _filled(self.batch, self.market, self.start, self.decisions) if self.market.whole else self._account[1]

    @cached_property
    def _account(self) -> tuple[Ints, Records]:
        return _account(self.batch, self.market, self.start, self.decisions)

    def metric(self, name: str) -> float:
        """One of `METRICS`."""
        return float(self.metrics[METRICS.index(name)])

    @cached_property
    def trips(self) -> Records:
        """The closed round trips in order of their exit, of dtype `TRIP`."""
        return _trips_of(self.fills, self.market.grids)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """`trips` as the frame of that name in a `BacktestResult`."""
        found, open_ms = self.trips, self.market.open_ms
        columns = {name: found[name] for name in TRIP.names or ()}
        columns["symbol"] = np.array(self.market.symbols, dtype=object)[found["symbol"]]
        columns["side"] = np.where(found["side"] > 0, "long", "short")
        columns["entry_ts"], columns["exit_ts"] = open_ms[found["entry_bar"]], open_ms[found["exit_bar"]]
        return pd.DataFrame({name: columns[name] for name in NAMES})


def single(batch: Batch, market: Market, start: int) -> Single:
    """The only combination of a batch over a market."""
    if (market.n - start) * len(market.symbols) < SHORT:
        found, known = fold(market, batch.kernels, batch.cell(0), start), False
    elif fits(batch, market) and (played := play(batch, market, start)) is not None:
        folded, fills, curve = played
        return Single(
            batch, market, start, folded.metrics, folded.decisions, curve, fills.view(FILL).reshape(len(fills))
        )
    else:
        curve = np.empty(market.n - start, np.int64)
        found = fold_one(batch, market, start, curve)
        known = bool(curve.min() > -EXACT and curve.max() < EXACT)  # else floats do not hold every micro-dollar
    return Single(batch, market, start, found.metrics, found.decisions, curve if known else None)


def _filled(batch: Batch, market: Market, start: int, decisions: Decisions) -> Records:
    """The fills that these decisions lead to where no symbol lacks a bar."""
    rules, rows = Rules(*batch.rules[0].tolist()), np.empty((len(decisions), len(FILL.names or ())), np.int64)
    table = decisions.view(np.int64).reshape(len(decisions), len(DECISION.names or ()))
    opens = np.ascontiguousarray(market.open_ticks)
    count = _fill(opens, market.close_ns, market.interval_ms * MS_NS, start, rules, table, batch.book, rows)
    return rows[:count].view(FILL).reshape(count)


@compiled
def _fill(
    opens: Ints, close_ns: Ints, interval_ns: int, start: int, rules: Rules, decisions: Ints, book: Book, rows: Ints
) -> int:
    """Writes what passed the gate as fills at the next open, if there is one; returns how many."""
    i, count = start, 0
    for d in range(decisions.shape[0]):
        ts_ns, s = decisions[d, 0], decisions[d, 1]
        i = min(i + (ts_ns - close_ns[i]) // interval_ns, close_ns.shape[0] - 1)
        while close_ns[i] > ts_ns:  # bars that all symbols lack stand between
            i -= 1
        if decisions[d, 6] == PASSED and decisions[d, 4] != 0 and i + 1 < close_ns.shape[0]:
            reference, lots = opens[s, i + 1], decisions[d, 2] * decisions[d, 4]
            ticks = slipped_ticks(reference, lots > 0, int(rules.slippage_e8))
            fee = fee_uusd(lots, ticks, book[s, NUM], book[s, DEN], int(rules.fee_e8))
            _write(rows[count], i + 1, s, lots, reference, fee, d, rules)
            count += 1
    return count


def _account(batch: Batch, market: Market, start: int, decisions: Decisions) -> tuple[Ints, Records]:
    """The equity at every close from `start` on, and the fills, that these decisions lead to."""
    rules, book, gate = Rules(*batch.rules[0].tolist()), batch.book.copy(), np.empty(GATE_SIZE, np.int64)
    new_gate(gate, int(rules.initial))
    equity, rows = np.empty(market.n - start, np.int64), np.empty((len(decisions), len(FILL.names or ())), np.int64)
    table = decisions.view(np.int64).reshape(len(decisions), len(DECISION.names or ()))
    opens, closes = np.ascontiguousarray(market.open_ticks), np.ascontiguousarray(market.close_ticks)
    count = _walk(
        opens, closes, market.close_ns, market.fund_at, market.fund_row, market.fund_rate, start, rules,
        bool((closes == 0).any()), table, book, gate, equity, rows,
    )  # fmt: skip
    return equity, rows[:count].view(FILL).reshape(count)


@compiled
def _walk(
    opens: Ints, closes: Ints, close_ns: Ints, fund_at: Ints, fund_row: Ints, fund_rate: Floats, start: int,
    rules: Rules, holes: bool, decisions: Ints, book: Book, gate: GateState, equity: Ints, rows: Ints,
) -> int:  # fmt: skip
    """An account bar by bar, told what was decided; how many fills it wrote. Only where an order may wait through a
    hole is it judged: there a latch that closes takes the order back."""
    cash, settled, d, count, pending = int(rules.initial), 0, 0, 0, 0
    waits = np.empty(book.shape[0], np.int64)  # of every symbol the decision whose order is pending
    while settled < fund_at.shape[0] and fund_at[settled] < start:
        settled += 1
    for i in range(start, close_ns.shape[0]):
        while settled < fund_at.shape[0] and fund_at[settled] == i:
            cash += apply_funding(book, fund_row[settled], fund_rate[settled])
            settled += 1
        if pending > 0:
            for s in range(book.shape[0]):
                if closes[s, i] > 0 and book[s, PENDING] != 0:
                    paid, lots = book[s, FEES], book[s, PENDING]
                    cash += fill_at_open(book, s, opens[s, i], int(rules.slippage_e8), int(rules.fee_e8))
                    _write(rows[count], i, s, lots, opens[s, i], book[s, FEES] - paid, waits[s], rules)
                    count, pending = count + 1, pending - 1
        worth = cash
        for s in range(book.shape[0]):
            book[s, MARK] = closes[s, i] if closes[s, i] > 0 else book[s, MARK]
            worth += value_uusd(book[s, LOTS], book[s, MARK], book[s, NUM], book[s, DEN])
        equity[i - start] = worth
        if holes:
            judge(gate, book, close_ns[i], worth, rules)
            pending = 0
            for s in range(book.shape[0]):
                pending += book[s, PENDING] != 0
        while d < decisions.shape[0] and decisions[d, 0] == close_ns[i]:
            if decisions[d, 6] == PASSED and decisions[d, 4] != 0:
                book[decisions[d, 1], PENDING] = decisions[d, 2] * decisions[d, 4]
                waits[decisions[d, 1]] = d
                pending += 1
            d += 1
    return count


@compiled
def _write(row: Ints, bar: int, s: int, lots: int, reference: int, fee: int, decision: int, rules: Rules) -> None:
    row[0] = bar
    row[1] = s
    row[2] = lots
    row[3] = slipped_ticks(reference, lots > 0, int(rules.slippage_e8))
    row[4] = fee
    row[5] = reference
    row[6] = decision


def _trips_of(fills: Records, grids: tuple[Instrument, ...]) -> Records:
    table = np.ascontiguousarray(fills).view(np.int64).reshape(len(fills), len(FILL.names or ()))
    steps = np.array([[*grid._lot, *grid._tick[1:]] for grid in grids], np.int64)
    whole = np.empty((len(fills), len(TRIP.names or ())), np.int64)  # a fill closes one at most
    money = whole.view(np.float64)
    count = _trip(table, steps, np.zeros((len(grids), 2), np.int64), np.zeros((len(grids), 6)), whole, money)
    return whole[:count].view(TRIP).reshape(count)


OPEN, ENTERED, ENTRY, EXIT, EXITED, FEE = range(6)


@compiled
def _trip(fills: Ints, steps: Ints, sides: Ints, trips: Floats, whole: Ints, money: Floats) -> int:
    """`trips.round_trips` over rows of `FILL`, operation by operation; how many closed. `sides` `(n_symbols, 2)` are
    side (0: flat) and entry bar of what is open, `trips` the floats of it; `money` is `whole`, taken as floats."""
    count = 0
    for f in range(fills.shape[0]):
        bar, s, sign = fills[f, 0], fills[f, 1], 1 if fills[f, 2] > 0 else -1
        trip, fee = trips[s], fills[f, 4] / USD
        qty, price = abs(fills[f, 2]) * steps[s, 0] / steps[s, 1], fills[f, 3] * steps[s, 2] / steps[s, 3]
        left = qty
        if sides[s, 0] == -sign:
            closing = min(left, trip[OPEN])
            trip[EXITED] += closing
            trip[EXIT] += closing * price
            trip[FEE] += fee * closing / qty
            trip[OPEN] -= closing
            left -= closing
            if trip[OPEN] <= FLAT * trip[ENTERED]:
                pnl = -sign * (trip[EXIT] - trip[ENTRY]) - trip[FEE]
                row, told = whole[count], money[count]
                row[0], row[1], row[2], row[3] = s, -sign, sides[s, 1], bar
                told[4], told[5], told[6] = trip[ENTERED], trip[ENTRY] / trip[ENTERED], trip[EXIT] / trip[EXITED]
                told[7], told[8], told[9] = pnl, trip[FEE], pnl / trip[ENTRY]
                count += 1
                sides[s, 0] = 0
        if left > FLAT * qty:
            if sides[s, 0] == 0:
                sides[s, 0], sides[s, 1] = sign, bar
                trip[:] = 0.0
            trip[OPEN] += left
            trip[ENTERED] += left
            trip[ENTRY] += left * price
            trip[FEE] += fee * left / qty
    return count
