"""The ledger of data: every fault that was found, from when to when, and what made it good."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from flea_lab.model.finding import Channel, Finding, Kind, Resync

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("venue", "channel", "symbol", "ts_from", "ts_to", "kind", "count", "detail", "resolved")
MERGE_NS = 60_000_000_000
"""Findings of one kind that follow each other no later than this, each over at once, are one row with a count."""
MOST_ROWS = 100_000


class Row(Struct, frozen=True, kw_only=True):
    """One stretch of faulty data. Times are ns UTC by the venue; `ts_to` is None while it lasts; `detail` is the
    first's where there are several."""

    venue: str
    channel: Channel
    symbol: str
    ts_from: int
    ts_to: int | None
    kind: Kind
    count: int
    detail: str
    resolved: str


class FindingLedger:
    """Collects findings into rows. A fault that lasts and its end are one row; so are faults that follow closely."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        """Empty; after `most` rows it counts what it drops in `dropped`."""
        self._rows: list[Row] = []
        self._open: dict[tuple[str, Channel, str], list[int]] = {}
        self._latest: dict[tuple[str, Channel, str, Kind], int] = {}
        self._most = most
        self.dropped = 0

    def add(self, told: Iterable[Finding | Resync]) -> None:
        """Takes what detectors told; commands among it are passed over."""
        for finding in told:
            if isinstance(finding, Finding):
                self._take(finding)

    def rows(self) -> list[Row]:
        """Every row, in the order in which it began to be known."""
        return list(self._rows)

    def open(self) -> list[Row]:
        """The rows of faults that still last."""
        return [row for row in self._rows if row.ts_to is None]

    def between(self, ts_from: int, ts_to: int) -> list[Row]:
        """The rows that touch the stretch from `ts_from` to `ts_to`."""
        return [row for row in self._rows if row.ts_from <= ts_to and (row.ts_to is None or row.ts_to >= ts_from)]

    def _take(self, finding: Finding) -> None:
        place = (finding.venue, finding.channel, finding.symbol)
        if finding.resolved == "snapshot" and self._open.get(place):
            for at in self._open.pop(place):
                self._rows[at] = _ended(self._rows[at], finding)
            return
        key = (*place, finding.kind)
        at = self._latest.get(key, -1)
        if at >= 0 and finding.ts_to is not None and _follows(self._rows[at], finding):
            self._rows[at] = _joined(self._rows[at], finding)
            return
        if len(self._rows) >= self._most:
            self.dropped += 1
            return
        self._latest[key] = len(self._rows)
        if finding.ts_to is None:
            self._open.setdefault(place, []).append(len(self._rows))
        self._rows.append(_row(finding))


def findings_frame(rows: Sequence[Row]) -> "pd.DataFrame":
    """The rows as a table for reports: the columns of `Row`, times as UTC timestamps, NaT where a fault still lasts."""
    import pandas as pd

    frame = pd.DataFrame([_plain(row) for row in rows], columns=list(COLUMNS))
    for name in ("ts_from", "ts_to"):  # from the rows: a column of numbers and None would be of floats, which round
        frame[name] = pd.to_datetime(pd.array([getattr(row, name) for row in rows], dtype="Int64"), unit="ns", utc=True)
    return frame


def _plain(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def _row(finding: Finding) -> Row:
    return Row(
        venue=finding.venue,
        channel=finding.channel,
        symbol=finding.symbol,
        ts_from=finding.ts_from,
        ts_to=finding.ts_to,
        kind=finding.kind,
        count=1,
        detail=finding.detail,
        resolved=finding.resolved,
    )


def _follows(row: Row, finding: Finding) -> bool:
    near = row.ts_to is not None and abs(finding.ts_from - row.ts_to) <= MERGE_NS
    return near and row.resolved == finding.resolved


def _ended(row: Row, finding: Finding) -> Row:
    return Row(**(_plain(row) | {"ts_to": finding.ts_to, "resolved": finding.resolved}))


def _joined(row: Row, finding: Finding) -> Row:
    until = max(row.ts_to or finding.ts_from, finding.ts_to or finding.ts_from)
    since = min(row.ts_from, finding.ts_from)
    return Row(**(_plain(row) | {"ts_from": since, "ts_to": until, "count": row.count + 1}))
