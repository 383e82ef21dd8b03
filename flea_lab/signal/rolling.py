"""Windows as steps: the last values, oldest first, in a slice of a kernel's memory.

A window is summed afresh at every bar, in four partial sums: exact to the rounding at any length of history, and the
same bits for the same values whenever the history began.
"""

import math

import numpy as np
import numpy.typing as npt

from flea_lab.compiled import compiled

Floats = npt.NDArray[np.float64]


@compiled
def push(window: Floats, value: float) -> None:
    """Drops the oldest value of `window` and appends `value`; unfilled places at its front are 0."""
    for i in range(window.shape[0] - 1):
        window[i] = window[i + 1]
    window[window.shape[0] - 1] = value


@compiled
def total(window: Floats) -> float:
    """Sum of a full window."""
    a = b = c = d = 0.0
    n = window.shape[0]
    blocks = n // 4
    for i in range(blocks):
        a += window[4 * i]
        b += window[4 * i + 1]
        c += window[4 * i + 2]
        d += window[4 * i + 3]
    for i in range(4 * blocks, n):
        a += window[i]
    return (a + b) + (c + d)


@compiled
def mean(window: Floats) -> float:
    """Mean of a full window."""
    return total(window) / window.shape[0]


@compiled
def deviation(window: Floats, center: float) -> float:
    """Population standard deviation (ddof 0) of a full window around its mean `center`, in two passes."""
    a = b = c = d = 0.0
    n = window.shape[0]
    blocks = n // 4
    for i in range(blocks):
        w, x = window[4 * i] - center, window[4 * i + 1] - center
        y, z = window[4 * i + 2] - center, window[4 * i + 3] - center
        a += w * w
        b += x * x
        c += y * y
        d += z * z
    for i in range(4 * blocks, n):
        w = window[i] - center
        a += w * w
    return math.sqrt(((a + b) + (c + d)) / n)


@compiled
def highest(window: Floats) -> float:
    """Largest value of a full window."""
    best = window[0]
    for i in range(1, window.shape[0]):
        best = max(best, window[i])
    return best


@compiled
def lowest(window: Floats) -> float:
    """Smallest value of a full window."""
    best = window[0]
    for i in range(1, window.shape[0]):
        best = min(best, window[i])
    return best


@compiled
def clip(value: float, low: float, high: float) -> float:
    """`value` held between `low` and `high`; NaN stays NaN."""
    if value < low:
        return low
    if value > high:
        return high
    return value
