"""Spread regime: where the spread is unusually wide, a move is likely pressure rather than news, and turns back."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, deviation, mean, push

EPSILON = 1e-8
Score = Annotated[float, Meta(ge=0.0, le=100.0, description="standard deviations")]
Moves = Annotated[float, Meta(gt=1.0, le=1_000.0, description="spreads")]


class SpreadRegimeParams(Settings, frozen=True, kw_only=True):
    """`window` in bars; z-scores of the spread from which the regime counts, and for full confidence; the move, in
    spreads, for full direction."""

    window: Bars = 50
    wide: Score = 1.0
    full: Score = 3.0
    full_move: Moves = 5.0

    def __post_init__(self) -> None:
        if self.wide >= self.full:
            raise ValueError(f"wide ({self.wide}) must be below full ({self.full})")


class SpreadRegimeState(NamedTuple):
    """Bars seen, those of them with a book, the last close, and what the last bar said."""

    n: float = 0.0
    known: float = 0.0
    close: float = 0.0
    direction: float = nan
    confidence: float = nan
    spread_z: float = nan
    move_bps: float = nan


@kernel(
    SpreadRegimeParams,
    SpreadRegimeState,
    inputs=("close", "spread_bps"),
    shown=("spread_z", "move_bps"),
    warmup=lambda p: max(p.window, 2),
    memory=lambda p: p.window,
)
def spread_regime(s: SpreadRegimeState, bar: Bar, p: SpreadRegimeParams, memory: Floats) -> SpreadRegimeState:
    """Against the bar's move: -clip(move / (full_move x spread), -1, 1), confidence (z - wide) / (full - wide).

    The confidence is at most 1. z is the score of the spread within the last `window` known ones (ddof 0, 1e-8 added to
    the deviation), the move is close to close, in bps. No opinion on a bar without a book or before `window` of them,
    where the spread is not wide (z not above `wide`), or where the move is within the spread: crossing it would cost
    more than the way back. That reversals pay where liquidity is withdrawn: Nagel, Evaporating liquidity (2012).
    """
    n, known = s.n + 1.0, s.known
    move = (bar.close / s.close - 1.0) * 1e4 if n > 1.0 else nan
    if bar.spread_bps == bar.spread_bps:
        push(memory, bar.spread_bps)
        known += 1.0
    if n < p.window or n < 2.0:
        return SpreadRegimeState(n, known, bar.close)
    if known < p.window:
        return SpreadRegimeState(n, known, bar.close, 0.0, 0.0)
    center = mean(memory)
    z = (bar.spread_bps - center) / (deviation(memory, center) + EPSILON)
    if not (z > p.wide and abs(move) > bar.spread_bps):
        return SpreadRegimeState(n, known, bar.close, 0.0, 0.0, z, move)
    direction = -clip(move / (p.full_move * bar.spread_bps), -1.0, 1.0)
    confidence = clip((z - p.wide) / (p.full - p.wide), 0.0, 1.0)
    return SpreadRegimeState(n, known, bar.close, direction, confidence, z, move)
