"""Columns of parts, in blocks and beside holes: what a plain definition says of the bars that there are, to the bit."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flea_lab.signal.kernel import FIELDS, N_FIELDS, N_PLAIN, Floats, Kernel
from flea_lab.signal.part_columns import Pool, layout
from flea_lab.signal.registry import load_kernel

STACKED = load_kernel(Path(__file__).parents[1] / "kernels" / "stacked.py")
CLOSE = FIELDS.index("close")
N = 300
NAN = np.nan


def windows(values: Floats, n: int, ready: int, said: Callable[[Floats], float]) -> Floats:
    """What is said of the last `n` of `values`, NaN before the one that makes it `ready`, counted from 1."""
    return np.array([said(values[i - n + 1 : i + 1]) if i + 1 >= ready else NAN for i in range(len(values))])


def largest(window: Floats, sign: float = 1.0) -> float:
    best = window[0]
    for value in window[1:]:
        best = value if sign * value > sign * best else best
    return best


def average(values: Floats, period: int, first: int) -> Floats:
    """`ewm` of what is known from the `first` value on."""
    out, now, k = np.full(len(values), NAN), NAN, 2.0 / (period + 1.0)
    for i in range(first - 1, len(values)):
        now = values[i] if i == first - 1 else k * values[i] + (1.0 - k) * now
        out[i] = now if i >= first + period - 2 else NAN
    return out


def mean(window: Floats) -> float:
    """In four partial sums, as a window is added up."""
    parts, n = [0.0] * 4, len(window) // 4 * 4
    for i, value in enumerate(window):
        parts[i % 4 if i < n else 0] += value
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) / len(window)


def plain(close: Floats, window: int, back: int) -> list[Floats]:
    """The parts of `stacked` in their order, over the bars that a symbol has."""
    seen = back, 2 * back - 1, 2 * back + window - 2
    before = windows(close, back, seen[0], lambda w: w[0])
    earlier = windows(before, back, seen[1], lambda w: w[0])
    top = windows(earlier, window, seen[2], largest)
    upper = windows(top, 2, seen[2] + 1, lambda w: w[0])
    bottom = windows(close, window, window, lambda w: largest(w, -1.0))
    fast = average(before, back, back)
    late = windows(fast, back, 3 * back - 2, mean)
    return [before, earlier, top, upper, bottom, average(upper, window, seen[2] + 1), fast, late]


def poisoned(rng: np.random.Generator, kind: str) -> Floats:
    """Closes of two symbols with what windows may stumble over."""
    close = np.round(100.0 + np.cumsum(rng.normal(size=(2, N)), axis=1), 1)
    odd = {"nan": [NAN], "infinite": [np.inf, -np.inf], "zeros": [0.0, -0.0]}.get(kind, [])
    return np.where(rng.random((2, N)) < 0.05, rng.choice(odd), close) if odd else close


def pooled(kernel: Kernel, rows: Floats, close: Floats, there: np.ndarray, cuts: list[int], whole: bool) -> Floats:
    """Every part of every row over all bars of two symbols, NaN where one is missing, in blocks that end at `cuts`."""
    bars, features = np.full((2, N, N_PLAIN), NAN), np.full((2, 1, N_FIELDS - N_PLAIN), NAN)
    bars[:, :, CLOSE] = close
    found = layout(kernel, rows)
    pool = Pool(found, {CLOSE}, 2, 130, (lambda at: bars[:, :, at]) if whole else None)
    out = np.full((len(rows), len(kernel.parts), 2, N), NAN)
    for first, last in zip([0, *cuts], [*cuts, N], strict=True):
        pool.advance(bars, features, there.astype(np.int64), first, last)
        for s in range(2):
            at = first + np.flatnonzero(there[s, first:last])
            for d, k in np.ndindex(found.parts.shape):
                begin = pool.at[found.parts[d, k]]
                out[d, k, s, at] = pool.values[s, begin : begin + len(at)]
    return out


SETTINGS = [(1, 1), (2, 1), (9, 4), (13, 1), (16, 30), (17, 2), (40, 7), (64, 3), (100, 90), (400, 5)]
"""Window and lag; the last but one is known for some bars, the last for none."""

CUTS = [[128, 256], [1, 2, 130, 131, 139, 260], [100, 107, 115, 124, 254]]


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "with_holes"])
@pytest.mark.parametrize("kind", ["plain", "nan", "infinite", "zeros"])
def test_columns_of_parts_are_what_a_plain_definition_says(kind: str, holes: bool) -> None:
    rng = np.random.default_rng(20_261_123)
    close, there = poisoned(rng, kind), np.ones((2, N), bool)
    if holes:
        there[0, rng.random(N) < 0.2] = there[1, :45] = there[1, 200:230] = False
    right = np.full((len(SETTINGS), len(STACKED.parts), 2, N), NAN)
    with np.errstate(invalid="ignore"):
        for s, (d, (window, back)) in itertools.product(range(2), enumerate(SETTINGS)):
            right[d][:, s, there[s]] = plain(close[s, there[s]], window, back)
    for cuts in CUTS:
        found = pooled(STACKED, np.array(SETTINGS, float), close, there, cuts, not holes)
        for d, k in np.ndindex(found.shape[:2]):
            got, asked = (np.where(np.isnan(a[d, k]), NAN, a[d, k]).tobytes() for a in (found, right))
            assert got == asked, (SETTINGS[d], STACKED.parts[k].name, cuts)


def test_how_many_settings_go_together_changes_no_bit() -> None:
    close, there = poisoned(np.random.default_rng(7), "plain"), np.ones((2, N), bool)
    there[1, ::9] = False
    rows = np.array([(period, 3) for period in range(5, 16)], float)
    together = pooled(STACKED, rows, close, there, [60, 190], False)
    for d in range(len(rows)):
        alone = pooled(STACKED, rows[d : d + 1], close, there, [128, 256], False)
        assert alone[0].tobytes() == together[d].tobytes(), rows[d]
