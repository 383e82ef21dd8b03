"""EMA crossover: long while the fast average is above the slow one, short while it is below."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel


class Params(Settings, frozen=True, kw_only=True):
    fast: Bars = 9
    slow: Bars = 21


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "fast": parts.ewm("close", period="fast"),
        "slow": parts.ewm("close", period="slow"),
    },
)
def ema_cross(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Direction 1 while the fast average is above the slow, else -1; confidence 1. Both begin with the first close."""
    return State(1.0 if x.fast > x.slow else -1.0, 1.0)
