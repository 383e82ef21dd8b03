"""The explorer's sliders reach every value that a parameter may have, and a refused one is told, not raised."""

import gc
import weakref
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError, DataError
from flea_lab.signal.ranges import Range, ranges
from flea_lab.signal.registry import builtin_kernels
from flea_lab.view.explorer import SignalExplorer, steps
from tests.reference import slow

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def frame() -> pd.DataFrame:
    return synth("mixed", np.random.default_rng(3), 2_000)


@pytest.mark.parametrize("name", sorted(builtin_kernels()))
def test_a_slider_stops_at_its_default_and_its_upper_end_and_at_nothing_refused(name: str) -> None:
    kernel = builtin_kernels()[name]
    for one in ranges(kernel.params):
        values = steps(one)
        assert one.default in values
        assert values[-1] == one.ends[-1]
        assert len(values) <= 700
        if not one.choices:
            assert list(values) == sorted(set(values))
            assert one.low <= values[0] <= values[-1] <= one.high


def test_bars_go_singly_then_in_steps_of_a_twentieth() -> None:
    values = steps(Range(name="window", default=97, low=1, high=5_000, whole=True))
    assert values[:61] == tuple(range(1, 62))
    assert 97 in values
    assert values[-1] == 5_000
    assert max(b / a for a, b in pairwise(values[61:])) < 1.06


def test_a_moved_slider_changes_what_is_drawn(frame: pd.DataFrame) -> None:
    explorer = SignalExplorer(frame, "rsi_reversion", shown=500)
    explorer.set(period=7)
    expected = slow.rsi_reversion(frame["close"].to_numpy(), period=7)[0]
    np.testing.assert_allclose(explorer.table["direction"], expected, atol=1e-12)
    drawn = {trace.name: trace for trace in explorer.figure.data}
    assert list(drawn) == ["close", "direction", "confidence", "rsi"]
    np.testing.assert_array_equal(drawn["direction"].y, explorer.table["direction"].to_numpy()[-500:])
    np.testing.assert_array_equal(drawn["close"].x, frame["ts"].to_numpy()[-500:])


def test_a_combination_that_cannot_be_is_told_beside_its_slider_and_the_picture_stays(frame: pd.DataFrame) -> None:
    explorer = SignalExplorer(frame, "ema_momentum")
    before = explorer.table
    explorer.set(fast=30)
    assert "fast (30) must be shorter than slow (21)" in explorer.notes["fast"].value
    assert explorer.note == explorer.notes["fast"].value
    assert explorer.table is before
    explorer.set(slow=40)
    assert explorer.note == ""
    assert (explorer.params.fast, explorer.params.slow) == (30, 40)


def test_a_value_between_two_stops_is_added(frame: pd.DataFrame) -> None:
    explorer = SignalExplorer(frame, "ema_momentum")
    explorer.set(z_scale=2.345, slow=333)
    assert (explorer.params.z_scale, explorer.params.slow) == (2.345, 333)


def test_a_choice_and_a_feature_have_their_place(frame: pd.DataFrame) -> None:
    explorer = SignalExplorer(frame, "rsi_reversion")
    explorer.set(averaging="wilder")
    assert explorer.params.averaging == "wilder"
    feature = SignalExplorer(frame, "vpin")
    assert [trace.name for trace in feature.figure.data] == ["close", "vpin"]


def test_what_cannot_be_explored_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"^kernel 'rsi' is unknown, known are .*\(in the signal explorer\)$"):
        SignalExplorer(frame, "rsi")
    with pytest.raises(DataError, match=r"^signal tick_imbalance needs buy_volume, which these candles do not have$"):
        SignalExplorer(frame.drop(columns="buy_volume"), "tick_imbalance")
    with pytest.raises(DataError, match=r"^the signal explorer was given no candles$"):
        SignalExplorer(frame.iloc[:0], "rsi_reversion")
    with pytest.raises(ConfigError, match=r"^peroid: no parameter of rsi_reversion, it has period, overbought"):
        SignalExplorer(frame, "rsi_reversion").set(peroid=7)


def test_a_closed_explorer_lets_its_figure_go(frame: pd.DataFrame) -> None:
    explorer = SignalExplorer(frame, "rsi_reversion")
    figure = weakref.ref(explorer.figure)
    explorer.close()
    del explorer
    gc.collect()
    assert figure() is None
