"""The drawing in `frames` is held: each fault is named with its row, time and value."""

import hashlib
import struct
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flea_lab.data.frames import (
    COLUMNS,
    canonical,
    check_candles,
    check_funding,
    content_digest,
    iso,
    spacing_ms,
    span,
)
from flea_lab.errors import DataError

Make = Callable[..., pd.DataFrame]
START = 1_735_689_600_000
MIN = 60_000


def at(frame: pd.DataFrame, row: int, **values: float) -> pd.DataFrame:
    """`frame` with some cells of one row replaced."""
    frame = frame.copy()
    for name, value in values.items():
        frame.loc[row, name] = value
    return frame


def test_a_sound_frame_passes_with_and_without_buy_volume(make_bars: Make) -> None:
    check_candles(make_bars(), "1m", "here")
    check_candles(make_bars(buy_volume=[0.0, 11.0, 5.0, 6.0]), "1m", "here")


def test_a_hole_is_no_fault(make_bars: Make) -> None:
    check_candles(make_bars(9).drop(index=[3, 4]).reset_index(drop=True), "1m", "here")


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        (2, {"high": 99.0}, r"row 2 \(2025-01-01T00:02:00Z\): high 99.0 is below max\(open, close\) 102.0"),
        (1, {"low": 100.75}, r"row 1 \(2025-01-01T00:01:00Z\): low 100.75 is above min\(open, close\) 100.5"),
        (0, {"open": 0.0, "low": 0.0}, r"row 0 .*: open 0.0 must be above 0"),
        (3, {"low": -1.0}, r"row 3 .*: low -1.0 must be above 0"),
        (3, {"volume": -0.5}, r"row 3 .*: volume -0.5 must not be negative"),
        (1, {"close": np.nan}, r"row 1 .*: close is nan"),
        (1, {"volume": np.inf}, r"row 1 .*: volume is inf"),
        (2, {"ts": START + MIN}, r"row 2 \(2025-01-01T00:01:00Z\): duplicate, the row before has the same time"),
        (3, {"ts": START}, r"row 3 .*: unordered, the row before is later \(2025-01-01T00:02:00Z\)"),
        (3, {"ts": START + 3 * MIN + 1}, r"row 3 \(2025-01-01T00:03:00.001Z\): ts 1735689780001 is off the 1m grid"),
    ],
)
def test_the_first_bad_row_is_named_with_its_value(
    make_bars: Make, row: int, values: dict[str, float], message: str
) -> None:
    with pytest.raises(DataError, match=f"^here: {message}"):
        check_candles(at(make_bars(), row, **values), "1m", "here")


@pytest.mark.parametrize(("value", "limit"), [(-1.0, "10.0"), (10.5, "10.0"), (np.nan, None)])
def test_takers_cannot_buy_more_than_was_traded(make_bars: Make, value: float, limit: str | None) -> None:
    frame = make_bars(buy_volume=[value, 1.0, 1.0, 1.0])
    expected = "buy_volume is nan" if limit is None else f"buy_volume {value} is outside 0 to volume {limit}"
    with pytest.raises(DataError, match=expected):
        check_candles(frame, "1m", "here")


def test_of_two_faults_the_earlier_row_is_named(make_bars: Make) -> None:
    with pytest.raises(DataError, match=r"row 1 .*volume -1.0"):
        check_candles(at(at(make_bars(), 3, high=1.0), 1, volume=-1.0), "1m", "here")


def test_an_empty_frame_is_refused(make_bars: Make) -> None:
    with pytest.raises(DataError, match=r"^here: no bars$"):
        check_candles(make_bars().iloc[:0], "1m", "here")


@pytest.mark.parametrize(("step", "said"), [(MIN, "1m"), (180_000, "3m"), (3_600_000, "1h")])
def test_a_wrong_interval_says_which_one_it_is(make_bars: Make, step: int, said: str) -> None:
    with pytest.raises(DataError, match=f"^here: bars are {said} apart, not 5m"):
        check_candles(make_bars(6, step=step), "5m", "here")


def test_an_unknown_interval_lists_the_known_ones(make_bars: Make) -> None:
    with pytest.raises(DataError, match="unknown interval '7m', known are 1m, 5m, 15m, 1h, 4h, 1d"):
        check_candles(make_bars(), "7m", "here")


