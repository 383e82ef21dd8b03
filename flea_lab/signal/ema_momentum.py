"""EMA crossover with volume confirmation: how unusual is the spread of two averages, and does volume agree."""

from math import nan
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from flea_lab.settings import Bars, Settings
from flea_lab.signal import parts
from flea_lab.signal.kernel import Bar, kernel
from flea_lab.signal.rolling import clip

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
    """What the last bar said."""

    direction: float = nan
    confidence: float = nan
    z_score: float = nan
    vol_ratio: float = nan


@kernel(
    EmaMomentumParams,
    EmaMomentumState,
    shown=("z_score", "vol_ratio"),
    parts={
        "fast": parts.ema("close", period="fast"),
        "slow": parts.ema("close", period="slow"),
        "spread": parts.of(lambda x: (x.fast - x.slow) / x.slow, "fast", "slow"),
        "center": parts.mean("spread", window="z_window"),
        "width": parts.deviation("spread", window="z_window"),
        "mean_volume": parts.mean("volume", window="volume_window"),
    },
)
def ema_momentum(bar: Bar, p: EmaMomentumParams, x: Any) -> EmaMomentumState:
    """Direction clip(z / z_scale, -1, 1); confidence min(|z| / z_scale, 1) times min(volume ratio, 2) / 2.

    z is the score of the relative spread (fast - slow) / slow within its last `z_window` values (ddof 0, 1e-8 added to
    the deviation); the volume ratio is this bar's volume over the mean of the last `volume_window`, this bar included
    (1e-8 added). An average starts as the mean of its first `period` closes, then x k + previous (1 - k) with
    k = 2 / (period + 1). Source: the brief's EMA momentum signal.
    """
    z = (x.spread - x.center) / (x.width + EPSILON)
    vol_ratio = bar.volume / (x.mean_volume + EPSILON)
    direction = clip(z / p.z_scale, -1.0, 1.0)
    confidence = min(abs(z) / p.z_scale, 1.0) * min(vol_ratio, 2.0) / 2.0
    return EmaMomentumState(direction, confidence, z, vol_ratio)
