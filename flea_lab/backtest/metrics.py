"""Equity into numbers, bar by bar, so that a sweep keeps no curve and a report gets the same bits from one.

Returns are simple, per bar, zero-rate; annual figures assume 365 days of trading.
"""

import math

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import compiled
from flea_lab.lanes import WIDTH, bits, chosen, higher, inverse, lane, later, load, lower, splat, store
from flea_lab.ledger import FEES, FILLS, FUNDING, SLIPPAGE, TRIPS, TURNOVER, WINS, Book
from flea_lab.money import USD
from flea_lab.risk.checks import NAMES
from flea_lab.signal.kernel import Floats

# What is kept of the past: bars, last equity and its inverse, peak, deepest drawdown, equity at the beginning; then
# four sums in eight lanes each, by bar number modulo 8: of returns, of their squares, of the squares of negative ones,
# and of gross exposure over equity. Lanes are added up at the end only, so that eight bars can be taken in at once.
N, LAST, INVERSE, PEAK, DEEPEST, FIRST = range(6)
SUM, SQUARES, DOWNSIDE, EXPOSED = 8, 8 + WIDTH, 8 + 2 * WIDTH, 8 + 3 * WIDTH
ACCUMULATORS = 8 + 4 * WIDTH
WHOLE = 2.0**52
TURN = WIDTH - 1
"""Lanes up that are one lane down, around the end."""

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
    acc[INVERSE] = 1.0 / acc[LAST]


@compiled
def observe(acc: Floats, now: float, gross: float) -> None:
    """Takes in one closed bar: equity and gross exposure in micro-dollars."""
    at = int(acc[N]) % WIDTH
    share = 1.0 / now
    change = (now - acc[LAST]) * acc[INVERSE]
    lower_change = change if change < 0.0 else 0.0
    acc[SUM + at] += change
    acc[SQUARES + at] += change * change
    acc[DOWNSIDE + at] += lower_change * lower_change
    acc[EXPOSED + at] += gross * share
    acc[N] += 1.0
    acc[LAST], acc[INVERSE] = now, share
    acc[PEAK] = max(acc[PEAK], now)
    acc[DEEPEST] = min(acc[DEEPEST], now / acc[PEAK] - 1.0)


@compiled
def observe_run(acc: Floats, equity: Floats, gross: Floats, count: int) -> None:
    """`observe` of `count` bars, to the bit: bar by bar up to a multiple of eight, then eight at once."""
    i = 0
    while i < count and int(acc[N]) % WIDTH != 0:
        observe(acc, equity[i], gross[i])
        i += 1
    if i + WIDTH <= count:
        i = _observe_eights(acc, equity, gross, i, count)
    while i < count:
        observe(acc, equity[i], gross[i])
        i += 1


@compiled
def _observe_eights(acc: Floats, equity: Floats, gross: Floats, i: int, count: int) -> int:
    """Takes in whole eights from bar `i` on; returns the bar after them."""
    most = WHOLE
    while not _took_eights(acc, equity, gross, i, count, most):
        most = -np.inf
    return i + (count - i) // WIDTH * WIDTH


@compiled
def _took_eights(acc: Floats, equity: Floats, gross: Floats, i: int, count: int, most: float) -> bool:
    """Takes in eights: by their inverse where no equity is above the peak or `most`, else by dividing. False, and
    nothing is taken in, where an inverse was asked of less than 1.

    The return of a bar is its change times the inverse of the bar before. Eight inverses are therefore multiplied with
    the changes to the bars after them, and sums of returns are kept one lane lower than they are in `acc`: so nothing
    has to be moved from lane to lane.
    """
    one, zero, first = splat(1.0), splat(0.0), i
    but_last = later(one, zero, TURN) > zero
    change = chosen(later(one, zero, 1) > zero, splat((equity[i] - acc[LAST]) * acc[INVERSE]), zero)
    fall = lower(change, zero)
    total, squares, downside = load(acc, SUM) + change, load(acc, SQUARES), load(acc, DOWNSIDE) + fall * fall
    squares = squares + change * change
    total, squares, downside = _turned(total), _turned(squares), _turned(downside)
    exposed, peak, deepest = load(acc, EXPOSED), acc[PEAK], splat(acc[DEEPEST])
    peaks = lowest = splat(peak)
    usual = splat(min(peak, most))
    now = share = one
    while i + WIDTH <= count:
        now = load(equity, i)
        if bits(now > usual) == 0:
            share = inverse(now)
            lowest = lower(now, lowest)  # below one peak the lowest equity is the deepest drawdown
        else:
            if bits(lowest < one) != 0 and most > 0.0:
                return False
            share = one / now
            deepest = lower(lowest / peaks - one, deepest)
            top = higher(now, peaks)
            top = higher(top, later(peaks, top, 1))
            top = higher(top, later(peaks, top, 2))
            top = higher(top, later(peaks, top, 4))
            deepest = lower(now / top - one, deepest)
            peak = lane(top, WIDTH - 1)
            peaks = lowest = splat(peak)
            usual = splat(min(peak, most))
        if i + 2 * WIDTH <= count:
            change = (load(equity, i + 1) - now) * share
        else:
            change = chosen(but_last, (later(now, zero, TURN) - now) * share, zero)
        square = change * change
        total, squares = total + change, squares + square
        downside = chosen(change < zero, downside + square, downside)
        exposed = exposed + load(gross, i) * share
        i += WIDTH
    if bits(lowest < one) != 0 and most > 0.0:
        return False
    deepest = lower(lowest / peaks - one, deepest)
    store(acc, SUM, later(total, total, 1))
    store(acc, SQUARES, later(squares, squares, 1))
    store(acc, DOWNSIDE, later(downside, downside, 1))
    store(acc, EXPOSED, exposed)
    acc[N] += i - first
    acc[LAST], acc[INVERSE] = lane(now, WIDTH - 1), lane(share, WIDTH - 1)
    acc[PEAK] = peak
    for at in range(WIDTH):
        acc[DEEPEST] = min(acc[DEEPEST], lane(deepest, at))
    return True


@compiled
def _turned(lanes: Floats) -> Floats:
    """Every lane in the one below it, the first in the last."""
    return later(lanes, lanes, TURN)


@compiled
def _added(acc: Floats, at: int) -> float:
    """The sum of eight lanes, always in this order."""
    low = (acc[at] + acc[at + 1]) + (acc[at + 2] + acc[at + 3])
    return low + ((acc[at + 4] + acc[at + 5]) + (acc[at + 6] + acc[at + 7]))


@compiled
def summarise(acc: Floats, book: Book, vetoes: npt.NDArray[np.int64], bars_per_year: float, out: Floats) -> None:
    """Writes `METRICS` to `out`. A ratio without a denominator (no bars, no spread, no trips) is NaN."""
    n = acc[N]
    mean = _added(acc, SUM) / n
    falls = _added(acc, DOWNSIDE)
    variance = (_added(acc, SQUARES) - n * mean * mean) / (n - 1.0)
    deviation = math.sqrt(variance) if variance > 0.0 else math.nan
    downside = math.sqrt(falls / n) if falls > 0.0 else math.nan
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
    out[7] = _added(acc, EXPOSED) / n
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
    """`summarise` of a whole curve in micro-dollars, the same to the bit as bar by bar."""
    acc = np.empty(ACCUMULATORS)
    begin(acc, first)
    observe_run(acc, equity.astype(np.float64), gross.astype(np.float64), equity.shape[0])
    summarise(acc, book, vetoes, bars_per_year, out)
