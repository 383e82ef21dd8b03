"""A trend filter like ADX: directional moves against each other, where they differ enough."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    period: Bars = 14
    level: Size = 10.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "last_high": parts.lag("high", window=2),
        "last_low": parts.lag("low", window=2),
        "up": parts.of(lambda x: max(x.high - x.last_high, 0.0), "high", "last_high"),
        "down": parts.of(lambda x: max(x.last_low - x.low, 0.0), "low", "last_low"),
        "plus": parts.ewm("up", period="period"),
        "minus": parts.ewm("down", period="period"),
    },
)
def trend_filter(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """With the larger directional move where the two differ by `level` percent of their sum; else no opinion."""
    apart = x.plus - x.minus
    enough = 0.01 * p.level * (x.plus + x.minus)
    if apart > enough:
        return State(1.0, 1.0)
    if apart < -enough:
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
