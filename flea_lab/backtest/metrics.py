"""Equity into numbers, bar by bar, so that a sweep keeps no curve and a report gets the same bits from one.

Returns are simple, per bar, zero-rate; annual figures assume 365 days of trading.
"""

import math

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import compiled
from flea_lab.ledger import FEES, FILLS, FUNDING, SLIPPAGE, TRIPS, TURNOVER, WINS, Book
from flea_lab.money import USD
from flea_lab.risk.checks import NAMES
from flea_lab.signal.kernel import Floats

# What is kept of the past: bars, sum and sum of squares of returns, sum of squared negative returns, last equity, peak,
# deepest drawdown, sum of gross exposure over equity, and the equity it began with.
N, SUM, SQUARES, DOWNSIDE, LAST, PEAK, DEEPEST, EXPOSED, FIRST = range(9)
ACCUMULATORS = 9

BASIC = (
    "total_return",
    "annual_return",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "exposure",
    "turnover",
    "fills",
    "round_trips",
    "win_rate",
    "fees_usd",
    "funding_usd",
    "slippage_usd",
    "final_equity_usd",
)
VETOES = tuple(f"veto_{NAMES[code]}" for code in sorted(NAMES) if code != 0)
METRICS = (*BASIC, *VETOES)
"""Names of the metrics in the order in which `summarise` writes them."""

UNITS = {
    "total_return": "fraction",
    "annual_return": "fraction a year, compounded",
    "volatility": "fraction, annual",
    "sharpe": "annual, zero rate",
    "sortino": "annual, zero rate",
    "calmar": "annual return over deepest drawdown",
    "max_drawdown": "fraction of the peak, negative",
    "exposure": "mean gross position over equity",
    "turnover": "traded value over initial equity",
    "fills": "count",
    "round_trips": "count, flat to flat or through zero",
    "win_rate": "share of round trips with a gain after fees",
    "fees_usd": "USD paid",
    "funding_usd": "USD paid, negative: received",
    "slippage_usd": "USD lost against the open",
    "final_equity_usd": "USD",
}


@compiled
def begin(acc: Floats, equity: int) -> None:
    """Sets the accumulators to the equity before the first bar, in micro-dollars."""
    acc[:] = 0.0
    acc[LAST] = acc[PEAK] = acc[FIRST] = equity


@compiled
def observe(acc: Floats, equity: int, gross: int) -> None:
    """Takes in one closed bar."""
    now = equity * 1.0
    change = now / acc[LAST] - 1.0
    acc[N] += 1.0
    acc[SUM] += change
    acc[SQUARES] += change * change
    lower = change if change < 0.0 else 0.0  # no branch: which way a bar goes cannot be predicted
    acc[DOWNSIDE] += lower * lower
    acc[LAST] = now
    acc[PEAK] = max(acc[PEAK], now)
    acc[DEEPEST] = min(acc[DEEPEST], now / acc[PEAK] - 1.0)
    acc[EXPOSED] += gross / now


@compiled
def summarise(acc: Floats, book: Book, vetoes: npt.NDArray[np.int64], bars_per_year: float, out: Floats) -> None:
    """Writes `METRICS` to `out`. A ratio without a denominator (no bars, no spread, no trips) is NaN."""
    n = acc[N]
    mean = acc[SUM] / n
    variance = (acc[SQUARES] - n * mean * mean) / (n - 1.0)
    deviation = math.sqrt(variance) if variance > 0.0 else math.nan
    downside = math.sqrt(acc[DOWNSIDE] / n) if acc[DOWNSIDE] > 0.0 else math.nan
    growth = acc[LAST] / acc[FIRST]
    annual = growth ** (bars_per_year / n) - 1.0 if growth > 0.0 else -1.0
    root = math.sqrt(bars_per_year)
    fills = trips = wins = fees = funding = turnover = slippage = 0
    for s in range(book.shape[0]):
        fills += book[s, FILLS]
        trips += book[s, TRIPS]
        wins += book[s, WINS]
        fees += book[s, FEES]
        funding += book[s, FUNDING]
        turnover += book[s, TURNOVER]
        slippage += book[s, SLIPPAGE]
    out[0] = growth - 1.0
    out[1] = annual
    out[2] = deviation * root
    out[3] = mean / deviation * root
    out[4] = mean / downside * root
    out[5] = annual / -acc[DEEPEST] if acc[DEEPEST] < 0.0 else math.nan
    out[6] = acc[DEEPEST]
    out[7] = acc[EXPOSED] / n
    out[8] = turnover / acc[FIRST]
    out[9] = fills
    out[10] = trips
    out[11] = wins / trips if trips > 0 else math.nan
    out[12] = fees / USD
    out[13] = funding / USD
    out[14] = slippage / USD
    out[15] = acc[LAST] / USD
    for code in range(1, vetoes.shape[0]):
        out[15 + code] = vetoes[code]


@compiled
def summarise_curve(
    equity: npt.NDArray[np.int64],
    gross: npt.NDArray[np.int64],
    first: int,
    book: Book,
    vetoes: npt.NDArray[np.int64],
    bars_per_year: float,
    out: Floats,
) -> None:
    """`summarise` of a whole curve in micro-dollars, the same additions in the same order as bar by bar."""
    acc = np.empty(ACCUMULATORS)
    begin(acc, first)
    for i in range(equity.shape[0]):
        observe(acc, equity[i], gross[i])
    summarise(acc, book, vetoes, bars_per_year, out)
