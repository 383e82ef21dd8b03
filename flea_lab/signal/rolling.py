"""Windows as steps: a ring of the last values in a slice of a kernel's memory.

The ring is summed afresh at every bar, in four partial sums: exact to the rounding at any length of history, and the
order of additions is fixed, so every caller gets the same bits.
"""

import math

from flea_lab.compiled import compiled
from flea_lab.signal.kernel import Floats


@compiled
def push(ring: Floats, count: float, value: float) -> None:
    """Writes the `count`-th value (from 0) over the oldest one in `ring`, shape `(window,)`."""
    ring[int(count) % ring.shape[0]] = value


@compiled
def total(ring: Floats) -> float:
    """Sum of a full ring."""
    a = b = c = d = 0.0
    n = ring.shape[0]
    blocks = n // 4
    for i in range(blocks):
        a += ring[4 * i]
        b += ring[4 * i + 1]
        c += ring[4 * i + 2]
        d += ring[4 * i + 3]
    for i in range(4 * blocks, n):
        a += ring[i]
    return (a + b) + (c + d)


@compiled
def mean(ring: Floats) -> float:
    """Mean of a full ring."""
    return total(ring) / ring.shape[0]


@compiled
def deviation(ring: Floats, center: float) -> float:
    """Population standard deviation (ddof 0) of a full ring around its mean `center`, in two passes."""
    a = b = c = d = 0.0
    n = ring.shape[0]
    blocks = n // 4
    for i in range(blocks):
        a += (ring[4 * i] - center) ** 2
        b += (ring[4 * i + 1] - center) ** 2
        c += (ring[4 * i + 2] - center) ** 2
        d += (ring[4 * i + 3] - center) ** 2
    for i in range(4 * blocks, n):
        a += (ring[i] - center) ** 2
    return math.sqrt(((a + b) + (c + d)) / n)


@compiled
def highest(ring: Floats) -> float:
    """Largest value of a full ring."""
    best = ring[0]
    for i in range(1, ring.shape[0]):
        best = max(best, ring[i])
    return best


@compiled
def lowest(ring: Floats) -> float:
    """Smallest value of a full ring."""
    best = ring[0]
    for i in range(1, ring.shape[0]):
        best = min(best, ring[i])
    return best


@compiled
def clip(value: float, low: float, high: float) -> float:
    """`value` held between `low` and `high`; NaN stays NaN."""
    if value < low:
        return low
    if value > high:
        return high
    return value
