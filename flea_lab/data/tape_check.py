"""What is wrong on a tape: a torn end, records out of their order, and every fault the feed's detectors find."""

from collections import Counter
from pathlib import Path

from msgspec import Struct

from flea_lab.data.tape import Note, RawFrame, heard_ns
from flea_lab.data.tape_facts import TapeFacts, describe, rules_name, shown
from flea_lab.model.finding import Finding
from flea_lab.model.market import INTERVAL_MS, Heartbeat

UNFAULTY = ("start", "clock_skew", "clock_jump")
"""Kinds that say nothing against the tape: a first book, and clocks that differ, as a recorded market's do."""


class TapeChecked(Struct, frozen=True, kw_only=True):
    """What a tape holds and what is wrong with it. `backwards`: records received before the one before them; `silent`:
    frames of which nothing was read, control frames among them. `findings` by (channel, kind); `rows` as a ledger has
    them, oldest first."""

    facts: TapeFacts
    backwards: int
    silent: int
    heartbeats_back: int
    findings: dict[tuple[str, str], int]
    rows: list[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing is torn, out of order or faulty; lost connections that were told are no fault of the tape."""
        faulty = any(kind not in (*UNFAULTY, "disconnected") for _, kind in self.findings)
        return not (self.facts.torn or self.backwards or self.heartbeats_back or faulty)


MOST_ROWS = 10_000


def check_tape(path: Path, *, venue: str = "", interval: str = "", progress: bool = False) -> TapeChecked:
    """What is wrong on the tape at `path`. `venue` and `interval` say by which rules; default: what the tape says,
    else the sandbox's dialect and 1m."""
    from flea_lab.data.market_watch import MarketWatch

    facts = describe(path, progress=progress)
    length, rules = interval or facts.interval, venue or rules_name(facts.venue)
    watch = MarketWatch(rules, length if length in INTERVAL_MS else "1m")
    found: Counter[tuple[str, str]] = Counter()
    rows: list[Finding] = []
    last_recv = last_event = last_beat = backwards = back = silent = 0
    for record in shown(path, progress, "check"):
        recv = heard_ns(record)
        if recv is not None:
            backwards += recv < last_recv
            last_recv = max(last_recv, recv)
        answers: tuple[object, ...] = ()
        if isinstance(record, RawFrame):
            silent += record.ts_event is None
        elif isinstance(record, Heartbeat):
            back += record.ts_event < last_beat
            last_beat = max(last_beat, record.ts_event)
        elif not isinstance(record, Note):
            last_event = max(last_event, record.ts_event)
            answers = watch.on(record)
        elif record.kind in ("down", "begin") and last_event:
            answers = watch.lost(last_event)
        for answer in answers:
            if isinstance(answer, Finding):
                found[answer.channel, answer.kind] += 1
                if len(rows) < MOST_ROWS:
                    rows.append(answer)
    return TapeChecked(
        facts=facts,
        backwards=backwards,
        silent=silent,
        heartbeats_back=back,
        findings=dict(sorted(found.items())),
        rows=rows,
    )
