"""Tick imbalance of the prints: how many of them bought, however large they were."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Fraction, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, push, total


class TradeTickImbalanceParams(Settings, frozen=True, kw_only=True):
    """`window` in bars; the imbalance that counts as an opinion, and as full conviction."""

    window: Bars = 20
    threshold: Fraction = 0.1
    full_scale: Fraction = 0.5

    def __post_init__(self) -> None:
        if self.threshold >= self.full_scale:
            raise ValueError(f"threshold ({self.threshold}) must be below full_scale ({self.full_scale})")


class TradeTickImbalanceState(NamedTuple):
    """Bars seen and what the last one said."""

    n: float = 0.0
    direction: float = nan
    confidence: float = nan
    ticks: float = nan


@kernel(
    TradeTickImbalanceParams,
    TradeTickImbalanceState,
    inputs=("trades", "trade_imbalance"),
    shown=("ticks",),
    warmup=lambda p: p.window,
    memory=lambda p: 2 * p.window,
)
def trade_tick_imbalance(
    s: TradeTickImbalanceState, bar: Bar, p: TradeTickImbalanceParams, memory: Floats
) -> TradeTickImbalanceState:
    """Direction with the flow: clip(I / full_scale, -1, 1); confidence |I| / full_scale, at most 1.

    I = (buys - sells) / (buys + sells), counts of prints by aggressor over the last `window` bars, 0 without any. Below
    `threshold`, and while a bar whose prints are not known is in the window, no opinion. The tick imbalance of Lopez
    de Prado (Advances in Financial Machine Learning, 2.3.2) on the venue's own aggressor side.
    """
    net, all_ = memory[: int(p.window)], memory[int(p.window) :]
    n = s.n + 1.0
    push(net, bar.trades * bar.trade_imbalance)
    push(all_, bar.trades)
    if n < p.window:
        return TradeTickImbalanceState(n)
    prints = total(all_)
    ticks = 0.0 if prints == 0.0 else total(net) / prints
    if not abs(ticks) >= p.threshold:
        return TradeTickImbalanceState(n, 0.0, 0.0, ticks)
    share = clip(ticks / p.full_scale, -1.0, 1.0)
    return TradeTickImbalanceState(n, share, abs(share), ticks)
