"""Many combinations at once, as the arrays that a fold reads: what differs a row each, what is shared once.

All have the same kernels, symbols, bars and instruments. Parameters of a kernel are listed once however many
combinations share them, so that what depends on them alone can be computed once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from flea_lab.backtest.cell import Cell, book_of, require_held, rules_of, vpin_start
from flea_lab.backtest.market import Ints
from flea_lab.config import Alphas, RunConfig, alphas
from flea_lab.ledger import Book
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Ensemble
from flea_lab.signal.kernel import Floats, Kernel


class Batch(NamedTuple):
    """`n` combinations of `k` alphas.

    `rules` `(n, N_RULES)`, `weights` `(n, k)`. `params[a]` are the distinct parameters of alpha `a`, `which` `(n, k)`
    says which of them a combination has. `vpins` are the distinct (parameters, start states) of the VPIN guard,
    `vpin_which` `(n,)` says which. `book` is the empty one that all begin with.
    """

    kernels: tuple[Kernel, ...]
    rules: Floats
    weights: Floats
    params: tuple[tuple[Settings, ...], ...]
    which: Ints
    vpins: tuple[tuple[Floats, Floats], ...]
    vpin_which: Ints
    book: Book

    @property
    def n(self) -> int:
        """How many combinations."""
        return len(self.rules)

    def cell(self, i: int) -> Cell:
        """Combination `i` by itself."""
        chosen = [found[at] for found, at in zip(self.params, self.which[i], strict=True)]
        ensemble = Ensemble(self.kernels)
        mem, sizes = ensemble.start(chosen)
        prow, vpin_prow, vpin_mem = ensemble.rows(chosen), *self.vpins[self.vpin_which[i]]
        return Cell(self.rules[i], self.weights[i], prow, mem, sizes, vpin_prow, vpin_mem, self.book)


def batch_of(configs: Sequence[RunConfig], found: Sequence[Alphas] | None = None) -> Batch:
    """Validated configs as a batch; all must name the same kernels in the same order. `ConfigError` for one that checks
    orders in a way that the fold does not hold. `found` are their alphas, where they are known already."""
    for config in configs:
        require_held(config)
    found = [alphas(config) for config in configs] if found is None else found
    listed = [_distinct([each.params[a] for each in found]) for a in range(len(found[0].kernels))]
    vpins, vpin_which = _distinct([config.risk.vpin for config in configs])
    first = [configs[int(np.argmax(vpin_which == at))] for at in range(len(vpins))]
    return Batch(
        found[0].kernels,
        np.array([rules_of(config) for config in configs]),
        np.array([each.weights for each in found]),
        tuple(tuple(values) for values, _ in listed),
        np.array([which for _, which in listed], np.int64).T.reshape(len(configs), -1),
        tuple(vpin_start(config) for config in first),
        vpin_which,
        book_of(configs[0]),
    )


def _distinct(values: Sequence[Settings]) -> tuple[list[Settings], Ints]:
    """Each value once, in order of appearance, and which of them every one is."""
    seen: dict[bytes, int] = {}
    found: list[Settings] = []
    which = np.empty(len(values), np.int64)
    for i, value in enumerate(values):
        which[i] = seen.setdefault(msgspec.json.encode(value), len(found))
        if which[i] == len(found):
            found.append(value)
    return found, which
