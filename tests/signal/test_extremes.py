"""The largest and the smallest of a window, as columns: what a plain definition says, to the bit."""

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from flea_lab.signal import extremes, parts
from flea_lab.signal.rolling import Floats
from tests.parity.planting import Bug, executed

Column = Callable[..., None]
NAN, INF = np.nan, np.inf


class Window(NamedTuple):
    window: float


def plain(values: Floats, n: int, sign: float) -> Floats:
    """The extreme of every window of `n`: nothing is larger than a NaN at its beginning, no other NaN than anything."""
    out = []
    for at in range(len(values) - n + 1):
        best = values[at]
        for value in values[at + 1 : at + n]:
            best = value if sign * value > sign * best else best
        out.append(best)
    return np.array(out)


def drawn(rng: np.random.Generator, length: int) -> Iterator[Floats]:
    """Values of every kind: a walk, ties, both zeros, both infinities, NaN at the ends and anywhere."""
    walk = np.cumsum(rng.normal(size=length))
    yield walk
    yield rng.integers(0, 4, length).astype(float)
    yield rng.choice([0.0, -0.0], length)
    yield np.where(rng.random(length) < 0.1, rng.choice([INF, -INF], length), walk)
    yield np.where(rng.random(length) < 0.02, NAN, walk)
    for at in (0, length // 2, length - 1):
        yield np.where(np.arange(length) == at, NAN, walk)
    yield np.full(length, NAN)


def parting(highs: Column, lows: Column, cases: list[tuple[int, int]]) -> Iterator[str]:
    """Where columns of windows of `n` over `count` bars are not what a plain definition says, or reach too far."""
    rng = np.random.default_rng(20_261_123)
    for n, count in cases:
        for kind, values in enumerate(drawn(rng, count + n - 1)):
            for column, sign in ((highs, 1.0), (lows, -1.0)):
                given, room = values.copy(), np.full(count + 2, 7.0)
                column(given, room[1:-1], Window(float(n)))
                if room[1:-1].tobytes() != plain(values, n, sign).tobytes():
                    yield f"windows of {n} over {count} bars, kind {kind}, {sign:+.0f}"
                if (room[0], room[-1]) != (7.0, 7.0) or given.tobytes() != values.tobytes():
                    yield f"windows of {n} over {count} bars write elsewhere"


WINDOWS = [1, 2, 7, 8, 11, 12, 13, 15, 16, 17, 23, 24, 31, 32, 33, 40, 63, 64, 65, 127, 150]
COUNTS = [1, 2, 7, 8, 9, 15, 16, 17, 30]


def test_columns_of_extremes_are_what_a_plain_definition_says() -> None:
    assert list(parting(extremes.highs, extremes.lows, [(n, count) for n in WINDOWS for count in COUNTS])) == []


def test_a_stream_says_the_same() -> None:
    rng = np.random.default_rng(7)
    for n in (1, 2, 9, 40, 61):
        for values in drawn(rng, 60):
            for part, sign in ((parts.highest, 1.0), (parts.lowest, -1.0)):
                right = np.concatenate([np.full(n - 1, NAN), plain(values, n, sign)])[:60]
                assert part.over(values, window=n).tobytes() == right.tobytes(), (n, sign)


def planted(*changes: tuple[str, str]) -> Bug:
    return Bug("flea_lab.signal.extremes", "", changes)


BUGS = {
    "the_newer_of_two_equals": planted(
        ("better(load(spans, i + apart), load(spans, i))", "better(load(spans, i), load(spans, i + apart))")
    ),
    "span_of_a_span": planted(("joined(spans, n - width, count, out)", "joined(spans, width, count, out)")),
    "half_a_window": planted(("while 2 * width <= n:", "while 2 * width < n - width:")),
    "nan_among_the_first_alone": planted(("there = there & (best == best)", "there = first == first")),
    "nan_is_passed_over": planted(("return bits(there) == (1 << WIDTH) - 1", "return True")),
    "one_nan_is_none": planted(("return bits(there) == (1 << WIDTH) - 1", "return bits(there) != 0")),
    "seven_of_eight": planted(("for k in range(1, WIDTH):", "for k in range(1, WIDTH - 1):")),
    "the_last_bars_are_left": planted(
        ("        while i < count:\n            i = min(i, count - WIDTH)\n", "        while i + WIDTH <= count:\n")
    ),
    "as_many_places_as_before": planted(("            places -= width\n", "")),
    "too_few_bars": planted(("or count < WIDTH:", "or count < 1:")),
}


FEW = [(13, 30), (16, 9), (33, 17), (40, 7), (24, 8)]


def caught(bug: Bug) -> str:
    """The first thing that differs with a bug, interpreted; "" where nothing does."""
    with executed({bug.module: bug.applied()}):
        found = sys.modules[bug.module]
        try:
            return next(parting(found.highs, found.lows, FEW), "")
        except (AttributeError, IndexError, ValueError) as error:  # read beyond an array
            return str(error)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_them_is_caught(name: str) -> None:
    assert caught(BUGS[name])


def test_without_a_bug_nothing_is_caught() -> None:
    assert caught(planted()) == ""
