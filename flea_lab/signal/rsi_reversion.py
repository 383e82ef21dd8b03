"""RSI mean reversion: fade a market that has run too far one way."""

from math import nan
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, push

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
    """Bars seen, last close, Wilder's averages, and what the last bar said."""

    n: float = 0.0
    close: float = nan
    gain: float = 0.0
    loss: float = 0.0
    direction: float = nan
    confidence: float = nan
    rsi: float = nan


@kernel(
    RsiReversionParams,
    RsiReversionState,
    inputs=("close",),
    shown=("rsi",),
    warmup=lambda p: p.period + 2,
    memory=lambda p: p.period,
)
def rsi_reversion(s: RsiReversionState, bar: Bar, p: RsiReversionParams, memory: Floats) -> RsiReversionState:
    """Beyond a threshold: direction against the move and confidence, both the distance over 30 points, at most 1.

    RSI = 100 - 100 / (1 + mean gain / mean loss) over the last `period` differences; 100 without a loss. Between the
    thresholds, and on a price that did not move at all, no opinion. Source: the brief's RSI signal; Wilder's averaging
    (New Concepts in Technical Trading Systems, 1978) as an option.
    """
    n = s.n + 1.0
    if n == 1.0:
        return RsiReversionState(n, bar.close, 0.0, 0.0, nan, nan, nan)
    change = bar.close - s.close
    push(memory, change)
    gain, loss = s.gain, s.loss
    if p.averaging == 0.0 or n <= p.period + 1.0:  # type: ignore[comparison-overlap]  # a choice arrives as its place in the list
        gain = loss = 0.0
        for i in range(memory.shape[0]):
            gain += max(memory[i], 0.0)
            loss += max(-memory[i], 0.0)
        gain /= p.period
        loss /= p.period
    else:
        gain = (gain * (p.period - 1.0) + max(change, 0.0)) / p.period
        loss = (loss * (p.period - 1.0) + max(-change, 0.0)) / p.period
    if n < p.period + 2.0:
        return RsiReversionState(n, bar.close, gain, loss, nan, nan, nan)
    if gain == 0.0 and loss == 0.0:
        return RsiReversionState(n, bar.close, gain, loss, 0.0, 0.0, 50.0)
    rsi = 100.0 if loss == 0.0 else 100.0 - 100.0 / (1.0 + gain / loss)
    beyond = max(rsi - p.overbought, p.oversold - rsi, 0.0)
    share = clip(beyond / FULL, 0.0, 1.0)
    direction = -share if rsi > p.overbought else share
    return RsiReversionState(n, bar.close, gain, loss, direction, share, rsi)
