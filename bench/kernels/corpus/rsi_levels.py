"""RSI levels: long when oversold, short when overbought."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    period: Bars = 14
    level: Size = 30.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "rise": parts.change("close"),
        "fall": parts.of(lambda x: -x.rise, "rise"),
        "gains": parts.of(lambda x: max(x.rise, 0.0), "rise"),
        "losses": parts.of(lambda x: max(x.fall, 0.0), "fall"),
        "gain": parts.mean("gains", window="period"),
        "loss": parts.mean("losses", window="period"),
    },
)
def rsi_levels(bar, p, x):  # noqa: ARG001 (every such step has one signature)
    """Beyond `level` points from either end against the move; else no opinion."""
    rsi = 100.0 - 100.0 / (1.0 + x.gain / x.loss)
    if rsi < p.level:
        return State(1.0, 1.0)
    if rsi > 100.0 - p.level:
        return State(-1.0, 1.0)
    return State(0.0, 0.0)
