"""How a sweep is cut so that it keeps to its memory: how many cells a chunk has, and how many threads fold chunks."""

from typing import NamedTuple

from flea_lab.backtest.account import PURSE
from flea_lab.backtest.arrays import CODES
from flea_lab.backtest.cell import N_RULES
from flea_lab.backtest.cells import BLOCK, COLUMN_BYTES
from flea_lab.backtest.group import Sections
from flea_lab.backtest.market import Market
from flea_lab.backtest.metrics import ACCUMULATORS, METRICS
from flea_lab.backtest.plan import Plan
from flea_lab.config import Deployment
from flea_lab.errors import ConfigError
from flea_lab.lanes import WIDTH
from flea_lab.ledger import COLUMNS
from flea_lab.risk.checks import GATE_SIZE
from flea_lab.signal.kernel import N_FIELDS

MIB = 2**20
TEXT = 1_024
"""Bytes of a combination's parameters as objects, its id and what they are made from."""

BOARDS = 6
"""Arrays as long as the market, beside it, that a fold makes a symbol."""

CELLS = 4_096
"""Combinations of a chunk at most: beyond some hundreds they gain little by going together, and memory only grows."""

WORK = 200_000_000
"""Bars x symbols x cells of a chunk at most, where that is more than `FEWEST` cells: below a second, so that progress
shows and little is lost when a sweep dies."""

FEWEST = 64
"""Combinations that share what they have in common, however long the market."""


class Cut(NamedTuple):
    """Threads, and cells a chunk."""

    threads: int
    chunk: int


def chunk_bytes(cells: Plan, market: Market, chunk: int) -> int:
    """An upper bound of what folding `chunk` cells holds at a time besides the market as it is built."""
    symbols, width, n = len(market.symbols), BLOCK + WIDTH, min(chunk, cells.n)
    alphas = len(cells.states)
    fields = {name for kernel in cells.alphas.kernels for name in kernel.inputs + kernel.optional}
    board = (BOARDS + len(fields)) * market.n * (symbols + 1) * 8
    several = 16 * symbols * BLOCK * sum(min(n, distinct) for distinct, _ in cells.states) > COLUMN_BYTES
    parts = 0
    for kernel, (distinct, floats) in zip(cells.alphas.kernels, cells.states, strict=True):
        rows = min(n, distinct)
        states = 0 if kernel.stateless else n if several else rows  # each tile has its own
        reach = width + floats  # a column keeps what a window may reach back to, and that is among its kernel's floats
        shared = rows * (len(kernel.parts) * width + (2 * floats if kernel.parts else 0))
        parts += symbols * 8 * (N_FIELDS * reach + shared + states * 2 * floats)
    opinions = max(2 * COLUMN_BYTES, 24 * alphas * symbols * width)
    guards = min(n, _guards(cells)) * symbols * width * 9
    state = 4 * N_RULES + symbols * COLUMNS + GATE_SIZE + ACCUMULATORS + CODES + PURSE + 5 * alphas
    return board + parts + opinions + guards + n * (8 * (state + 5 * len(METRICS)) + TEXT)


def cut(cells: Plan, market: Market, deployment: Deployment) -> Cut:
    """How `cells` are cut; `ConfigError` where not even one cell at a time keeps to `deployment.memory_mib`."""
    budget = deployment.memory_mib * MIB
    least = chunk_bytes(cells, market, 1)
    if least > budget:
        raise ConfigError(
            f"deployment.memory_mib = {deployment.memory_mib}: one combination alone needs {least / MIB:.1f} MiB"
        )
    threads = min(deployment.threads, budget // least)
    wanted = min(max(FEWEST, WORK // (market.n * len(market.symbols))), CELLS)
    if threads > 1:  # so that none waits long for the last
        wanted = min(wanted, -(-cells.n // (2 * threads)))
    if deployment.chunk is not None:
        wanted = deployment.chunk
    while wanted > 1 and threads * chunk_bytes(cells, market, wanted) > budget:
        wanted = wanted // 2
    return Cut(int(threads), int(min(wanted, cells.n)))


def _guards(cells: Plan) -> int:
    """How many distinct columns of guards there may be: VPIN, and what unsettles a symbol."""
    sections = [group for group in cells.groups if isinstance(group, Sections)]
    return 2 + sum(g.size for g in sections if g.touches("risk.vpin") or g.touches("tolerance"))
