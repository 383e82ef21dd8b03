"""Walk-forward: choose parameters on one stretch of history, trade them on the next, and go on.

What was chosen never saw the bars it is judged on. Every stretch begins flat with the config's own cash; the curves are
joined by their growth, so a position held at the end of one is valued there and not carried over. Costs of leaving it
are not charged.

Source: Pardo, The Evaluation and Optimization of Trading Strategies (2008), chapters 11 to 13.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from flea_lab.backtest.curve import curve_metrics
from flea_lab.backtest.market import Market, window
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.sweep import common_start, load_grid, plan, sweep
from flea_lab.config import RunConfig, with_values
from flea_lab.decision import digest
from flea_lab.errors import ConfigError, DataError
from flea_lab.model.market import MS_NS
from flea_lab.money import USD
from flea_lab.research.plateau import widest
from flea_lab.signal.kernel import Floats
from flea_lab.wiring import run_fold

DAY_MS = 86_400_000
Choice = Literal["best", "plateau"]


class Stretch(NamedTuple):
    """Bars `train_from` to `test_from` are chosen on, `test_from` to `test_to` traded; ends are not included."""

    train_from: int
    test_from: int
    test_to: int


@dataclass(frozen=True)
class WalkForward:
    """What a walk-forward found.

    `windows` has a row a stretch: its times (ms UTC, opens of bars), the values chosen, the metric on what it was
    chosen on and on what came after, the returns of both by year, and of the config's own values on the latter.
    `equity` (ts, walked_usd, own_usd) are the joined curves at every close traded: of what was chosen, and of the
    config's own values. `metrics` and `own` are the metrics of the two curves. `evaluated` counts the
    cells folded, `digest` is the SHA-256 over the decisions of all that was traded on what was chosen.
    """

    config: RunConfig
    grid: dict[str, list[Any]]
    metric: str
    choose: Choice
    windows: pd.DataFrame
    equity: pd.DataFrame
    metrics: dict[str, float]
    own: dict[str, float]
    evaluated: int
    digest: str

    @property
    def efficiency(self) -> float:
        """Mean annual return of what was traded over that of what it was chosen on; NaN where the latter lost."""
        chosen = float(self.windows["in_annual"].mean())
        return float(self.windows["out_annual"].mean()) / chosen if chosen > 0.0 else math.nan


def stretches(first: int, bars: int, train: int, test: int, *, anchored: bool = False) -> list[Stretch]:
    """The stretches of `bars` bars of which `first` cannot be traded: `train` bars, then `test`, moved on by `test`.

    `anchored` begins every choice at `first`. The last test may be shorter, but not below half.
    """
    found = []
    at = first + train
    while at < bars:
        end = min(at + test, bars)
        if 2 * (end - at) < test:
            break
        found.append(Stretch(first if anchored else at - train, at, end))
        at += test
    return found


def walk_forward(
    config: RunConfig,
    grid: Mapping[str, Sequence[Any]],
    market: Market,
    *,
    train_days: float,
    test_days: float,
    anchored: bool = False,
    metric: str = "sharpe",
    choose: Choice = "best",
    progress: bool = False,
    on_window: Callable[[int, int], None] | None = None,
) -> WalkForward:
    """Sweeps `grid` on every stretch of `train_days`, trades its best cell on the `test_days` after it.

    `choose` "plateau" takes the cell whose neighbours are best instead of the best cell. A stretch on which no cell has
    the metric is traded with the config's own values, and its row says so. `on_window(done, of)` is told as it goes.
    `ConfigError` for a metric or choice that is none and for stretches below two bars, `DataError` where the market is
    too short for two stretches.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r} is unknown, known are {', '.join(METRICS)}")
    if choose not in ("best", "plateau"):
        raise ConfigError(f"choose = {choose!r}: it is best or plateau")
    axes = load_grid(grid, "the grid")
    first, found = _laid_out(config, axes, market, train_days, test_days, anchored)
    rows, walked, own, digests, evaluated = [], [], [], [], 0
    for number, stretch in enumerate(
        tqdm(found, desc="walk-forward", unit="window", disable=not progress, leave=False)
    ):
        before = window(market, stretch.train_from - first, stretch.test_from)
        table = sweep(config, axes, before).table
        evaluated += len(table)
        values = _chosen(table, axes, metric, choose)
        chosen = config if values is None else with_values(config, values, "the walk-forward's choice")
        after = window(market, stretch.test_from - first, stretch.test_to)
        out, its_own = (_traded(each, after, first) for each in (chosen, config))
        rows.append(_row(market, stretch, values, table, axes, metric, out, its_own))
        walked.append(out.curve)
        own.append(its_own.curve)
        digests.append(out.digest)
        if on_window is not None:
            on_window(number + 1, len(found))
    ts = np.concatenate([market.close_ns[s.test_from : s.test_to] // MS_NS for s in found])
    cash, per_year = config.initial_cash_usd, market.bars_per_year
    walked_usd, own_usd = _joined(walked, cash), _joined(own, cash)
    return WalkForward(
        config=config,
        grid=axes,
        metric=metric,
        choose=choose,
        windows=pd.DataFrame(rows),
        equity=pd.DataFrame({"ts": ts, "walked_usd": walked_usd, "own_usd": own_usd}),
        metrics=curve_metrics(walked_usd, cash, per_year),
        own=curve_metrics(own_usd, cash, per_year),
        evaluated=evaluated,
        digest=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
    )


def _laid_out(
    config: RunConfig, grid: dict[str, list[Any]], market: Market, train_days: float, test_days: float, anchored: bool
) -> tuple[int, list[Stretch]]:
    """The bars that the longest warm-up takes, and the stretches after it; `DataError` where there are not two."""
    train, test = (_bars(market, name, days) for name, days in (("train_days", train_days), ("test_days", test_days)))
    first = common_start([*plan(config, grid).configs, config], market)
    found = stretches(first, market.n, train, test, anchored=anchored)
    if len(found) < 2:
        need = (first + train + 1.5 * test) * market.interval_ms / DAY_MS
        have = market.n * market.interval_ms / DAY_MS
        raise DataError(f"{have:.4g} days are too few: two stretches of {train_days:g} + {test_days:g} need {need:.4g}")
    return first, found


class _Traded(NamedTuple):
    """Metrics of one stretch, its equity in USD at every close, and the digest of its decisions."""

    metrics: dict[str, float]
    curve: Floats
    digest: str


def _traded(config: RunConfig, market: Market, start: int) -> _Traded:
    done = run_fold(config, market, start, curves=True)
    said = digest(done.decisions, config.symbols)
    return _Traded(dict(zip(METRICS, done.metrics.tolist(), strict=True)), done.sink.equity[start:] / USD, said)


def _bars(market: Market, name: str, days: float) -> int:
    count = round(days * DAY_MS / market.interval_ms) if math.isfinite(days) else 0
    if count < 2:
        raise ConfigError(f"{name} = {days:g}: a stretch has at least two bars of {market.interval_ms / 60_000:g} min")
    return count


def _chosen(table: pd.DataFrame, grid: dict[str, list[Any]], metric: str, choose: Choice) -> dict[str, Any] | None:
    """Grid values of the cell that is chosen, or None where no cell can be."""
    if table[metric].isna().all():
        return None
    if choose == "plateau":
        return widest(table, grid, metric)
    row = table.loc[table[metric].idxmax()]
    return {name: row[name] for name in grid}


def _row(
    market: Market,
    stretch: Stretch,
    values: dict[str, Any] | None,
    table: pd.DataFrame,
    grid: dict[str, list[Any]],
    metric: str,
    out: _Traded,
    own: _Traded,
) -> dict[str, Any]:
    """One row of `WalkForward.windows`."""
    first, turn = int(market.open_ms[stretch.train_from]), int(market.open_ms[stretch.test_from])
    inside: dict[str, Any] = {metric: math.nan, "annual_return": math.nan}
    if values is not None:
        match = np.logical_and.reduce([table[name] == value for name, value in values.items()])
        inside = table[match].iloc[0]
    return {
        "train_from": first,
        "test_from": turn,
        "test_to": int(market.open_ms[stretch.test_to - 1]) + market.interval_ms,
        **(values or dict.fromkeys(grid)),
        "chosen": values is not None,
        "in_sample": float(inside[metric]),
        "out_of_sample": out.metrics[metric],
        "in_annual": float(inside["annual_return"]),
        "out_annual": out.metrics["annual_return"],
        "out_return": out.metrics["total_return"],
        "own_return": own.metrics["total_return"],
        "fills": out.metrics["fills"],
    }


def _joined(curves: list[Floats], cash_usd: float) -> Floats:
    """Curves that each begin at `cash_usd`, one growing on where the last ended."""
    out, at = [], cash_usd
    for curve in curves:
        out.append(curve / cash_usd * at)
        at = float(out[-1][-1])
    return np.concatenate(out)
