"""A hole is seen, a fault is told, and nothing is lost when candles are drawn coarser."""

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.quality import quality
from flea_lab.data.synthetic import synth
from flea_lab.view.market import candles_figure, quality_table

CANDLES, VOLUME = 0, 1


@pytest.fixture
def frame() -> pd.DataFrame:
    return synth("gap", np.random.default_rng(1), 5_000)


def test_drawn_candles_keep_extremes_and_volume(frame: pd.DataFrame) -> None:
    figure = candles_figure(frame, "BTCUSDT", quality(frame, "1m").to_dict())
    candles, volume = figure.data
    assert len(candles.x) <= 750
    assert max(candles.high) == frame["high"].max()
    assert min(candles.low) == frame["low"].min()
    assert sum(volume.y) == pytest.approx(frame["volume"].sum(), rel=1e-12)


def test_every_hole_is_marked_where_it_is(frame: pd.DataFrame) -> None:
    found = quality(frame, "1m").to_dict()
    marks = candles_figure(frame, "BTCUSDT", found).layout.shapes
    drawn = {(mark.x0, mark.x1) for mark in marks}
    assert drawn == {(float(first), float(first + 60_000 * bars)) for first, bars in found["holes"]}
    assert drawn
    assert candles_figure(frame, "BTCUSDT").layout.shapes == ()


def test_the_table_tells_holes_and_faults(frame: pd.DataFrame) -> None:
    broken = frame.copy()
    broken.loc[7, "high"] = broken.loc[7, "low"] - 1.0
    table = quality_table({"whole": quality(frame, "1m").to_dict(), "broken": quality(broken, "1m").to_dict()})
    assert table.loc["bars"].tolist() == [len(frame)] * 2
    assert table.loc["bars missing", "whole"] == 5_000 - len(frame)
    assert table.loc["bars with impossible prices"].tolist() == [0, 1]
    assert table.loc["first fault", "whole"] == "none"
    assert "row 7" in table.loc["first fault", "broken"]
