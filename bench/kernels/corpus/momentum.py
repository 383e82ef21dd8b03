"""Momentum: with the rate of change over some bars."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 20
    smooth: Bars = 3


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "smoothed": parts.ewm("close", period="smooth"),
        "before": parts.lag("smoothed", window="window"),
    },
)
def momentum(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Long where the smoothed close is above what it was, else short."""
    return State(1.0 if x.smoothed > x.before else -1.0, 1.0)
