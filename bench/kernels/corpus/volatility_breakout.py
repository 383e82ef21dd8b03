"""Volatility breakout: with a bar that moved further from its open than bars do."""

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
        "body": parts.of(lambda x: abs(x.close - x.open), "close", "open"),
        "typical": parts.mean("body", window="window"),
    },
)
def volatility_breakout(bar, p, x):
    """With a body `width` times the mean body; else no opinion."""
    body = bar.close - bar.open
    if body > p.width * x.typical:
        return State(1.0, 1.0)
    if body < -(p.width * x.typical):
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
