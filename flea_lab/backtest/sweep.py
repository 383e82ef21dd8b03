"""A grid of configs over one market: cut into chunks, folded on threads or on a cluster, metrics only.

Every cell is what a validated config says; a point that cannot be is listed with its reason. All cells trade from the
same bar, the end of the longest warm-up, so that they cover the same time. Chunks are independent and written down as
they end: an interrupted sweep goes on where it stopped, and how it was cut changes no bit.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from flea_lab.backtest.budget import cut
from flea_lab.backtest.chunks import Chunks, kept_folder
from flea_lab.backtest.cluster import fold_on_cluster
from flea_lab.backtest.found import SweepResult
from flea_lab.backtest.grid import Grid, load_grid, points
from flea_lab.backtest.group import Sections
from flea_lab.backtest.market import Market, tried_on, window
from flea_lab.backtest.plan import Configs, Plan, fold_mixed, plan, require
from flea_lab.compiled import source_hash
from flea_lab.config import RunConfig, plain
from flea_lab.errors import DataError
from flea_lab.signal.kernel import Floats
from flea_lab.trials import count_trials, note_trials
from flea_lab.workspace import workspace

__all__ = ["Grid", "Plan", "SweepResult", "common_start", "fold_cells", "load_grid", "plan", "points", "sweep"]

fold_cells = fold_mixed


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
    client: Any = None,
) -> SweepResult:
    """Folds every cell of `grid` around `config` over `market`; `cells` is its plan where that has been made already.

    Memory holds the market and what `config.deployment.memory_mib` allows, whatever the number of cells.
    `on_chunk(cells, metrics)` is called from this thread as chunks land. With `resume`, finished chunks are kept in
    that folder and not folded again. When `cancelled()` turns true the cells not reached stay NaN. With the `client` of
    a Dask cluster its workers fold the chunks.
    """
    cells = plan(config, load_grid(grid, "the grid")) if cells is None else cells
    start = common_start(cells.configs, market)
    threads, size = cut(cells, market, config.deployment)
    kept = kept_folder(resume, identity(cells, market, start)) if resume else None
    chunks = Chunks(cells.n, size, kept)
    data = tried_on(config, market)
    bar = tqdm(total=cells.n, desc="sweep", unit="cell", disable=not progress, leave=False)
    with bar:
        for number, found in _landing(cells, market, start, chunks, threads, cancelled, client):
            first, last = chunks.span(number)
            note_trials(workspace(), data, cells.ids(first, last))
            bar.update(last - first)
            if on_chunk is not None:
                on_chunk(list(range(first, last)), found)
            if cancelled():
                break
    return SweepResult(config, cells, chunks, start, count_trials(workspace(), data))


def common_start(configs: Sequence[RunConfig], market: Market) -> int:
    """The first bar on which every cell can be ready; `DataError` where the market is too short for that."""
    if isinstance(configs, Configs):
        configs.plan.require(market)
        warmup = configs.plan.warmup
    else:
        warmup = require(configs, market)
    if warmup >= market.n:
        raise DataError(f"{market.n} bars are too few: the longest warm-up of the grid is {warmup} bars")
    return warmup - 1


def identity(cells: Plan, market: Market, start: int) -> str:
    """SHA-256 of what decides every number of a sweep: code, kernels, cells and market."""
    digest = hashlib.sha256(f"{start} {market.n} {source_hash()} {cells.configs[0].id} ".encode())
    digest.update(" ".join(kernel.source for kernel in cells.alphas.kernels).encode())
    if cells.mixed:
        for config in cells.configs:
            digest.update(config.id.encode())
    for path, axis in cells.space.axes.items():
        digest.update(repr((path, [plain(value) for value in axis])).encode())
    if cells.space.listed is not None:
        digest.update(np.ascontiguousarray(cells.space.listed).tobytes())
    for array in (market.open_ms, market.bars, market.features, market.fund_row, market.fund_rate, market.fund_ms):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _landing(
    cells: Plan,
    market: Market,
    start: int,
    chunks: Chunks,
    threads: int,
    cancelled: Callable[[], bool],
    client: Any,
) -> Iterator[tuple[int, Floats]]:
    """Numbers and metrics of chunks: those that were finished before, then the others as they end, each kept."""
    todo = []
    for number in range(chunks.count):
        found = chunks.load(number)
        if found is None:
            todo.append(number)
        else:
            yield number, found
    if not todo or cancelled():
        return
    spans = {number: chunks.span(number) for number in todo}
    if client is None:
        landing = _on_threads(cells, market, start, spans, threads, cancelled)
    else:
        landing = fold_on_cluster(client, cells, market, start, spans, cancelled)
    for number, found in landing:
        chunks.save(number, found)
        yield number, found


def _on_threads(
    cells: Plan,
    market: Market,
    start: int,
    spans: dict[int, tuple[int, int]],
    threads: int,
    cancelled: Callable[[], bool],
) -> Iterator[tuple[int, Floats]]:
    """Chunks as they end, at most two a thread under way."""
    if threads > 1:
        _compile(cells, market, start, spans)
    todo = iter(spans.items())
    more = True
    with ThreadPoolExecutor(threads) as pool:
        waiting: dict[Future[Floats], int] = {}
        try:
            while (more or waiting) and not cancelled():
                while more and len(waiting) < 2 * threads:
                    number, span = next(todo, (-1, (0, 0)))
                    more = number >= 0
                    if more:
                        waiting[pool.submit(cells.fold, *span, market, start)] = number
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for job in done:
                    yield waiting.pop(job), job.result()
        finally:
            for job in waiting:
                job.cancel()


def _compile(cells: Plan, market: Market, start: int, spans: dict[int, tuple[int, int]]) -> None:
    """Compiles once, before the threads start: one cell of every kind of tolerance."""
    kinds: dict[bool, RunConfig] = {}
    for group in cells.groups:
        if isinstance(group, Sections) and group.touches("tolerance"):
            kinds |= {config.tolerance.max_hole_bars is None: config for config in group.kept.values()}
    short = window(market, 0, start + 1)
    first = next(iter(spans.values()))[0]
    cells.fold(first, first + 1, short, start)
    if len(kinds) > 1:
        fold_mixed(list(kinds.values()), short, start)
