"""Columns of the largest and the smallest of a window: what one window after the other would say, to the bit.

The extreme of 2 w values is that of two times w: from eights on, spans are doubled until two of them cover a window, so
that a column takes as many passes as its window has binary digits, however long that is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from flea_lab.compiled import borrow, compiled_afresh
from flea_lab.lanes import WIDTH, bits, higher, load, lower, store
from flea_lab.signal import rolling
from flea_lab.signal.rolling import Floats

SHORT = 12
"""Values of a window that are looked at one by one in less time."""


def extremes(better: Callable[[Any, Any], Any], of_window: Callable[[Floats], float]) -> Callable[..., None]:
    """Compiled `column(values, out, p)` of the value of every window that `better` finds, as `of_window` does.

    Of two that are equal, such as 0.0 and -0.0, the older stays: `better(newer, older)` gives the second.
    """
    each, (eights, joined) = _each(better, of_window), _spans(better)

    @compiled_afresh
    def column(values: Floats, out: Floats, p: Any) -> None:
        n, count = int(p.window), out.shape[0]
        if n < SHORT or count < WIDTH:
            each(values, out, n)
            return
        spans, width, places = np.empty(count + n - WIDTH), WIDTH, count + n - WIDTH
        if not eights(values, spans, places):  # who begins with NaN is NaN, which two spans would not tell
            each(values, out, n)
            return
        while 2 * width <= n:
            places -= width
            joined(spans, width, places, spans)
            width *= 2
        joined(spans, n - width, count, out)

    found: Callable[..., None] = column
    return found


def _each(better: Callable[[Any, Any], Any], of_window: Callable[[Floats], float]) -> Callable[..., None]:
    @compiled_afresh
    def each(values: Floats, out: Floats, n: int) -> None:
        """Every window by itself."""
        count = out.shape[0]
        for at in range(0, count - WIDTH + 1, WIDTH):
            best = load(values, at)
            for i in range(at + 1, at + n):
                best = better(load(values, i), best)
            store(out, at, best)
        for at in range(count - count % WIDTH, count):
            out[at] = of_window(borrow(values, at, n))

    found: Callable[..., None] = each
    return found


def _spans(better: Callable[[Any, Any], Any]) -> tuple[Callable[..., bool], Callable[..., None]]:
    @compiled_afresh
    def eights(values: Floats, spans: Floats, count: int) -> bool:
        """Writes the extreme of eight values from each of `count` places on; whether none of them begins with NaN."""
        i, first = 0, load(values, 0)
        there = first == first
        while i < count:
            i = min(i, count - WIDTH)  # the last eight lie over those before them: equal bits are written again
            best = load(values, i)
            there = there & (best == best)
            for k in range(1, WIDTH):
                best = better(load(values, i + k), best)
            store(spans, i, best)
            i += WIDTH
        return bits(there) == (1 << WIDTH) - 1

    @compiled_afresh
    def joined(spans: Floats, apart: int, count: int, out: Floats) -> None:
        """Writes to each of `count` places of `out`, which may be `spans`, the extreme of the spans there and `apart`
        further on, which is eight or more: what the last eight read there has not been written yet."""
        i = 0
        while i < count:
            i = min(i, count - WIDTH)
            store(out, i, better(load(spans, i + apart), load(spans, i)))
            i += WIDTH

    return eights, joined


highs = extremes(higher, rolling.highest)
lows = extremes(lower, rolling.lowest)
