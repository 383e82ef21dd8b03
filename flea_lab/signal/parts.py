"""The parts that come with the package: averages, windows, differences."""

from typing import Any, NamedTuple

from flea_lab.signal import rolling
from flea_lab.signal.part import of, part, windowed
from flea_lab.signal.rolling import Floats

__all__ = ["deviation", "ema", "ewm", "highest", "lag", "lowest", "mean", "of", "part", "total", "windowed"]


class AverageState(NamedTuple):
    """Values seen, and their average; a sum until it is seeded."""

    n: float = 0.0
    value: float = 0.0


@part(AverageState, params=("period",), warmup=lambda p: p.period)
def ema(s: AverageState, x: Any, p: Any, memory: Floats) -> AverageState:
    """Exponential average seeded as the mean of its first `period` values, then x k + previous (1 - k), k = 2 / (period
    + 1)."""
    if s.n < p.period - 1.0:
        return AverageState(s.n + 1.0, s.value + x.value)
    if s.n < p.period:
        return AverageState(s.n + 1.0, (s.value + x.value) / p.period)
    k = 2.0 / (p.period + 1.0)
    return AverageState(s.n + 1.0, x.value * k + s.value * (1.0 - k))


@part(AverageState, params=("period",), warmup=lambda p: p.period)
def ewm(s: AverageState, x: Any, p: Any, memory: Floats) -> AverageState:
    """Exponential average that begins with the first value, as pandas' `ewm(span=period, adjust=False)`; known from
    `period` values on."""
    if s.n == 0.0:
        return AverageState(1.0, x.value)
    k = 2.0 / (p.period + 1.0)
    return AverageState(1.0, k * x.value + (1.0 - k) * s.value)


@windowed()
def mean(x: Any) -> float:
    """Mean of the last `window` values."""
    return rolling.mean(x.value)


@windowed()
def total(x: Any) -> float:
    """Sum of the last `window` values."""
    return rolling.total(x.value)


@windowed()
def deviation(x: Any) -> float:
    """Population standard deviation of the last `window` values."""
    return rolling.deviation(x.value, rolling.mean(x.value))


@windowed()
def highest(x: Any) -> float:
    """Largest of the last `window` values."""
    return rolling.highest(x.value)


@windowed()
def lowest(x: Any) -> float:
    """Smallest of the last `window` values."""
    return rolling.lowest(x.value)


@windowed()
def lag(x: Any) -> float:
    """The oldest of the last `window` values: that of `window` - 1 bars ago."""
    return x.value[0]
