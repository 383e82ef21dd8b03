"""Buys and sells in turn, a bar each: an order at every bar, whatever the market does."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Settings
from flea_lab.signal.kernel import kernel


class EveryBarParams(Settings, frozen=True, kw_only=True):
    """None."""


class EveryBarState(NamedTuple):
    """Bars seen, and what the last bar said."""

    n: float = 0.0
    direction: float = nan
    confidence: float = nan


@kernel(EveryBarParams, EveryBarState, inputs=("close",), warmup=lambda _: 1)
def every_bar(s, bar, p, memory):  # noqa: ARG001 (every step has one signature)
    """Direction 1 and -1 in turn, confidence 1."""
    return EveryBarState(s.n + 1.0, 1.0 if s.n % 2.0 == 0.0 else -1.0, 1.0)
