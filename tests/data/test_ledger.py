"""The ledger of stored candles names every hole, spell and fault with its ends; a ledger sums up by kind."""

import json

import numpy as np
import pandas as pd

from flea_lab.data.ledger import (
    by_kind,
    candle_ledger,
    finding_ledger,
    one_ledger,
    plain_rows,
    seconds_of,
    worst_of,
)
from flea_lab.data.quality import quality
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS

START = 1_735_689_600_000
MINUTE = 60_000


def bars(count: int, **columns: object) -> pd.DataFrame:
    price = 100.0 + np.arange(count)
    values = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 1.0}
    return pd.DataFrame({"ts": START + MINUTE * np.arange(count), **values, **columns})


def ledger(frame: pd.DataFrame) -> pd.DataFrame:
    return candle_ledger(quality(frame, "1m").to_dict(), "v", "X", frame)


def minutes(found: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Kind, first bar and end of every row, in bars from the start."""
    ends = [(found[name].astype("int64") // MS_NS - START) // MINUTE for name in ("ts_from", "ts_to")]
    return list(zip(found["kind"], *ends, strict=True))


def test_holes_and_spells_have_their_ends() -> None:
    frame = bars(12, volume=[1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]).drop(index=[5, 6, 7]).reset_index(drop=True)
    found = ledger(frame)
    assert minutes(found) == [("zero_volume", 2, 4), ("hole", 5, 8), ("zero_volume", 11, 12)]
    assert found["detail"].tolist() == ["2 bars without a trade", "3 bars missing", "1 bar without a trade"]
    assert set(found["venue"]) == {"v"} and set(found["channel"]) == {"candles"}
    assert seconds_of(found).tolist() == [120.0, 180.0, 60.0]


def test_a_spell_ends_at_a_hole_and_another_begins_after_it() -> None:
    frame = bars(6, volume=[1, 0, 0, 0, 1, 1]).drop(index=[2]).reset_index(drop=True)
    assert minutes(ledger(frame)) == [("zero_volume", 1, 2), ("hole", 2, 3), ("zero_volume", 3, 4)]


def test_faults_are_told_where_they_are() -> None:
    frame = bars(8)
    frame.loc[2:3, "high"] = 0.5
    frame.loc[5, "volume"] = np.nan
    frame.loc[7, "ts"] = frame.loc[6, "ts"]
    found = ledger(frame)
    assert minutes(found) == [("impossible_bar", 2, 4), ("nan", 5, 6), ("duplicate", 6, 7)]
    assert found["detail"][0] == "2 bars: high below open or close" and set(found["resolved"]) == {"refused"}
    without_frame = candle_ledger(quality(frame, "1m").to_dict(), "v", "X")
    assert without_frame.empty


def test_a_sound_frame_has_an_empty_ledger_with_every_column() -> None:
    found = ledger(bars(5))
    assert found.empty and list(found.columns) == list(one_ledger([]).columns)
    assert by_kind(found).empty and worst_of(found, 3).empty and plain_rows(found) == []


def gap(ts: int, until: int | None = None, resolved: str = "", symbol: str = "X") -> Finding:
    return Finding(
        kind="gap", channel="book", symbol=symbol, ts_from=ts, ts_to=until, resolved=resolved, detail="d", venue="v"
    )


def test_kinds_are_summed_up_and_the_worst_still_lasts() -> None:
    second = 1_000_000_000
    told = finding_ledger([gap(5 * second), gap(5 * second, 9 * second, "snapshot"), gap(20 * second, symbol="Y")])
    assert told["resolved"].tolist() == ["snapshot", ""] and told["ts_to"].isna().tolist() == [False, True]
    whole = one_ledger([told, ledger(bars(4).drop(index=[1]))])
    assert whole["ts_from"].is_monotonic_increasing and len(whole) == 3
    [gaps] = by_kind(whole).query("kind == 'gap'").itertuples()
    assert (gaps.rows, gaps.count, gaps.seconds) == (2, 2, 4.0) and whole.loc[gaps.worst, "symbol"] == "Y"
    assert worst_of(whole, 1)["symbol"].tolist() == ["Y"]
    assert worst_of(whole, 2)["kind"].tolist() == ["gap", "hole"]


def test_plain_rows_are_json_with_none_where_a_fault_lasts() -> None:
    [row] = plain_rows(finding_ledger([gap(1_700_000_000_123_456_789)]))
    assert json.loads(json.dumps(row)) == row
    assert row["ts_from"] == "2023-11-14T22:13:20.123456789Z" and row["ts_to"] is None and row["count"] == 1
