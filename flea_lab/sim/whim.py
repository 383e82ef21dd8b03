"""A desk that trades often and for no reason, so that orders are never rare: the same whims for the same seed.

In every fourth scenario it buys almost always, so that it is at its limit most of the time.
"""

import numpy as np

from flea_lab.signal.kernel import N_FIELDS
from flea_lab.sim.market import SYMBOLS
from flea_lab.strategy.desk import MODES, Desk
from flea_lab.strategy.params import Combination, Sizing

SIZING = Sizing(base_fraction=0.12)
SILENT = 0.45
"""Share of bars on which it wants nothing."""

_MODULUS = 2**31


class Whim(Desk):
    """What it wants follows from its memory alone, which the core keeps and puts back. `hush` silences it."""

    def __init__(self, seed: int, initial_uusd: int) -> None:
        n = len(SYMBOLS)
        self._kernels = ()
        self._row = {symbol: s for s, symbol in enumerate(SYMBOLS)}
        self._mem = np.array([[float(seed % _MODULUS + s), 0.0] for s in range(n)])
        self.bars = np.full((n, N_FIELDS), np.nan)
        self.told = np.zeros(n)
        self.convictions = self.told
        self._opinions = np.zeros((n, 0, 2))
        self.combination = Combination()
        self.sizing = SIZING
        self._mode = MODES[SIZING.mode]
        self._initial_uusd = initial_uusd
        self._buys = 0.9 if seed % 4 == 1 else 0.6

    @property
    def quiet(self) -> bool:
        """Whether it wants nothing any more."""
        return bool(self._mem[0, 1])

    def hush(self) -> None:
        """Wants nothing from here on; the core's memory says so, and so must the journal (`Pump.rebase`)."""
        self._mem[:, 1] = 1.0

    def step_rows(self, first: int, stop: int) -> bool:
        """As `Desk.step_rows`: nothing, or much, now this way and now that."""
        for s in range(first, stop):
            draw = int(self._mem[s, 0])
            for _ in range(3):
                draw = (1_103_515_245 * draw + 12_345) % _MODULUS
            self._mem[s, 0] = draw
            self.convictions[s] = 0.0 if self._mem[s, 1] else _conviction(draw, self._buys)
        return bool(np.any(np.abs(self.convictions[first:stop]) >= self.combination.min_conviction))


def _conviction(draw: int, buys: float) -> float:
    """What a draw wants; of `buys` of all that is wanted it is to buy."""
    share = draw / _MODULUS
    if share < SILENT:
        return 0.0
    side = 1.0 if (draw >> 9) % 10 < 10 * buys else -1.0
    return side * (0.4 + 0.6 * (share - SILENT) / (1.0 - SILENT))
