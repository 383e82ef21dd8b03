"""The clock of a simulated machine: virtual time, wrong by as much as a scenario wants."""

from flea_lab.clock import Dice
from flea_lab.sim.loop import SimLoop


class SimClock:
    """As `flea_lab.clock.Clock`. `off_s` is how far it is ahead of the venue's."""

    def __init__(self, loop: SimLoop, dice: Dice, start_ns: int) -> None:
        self._loop, self._dice, self._start_ns = loop, dice, start_ns
        self.off_s = 0.0
        self._ids = 0

    def now_ns(self) -> int:
        """As `Clock.now_ns`."""
        return self._start_ns + round((self._loop.time() + self.off_s) * 1e9)

    def new_id(self) -> str:
        """As `Clock.new_id`."""
        self._ids += 1
        return f"sim{self._ids:09d}"

    def jitter(self) -> float:
        """As `Clock.jitter`."""
        return self._dice.random()
