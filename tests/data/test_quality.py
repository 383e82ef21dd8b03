"""Quality counts what is there, on sound and on faulty frames alike."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.data.quality import quality
from flea_lab.data.sources.files import read_candle_file

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000
MIN = 60_000


def test_holes_and_spells_are_found_where_they_are(make_bars: Make) -> None:
    frame = make_bars(12)
    frame.loc[[1, 2, 8], "volume"] = 0.0
    frame.loc[8:11, ["open", "high", "low", "close"]] = 100.0
    found = quality(frame.drop(index=[4, 5, 7]), "1m")
    assert (found.bars, found.expected, found.missing) == (9, 12, 3)
    assert found.holes == [(START + 4 * MIN, 2), (START + 7 * MIN, 1)]
    assert found.zero_volume == [(START + MIN, 2), (START + 8 * MIN, 1)]
    assert found.flat == [(START + 8 * MIN, 4)]
    assert found.sound and found.first_fault is None
    assert (found.first_ms, found.last_ms) == (START, START + 11 * MIN)


def test_a_spell_does_not_go_on_over_a_hole(make_bars: Make) -> None:
    frame = make_bars(8)
    frame["volume"] = 0.0
    frame[["open", "high", "low", "close"]] = 100.0
    found = quality(frame.drop(index=[3]), "1m")
    assert found.holes == [(START + 3 * MIN, 1)]
    assert found.zero_volume == [(START, 3), (START + 4 * MIN, 4)]
    assert found.flat == [(START, 3), (START + 4 * MIN, 4)]


def test_a_flat_spell_ends_where_the_level_changes(make_bars: Make) -> None:
    frame = make_bars(7)
    for name in ("open", "high", "low", "close"):
        frame[name] = [5.0, 5.0, 5.0, 6.0, 6.0, 7.0, 8.0]
    assert quality(frame, "1m").flat == [(START, 3)]


def test_every_kind_of_fault_is_counted(make_bars: Make) -> None:
    frame = make_bars(10, buy_volume=[1.0] * 10).astype({"ts": "int64"})
    frame.loc[1, "high"] = 1.0
    frame.loc[2, "close"] = np.nan
    frame.loc[3, "volume"] = -1.0
    frame.loc[4, "buy_volume"] = 99.0
    frame.loc[5, "ts"] = START
    frame.loc[6, "ts"] += 1
    frame.loc[9, "low"] = 0.0
    found = quality(frame, "1m")
    counts = (
        found.ohlc_faults,
        found.not_finite,
        found.volume_faults,
        found.duplicates,
        found.unordered,
        found.off_grid,
    )
    assert counts == (2, 1, 2, 1, 1, 1)
    assert not found.sound
    assert found.first_fault is not None and found.first_fault.startswith("row 1 (2025-01-01T00:01:00Z): high 1.0")


def test_an_empty_frame_has_a_quality(make_bars: Make) -> None:
    found = quality(make_bars().iloc[:0], "1m")
    assert (found.bars, found.expected, found.first_ms, found.holes) == (0, 0, None, [])
    assert not found.sound


def test_it_is_ready_for_json(make_bars: Make) -> None:
    plain = quality(make_bars(6).drop(index=[2]), "1m").to_dict()
    assert json.loads(json.dumps(plain)) == {**plain, "holes": [[START + 2 * MIN, 1]]}


@given(st.sets(st.integers(0, 60), min_size=1))
def test_bars_and_holes_fill_the_expected_span(kept: set[int]) -> None:
    ts = START + MIN * np.array(sorted(kept), dtype=np.int64)
    frame = pd.DataFrame({"ts": ts} | {name: np.ones(len(ts)) for name in ("open", "high", "low", "close", "volume")})
    found = quality(frame, "1m")
    assert found.bars + sum(bars for _, bars in found.holes) == found.expected == max(kept) - min(kept) + 1
    absent = {(first - START) // MIN + at for first, bars in found.holes for at in range(bars)}
    assert absent == set(range(min(kept), max(kept) + 1)) - kept


@pytest.mark.real_data
def test_the_recorded_candles_have_no_fault(data_dir: object) -> None:
    from pathlib import Path

    files = sorted(Path(str(data_dir)).glob("demo/candles/*.parquet"))
    assert len(files) == 11
    for path in files:
        found = read_candle_file(path)
        assert found.time_unit == "ms" and found.interval_from == "name" and found.notes == ()
        told = quality(found.frame, found.dataset.interval)
        assert told.sound and told.missing == 0 and told.zero_volume == [], path.name
