"""Stochastic: long near the low of the channel, short near its high."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 14
    level: Size = 20.0


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
    },
)
def stochastic(bar, p, x):
    """Within `level` percent of an edge against it; else no opinion."""
    place = bar.close - x.bottom
    edge = 0.01 * p.level * (x.top - x.bottom)
    if place < edge:
        return State(1.0, 1.0)
    if x.top - bar.close < edge:
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
