"""A grid of configs over one market: cut into chunks, folded on threads, metrics only.

Every cell is a validated config; a point that cannot be is listed with its reason. All cells trade from the same bar,
the end of the longest warm-up, so that they cover the same time. Chunks are independent and written down as they end:
an interrupted sweep goes on where it stopped.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from flea_lab.backtest.batch import batch_of, fold_batch
from flea_lab.backtest.features import features_needed, require_buckets
from flea_lab.backtest.market import Market, require_inputs, require_market, window
from flea_lab.backtest.metrics import METRICS
from flea_lab.compiled import source_hash
from flea_lab.config import RunConfig, alphas, with_values
from flea_lab.errors import ConfigError, DataError
from flea_lab.signal.kernel import Floats

MAX_CELLS = 5_000_000
Grid = Mapping[str, Sequence[Any]]
OF_THE_MARKET = ("symbols", "interval", "instruments", "data", "costs.funding")
"""Settings that say what the market is, which every cell folds: none of them can be an axis."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found. `table` has one row a cell: its grid values, its config id and the metrics; `refused` the
    points that cannot be, with the reason. `start` is the bar from which every cell traded, `kept` the folder of its
    chunks, if they were kept."""

    config: RunConfig
    grid: dict[str, list[Any]]
    table: pd.DataFrame
    refused: pd.DataFrame
    start: int
    kept: Path | None = None

    def best(self, metric: str = "sharpe") -> dict[str, Any]:
        """Grid values of the cell with the highest `metric`; `ConfigError` for a metric that is none or is nowhere
        known."""
        if metric not in METRICS:
            raise ConfigError(f"metric {metric!r} is unknown, known are {', '.join(METRICS)}")
        if self.table[metric].isna().all():
            raise ConfigError(f"metric {metric!r} is not a number in any of {len(self.table)} cells")
        row = self.table.loc[self.table[metric].idxmax()]
        return {name: row[name] for name in self.grid}

    def cell_config(self, values: Mapping[str, Any]) -> RunConfig:
        """The config of one cell."""
        return with_values(self.config, values, "grid cell")


@dataclass
class Plan:
    """Cells to fold, in the order of the grid."""

    points: list[dict[str, Any]] = field(default_factory=list)
    configs: list[RunConfig] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


def load_grid(values: Mapping[str, Any], place: str) -> dict[str, list[Any]]:
    """A grid from plain values: a list of values a path, or {start, stop, step} with `stop` included.

    `ConfigError` for an empty axis, a range that never arrives, or more than 5 million cells.
    """
    if not values:
        raise ConfigError(f"grid is empty: name at least one setting with its values (in {place})")
    grid = {path: _axis(path, axis, place) for path, axis in _flat(values)}
    cells = math.prod(len(axis) for axis in grid.values())
    if cells > MAX_CELLS:
        raise ConfigError(f"grid has {cells:,} cells, at most {MAX_CELLS:,} (in {place})")
    return grid


def points(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every point of the grid, the last axis fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def plan(config: RunConfig, grid: Grid) -> Plan:
    """The cells of a grid as validated configs, and the points that are refused.

    A path that no config has is an error of the grid itself and raises; a value out of range, or one that does not go
    with the others, refuses its point.
    """
    out = Plan()
    for name in grid:
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in OF_THE_MARKET):
            raise ConfigError(f"grid axis {name}: all cells share one market, it cannot differ between them")
        _current(config, name)
    for point in points(grid):
        try:
            found = with_values(config, point, "grid cell")
        except ConfigError as error:
            out.refused.append({**point, "reason": str(error).rsplit(" (in ", 1)[0]})
            continue
        out.points.append(point)
        out.configs.append(found)
    if not out.configs:
        raise ConfigError(f"no cell of the grid can be: {out.refused[0]['reason']}")
    return out


def sweep(
    config: RunConfig,
    grid: Grid,
    market: Market,
    *,
    progress: bool = False,
    on_chunk: Callable[[list[int], Floats], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    resume: Path | None = None,
    cells: Plan | None = None,
) -> SweepResult:
    """Folds every cell of `grid` around `config` over `market`; `cells` is its plan where that has been made already.

    Memory holds the market, one state a thread and the metrics, whatever the number of cells. `on_chunk(cells,
    metrics)` is called from this thread as chunks land. With `resume`, finished chunks are kept in that folder and
    not folded again. When `cancelled()` turns true the cells not reached stay NaN.
    """
    grid = load_grid(grid, "the grid")
    cells = plan(config, grid) if cells is None else cells
    start = common_start(cells.configs, market)
    metrics = np.full((len(cells.configs), len(METRICS)), np.nan)
    size = config.deployment.chunk
    chunks = [list(range(at, min(at + size, len(metrics)))) for at in range(0, len(metrics), size)]
    kept = _Kept(resume, _identity(cells.configs, market, start)) if resume else None
    bar = tqdm(total=len(metrics), desc="sweep", unit="cell", disable=not progress, leave=False)
    for chunk, found in _run_chunks(cells.configs, market, start, chunks, config.deployment.threads, kept, cancelled):
        metrics[chunk] = found
        bar.update(len(chunk))
        if on_chunk is not None:
            on_chunk(chunk, found)
        if cancelled():
            break
    bar.close()
    table = pd.DataFrame(cells.points)
    table["config_id"] = [found.id for found in cells.configs]
    table = pd.concat([table, pd.DataFrame(metrics, columns=list(METRICS))], axis=1)
    refused = pd.DataFrame(cells.refused)
    return SweepResult(config, dict(grid), table, refused, start, kept.folder if kept else None)


def common_start(configs: Sequence[RunConfig], market: Market) -> int:
    """The first bar on which every cell can be ready; `DataError` where the market is too short for that."""
    warmup = 1
    seen: set[str] = set()
    for config in configs:
        require_buckets(config, market.buckets)
        asked = [[alpha.kernel, alpha.params] for alpha in config.signals]
        key = json.dumps([config.risk.vpin.source, asked], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        found = alphas(config)
        features_needed(config, found)
        require_inputs(market, found, config.risk.vpin)
        warmup = max(warmup, found.warmup)
    if warmup >= market.n:
        raise DataError(f"{market.n} bars are too few: the longest warm-up of the grid is {warmup} bars")
    return warmup - 1


def fold_cells(configs: Sequence[RunConfig], market: Market, start: int) -> Floats:
    """Metrics of every config, shape `(n_cells, len(METRICS))`; one thread, nothing recorded.

    Refuses a config that trades other symbols than the market holds: the compiled fold trusts their number.
    """
    out = np.empty((len(configs), len(METRICS)))
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, config in enumerate(configs):
        require_market(config, market)
        alike.setdefault(tuple(alpha.kernel for alpha in config.signals), []).append(i)
    for rows in alike.values():
        out[rows] = fold_batch(batch_of([configs[i] for i in rows]), market, start)
    return out


def _run_chunks(
    configs: Sequence[RunConfig],
    market: Market,
    start: int,
    chunks: list[list[int]],
    threads: int,
    kept: "_Kept | None",
    cancelled: Callable[[], bool],
) -> Iterator[tuple[list[int], Floats]]:
    """Chunks as they end, at most two a thread under way."""
    todo = []
    for number, chunk in enumerate(chunks):
        found = kept.load(number, len(chunk)) if kept else None
        if found is None:
            todo.append((number, chunk))
        else:
            yield chunk, found
    if not todo:
        return
    kinds = {configs[i].tolerance.max_hole_bars is None: configs[i] for _, chunk in todo for i in chunk}
    fold_cells(list(kinds.values()), window(market, 0, start + 1), start)  # compile once, before the threads start
    with ThreadPoolExecutor(threads) as pool:
        waiting: dict[Future[Floats], tuple[int, list[int]]] = {}
        try:
            while (todo or waiting) and not cancelled():
                while todo and len(waiting) < 2 * threads:
                    number, chunk = todo.pop(0)
                    job = pool.submit(fold_cells, [configs[i] for i in chunk], market, start)
                    waiting[job] = (number, chunk)
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for job in done:
                    number, chunk = waiting.pop(job)
                    found = job.result()
                    if kept:
                        kept.save(number, found)
                    yield chunk, found
        finally:
            for job in waiting:
                job.cancel()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and not {"start", "stop"} <= set(value):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _axis(path: str, axis: Any, place: str) -> list[Any]:
    if isinstance(axis, Mapping):
        unknown = set(axis) - {"start", "stop", "step"}
        if unknown:
            raise ConfigError(f"{path}: unknown {sorted(unknown)[0]!r}, a range has start, stop, step (in {place})")
        start, stop, step = axis["start"], axis["stop"], axis.get("step", 1)
        if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in (start, stop, step)):
            raise ConfigError(f"{path} = {dict(axis)}: start, stop and step must be numbers (in {place})")
        if not (step > 0 and start <= stop and (stop - start) / step < MAX_CELLS):
            raise ConfigError(f"{path} = {dict(axis)}: the range never arrives at stop (in {place})")
        count = int((stop - start) / step + 1e-9) + 1
        return [start + i * step if isinstance(step, int) else round(start + i * step, 12) for i in range(count)]
    values = list(axis) if isinstance(axis, (list, tuple, np.ndarray)) else [axis]
    if not values:
        raise ConfigError(f"{path} = []: an axis needs at least one value (in {place})")
    if len({repr(value) for value in values}) < len(values):
        raise ConfigError(f"{path} = {values}: each value once (in {place})")
    return values


def _current(config: RunConfig, path: str) -> Any:
    """The value at a grid path; `ConfigError` where there is no such setting."""
    steps = path.split(".")
    for alpha in config.signals:
        if steps[0] == alpha.kernel:
            found = alpha.weight if steps[1:] == ["weight"] else alpha.params.get(".".join(steps[1:]))
            if found is None:
                known = ", ".join(["weight", *alpha.params])
                raise ConfigError(f"grid axis {path}: no such parameter of {alpha.kernel}, known are {known}")
            return found
    at: Any = config.to_dict()
    for step in steps:
        at = at[int(step)] if isinstance(at, list) and step.isdigit() and int(step) < len(at) else _child(at, step)
        if at is None:
            names = ", ".join(f"{alpha.kernel}.<parameter>" for alpha in config.signals)
            raise ConfigError(f"grid axis {path}: no such setting; use a field such as risk.max_drawdown, or {names}")
    return at


def _child(at: Any, step: str) -> Any:
    return at.get(step) if isinstance(at, dict) else None


class _Kept:
    """Chunks of a sweep on disk: one small file each, usable only for the very same sweep by the very same code."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / f"chunks-{identity[:16]}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, number: int, size: int) -> Floats | None:
        """The metrics of a finished chunk, or None."""
        path = self.folder / f"{number}.npy"
        if not path.exists():
            return None
        found: Floats = np.load(path, allow_pickle=False)
        return found if found.shape == (size, len(METRICS)) else None

    def save(self, number: int, metrics: Floats) -> None:
        """Writes a finished chunk whole or not at all."""
        partial = self.folder / f".{number}.npy"
        with partial.open("wb") as file:
            np.save(file, metrics, allow_pickle=False)
        partial.replace(self.folder / f"{number}.npy")


def _identity(configs: Sequence[RunConfig], market: Market, start: int) -> str:
    digest = hashlib.sha256(f"{start} {market.n} {source_hash()}".encode())
    combinations = {tuple(alpha.kernel for alpha in config.signals): config for config in configs}
    for config in combinations.values():
        digest.update(" ".join(kernel.source for kernel in alphas(config).kernels).encode())
    for config in configs:
        digest.update(config.id.encode())
    for array in (market.open_ms, market.bars, market.features, market.fund_row, market.fund_rate, market.fund_ms):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
