"""What data a config tolerates, and which symbols stay out because theirs was worse: one compiled rule, a row a symbol.

A symbol is unsettled from the fault on until `settle_bars` of its bars have come. A hole is found by the bars
themselves, in research as live; of other faults a desk is told (`Doubt`), because only who listens can find them.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from flea_lab.compiled import compiled
from flea_lab.settings import Bars, Settings

Fault = Literal[
    "disconnected", "early_close", "gap", "hole", "impossible_bar", "late_correction", "off_grid", "resent"
]  # fmt: skip
"""The kinds of fault that a config may tolerate; the words are those of `model.finding.Kind`."""

DOUBTED: dict[str, tuple[Fault, ...]] = {
    "candles": ("early_close", "impossible_bar", "late_correction", "off_grid", "resent"),
    "trades": ("disconnected", "gap"),
}
"""By channel, the faults that a desk is told of where its config does not tolerate them."""

LAST_NS, LEFT = range(2)
DOUBT_COLUMNS = 2
NEVER_NS = 2**62
"""Longer than any hole, and exact as a float."""

DoubtRows = npt.NDArray[np.int64]
"""`(n_symbols, 2)`: close of the symbol's last bar (ns UTC, 0 before the first), and for how many bars more it stays
out, the last one included."""


class Tolerance(Settings, frozen=True, kw_only=True):
    """What data a config decides on.

    A hole of more than `max_hole_bars` missing bars (None: none is too long), or a fault of a kind that is not among
    `kinds`, keeps its symbol out until `settle_bars` bars have come, the one after the hole included.
    """

    max_hole_bars: Annotated[int, Meta(ge=0, le=5_000, description="missing bars")] | None = None
    settle_bars: Bars = 1
    kinds: tuple[Fault, ...] = ("hole", "resent")

    def __post_init__(self) -> None:
        if "hole" not in self.kinds and self.max_hole_bars is None:
            raise ValueError("kinds without 'hole' tolerate no hole: say so with max_hole_bars = 0")


def longest_hole_ns(tolerance: Tolerance, bar_ns: int) -> int:
    """The largest tolerated time from one close to the next, ns; `NEVER_NS` where every hole is tolerated.

    >>> longest_hole_ns(Tolerance(max_hole_bars=2), 60) // 60
    3
    """
    return NEVER_NS if tolerance.max_hole_bars is None else (tolerance.max_hole_bars + 1) * bar_ns


@compiled
def take_bar(doubts: DoubtRows, s: int, ts_ns: int, longest_ns: int, settle_bars: int) -> None:
    """Takes that a bar of row `s` closes at `ts_ns`: one bar less to stay out, or out where it follows a hole."""
    last = doubts[s, LAST_NS]
    doubts[s, LAST_NS] = ts_ns
    if doubts[s, LEFT] > 0:
        doubts[s, LEFT] -= 1
    if ts_ns - last > longest_ns and last > 0:
        doubts[s, LEFT] = max(doubts[s, LEFT], settle_bars)


class Doubts:
    """Which symbols of one account stay out of the market because of their data."""

    def __init__(self, tolerance: Tolerance, symbols: Sequence[str], bar_ns: int) -> None:
        """Nothing is in doubt yet."""
        self.state: DoubtRows = np.zeros((len(symbols), DOUBT_COLUMNS), dtype=np.int64)
        self._row = {symbol: s for s, symbol in enumerate(symbols)}
        self._settle_bars = tolerance.settle_bars
        self._longest_ns = longest_hole_ns(tolerance, bar_ns)
        self.awake = self._longest_ns < NEVER_NS

    def bar(self, symbol: str, ts_ns: int) -> None:
        """Takes that a bar of `symbol` closes. Without effect, and not needed, while not `awake`."""
        take_bar(self.state, self._row[symbol], ts_ns, self._longest_ns, self._settle_bars)
        self.wake()

    def doubt(self, symbol: str) -> None:
        """Takes that the data of `symbol` had a fault: its next bars are not decided on."""
        self.state[self._row[symbol], LEFT] = self._settle_bars + 1  # the next bar takes one off
        self.awake = True

    def unsettled(self, symbol: str) -> bool:
        """Whether the bar that was last taken may not be decided on."""
        return bool(self.state[self._row[symbol], LEFT] > 0)

    def wake(self) -> None:
        """Says anew whether bars must be taken, after `state` was changed from outside too."""
        self.awake = self._longest_ns < NEVER_NS or bool(self.state[:, LEFT].any())
