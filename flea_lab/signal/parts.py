"""The parts that come with the package: averages, windows, differences.

A window's column takes eight bars at a time, each summed in the order in which a stream sums its own.
"""

import math
from math import nan
from typing import Any, NamedTuple

from flea_lab.compiled import borrow, compiled
from flea_lab.lanes import WIDTH, higher, load, splat, store
from flea_lab.signal import rolling
from flea_lab.signal.averages import averaged
from flea_lab.signal.extremes import highs, lows
from flea_lab.signal.part import of, part, windowed
from flea_lab.signal.rolling import Floats, push

__all__ = [
    "average_gain",
    "change",
    "deviation",
    "ema",
    "ewm",
    "highest",
    "lag",
    "lowest",
    "mean",
    "of",
    "part",
    "total",
    "windowed",
]


class AverageState(NamedTuple):
    """Values seen, and their average; a sum until it is seeded."""

    n: float = 0.0
    value: float = 0.0


@compiled
def _emas(s: AverageState, values: Floats, p: Any, memory: Floats, out: Floats) -> AverageState:
    n, value, count, k = s.n, s.value, out.shape[0], 2.0 / (p.period + 1.0)
    seeding = int(min(max(math.ceil(p.period - n), 0.0), count))
    for i in range(seeding):
        value = value + values[i]
        if not n + i < p.period - 1.0:
            value = value / p.period
        out[i] = value
    value = averaged(value, borrow(values, seeding, count - seeding), k, borrow(out, seeding, count - seeding))
    return AverageState(n + count, value)


@part(AverageState, params=("period",), warmup=lambda p: p.period, column=_emas, lone=True)
def ema(s: AverageState, x: Any, p: Any, memory: Floats) -> AverageState:
    """Exponential average seeded as the mean of its first `period` values, then x k + previous (1 - k), k = 2 / (period
    + 1)."""
    if s.n < p.period - 1.0:
        return AverageState(s.n + 1.0, s.value + x.value)
    if s.n < p.period:
        return AverageState(s.n + 1.0, (s.value + x.value) / p.period)
    k = 2.0 / (p.period + 1.0)
    return AverageState(s.n + 1.0, x.value * k + s.value * (1.0 - k))


@compiled
def _ewms(s: AverageState, values: Floats, p: Any, memory: Floats, out: Floats) -> AverageState:
    count, k = out.shape[0], 2.0 / (p.period + 1.0)
    if count == 0:
        return s
    if s.n != 0.0:
        return AverageState(1.0, averaged(s.value, values, k, out))
    out[0] = values[0]
    return AverageState(1.0, averaged(values[0], borrow(values, 1, count - 1), k, borrow(out, 1, count - 1)))


@part(AverageState, params=("period",), warmup=lambda p: p.period, column=_ewms, lone=True)
def ewm(s: AverageState, x: Any, p: Any, memory: Floats) -> AverageState:
    """Exponential average that begins with the first value, as pandas' `ewm(span=period, adjust=False)`; known from
    `period` values on."""
    if s.n == 0.0:
        return AverageState(1.0, x.value)
    k = 2.0 / (p.period + 1.0)
    return AverageState(1.0, k * x.value + (1.0 - k) * s.value)


class ChangeState(NamedTuple):
    """The last value, and how far it was from the one before."""

    last: float = nan
    value: float = nan


@part(ChangeState, warmup=lambda p: 2)
def change(s: ChangeState, x: Any, p: Any, memory: Floats) -> ChangeState:
    """The value less the one before."""
    return ChangeState(x.value, x.value - s.last)


class GainState(NamedTuple):
    """Changes seen, and the average of those above 0."""

    n: float = 0.0
    value: float = 0.0


@compiled
def _gain(s: GainState, value: float, p: Any, memory: Floats) -> GainState:
    n = s.n + 1.0
    push(memory, value)
    if p.wilder != 0.0 and n > p.period:
        return GainState(n, (s.value * (p.period - 1.0) + max(value, 0.0)) / p.period)
    gain = 0.0
    for i in range(memory.shape[0]):
        gain += max(memory[i], 0.0)
    return GainState(n, gain / p.period)


