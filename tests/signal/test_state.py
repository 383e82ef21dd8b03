"""What a step may write of its state, and what a parameter says of its range."""

import re
from math import nan
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pytest
from msgspec import Meta

from flea_lab.errors import KernelError
from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import FIELDS, N_FIELDS, Bar, Floats, kernel
from flea_lab.signal.ranges import ranges
from flea_lab.signal.registry import builtin_kernels
from flea_lab.signal.rsi_reversion import RsiReversionParams
from flea_lab.testing import law_bars

CLOSE = FIELDS.index("close")


class Params(Settings, frozen=True, kw_only=True):
    window: Bars = 20


class State(NamedTuple):
    n: float = 0.0
    direction: float = nan
    confidence: float = nan


def test_a_state_is_completed_by_its_start_values_and_whole_numbers_are_floats() -> None:
    @kernel(Params, State, inputs=("open", "close"), warmup=None)
    def short(s: State, bar: Bar, p: Params, memory: Floats) -> State:
        if s.n < 1:
            return State(s.n + 1)
        if bar.close > bar.open:
            return State(confidence=1, n=s.n + 1, direction=1)
        return State(s.n + 1, 0, 0)

    bars = law_bars(50)
    params = Params()
    got = short.fold(short.start(params), bars, params, State._fields)
    up = bars[1:, CLOSE] > bars[1:, 0]
    assert np.isnan(got[0, 1:]).all()
    assert got[:, 0].tolist() == list(range(1, 51))
    assert got[1:, 1].tolist() == up.astype(float).tolist() == got[1:, 2].tolist()


def test_a_fold_refuses_arrays_that_compiled_code_would_read_or_write_beyond() -> None:
    found, params = builtin_kernels()["rsi_reversion"], RsiReversionParams()
    bars, start = law_bars(40), found.start(params)
    for wrong in (bars[:, :5], bars[:, CLOSE], bars[None]):
        shape = re.escape(str(wrong.shape))
        with pytest.raises(
            KernelError, match=rf"rsi_reversion: bars have shape {shape}, must have \(n_bars, {N_FIELDS}\)"
        ):
            found.fold(start.copy(), wrong, params)
    strided = np.repeat(start, 2)[::2]
    for mem in (start[:-1], np.append(start, 0.0), strided, start.astype(np.float32), start[None]):
        before = mem.copy()
        with pytest.raises(
            KernelError, match=rf"must be what start\(params\) gives, {len(start)} contiguous, writable floats"
        ):
            found.fold(mem, bars, params)
        assert np.array_equal(mem, before, equal_nan=True)


def test_a_fold_takes_bars_of_any_layout_and_of_any_number_as_the_same_bars() -> None:
    found, params = builtin_kernels()["rsi_reversion"], RsiReversionParams()
    bars = np.round(law_bars(60))
    alike = (bars, np.asfortranarray(bars), bars.astype(np.float32), np.repeat(bars, 2, axis=0)[::2])
    first, *others = [found.fold(found.start(params), one, params).tobytes() for one in alike]
    assert others == [first] * len(others)


def test_ranges_name_both_ends_default_and_unit() -> None:
    class Mixed(Settings, frozen=True, kw_only=True):
        window: Annotated[int, Meta(gt=0, lt=10, description="bars")] = 3
        scale: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5
        on: bool = True
        kind: Literal["a", "b"] = "b"

    window, scale, on, kind = ranges(Mixed)
    assert (window.ends, window.default, window.unit, window.whole) == ((1, 9), 3, "bars", True)
    assert scale.ends == (5e-324, np.nextafter(1.0, 0.0))
    assert (on.ends, kind.ends) == ((False, True), ("a", "b"))
    assert [str(one) for one in (window, on, kind)] == ["1 to 9, bars", "False or True", "'a' or 'b'"]
