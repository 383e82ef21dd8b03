"""Volume-weighted mean reversion: against a close far from where volume traded."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import kernel

Size = Annotated[float, Meta(gt=0.0, le=1_000.0)]


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 50
    bps: Size = 20.0


class State(NamedTuple):
    direction: float = nan
    confidence: float = nan


@kernel(
    Params,
    State,
    parts={
        "paid": parts.of(lambda x: x.close * x.volume, "close", "volume"),
        "money": parts.total("paid", window="window"),
        "units": parts.total("volume", window="window"),
    },
)
def vwap_reversion(bar, p, x):
    """Against a distance of `bps` from the volume-weighted mean; else no opinion."""
    vwap = x.money / x.units
    if bar.close > vwap * (1.0 + p.bps * 1e-4):
        return State(-1.0, 1.0)
    if bar.close < vwap * (1.0 - p.bps * 1e-4):
        return State(1.0, 1.0)
    return State(0.0, 0.0)
