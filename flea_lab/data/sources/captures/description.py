"""What is in a capture: counts, time span, and how far the recorder's clock stands from the venue's."""

from collections import Counter
from pathlib import Path
from statistics import median

import pandas as pd
from msgspec import Struct

from flea_lab.data.sources.captures.capture import Unreadable, hear, recognise
from flea_lab.data.sources.captures.symbol import normal_symbol
from flea_lab.model.market import Candle

_SHOWN = 20


class Description(Struct, frozen=True):
    """What `describe` found. Times are ns UTC of receipt.

    `counts` are messages by kind and symbol, `passed` frames without a message by what they were, `unreadable` lines
    of which nothing could be made (`faults` names the first of them). `lag_ns` is the median of receipt less the
    venue's stamp: the way here plus the difference of the two clocks, so that below zero the recorder's clock is slow;
    None where
    no message tells a time.
    """

    name: str
    venue: str
    frames: int
    counts: dict[tuple[str, str], int]
    passed: dict[str, int]
    unreadable: int
    faults: tuple[str, ...]
    ts_first: int
    ts_last: int
    lag_ns: int | None

    def __str__(self) -> str:
        span = (self.ts_last - self.ts_first) / 1e9
        kinds = Counter[str]()
        for (kind, _), count in self.counts.items():
            kinds[kind] += count
        told = [f"{count} {kind}" for kind, count in kinds.most_common()]
        symbols = sorted({symbol for _, symbol in self.counts})
        named = ", ".join([f"{symbol} ({normal_symbol(self.venue, symbol)})" for symbol in symbols])
        clock = "no clock to compare" if self.lag_ns is None else f"received {self.lag_ns / 1e9:.2f} s after its stamp"
        lines = [
            f"{self.name}: {self.venue}, {self.frames} frames in {span:.1f} s from {_utc(self.ts_first)}",
            f"  messages: {', '.join(told) or 'none'}",
            f"  symbols: {named or 'none'}",
            f"  passed over: {', '.join([f'{count} {what}' for what, count in self.passed.items()]) or 'none'}",
            f"  clock: {clock}",
            f"  unreadable lines: {self.unreadable}",
            *[f"    {fault}" for fault in self.faults],
        ]
        return "\n".join(lines)


def describe(path: Path, *, venue: str | None = None) -> Description:
    """What is in the capture at `path`, read once from end to end."""
    named = venue or recognise(path)
    counts, passed = Counter[tuple[str, str]](), Counter[str]()
    faults: list[str] = []
    lags: list[int] = []
    frames = ts_first = ts_last = 0
    for heard in hear(path, venue=named):
        frames += 1
        ts_first, ts_last = ts_first or heard.ts_recv, heard.ts_recv or ts_last
        if isinstance(heard.decoded, Unreadable):
            faults.append(heard.decoded.reason)
        elif isinstance(heard.decoded, str):
            passed[heard.decoded] += 1
        else:
            for told in heard.decoded:
                counts[type(told).__name__, told.symbol] += 1
                if heard.timed and not isinstance(told, Candle):
                    lags.append(told.ts_recv - told.ts_event)
    return Description(
        name=path.name,
        venue=named,
        frames=frames,
        counts=dict(sorted(counts.items())),
        passed=dict(passed),
        unreadable=len(faults),
        faults=tuple(faults[:_SHOWN]),
        ts_first=ts_first,
        ts_last=ts_last,
        lag_ns=round(median(lags)) if lags else None,
    )


def _utc(ts_ns: int) -> str:
    return str(pd.Timestamp(ts_ns, unit="ns").strftime("%Y-%m-%d %H:%M:%S"))
