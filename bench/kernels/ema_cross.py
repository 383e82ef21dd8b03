"""EMA crossover: long while the fast average is above the slow one, short while it is below."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import kernel


class EmaCrossParams(Settings, frozen=True, kw_only=True):
    """Spans in bars."""

    fast: Bars = 9
    slow: Bars = 21


class EmaCrossState(NamedTuple):
    """Bars seen, the two averages, and what the last bar said."""

    n: float = 0.0
    fast: float = nan
    slow: float = nan
    direction: float = nan
    confidence: float = nan


@kernel(EmaCrossParams, EmaCrossState, inputs=("close",), warmup=lambda p: max(p.fast, p.slow))
def ema_cross(s, bar, p, memory):  # noqa: ARG001 (every step has one signature)
    """Direction 1 while the fast average is above the slow, else -1; confidence 1. Both begin with the first close."""
    if s.n == 0.0:
        return EmaCrossState(1.0, bar.close, bar.close)
    a, b = 2.0 / (p.fast + 1.0), 2.0 / (p.slow + 1.0)
    fast, slow = a * bar.close + (1.0 - a) * s.fast, b * bar.close + (1.0 - b) * s.slow
    if s.n + 1.0 < max(p.fast, p.slow):
        return EmaCrossState(s.n + 1.0, fast, slow)
    return EmaCrossState(s.n + 1.0, fast, slow, 1.0 if fast > slow else -1.0, 1.0)
