"""A desk that trades often and for no reason, so that orders are never rare: the same whims for the same seed."""

import numpy as np

from flea_lab.signal.kernel import Bar, Floats
from flea_lab.sim.market import SYMBOLS
from flea_lab.strategy.desk import MODES, Desk
from flea_lab.strategy.params import Combination, Sizing

SIZING = Sizing(base_fraction=0.12)
SILENT = 0.45
"""Share of bars on which it wants nothing."""

_MODULUS = 2**31


class Whim(Desk):
    """What it wants follows from its memory alone, which the core keeps and puts back. `quiet` silences it."""

    def __init__(self, seed: int, initial_uusd: int) -> None:
        self._kernels = ()
        self._mem = {symbol: np.array([float(seed % _MODULUS + n)]) for n, symbol in enumerate(SYMBOLS)}
        self._opinions = {symbol: np.zeros((0, 2)) for symbol in SYMBOLS}
        self.combination = Combination()
        self.sizing = SIZING
        self._mode = MODES[SIZING.mode]
        self._initial_uusd = initial_uusd
        self.quiet = False

    def step(self, symbol: str, bar: Bar) -> float:  # noqa: ARG002
        """A conviction: nothing, or much, now this way and now that, for some bars at a time."""
        memory: Floats = self._mem[symbol]
        draw = int(memory[0])
        for _ in range(3):
            draw = (1_103_515_245 * draw + 12_345) % _MODULUS
        memory[0] = float(draw)
        share = draw / _MODULUS
        if self.quiet or share < SILENT:
            return 0.0
        side = 1.0 if (draw >> 9) % 5 < 3 else -1.0
        return side * (0.4 + 0.6 * (share - SILENT) / (1.0 - SILENT))
