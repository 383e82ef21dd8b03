"""The ledger of data as a report shows it: counts by kind, and below them the worst rows with their ends."""

import pandas as pd

from flea_lab.data.ledger import by_kind, seconds_of, worst_of
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
            lasting(row.seconds) if row.seconds else "at once",
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
            instant(row.ts_from),
            "lasts" if row.ts_to is pd.NaT else UNDEFINED if row.ts_to == row.ts_from else instant(row.ts_to),
            lasting(seconds),
            spaced(str(row.kind)) + (f", {row.count:,} times" if row.count > 1 else ""),
            text(row.detail),
            text(row.resolved or UNRESOLVED),
        )
        for row, seconds in zip(shown.itertuples(), seconds_of(shown), strict=True)
    ]
    head = ("venue", "channel", "symbol", "from (UTC)", "to", "lasted", "what", "", "how resolved")
    cut = note(f"Shown are the worst {SHOWN} of {plural(len(found), 'row')}.") if len(found) > SHOWN else ""
    return tag("h3", text(title)) + top + table(head, rows, left=9, css="flea-log") + cut


def counted(found: pd.DataFrame) -> str:
    """The ledger in a few words: ``book gap 2, candles hole 1``; "none" where it is empty."""
    kinds = [f"{row.channel} {str(row.kind).replace('_', ' ')} {row.count:,}" for row in by_kind(found).itertuples()]
    return ", ".join(kinds) or "none"


def instant(at: pd.Timestamp) -> str:
    """A time to the second, to the millisecond where there are any."""
    return f"{at:%Y-%m-%d %H:%M:%S}" + (f".{at.microsecond // 1000:03d}" if at.microsecond else "")
