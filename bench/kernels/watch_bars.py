"""Two averages of every bar and no opinion: what a bar costs when nothing is traded."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import kernel


class WatchBarsParams(Settings, frozen=True, kw_only=True):
    """Spans in bars."""

    fast: Bars = 9
    slow: Bars = 21


class WatchBarsState(NamedTuple):
    """Bars seen, the two averages, and silence."""

    n: float = 0.0
    fast: float = nan
    slow: float = nan
    direction: float = nan
    confidence: float = nan


@kernel(WatchBarsParams, WatchBarsState, inputs=("close",), warmup=lambda p: max(p.fast, p.slow))
def watch_bars(s, bar, p, memory):  # noqa: ARG001 (every step has one signature)
    """Direction 0 and confidence 0, once both averages are there."""
    if s.n == 0.0:
        return WatchBarsState(1.0, bar.close, bar.close)
    a, b = 2.0 / (p.fast + 1.0), 2.0 / (p.slow + 1.0)
    fast, slow = a * bar.close + (1.0 - a) * s.fast, b * bar.close + (1.0 - b) * s.slow
    if s.n + 1.0 < max(p.fast, p.slow):
        return WatchBarsState(s.n + 1.0, fast, slow)
    return WatchBarsState(s.n + 1.0, fast, slow, 0.0, 0.0)
