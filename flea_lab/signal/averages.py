"""Exponential averages as columns: the bits of one step after the other, four stretches of a column at a time.

A step of such an average waits for the one before it. What an average was some while ago leaves no trace in its bits,
so a stretch may begin early, with any value at all, and have the right bits where it counts; whether it has is looked
at, and what has not is done again from where the stretch before it ended.
"""

from flea_lab.compiled import borrow, compiled
from flea_lab.signal.rolling import Floats

STRETCHES = 4
SPANS, MORE = 20, 64
"""Steps that a stretch begins early: so many periods, and so many. By then e**-40 is left of what it began with, below
the last bit; that two roundings come together takes a few steps more."""


@compiled
def averaged(value: float, values: Floats, k: float, out: Floats) -> float:
    """Writes `value = k * x + (1 - k) * value` after every `x` of `values` to `out`; returns the last."""
    n = values.shape[0]
    length = n // STRETCHES
    reach = int(SPANS * 2.0 / k) + MORE
    done = 0
    if 0 < 2 * reach <= length:  # else what begins early is most of it
        value, done = _together(value, values, k, out, length, reach), STRETCHES * length
    keep = 1.0 - k
    for i in range(done, n):
        value = k * values[i] + keep * value
        out[i] = value
    return value


@compiled
def _together(value: float, values: Floats, k: float, out: Floats, length: int, reach: int) -> float:
    """All stretches, each `length` long; returns the value after the last."""
    keep, early = 1.0 - k, length - reach
    first, second = borrow(values, 0, length), borrow(values, length, length)
    third, fourth = borrow(values, 2 * length, length), borrow(values, 3 * length, length)
    a, b, c, d = value, first[early], second[early], third[early]
    for i in range(early, length):
        b = k * first[i] + keep * b
        c = k * second[i] + keep * c
        d = k * third[i] + keep * d
    began_b, began_c, began_d = b, c, d
    for i in range(length):
        a = k * first[i] + keep * a
        b = k * second[i] + keep * b
        c = k * third[i] + keep * c
        d = k * fourth[i] + keep * d
        out[i], out[length + i], out[2 * length + i], out[3 * length + i] = a, b, c, d
    _mended(out[length - 1], began_b, values, k, out, length, length)
    _mended(out[2 * length - 1], began_c, values, k, out, 2 * length, length)
    _mended(out[3 * length - 1], began_d, values, k, out, 3 * length, length)
    return out[4 * length - 1]


@compiled
def _mended(before: float, began: float, values: Floats, k: float, out: Floats, at: int, length: int) -> None:
    """Does a stretch again until its bits are those that it has, where it did not begin with the value `before` it."""
    keep = 1.0 - k
    if before == began and before != 0.0:  # 0.0 == -0.0, which are not the same bits
        return
    for i in range(at, at + length):
        before = k * values[i] + keep * before
        if before == out[i] and before != 0.0:
            return
        out[i] = before
