"""The ledger of data as a report shows it: counts by kind, and below them the worst rows with their ends."""

import pandas as pd

from flea_lab.data.ledger import by_kind, worst_of
from flea_lab.report.pieces import note, spaced
from flea_lab.report.wording import UNDEFINED, plural, table, tag, text
from flea_lab.view.market import UNRESOLVED, lasting

SHOWN = 40
"""Rows that are shown, the worst; frames beside the page hold all."""
NOTHING = "Nothing was found wrong with the data: no gap, no hole, no broken book, no clock that leapt."


def ledger(found: pd.DataFrame, title: str = "The data ledger") -> str:
    """The ledger `found` (columns of `data.findings`) as HTML; words where it is empty."""
    if found.empty:
        return note(NOTHING)
    kinds = [
        (
            text(row.channel),
            spaced(str(row.kind)),
            f"{row.count:,}",
            f"{row.rows:,}",
            "lasts" if found.loc[row.worst, "ts_to"] is pd.NaT else lasting(row.seconds),
            instant(row.first),
        )
        for row in by_kind(found).itertuples()
    ]
    top = table(("channel", "what", "times", "rows", "together", "first (UTC)"), kinds, left=2)
    shown = worst_of(found, SHOWN)
    rows = [
        (
            text(row.venue),
            text(row.channel),
            text(row.symbol),
            spaced(str(row.kind)) + (f", {row.count:,} times" if row.count > 1 else ""),
            instant(row.ts_from),
            _until(row.ts_from, row.ts_to),
            text(row.resolved or UNRESOLVED),
            text(row.detail),
        )
        for row in shown.itertuples()
    ]
    head = ("venue", "channel", "symbol", "what", "from (UTC)", "to", "how resolved", "detail")
    cut = note(f"Shown are the worst {SHOWN} of {plural(len(found), 'row')}.") if len(found) > SHOWN else ""
    return tag("h3", text(title)) + top + table(head, rows, left=len(head), css="flea-log") + cut


def counted(found: pd.DataFrame) -> str:
    """The ledger in a few words: ``book gap 2, candles hole 1``; "none" where it is empty."""
    kinds = [f"{row.channel} {str(row.kind).replace('_', ' ')} {row.count:,}" for row in by_kind(found).itertuples()]
    return ", ".join(kinds) or "none"


def instant(at: pd.Timestamp) -> str:
    """A time to the second, to the millisecond where there are any."""
    return f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond // 1000:03d}" if at.microsecond else "")


def _until(begin: pd.Timestamp, end: pd.Timestamp) -> str:
    """The end, without its day where that is the beginning's; a dash where it was over at once."""
    if end is pd.NaT:
        return "lasts"
    if end == begin:
        return UNDEFINED
    return instant(end).removeprefix(f"{begin:%Y-%m-%d} ")
