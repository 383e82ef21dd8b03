"""EMA crossover with volume confirmation: how unusual is the spread of two averages, and does volume agree."""

from math import nan
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.compiled import compiled
from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel
from flea_lab.signal.rolling import clip, deviation, mean, push

EPSILON = 1e-8
Scale = Annotated[float, Meta(gt=0.0, le=100.0, description="standard deviations for full conviction")]


class EmaMomentumParams(Settings, frozen=True, kw_only=True):
    """Periods and windows in bars; `z_scale` is the z-score that counts as full conviction."""

    fast: Bars = 9
    slow: Bars = 21
    z_window: Bars = 50
    volume_window: Bars = 20
    z_scale: Scale = 3.0

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be shorter than slow ({self.slow})")


class EmaMomentumState(NamedTuple):
    """Bars seen, the two averages (sums until seeded), and what the last bar said."""

    n: float = 0.0
    fast: float = 0.0
    slow: float = 0.0
    direction: float = nan
    confidence: float = nan
    z_score: float = nan
    vol_ratio: float = nan


@compiled
def _average(before: float, seen: float, close: float, period: float) -> float:
    """The average after `seen + 1` closes; a plain sum until it is seeded at `period` closes."""
    if seen < period - 1.0:
        return before + close
    if seen < period:
        return (before + close) / period
    k = 2.0 / (period + 1.0)
    return close * k + before * (1.0 - k)


@kernel(
    EmaMomentumParams,
    EmaMomentumState,
    inputs=("close", "volume"),
    shown=("z_score", "vol_ratio"),
    warmup=lambda p: max(p.slow - 1 + p.z_window, p.volume_window),
    memory=lambda p: p.z_window + p.volume_window,
)
def ema_momentum(s: EmaMomentumState, bar: Bar, p: EmaMomentumParams, memory: Floats) -> EmaMomentumState:
    """Direction clip(z / z_scale, -1, 1); confidence min(|z| / z_scale, 1) times min(volume ratio, 2) / 2.

    z is the score of the relative spread (fast - slow) / slow within its last `z_window` values (ddof 0, 1e-8 added to
    the deviation); the volume ratio is this bar's volume over the mean of the last `volume_window`, this bar included
    (1e-8 added). An average starts as the mean of its first `period` closes, then x k + previous (1 - k) with
    k = 2 / (period + 1). Source: the brief's EMA momentum signal.
    """
    spreads = memory[: int(p.z_window)]
    volumes = memory[int(p.z_window) :]
    n = s.n + 1.0
    fast = _average(s.fast, s.n, bar.close, p.fast)
    slow = _average(s.slow, s.n, bar.close, p.slow)
    push(volumes, bar.volume)
    if n < p.slow:
        return EmaMomentumState(n, fast, slow, nan, nan, nan, nan)
    spread = (fast - slow) / slow
    push(spreads, spread)
    if n < p.slow - 1.0 + p.z_window or n < p.volume_window:
        return EmaMomentumState(n, fast, slow, nan, nan, nan, nan)
    center = mean(spreads)
    z = (spread - center) / (deviation(spreads, center) + EPSILON)
    vol_ratio = bar.volume / (mean(volumes) + EPSILON)
    direction = clip(z / p.z_scale, -1.0, 1.0)
    confidence = min(abs(z) / p.z_scale, 1.0) * min(vol_ratio, 2.0) / 2.0
    return EmaMomentumState(n, fast, slow, direction, confidence, z, vol_ratio)
