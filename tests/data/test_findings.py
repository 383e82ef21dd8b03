"""The ledger of data: a fault and its end are one row, faults in a row are one with a count."""

import pandas as pd

from flea_lab.data.findings import FindingLedger, findings_frame
from flea_lab.model.finding import Finding, Kind, Resync

SECOND = 1_000_000_000


def a_finding(kind: Kind, ts: int, until: int | None = None, resolved: str = "", symbol: str = "X") -> Finding:
    return Finding(
        kind=kind, channel="book", symbol=symbol, ts_from=ts, ts_to=until, detail="why", resolved=resolved, venue="v"
    )


def test_a_gap_and_the_snapshot_that_ends_it_are_one_row() -> None:
    ledger = FindingLedger()
    ledger.add([a_finding("gap", 5), Resync(symbol="X", reason="gap")])
    assert [row.kind for row in ledger.open()] == ["gap"]
    ledger.add([a_finding("old_snapshot", 7), a_finding("gap", 6, symbol="Y")])
    ledger.add([a_finding("gap", 5, 9, "snapshot")])
    assert [(row.symbol, row.kind, row.ts_from, row.ts_to, row.resolved) for row in ledger.rows()] == [
        ("X", "gap", 5, 9, "snapshot"),
        ("X", "old_snapshot", 7, 9, "snapshot"),
        ("Y", "gap", 6, None, ""),
    ]
    assert [row.symbol for row in ledger.open()] == ["Y"]


def test_faults_that_follow_closely_are_one_row_with_a_count() -> None:
    ledger = FindingLedger()
    for at in (1, 20, 70, 200):
        ledger.add([a_finding("duplicate", at * SECOND, at * SECOND, "ignored")])
    assert [(row.ts_from // SECOND, (row.ts_to or 0) // SECOND, row.count) for row in ledger.rows()] == [
        (1, 70, 3),
        (200, 200, 1),
    ]


def test_rows_of_a_stretch_and_a_bound() -> None:
    ledger = FindingLedger(most=2)
    ledger.add([a_finding("hole", 10, 20), a_finding("gap", 30), a_finding("crossed", 40)])
    assert ledger.dropped == 1
    assert [row.kind for row in ledger.between(15, 16)] == ["hole"]
    assert [row.kind for row in ledger.between(21, 29)] == []
    assert [row.kind for row in ledger.between(35, 99)] == ["gap"], "it lasts"


def test_the_frame_for_reports_has_times_and_none_where_a_fault_lasts() -> None:
    ledger = FindingLedger()
    odd = 1_700_000_000_123_456_789
    ledger.add([a_finding("gap", odd), a_finding("hole", 10, odd)])
    frame = findings_frame(ledger.rows())
    assert list(frame.columns) == [
        *("venue", "channel", "symbol", "ts_from", "ts_to", "kind", "count", "detail", "resolved")
    ]
    assert frame["ts_from"][0] == frame["ts_to"][1] == pd.Timestamp(odd, unit="ns", tz="UTC"), "to the nanosecond"
    assert frame["ts_to"].isna().tolist() == [True, False]
    assert list(findings_frame([]).columns) == list(frame.columns)
