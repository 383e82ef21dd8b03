"""Tick imbalance: which side has been the aggressor lately."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Fraction, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, push, total


class TickImbalanceParams(Settings, frozen=True, kw_only=True):
    """`window` in bars (or trades); the imbalance that counts as an opinion, and as full conviction."""

    window: Bars = 50
    threshold: Fraction = 0.2
    full_scale: Fraction = 0.6

    def __post_init__(self) -> None:
        if self.threshold >= self.full_scale:
            raise ValueError(f"threshold ({self.threshold}) must be below full_scale ({self.full_scale})")


class TickImbalanceState(NamedTuple):
    """Items seen and what the last one said."""

    n: float = 0.0
    direction: float = nan
    confidence: float = nan
    imbalance: float = nan


@kernel(
    TickImbalanceParams,
    TickImbalanceState,
    inputs=("volume", "buy_volume"),
    shown=("imbalance",),
    warmup=lambda p: p.window,
    memory=lambda p: 2 * p.window,
)
def tick_imbalance(s: TickImbalanceState, bar: Bar, p: TickImbalanceParams, memory: Floats) -> TickImbalanceState:
    """Direction with the flow: clip(I / full_scale, -1, 1); confidence |I| / full_scale, at most 1.

    I = sum(buys - sells) / sum(buys + sells) over the last `window` items, 0 without volume. Below `threshold` no
    opinion. Volume-weighted form of the tick imbalance of Lopez de Prado (Advances in Financial Machine Learning,
    2.3.2) on the venue's own aggressor side instead of the tick rule.
    """
    net, all_ = memory[: int(p.window)], memory[int(p.window) :]
    n = s.n + 1.0
    push(net, 2.0 * bar.buy_volume - bar.volume)
    push(all_, bar.volume)
    if n < p.window:
        return TickImbalanceState(n, nan, nan, nan)
    volume = total(all_)
    imbalance = total(net) / volume if volume > 0.0 else 0.0
    if abs(imbalance) < p.threshold:
        return TickImbalanceState(n, 0.0, 0.0, imbalance)
    share = clip(imbalance / p.full_scale, -1.0, 1.0)
    return TickImbalanceState(n, share, abs(share), imbalance)
