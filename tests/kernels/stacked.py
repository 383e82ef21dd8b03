"""For tests: windows of the past of windows, and averages of it, so that columns stand for others and go together."""

from math import nan
from typing import Any, NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, kernel


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 9
    back: Bars = 4


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "before": parts.lag("close", window="back"),
        "earlier": parts.lag("before", window="back"),
        "top": parts.highest("earlier", window="window"),
        "upper": parts.lag("top", window=2),
        "bottom": parts.lowest("close", window="window"),
        "slow": parts.ewm("upper", period="window"),
        "fast": parts.ewm("before", period="back"),
        "late": parts.mean("fast", window="back"),
    },
)
def stacked(bar: Bar, p: Params, x: Any) -> State:
    """With the side on which the average of what was lies of the middle of an older channel."""
    middle = 0.25 * (x.upper + x.bottom + x.slow + x.earlier)
    return State(1.0 if x.late > middle else -1.0, 1.0 if x.top > x.before else 0.5)
