"""A shortened series keeps its ends, peaks and troughs; coarser candles keep what the fine ones reached."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.view.thin import by_step, coarser, thinned


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(4, 60))
def test_ends_and_extremes_are_kept_within_the_limit(values: list[float], limit: int) -> None:
    kept = thinned(values, limit)
    assert len(kept) <= max(limit, 0) or len(values) <= limit
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert (np.diff(kept) > 0).all()
    shown = np.array(values)[kept]
    assert shown.max() == max(values) and shown.min() == min(values)


def test_a_short_series_is_left_alone() -> None:
    assert thinned([3.0, np.nan, 1.0], 3).tolist() == [0, 1, 2]


def test_nan_is_neither_peak_nor_trough() -> None:
    values = np.full(1_000, np.nan)
    values[[10, 500]] = 5.0, -5.0
    assert {10, 500} <= set(thinned(values, 50).tolist())


def candles(count: int, step: int = 60_000) -> pd.DataFrame:
    close = 100.0 + np.sin(np.arange(count))
    ts = 1_735_689_600_000 + step * np.arange(count)
    return pd.DataFrame({"ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0})


@pytest.mark.parametrize(("count", "step"), [(400, 60_000), (401, 120_000), (43_200, 7_200_000)])
def test_candles_are_as_coarse_as_needed(count: int, step: int) -> None:
    fine = candles(count)
    coarse, found = coarser(fine)
    assert found == step and len(coarse) <= 400
    assert (coarse["high"].max(), coarse["low"].min()) == (fine["high"].max(), fine["low"].min())
    assert (coarse["open"].iloc[0], coarse["close"].iloc[-1]) == (fine["open"].iloc[0], fine["close"].iloc[-1])
    assert (coarse["ts"] % step == 0).all()


def test_a_hole_stays_a_hole() -> None:
    fine = candles(1_200).drop(index=range(300, 600))
    coarse, step = coarser(fine, 40)
    assert (np.diff(coarse["ts"]) > step).sum() == 1


def test_fills_are_merged_within_a_step_each_side_for_itself() -> None:
    qty, price = [1.0, 3.0, 2.0, 1.0], [10.0, 14.0, 9.0, 8.0]
    fills = pd.DataFrame({"ts": [10, 20, 30, 110], "side": ["buy", "buy", "sell", "buy"], "qty": qty, "price": price})
    rows = list(by_step(fills, 100).itertuples(index=False, name=None))
    assert rows == [(0, "buy", 4.0, 13.0, 2), (0, "sell", 2.0, 9.0, 1), (100, "buy", 1.0, 8.0, 1)]
    assert by_step(fills.iloc[:0], 100).empty
