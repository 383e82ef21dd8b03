"""Keltner breakout: with the close that leaves an average by a multiple of the range."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    period: Bars = 20
    width: Size = 2.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "middle": parts.ewm("close", period="period"),
        "range": parts.of(lambda x: x.high - x.low, "high", "low"),
        "typical": parts.ewm("range", period="period"),
    },
)
def keltner(bar, p, x):
    """Long above the upper band, short below the lower; else no opinion."""
    if bar.close > x.middle + p.width * x.typical:
        return State(1.0, 1.0)
    if bar.close < x.middle - p.width * x.typical:
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
