"""What a curve of equity says by itself."""

import math

import numpy as np
import numpy.typing as npt


def curve_metrics(curve: npt.ArrayLike, first_usd: float, bars_per_year: float) -> dict[str, float]:
    """The metrics that a curve of equity at every close has by itself, by the formulas of `backtest.metrics`.

    `first_usd` is the equity before the first bar. A ratio without a denominator is NaN.
    """
    equity = np.concatenate([[first_usd], np.asarray(curve, dtype=np.float64)])
    change = equity[1:] / equity[:-1] - 1.0
    mean, losses = change.mean(), np.minimum(change, 0.0)
    deviation = change.std(ddof=1) if len(change) > 1 else math.nan
    downside = math.sqrt(np.square(losses).mean())
    growth = equity[-1] / equity[0]
    annual = growth ** (bars_per_year / len(change)) - 1.0 if growth > 0.0 else -1.0
    deepest = float((equity / np.maximum.accumulate(equity) - 1.0).min())
    root = math.sqrt(bars_per_year)
    return {
        "total_return": float(growth - 1.0),
        "annual_return": float(annual),
        "volatility": float(deviation * root) if deviation > 0.0 else math.nan,
        "sharpe": float(mean / deviation * root) if deviation > 0.0 else math.nan,
        "sortino": float(mean / downside * root) if downside > 0.0 else math.nan,
        "calmar": float(annual / -deepest) if deepest < 0.0 else math.nan,
        "max_drawdown": deepest,
    }
