"""Points of a space too large to fold whole: drawn at random, or where what was folded so far looks good.

Both are seeded and name no point twice; the same seed on the same data gives the same points. What comes out is a sweep
over the points that were named. Optuna is imported here alone, and only where it is asked for.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flea_lab.backtest.chunks import Chunks
from flea_lab.backtest.found import require_metric
from flea_lab.backtest.grid import MAX_CELLS, check_axes, current, flat, load_axis
from flea_lab.backtest.group import refusal
from flea_lab.backtest.market import Market
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.plan import plan, plan_points
from flea_lab.backtest.sweep import Plan, SweepResult, identity, sweep
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError
from flea_lab.settings import Settings, load_settings
from flea_lab.signal.kernel import Floats

BATCH = 16
"""Points that a Bayesian search asks for at a time, before it is told what came of them."""

STALE = 20
"""Batches without a new point after which a Bayesian search ends: it has nothing more to ask."""

CORNERS = 1_024
WORST = -1e300
"""What a Bayesian search is told of a point that cannot be, or has not the metric: only the order counts."""

MISSING = "a Bayesian search needs optuna: pip install 'flea-lab[search]'"

Point = dict[str, Any]


class Range(Settings, frozen=True, kw_only=True):
    """Every number from `low` to `high`, both included; whole ones where both are. `log`: by order of magnitude."""

    low: int | float
    high: int | float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


Ranges = Mapping[str, list[Any] | Range]


@dataclass(frozen=True)
class Search:
    """How points are chosen: `how`, how many, by which seed; `metric` is what a Bayesian search wants high."""

    how: Literal["random", "bayes"]
    trials: int
    seed: int = 0
    metric: str = "sharpe"

    def __post_init__(self) -> None:
        if self.how not in ("random", "bayes"):
            raise ConfigError(f"search {self.how!r} is unknown, known are random, bayes")
        if not 1 <= self.trials <= MAX_CELLS:
            raise ConfigError(f"trials = {self.trials:,}: from 1 to {MAX_CELLS:,}")
        if not self.seed >= 0:
            raise ConfigError(f"seed = {self.seed}: at least 0")
        require_metric(self.metric)


def search(
    config: RunConfig,
    ranges: Mapping[str, Any],
    market: Market,
    by: Search,
    *,
    progress: bool = False,
    on_chunk: Callable[[list[int], Floats], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    resume: Path | None = None,
    client: Any = None,
) -> SweepResult:
    """The sweep over the points that `by` chooses from `ranges`: lists of values, {start, stop, step} or {low, high};
    the rest as in `sweep`.

    All points trade from one bar, so the table is folded anew once the last point of a Bayesian search is known.
    """
    cells = choose(config, ranges, market, by, resume=resume, cancelled=cancelled)
    return sweep(
        config, {}, market, cells=cells, progress=progress, on_chunk=on_chunk, cancelled=cancelled, resume=resume,
        client=client,
    )  # fmt: skip


def choose(
    config: RunConfig,
    ranges: Mapping[str, Any],
    market: Market,
    by: Search,
    *,
    resume: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Plan:
    """The points that `by` chooses. With `resume`, what a Bayesian search was told is kept there (`kept_search`)."""
    given = load_ranges(ranges, "the ranges")
    if by.how == "random":
        return plan_points(config, random_points(given, by.trials, by.seed))
    kept = kept_search(resume, config, given, market, by) if resume else None
    check_axes(config, list(given))
    return plan_points(config, list(bayes_points(config, given, market, by, kept, cancelled)))


def load_ranges(values: Mapping[str, Any], place: str) -> dict[str, list[Any] | Range]:
    """Ranges from plain values: for each path a list, {start, stop, step}, or {low, high, log}."""
    if not values:
        raise ConfigError(f"nothing to search: name at least one setting with its values (in {place})")
    found: dict[str, list[Any] | Range] = {}
    for path, axis in flat(values, {"start", "stop"}, {"low", "high"}):
        if isinstance(axis, Range):
            found[path] = axis
        elif not (isinstance(axis, Mapping) and "low" in axis):
            found[path] = load_axis(path, axis, place)
        else:
            one = load_settings(axis, Range, f"{path} in {place}")
            if not (math.isfinite(one.low) and math.isfinite(one.high) and one.low < one.high):
                raise ConfigError(f"{path} = {dict(axis)}: low must be below high (in {place})")
            if one.log and not one.low > 0:
                raise ConfigError(f"{path} = {dict(axis)}: log needs low above 0 (in {place})")
            found[path] = one
    return found


def plain_ranges(ranges: Ranges) -> dict[str, Any]:
    """Ranges as plain values, such as a manifest keeps."""
    return {
        path: {"low": axis.low, "high": axis.high, "log": axis.log} if isinstance(axis, Range) else axis
        for path, axis in ranges.items()
    }


def random_points(ranges: Ranges, trials: int, seed: int) -> list[Point]:
    """`trials` different points, drawn from `ranges` by a seeded generator; `ConfigError` where there are fewer."""
    rng = np.random.default_rng(seed)
    total = math.prod(_size(axis) for axis in ranges.values())
    if trials > total:
        raise ConfigError(f"{trials:,} trials are asked for, the ranges have {total:,.0f} points: sweep them all")
    if total <= MAX_CELLS:
        return _without_repetition(ranges, trials, rng)
    found: dict[str, Point] = {}
    while len(found) < trials:
        point = {path: _drawn(axis, rng) for path, axis in ranges.items()}
        found.setdefault(repr(point), point)
    return list(found.values())


def _without_repetition(ranges: Ranges, trials: int, rng: np.random.Generator) -> list[Point]:
    """Points of a space that can be counted: each with its chance, those taken gone."""
    axes = {path: list(range(int(a.low), int(a.high) + 1)) if isinstance(a, Range) else a for path, a in ranges.items()}
    chances = np.ones(1)
    for path, axis in axes.items():
        one = ranges[path]
        weights = np.log1p(1.0 / np.array(axis)) if isinstance(one, Range) and one.log else np.ones(len(axis))
        chances = np.outer(chances, weights / weights.sum()).ravel()
    taken = rng.choice(len(chances), trials, replace=False, p=chances / chances.sum())
    codes = np.unravel_index(taken, tuple(len(axis) for axis in axes.values()))
    rows = zip(*(code.tolist() for code in codes), strict=True)
    return [{path: axis[at] for (path, axis), at in zip(axes.items(), row, strict=True)} for row in rows]


def _size(axis: list[Any] | Range) -> float:
    if isinstance(axis, Range):
        return axis.high - axis.low + 1 if axis.whole else math.inf
    return len(axis)


def _drawn(axis: list[Any] | Range, rng: np.random.Generator) -> Any:
    if not isinstance(axis, Range):
        return axis[int(rng.integers(len(axis)))]
    share = float(rng.random())
    top = axis.high + 1 if axis.whole else axis.high
    value = axis.low * (top / axis.low) ** share if axis.log else axis.low + (top - axis.low) * share
    return min(math.floor(value), axis.high) if axis.whole else _rounded(value, axis)


def _rounded(value: float, axis: Range) -> float:
    """Six digits, as a person would write it."""
    return min(max(float(f"{value:.6g}"), float(axis.low)), float(axis.high))


def bayes_points(
    config: RunConfig,
    ranges: Ranges,
    market: Market,
    by: Search,
    kept: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Point]:
    """Different points, each batch chosen knowing what came of those before it (Bergstra et al. 2011, as optuna does).

    A batch is asked for whole, folded, and told. With `kept`, what came of every batch is written there as rows of
    numbers; asked again, the seeded sampler is told the same and goes on where it stopped. Ends early where it finds
    nothing new to ask.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError(MISSING) from None
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=by.seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    asked = {path: _distribution(optuna.distributions, axis) for path, axis in ranges.items()}
    rows = Chunks(BATCH << 40, BATCH, kept) if kept else None
    known: dict[str, float] = {}
    start, stale = _least_start(config, ranges, market), 0
    for number in itertools.count():
        trials = [study.ask(asked) for _ in range(BATCH)]
        batch = [{path: _value(axis, trial.params[path]) for path, axis in ranges.items()} for trial in trials]
        new = {repr(point): point for point in batch if repr(point) not in known}
        new = dict(itertools.islice(new.items(), by.trials - len(known)))
        if new:
            values = _told(config, list(new.values()), market, start, by.metric, rows, number)
            known.update(zip(new, values, strict=True))
        yield from new.values()
        stale = 0 if new else stale + 1
        if len(known) == by.trials or stale == STALE or cancelled():
            return
        for trial, point in zip(trials, batch, strict=True):
            study.tell(trial, known[repr(point)])


