"""Everything that was wrong with a session's data in one table: what its detectors found, and what its core missed.

Rules. The detectors' findings come from the journal. Holes between used candles and candles that came too late are read
from its events as well, so that they are there where nobody watched; what the detectors said already is said once.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from flea_lab.data.ledger import finding_ledger
from flea_lab.live.heard import Heard
from flea_lab.model.finding import Finding, Kind
from flea_lab.model.market import MS_NS

_LATE: dict[Kind, tuple[str, str]] = {
    "stale": ("its candle came too late to be decided on", "warmed up only"),
    "resent": ("its candle came again", "ignored"),
    "out_of_order": ("its candle came after a later one", "ignored"),
}
_SAID_OTHERWISE = ("resent", "late_correction", "out_of_order", "duplicate")


def session_findings(found: Sequence[Finding], heard: Heard, venue: str) -> pd.DataFrame:
    """The ledger of a session's data, by time: `found` and what `heard` shows beside it."""
    holes = {(one.symbol, one.ts_from) for one in found if one.kind == "hole"}
    told = {(one.symbol, one.ts_from) for one in found if one.channel == "candles" and one.kind in _SAID_OTHERWISE}
    missed = [one for one in _holes(heard, venue) if (one.symbol, one.ts_from) not in holes]
    late = [one for one in _late(heard, venue) if one.kind == "stale" or (one.symbol, one.ts_from) not in told]
    ledger = finding_ledger([*found, *missed, *late])
    return ledger.sort_values("ts_from", kind="stable", ignore_index=True)


def _holes(heard: Heard, venue: str) -> Iterator[Finding]:
    for row in heard.ledger().itertuples():
        for close_ms, bars in row.longest:
            yield Finding(
                kind="hole",
                channel="candles",
                symbol=row.symbol,
                ts_from=close_ms * MS_NS,
                ts_to=(close_ms + bars * heard.interval_ms) * MS_NS,
                detail=f"{bars:,} bars are missing" if bars != 1 else "1 bar is missing",
                venue=venue,
            )


def _late(heard: Heard, venue: str) -> Iterator[Finding]:
    for symbol, close_ns, kind in heard.late:
        detail, resolved = _LATE[kind]
        yield Finding(
            kind=kind,
            channel="candles",
            symbol=symbol,
            ts_from=close_ns,
            ts_to=close_ns,
            detail=detail,
            resolved=resolved,
            venue=venue,
        )
