"""Bollinger reversion: short above the upper band, long below the lower."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 20
    width: Size = 2.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "mean": parts.mean("close", window="window"),
        "sd": parts.deviation("close", window="window"),
    },
)
def bollinger(bar, p, x):
    """Beyond a band against it; else no opinion."""
    if bar.close > x.mean + p.width * x.sd:
        return State(-1.0, 1.0)
    if bar.close < x.mean - p.width * x.sd:
        return State(1.0, 1.0)
    return State(0.0, 0.0)