def test_form_is_normalised_and_extra_columns_dropped(make_bars: Make) -> None:
    odd = make_bars()[["volume", "close", "low", "high", "open", "ts"]].astype({"volume": "int64", "ts": "float64"})
    odd["trades"] = 3
    odd.index = [4, 3, 2, 1]
    found = canonical(odd)
    assert tuple(found.columns) == COLUMNS
    assert list(found.index) == [0, 1, 2, 3]
    assert [str(kind) for kind in found.dtypes] == ["int64"] + ["float64"] * 5
    assert found.equals(make_bars())


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("close", ["1", "2", "abc", "4"], "row 2: close 'abc' is not a number"),
        ("ts", [1.5, 2.0, 3.0, 4.0], "row 0: ts 1.5 is not a whole number of milliseconds"),
        ("ts", [1.0, np.nan, 3.0, 4.0], "row 1: ts nan is not a whole number"),
        ("open", [True, True, False, True], "open holds bool, not numbers"),
    ],
)
def test_what_is_not_a_number_is_refused(make_bars: Make, column: str, values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=f"^here: {message}"):
        canonical(make_bars().assign(**{column: values}), "here")


def test_a_missing_column_is_named(make_bars: Make) -> None:
    with pytest.raises(DataError, match="here: no column 'volume', found ts, open, high, low, close"):
        canonical(make_bars().drop(columns="volume"), "here")


def test_the_digest_is_the_documented_bytes() -> None:
    frame = pd.DataFrame({"ts": np.array([1, 2], np.int64), "funding_rate": [0.25, -0.0]})
    told = (
        b"2 rows" + b"\0ts\0<i8\0" + struct.pack("<2q", 1, 2) + b"\0funding_rate\0<f8\0" + struct.pack("<2d", 0.25, 0.0)
    )
    assert content_digest(frame) == hashlib.sha256(told).hexdigest()


@given(st.integers(0, 3), st.sampled_from(COLUMNS), st.sampled_from([1, -1]))
def test_the_digest_sees_every_cell(row: int, column: str, sign: int) -> None:
    frame = pd.DataFrame({name: np.arange(4) + 7 for name in COLUMNS}).astype(dict.fromkeys(COLUMNS[1:], "float64"))
    other = frame.copy()
    other[column] = other[column].where(other.index != row, other[column] + sign)
    assert content_digest(frame) != content_digest(other)
    assert content_digest(frame) == content_digest(frame.iloc[::-1].iloc[::-1])
    assert content_digest(frame) != content_digest(frame.rename(columns={column: "other"}))


def test_funding_faults_are_named() -> None:
    def funding(ts: list[int], rate: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"ts": ts, "funding_rate": rate})

    check_funding(funding([START, START + MIN], [1e-4, -1e-4]), "here")
    with pytest.raises(DataError, match=r"here: row 1 \(2025-01-01T00:00:00Z\): duplicate"):
        check_funding(funding([START, START], [0.0, 0.0]), "here")
    with pytest.raises(DataError, match=r"row 1 .*: unordered"):
        check_funding(funding([START, START - MIN], [0.0, 0.0]), "here")
    with pytest.raises(
        DataError, match=r"row 0 \(2025-01-01T00:00:00.016Z\): the settlement time is not on the minute"
    ):
        check_funding(funding([START + 16], [0.0]), "here")
    with pytest.raises(DataError, match=r"row 0 .*: funding_rate 1.5 is not within \+-1"):
        check_funding(funding([START], [1.5]), "here")
    with pytest.raises(DataError, match=r"row 0 .*: funding_rate nan is not within"):
        check_funding(funding([START], [np.nan]), "here")
    with pytest.raises(DataError, match="here: no funding rates"):
        check_funding(funding([], []), "here")


def test_times_and_spans_read_as_people_write_them() -> None:
    assert iso(START) == "2025-01-01T00:00:00Z"
    assert iso(START + 5) == "2025-01-01T00:00:00.005Z"
    assert [span(ms) for ms in (MIN, 86_400_000, 90_000, 1_500)] == ["1m", "1d", "90s", "1500ms"]
    assert spacing_ms(np.array([3, 1, 1, 7])) == 2
    assert spacing_ms(np.array([3, 3])) is None
