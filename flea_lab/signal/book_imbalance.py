"""Book imbalance: which side of the book is deeper at the close."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Fraction, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, mean, push


class BookImbalanceParams(Settings, frozen=True, kw_only=True):
    """`window` in bars; the imbalance that counts as an opinion, and as full conviction."""

    window: Bars = 3
    threshold: Fraction = 0.2
    full_scale: Fraction = 0.6

    def __post_init__(self) -> None:
        if self.threshold >= self.full_scale:
            raise ValueError(f"threshold ({self.threshold}) must be below full_scale ({self.full_scale})")


class BookImbalanceState(NamedTuple):
    """Bars seen and what the last one said."""

    n: float = 0.0
    direction: float = nan
    confidence: float = nan
    depth_imbalance: float = nan


@kernel(
    BookImbalanceParams,
    BookImbalanceState,
    inputs=("imbalance",),
    shown=("depth_imbalance",),
    warmup=lambda p: p.window,
    memory=lambda p: p.window,
)
def book_imbalance(s: BookImbalanceState, bar: Bar, p: BookImbalanceParams, memory: Floats) -> BookImbalanceState:
    """Direction with the deeper side: clip(I / full_scale, -1, 1); confidence |I| / full_scale, at most 1.

    I is the mean of the last `window` closes' depth imbalance (bids - asks) / (bids + asks). Below `threshold`, and
    while a bar without a book is in the window, no opinion. That the next move leans to the thinner side: Gould,
    Bonart, Queue imbalance as a one-tick-ahead price predictor (2016); over several levels Cartea, Donnelly, Jaimungal,
    Enhancing trading strategies with order book signals (2018).
    """
    n = s.n + 1.0
    push(memory, bar.imbalance)
    if n < p.window:
        return BookImbalanceState(n)
    depth = mean(memory)
    if not abs(depth) >= p.threshold:
        return BookImbalanceState(n, 0.0, 0.0, depth)
    share = clip(depth / p.full_scale, -1.0, 1.0)
    return BookImbalanceState(n, share, abs(share), depth)