def _told(
    config: RunConfig, batch: list[Point], market: Market, start: int, metric: str, rows: Chunks | None, number: int
) -> list[float]:
    """What a batch is worth: from the rows that are kept, or folded now and kept."""
    found = rows.load(number) if rows else None
    if found is None:
        found = np.full((BATCH, len(METRICS)), np.nan)
        can = [i for i, point in enumerate(batch) if not refusal(config, point)]
        if can:
            cells = plan_points(config, [batch[i] for i in can])
            cells.require(market)
            found[can] = cells.fold(0, cells.n, market, max(start, cells.warmup - 1))
        if rows:
            rows.save(number, found)
    values = found[: len(batch), METRICS.index(metric)]
    return [float(value) if math.isfinite(value) else WORST for value in values]


def _least_start(config: RunConfig, ranges: Ranges, market: Market) -> int:
    """The bar from which every point can trade, judged by the ends of the ranges, so that batches compare."""
    ends = {path: _ends(axis) for path, axis in ranges.items()}
    corners = itertools.islice(itertools.product(*ends.values()), CORNERS)
    try:
        cells = plan_points(config, [dict(zip(ends, corner, strict=True)) for corner in corners])
    except ConfigError:  # no corner can be; a batch still trades from where all of it can
        return 0
    return min(cells.warmup, market.n) - 1


