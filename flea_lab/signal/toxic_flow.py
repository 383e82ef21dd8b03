"""Toxic flow: with the prints, where VPIN says that somebody knows."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Fraction, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, push, total


class ToxicFlowParams(Settings, frozen=True, kw_only=True):
    """`window` in bars; VPIN from which flow counts as informed, and for full confidence; the imbalance of the prints
    for full direction."""

    window: Bars = 10
    toxic: Fraction = 0.4
    full: Fraction = 0.8
    full_flow: Fraction = 0.5

    def __post_init__(self) -> None:
        if self.toxic >= self.full:
            raise ValueError(f"toxic ({self.toxic}) must be below full ({self.full})")
        if self.full_flow <= 0.0:
            raise ValueError(f"full_flow ({self.full_flow}) must be above 0")


class ToxicFlowState(NamedTuple):
    """Bars seen and what the last one said."""

    n: float = 0.0
    direction: float = nan
    confidence: float = nan
    flow: float = nan


@kernel(
    ToxicFlowParams,
    ToxicFlowState,
    inputs=("vpin", "trades", "trade_imbalance"),
    shown=("flow",),
    warmup=lambda p: p.window,
    memory=lambda p: 2 * p.window,
)
def toxic_flow(s: ToxicFlowState, bar: Bar, p: ToxicFlowParams, memory: Floats) -> ToxicFlowState:
    """Direction with the prints: clip(F / full_flow, -1, 1); confidence (VPIN - toxic) / (full - toxic), at most 1.

    F = (buys - sells) / (buys + sells), counts of prints by aggressor over the last `window` bars; VPIN is measured
    print by print (`risk.vpin` says in which buckets). No opinion where VPIN is not above `toxic` or not known, where F
    is 0, and while a bar whose prints are not known is in the window. VPIN as the share of informed flow: Easley, Lopez
    de Prado, O'Hara, Flow Toxicity and Liquidity in a High-frequency World (2012).
    """
    net, all_ = memory[: int(p.window)], memory[int(p.window) :]
    n = s.n + 1.0
    push(net, bar.trades * bar.trade_imbalance)
    push(all_, bar.trades)
    if n < p.window:
        return ToxicFlowState(n)
    prints = total(all_)
    flow = 0.0 if prints == 0.0 else total(net) / prints
    if not (bar.vpin > p.toxic and abs(flow) > 0.0):
        return ToxicFlowState(n, 0.0, 0.0, flow)
    direction = clip(flow / p.full_flow, -1.0, 1.0)
    return ToxicFlowState(n, direction, min((bar.vpin - p.toxic) / (p.full - p.toxic), 1.0), flow)
