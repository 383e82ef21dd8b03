"""Averages as columns, four stretches at a time, are to the bit what one step after the other says."""

from typing import Any

import numpy as np
import pytest

from flea_lab.signal import averages, parts
from flea_lab.signal.parts import AverageState, _emas, _ewms

COLUMNS = {"ema": (parts.ema, _emas), "ewm": (parts.ewm, _ewms)}
LONG = 12_000


def prices(kind: str) -> Any:
    """Values on which stretches come together soon, late, or never."""
    rng = np.random.default_rng(11)
    found = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, LONG))), 2)
    if kind == "flat":  # an average stays a hair beside a price that does not move
        found[2_000:10_500] = found[2_000]
    if kind == "zeros":  # below 0 an average of zeros ends as -0.0
        found = np.where(np.arange(LONG) < 3_000, -found, 0.0) * rng.choice([1.0, -1.0], LONG)
    if kind == "hole":
        found[7_000] = np.nan
    return found


@pytest.mark.parametrize("kind", ["moving", "flat", "zeros", "hole"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_what_the_steps_say(name: str, kind: str) -> None:
    part, column = COLUMNS[name]
    values, named = prices(kind), part.params_tuple
    for period in (1.0, 2.0, 9.0, 14.5, 60.0):
        right = part.over(values, period=period)
        for block in (LONG, 5_000, 700):
            out, state = np.empty(LONG), AverageState()
            for first in range(0, LONG, block):
                last = min(first + block, LONG)
                state = column(state, values[first:last], named(period), np.empty(0), out[first:last])
            known = slice(int(period) - 1, None)
            assert out[known].tobytes() == right[known].tobytes(), (period, block)


def test_stretches_that_do_not_come_together_are_done_again() -> None:
    values, out = prices("flat"), np.empty(LONG)
    k, length, apart = 2.0 / 61.0, LONG // averages.STRETCHES, 0
    reach = averages.SPANS * 61 + averages.MORE
    averages.averaged(values[0], values, k, out)
    for begin in range(length, LONG, length):
        value = values[begin - reach]
        for x in values[begin - reach : begin].tolist():
            value = k * x + (1.0 - k) * value
        apart += value != out[begin - 1]
    assert apart > 0  # else these values show nothing
