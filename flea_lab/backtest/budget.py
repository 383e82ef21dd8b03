"""How a sweep is cut so that it keeps to its memory: how many cells a chunk has, and how many threads fold chunks."""

from typing import NamedTuple

from flea_lab.backtest.market import Market
from flea_lab.backtest.plan import Plan
from flea_lab.config import Deployment
from flea_lab.errors import ConfigError

MIB = 2**20
COLUMN_BARS = 1_024
"""Bars of a column of opinions that a fold holds at a time."""

CELL_BYTES = 4_096
"""At most, of one combination: its numbers, its account, its metrics."""

WORK = 200_000_000
"""Bars x symbols x cells of a chunk where memory allows: well below a second, so that progress shows and little is lost
when a sweep dies."""


class Cut(NamedTuple):
    """Threads, and cells a chunk."""

    threads: int
    chunk: int


def chunk_bytes(cells: Plan, market: Market, chunk: int) -> int:
    """An upper bound of what folding `chunk` cells holds at a time besides the market."""
    symbols = len(market.symbols)
    columns = 0
    for distinct, floats in cells.states:
        columns += min(chunk, distinct) * symbols * 8 * (2 * COLUMN_BARS + floats)
    return columns + chunk * (CELL_BYTES + symbols * 256)


def cut(cells: Plan, market: Market, deployment: Deployment) -> Cut:
    """How `cells` are cut; `ConfigError` where not even one cell at a time keeps to `deployment.memory_mib`."""
    budget = deployment.memory_mib * MIB
    least = chunk_bytes(cells, market, 1)
    if least > budget:
        raise ConfigError(
            f"deployment.memory_mib = {deployment.memory_mib}: one combination alone needs {least / MIB:.0f} MiB"
        )
    threads = min(deployment.threads, budget // least)
    wanted = max(16, WORK // (market.n * len(market.symbols)))
    wanted = min(wanted, max(1, -(-cells.n // (2 * threads))))
    if deployment.chunk is not None:
        wanted = deployment.chunk
    while wanted > 1 and threads * chunk_bytes(cells, market, wanted) > budget:
        wanted = wanted // 2
    return Cut(int(threads), int(wanted))
