"""What is wrong in a venue's raw capture: lines that cannot be read, and every fault the feed's detectors find."""

from collections import Counter
from pathlib import Path

import pandas as pd
from msgspec import Struct

from flea_lab.data.findings import FindingLedger, findings_frame
from flea_lab.data.market_watch import MarketWatch
from flea_lab.data.sources.captures import Unreadable, hear, recognise
from flea_lab.data.tape_check import UNFAULTY
from flea_lab.model.finding import Finding

ENDINGS = (".raw", ".raw.gz", ".rawlog", ".rawlog.gz", ".jsonl", ".jsonl.gz")
"""How the names of captures end."""


class CaptureChecked(Struct, frozen=True, kw_only=True):
    """What a capture holds and what is wrong with it. Times are ns UTC of receipt; `messages` are by (symbol, kind).

    `ledger` is a `findings.findings_frame`; lines that cannot be read are in it, as half frames by our time.
    """

    name: str
    venue: str
    frames: int
    unreadable: int
    messages: dict[tuple[str, str], int]
    first_ns: int
    last_ns: int
    ledger: pd.DataFrame

    @property
    def sound(self) -> bool:
        """Whether nothing is faulty; clocks that differ say nothing against a capture."""
        return not (~self.ledger["kind"].isin((*UNFAULTY, "disconnected"))).any()


def is_capture(path: Path) -> bool:
    """Whether the name is that of a capture."""
    return path.name.endswith(ENDINGS)


def check_capture(path: Path, venue: str | None = None) -> CaptureChecked:
    """What is wrong in the capture at `path`, read once; its venue is recognised unless it is named."""
    place = venue or recognise(path)
    watch, ledger = MarketWatch(place), FindingLedger()
    messages: Counter[tuple[str, str]] = Counter()
    frames = unreadable = first = last = 0
    for heard in hear(path, venue=place):
        frames += 1
        first, last = first or heard.ts_recv, heard.ts_recv or last
        if isinstance(heard.decoded, Unreadable):
            unreadable += 1
            ledger.add([_half(heard.decoded, place)])
        elif not isinstance(heard.decoded, str):
            for told in heard.decoded:
                messages[told.symbol, type(told).__name__] += 1
                ledger.add(watch.on(told))
    return CaptureChecked(
        name=path.name,
        venue=place,
        frames=frames,
        unreadable=unreadable,
        messages=dict(sorted(messages.items())),
        first_ns=first,
        last_ns=last,
        ledger=findings_frame(ledger.rows()),
    )


def _half(line: Unreadable, venue: str) -> Finding:
    return Finding(
        kind="half_frame",
        channel="wire",
        symbol="",
        ts_from=line.ts_recv,
        ts_to=line.ts_recv,
        detail=line.reason,
        resolved="dropped",
        venue=venue,
    )
