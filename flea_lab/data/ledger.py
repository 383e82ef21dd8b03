"""The ledger of data as tables: that of stored candles, and any ledger summed up by kind.

Every table has the columns of `data.findings.COLUMNS`. A stretch of bars is from its first bar's open to its last
bar's close.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flea_lab.data.findings import FindingLedger, Row, findings_frame
from flea_lab.data.frames import Bools, fault_masks
from flea_lab.model.finding import Finding, Kind
from flea_lab.model.market import INTERVAL_MS, MS_NS

FACTS = ("zero_volume", "flat")
"""Kinds that are no faults."""

_SPELLS: tuple[tuple[str, Kind, str, str], ...] = (
    ("holes", "hole", "{} missing", "nothing filled in"),
    ("zero_volume", "zero_volume", "{} without a trade", "kept"),
    ("flat", "flat", "{} that do not move", "kept"),
)
_FAULTS: dict[str, tuple[Kind, str]] = {
    "duplicate": ("duplicate", "the same time as the row before"),
    "unordered": ("out_of_order", "before the row before"),
    "off_grid": ("off_grid", "opens beside its interval"),
    "not_finite": ("nan", "a value that is no number"),
    "price": ("impossible_bar", "a price that is not positive"),
    "high": ("impossible_bar", "high below open or close"),
    "low": ("impossible_bar", "low above open or close"),
    "volume": ("negative", "volume below zero"),
    "buy_volume": ("impossible_bar", "bought volume below zero or above the whole"),
}
KINDS_COLUMNS = ("channel", "kind", "rows", "count", "seconds", "first", "worst")


def candle_ledger(found: Mapping[str, Any], venue: str, symbol: str, frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """Holes, spells and faults of one candle frame, by time, from its `Quality.to_dict`.

    `frame` (canonical) says where the faults are; without it there are none in the table.
    """
    step = INTERVAL_MS[found["interval"]]
    rows = []
    for name, kind, words, resolved in _SPELLS:
        for first, bars in found[name]:
            end = first + bars * step if kind == "hole" else _end_of(first, bars, step, frame)
            rows.append(_row(venue, symbol, kind, first, end, words.format(_bars(bars)), resolved))
    if frame is not None:
        rows += _faults(frame, step, venue, symbol)
    return findings_frame(sorted(rows, key=lambda row: (row.ts_from, row.kind)))


def finding_ledger(findings: Sequence[Finding]) -> pd.DataFrame:
    """Findings as they were told, a fault and its end in one row."""
    ledger = FindingLedger()
    ledger.add(findings)
    return findings_frame(ledger.rows())


def one_ledger(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several ledgers as one, by time."""
    whole = [part for part in parts if len(part)]
    if not whole:
        return findings_frame([])
    return pd.concat(whole, ignore_index=True).sort_values("ts_from", kind="stable", ignore_index=True)


def seconds_of(ledger: pd.DataFrame) -> "pd.Series[float]":
    """How long each row lasted, in seconds; NaN while it lasts."""
    return (ledger["ts_to"] - ledger["ts_from"]).dt.total_seconds()


def by_kind(ledger: pd.DataFrame) -> pd.DataFrame:
    """A row a channel and kind, most first: rows, findings in them, seconds together, the first's time, and the worst:
    the row (its position) that still lasts, else the longest."""
    lasted = seconds_of(ledger)
    rows = []
    for (channel, kind), part in ledger.groupby(["channel", "kind"], sort=False):
        mine = lasted[part.index]
        worst = mine.fillna(np.inf).idxmax()
        rows.append((channel, kind, len(part), int(part["count"].sum()), mine.sum(), part["ts_from"].min(), worst))
    found = pd.DataFrame(rows, columns=list(KINDS_COLUMNS))
    return found.sort_values(["count", "kind"], ascending=[False, True], kind="stable", ignore_index=True)


def worst_of(ledger: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows, by time: those that still last, then the longest, then those with most findings."""
    lasted = seconds_of(ledger).fillna(np.inf)
    order = np.lexsort((-ledger["count"].to_numpy(), -lasted.to_numpy()))
    return ledger.loc[sorted(order[:most])].reset_index(drop=True)


def plain_rows(ledger: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain values for JSON: times ISO 8601 UTC, None where a fault lasts."""
    return [
        {name: _plain(value) for name, value in zip(ledger.columns, row, strict=True)}
        for row in ledger.itertuples(index=False)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat().replace("+00:00", "Z")
    return None if value is pd.NaT else int(value) if isinstance(value, np.integer) else value


def _row(venue: str, symbol: str, kind: Kind, first_ms: int, end_ms: int, detail: str, resolved: str) -> Row:
    return Row(
        venue=venue,
        channel="candles",
        symbol=symbol,
        ts_from=first_ms * MS_NS,
        ts_to=end_ms * MS_NS,
        kind=kind,
        count=1,
        detail=detail,
        resolved=resolved,
    )


def _end_of(first_ms: int, bars: int, step: int, frame: pd.DataFrame | None) -> int:
    """Where a spell of `bars` rows ends; there may be a hole within, which only the frame can tell."""
    if frame is None:
        return first_ms + bars * step
    ts = frame["ts"].to_numpy(np.int64)
    return int(ts[int(np.flatnonzero(ts == first_ms)[0]) + bars - 1]) + step


def _faults(frame: pd.DataFrame, step: int, venue: str, symbol: str) -> Iterator[Row]:
    """A row a run of neighbouring rows with one kind of fault."""
    ts = frame["ts"].to_numpy(np.int64)
    for name, mask in fault_masks(frame, step).items():
        kind, words = _FAULTS[name]
        for first, last in _runs(mask):
            times = ts[first : last + 1]
            detail = f"{_bars(last - first + 1)}: {words}"
            yield _row(venue, symbol, kind, int(times.min()), int(times.max()) + step, detail, "refused")


def _runs(mask: Bools) -> list[tuple[int, int]]:
    """First and last position of every run of true values."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return [(int(a), int(b) - 1) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


def _bars(count: int) -> str:
    return f"{count:,} bar" + ("s" if count != 1 else "")
