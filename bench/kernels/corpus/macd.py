"""MACD: the difference of two averages against its own average."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel


class Params(Settings, frozen=True, kw_only=True):
    fast: Bars = 12
    slow: Bars = 26
    smooth: Bars = 9


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "fast": parts.ewm("close", period="fast"),
        "slow": parts.ewm("close", period="slow"),
        "line": parts.of(lambda x: x.fast - x.slow, "fast", "slow"),
        "signal": parts.ewm("line", period="smooth"),
    },
)
def macd(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Long while the line is above its signal, else short."""
    return State(1.0 if x.line > x.signal else -1.0, 1.0)