@compiled
def _gains(s: GainState, values: Floats, p: Any, memory: Floats, out: Floats) -> GainState:
    """Without `wilder`, eight bars at a time once their windows lie within `values`."""
    n, count, zero = memory.shape[0], out.shape[0], splat(0.0)
    at = count if p.wilder != 0.0 else min(n, count)
    for i in range(at):
        s = _gain(s, values[i], p, memory)
        out[i] = s.value
    if at == count:
        return s
    s = GainState(s.n + (count - at), s.value)
    while at + 2 * WIDTH <= count:  # two sums side by side: each is in the order of the window
        a = b = zero
        for i in range(at - n + 1, at + 1):
            a, b = a + higher(load(values, i), zero), b + higher(load(values, i + WIDTH), zero)
        store(out, at, a / splat(p.period))
        store(out, at + WIDTH, b / splat(p.period))
        at += 2 * WIDTH
    while at < count:
        gain = 0.0
        for i in range(at - n + 1, at + 1):
            gain += max(values[i], 0.0)
        out[at] = gain / p.period
        at += 1
    memory[:] = values[count - n :]
    return GainState(s.n, out[count - 1])


@part(GainState, params=("period", "wilder"), warmup=lambda p: p.period + 1, memory=lambda p: p.period, column=_gains)
def average_gain(s: GainState, x: Any, p: Any, memory: Floats) -> GainState:
    """Average of the changes above 0, those below counting as 0: the mean of the last `period`, or with `wilder` that
    of the first `period` and from then on (previous x (period - 1) + this) / period. Known from `period` + 1 on."""
    return _gain(s, x.value, p, memory)


@compiled
def _sums(values: Floats, at: int, n: int) -> Any:
    a = b = c = d = splat(0.0)
    for i in range(at, at + n - n % 4, 4):
        a = a + load(values, i)
        b = b + load(values, i + 1)
        c = c + load(values, i + 2)
        d = d + load(values, i + 3)
    for i in range(at + n - n % 4, at + n):
        a = a + load(values, i)
    return (a + b) + (c + d)


@compiled
def _squares(values: Floats, at: int, n: int, center: Any) -> Any:
    a = b = c = d = splat(0.0)
    for i in range(at, at + n - n % 4, 4):
        w, x = load(values, i) - center, load(values, i + 1) - center
        y, z = load(values, i + 2) - center, load(values, i + 3) - center
        a = a + w * w
        b = b + x * x
        c = c + y * y
        d = d + z * z
    for i in range(at + n - n % 4, at + n):
        w = load(values, i) - center
        a = a + w * w
    return (a + b) + (c + d)


@compiled
def _totals(values: Floats, out: Floats, p: Any) -> None:
    n, count = int(p.window), out.shape[0]
    for at in range(0, count - WIDTH + 1, WIDTH):
        store(out, at, _sums(values, at, n))
    for at in range(count - count % WIDTH, count):
        out[at] = rolling.total(borrow(values, at, n))


@compiled
def _means(values: Floats, out: Floats, p: Any) -> None:
    n, count = int(p.window), out.shape[0]
    for at in range(0, count - WIDTH + 1, WIDTH):
        store(out, at, _sums(values, at, n) / splat(float(n)))
    for at in range(count - count % WIDTH, count):
        out[at] = rolling.mean(borrow(values, at, n))


@compiled
def _deviations(values: Floats, out: Floats, p: Any) -> None:
    n, count = int(p.window), out.shape[0]
    for at in range(0, count - WIDTH + 1, WIDTH):
        center = _sums(values, at, n) / splat(float(n))
        store(out, at, _squares(values, at, n, center) / splat(float(n)))
    for at in range(count - count % WIDTH):
        out[at] = math.sqrt(out[at])
    for at in range(count - count % WIDTH, count):
        window = borrow(values, at, n)
        out[at] = rolling.deviation(window, rolling.mean(window))


@windowed(column=_means)
def mean(x: Any) -> float:
    """Mean of the last `window` values."""
    return rolling.mean(x.value)


@windowed(column=_totals)
def total(x: Any) -> float:
    """Sum of the last `window` values."""
    return rolling.total(x.value)


@windowed(column=_deviations)
def deviation(x: Any) -> float:
    """Population standard deviation of the last `window` values."""
    return rolling.deviation(x.value, rolling.mean(x.value))


@windowed(column=highs)
def highest(x: Any) -> float:
    """Largest of the last `window` values."""
    return rolling.highest(x.value)


@windowed(column=lows)
def lowest(x: Any) -> float:
    """Smallest of the last `window` values."""
    return rolling.lowest(x.value)


@windowed(oldest=True)
def lag(x: Any) -> float:
    """The oldest of the last `window` values: that of `window` - 1 bars ago."""
    return x.value[0]
