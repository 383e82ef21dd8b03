"""RSI mean reversion: fade a market that has run too far one way."""

from math import nan
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, kernel
from flea_lab.signal.rolling import clip

Level = Annotated[float, Meta(ge=0.0, le=100.0, description="RSI points")]
FULL = 30.0
"""RSI points beyond a threshold that count as full conviction."""


class RsiReversionParams(Settings, frozen=True, kw_only=True):
    """`period` in bars, thresholds in RSI points, and how gains and losses are averaged."""

    period: Bars = 14
    overbought: Level = 70.0
    oversold: Level = 30.0
    averaging: Literal["simple", "wilder"] = "simple"

    def __post_init__(self) -> None:
        if self.oversold >= self.overbought:
            raise ValueError(f"oversold ({self.oversold}) must be below overbought ({self.overbought})")


class RsiReversionState(NamedTuple):
    """What the last bar said."""

    direction: float = nan
    confidence: float = nan
    rsi: float = nan


@kernel(
    RsiReversionParams,
    RsiReversionState,
    shown=("rsi",),
    parts={
        "rise": parts.change("close"),
        "fall": parts.of(lambda x: -x.rise, "rise"),
        "gain": parts.average_gain("rise", period="period", wilder="averaging"),
        "loss": parts.average_gain("fall", period="period", wilder="averaging"),
    },
)
def rsi_reversion(bar: Bar, p: RsiReversionParams, x: Any) -> RsiReversionState:
    """Beyond a threshold: direction against the move and confidence, both the distance over 30 points, at most 1.

    RSI = 100 - 100 / (1 + mean gain / mean loss) over the last `period` differences; 100 without a loss. Between the
    thresholds, and on a price that did not move at all, no opinion. Source: the brief's RSI signal; Wilder's averaging
    (New Concepts in Technical Trading Systems, 1978) as an option.
    """
    if x.gain == 0.0 and x.loss == 0.0:
        return RsiReversionState(0.0, 0.0, 50.0)
    rsi = 100.0 if x.loss == 0.0 else 100.0 - 100.0 / (1.0 + x.gain / x.loss)
    beyond = max(rsi - p.overbought, p.oversold - rsi, 0.0)
    share = clip(beyond / FULL, 0.0, 1.0)
    direction = -share if rsi > p.overbought else share
    return RsiReversionState(direction, share, rsi)
