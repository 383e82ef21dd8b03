"""Donchian breakout: with the close that leaves the channel of the bars before."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 20


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    inputs=("close",),
    parts={
        "top": parts.highest("high", window="window"),
        "bottom": parts.lowest("low", window="window"),
        "upper": parts.lag("top", window=2),
        "lower": parts.lag("bottom", window=2),
    },
)
def donchian(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Long above the channel, short below it; else no opinion."""
    if bar.close > x.upper:
        return State(1.0, 1.0)
    if bar.close < x.lower:
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
