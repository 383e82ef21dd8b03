"""A hole is seen, a fault is told, and nothing is lost when candles are drawn coarser."""

import numpy as np
import pandas as pd
import pytest

from flea_lab.data.ledger import candle_ledger, finding_ledger
from flea_lab.data.quality import quality
from flea_lab.data.synthetic import synth
from flea_lab.model.finding import Finding
from flea_lab.view.market import candles_figure, lasting, ledger_table, quality_table

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


def test_spells_and_faults_are_shaded_each_in_its_colour(frame: pd.DataFrame) -> None:
    broken = frame.copy()
    broken.loc[100:109, ["volume", "buy_volume"]] = 0.0
    broken.loc[200, "high"] = broken.loc[200, "low"] - 1.0
    figure = candles_figure(broken, "BTCUSDT", quality(broken, "1m").to_dict())
    named = [mark for mark in figure.layout.shapes if mark.showlegend]
    assert [mark.name for mark in named] == ["holes", "no volume, no movement", "faults"]
    assert len({mark.fillcolor for mark in named}) == 3 and figure.layout.showlegend
    spell, fault = named[1:]
    assert (spell.x0, spell.x1) == (broken["ts"][100], broken["ts"][109] + 60_000)
    assert fault.x0 == broken["ts"][200]


def test_the_ledger_reads_in_words(frame: pd.DataFrame) -> None:
    found = candle_ledger(quality(frame, "1m").to_dict(), "v", "BTCUSDT", frame)
    table = ledger_table(found)
    assert list(table.columns)[3:7] == ["from (UTC)", "to", "lasted", "what"]
    assert set(table["what"]) == {"hole"} and set(table["how resolved"]) == {"nothing filled in"}
    assert len(ledger_table(found, most=2)) == 2 and ledger_table(found.iloc[:0]).empty
    told = [Finding(kind="gap", channel="book", symbol="X", ts_from=1_700_000_000_123_456_789)]
    [row] = ledger_table(finding_ledger(told)).itertuples(index=False)
    assert (row[3], row[4], row[5], row[-1]) == ("2023-11-14 22:13:20.123", "lasts", "lasts", "not")


def test_a_span_is_told_in_the_unit_that_suits_it() -> None:
    assert [lasting(s) for s in (0.0, 0.25, 60.0, 120.0, 7_200.0, 172_800.0, float("nan"))] == [
        *("at once", "0.25 s", "60 s", "2 min", "2 h", "2 d", "lasts"),
    ]