def _ends(axis: list[Any] | Range) -> list[Any]:
    if isinstance(axis, Range):
        return [axis.high, axis.low]
    return list(dict.fromkeys([max(axis), min(axis)])) if _ordered(axis) else axis


def _ordered(axis: list[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis)


def _distribution(of: Any, axis: list[Any] | Range) -> Any:
    """How optuna draws an axis. A list of numbers is ordered, any other is not."""
    if isinstance(axis, Range):
        return of.IntDistribution(axis.low, axis.high, log=axis.log) if axis.whole else of.FloatDistribution(
            float(axis.low), float(axis.high), log=axis.log
        )  # fmt: skip
    if _ordered(axis):
        return of.IntDistribution(0, len(axis) - 1)
    return of.CategoricalDistribution(list(range(len(axis))))


def _value(axis: list[Any] | Range, drawn: Any) -> Any:
    if isinstance(axis, Range):
        return drawn if axis.whole else _rounded(drawn, axis)
    return (sorted(axis) if _ordered(axis) else axis)[drawn]


def kept_search(parent: Path, config: RunConfig, ranges: Ranges, market: Market, by: Search) -> Path:
    """Where what a search was told lies below `parent`: in the name is all that decides its numbers."""
    whole = identity(plan(config, {path: [current(config, path)] for path in ranges}), market, 0)
    text = json.dumps([whole, plain_ranges(ranges), by.how, by.seed, by.metric, by.trials, BATCH], default=repr)
    return parent / f"search-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
