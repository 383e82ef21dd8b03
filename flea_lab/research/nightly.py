"""Last night's look at a live session: what it did on one UTC day, done again from what was recorded.

Three questions, each with its own answer. Does the journal, played back through a fresh core, give the same commands?
Are the candles on the tape those that the core was given? Does the research replay of that market decide the same? A
session whose venue matched in its book, or whose orders did not all fill whole, is not expected to pass the third: its
account goes another way, and the answer says so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from flea_lab.data.tape import read_tape
from flea_lab.decision import DECISION, Decisions, digest, first_difference, line
from flea_lab.errors import ConfigError, DataError
from flea_lab.live.session import LiveSession
from flea_lab.model.market import DAY_NS, Candle
from flea_lab.research.session_replay import PlayBack, SessionReplay, play_back_session, replay_session

TAPE = "market.tape"
VALUES = ("open", "high", "low", "close", "volume", "buy_volume")


@dataclass(frozen=True)
class TapeMatch:
    """The day's candles that the core decided on, beside the tape: how many are on it as they were used, how many are
    not on it because history brought them, how many are other ones there. `first` tells the first of the latter, `why`
    why there is nothing to compare with."""

    same: int = 0
    by_history: int = 0
    other: int = 0
    first: str = ""
    why: str = ""

    @property
    def equal(self) -> bool:
        """Whether no candle of the tape contradicts one that was used."""
        return self.other == 0


@dataclass(frozen=True)
class Night:
    """One session on one UTC day, looked at again. `bars` are those it decided on, `decisions` counts (live, replay),
    `digests` likewise; `first` says where the replay parts from it on that day or before, "" where it does not;
    `expected` why it may, "" where it may not."""

    account: str
    day: date
    bars: int
    decisions: tuple[int, int]
    digests: tuple[str, str]
    first: str
    expected: str
    played: PlayBack
    replayed: SessionReplay
    tape: TapeMatch

    @property
    def same(self) -> bool:
        """Whether the replay decided that day as the session did."""
        return not self.first and self.digests[0] == self.digests[1]

    @property
    def equal(self) -> bool:
        """Whether nothing is unexplained: every answer is the same, or differs for a reason that was known before."""
        return self.played.equal and self.tape.equal and (self.same or bool(self.expected))

    def text(self) -> str:
        """A few lines for a person; the last one is the shortest that says it."""
        lines = [f"play-back  {self.played.text()}"]
        found = f"{self.tape.same:,} candles as they were used, {self.tape.by_history:,} came by history"
        lines.append(f"tape       {self.tape.why or self.tape.first or found}")
        if self.same:
            lines.append(f"replay     {self.decisions[0]:,} decisions, digest {self.digests[0][:16]}")
        else:
            lines.append(f"replay     {self.expected or 'parts from the session'}\n{self.first}".rstrip())
        lines.append(self.line())
        return "\n".join(lines)

    def line(self) -> str:
        """One line, for a log or an alert."""
        what = f"account {self.account} on {self.day}: {self.decisions[0]:,} decisions in {self.bars:,} bars"
        if self.equal:
            other = "" if self.same else f"; the research replay goes another way: {self.expected}"
            return f"{what}, equal again{other}"
        first = next(text for text in (self.played.first, self.tape.first, self.first) if text)
        return f"{what}, DIFFERENT again: {' '.join(first.split())}"


def yesterday(now_ns: int) -> date:
    """The UTC day before that of `now_ns`."""
    return datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date() - timedelta(days=1)


def read_day(text: str) -> date:
    """A day as YYYY-MM-DD; `ConfigError` where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"day = {text!r}: a day is written as 2026-01-31") from None


def last_day(session: LiveSession) -> date:
    """The day of the last bar that the session decided on; `DataError` where there is none."""
    closes = [taken.candle.ts_event for taken in session.heard.taken if not taken.history]
    if not closes:
        raise DataError(f"account {session.account} has not decided on a bar yet")
    return datetime.fromtimestamp((closes[-1] - 1) // 1_000_000_000, UTC).date()


def look_again(session: LiveSession, day: date) -> Night:
    """The session on `day`, played back and replayed from its start; a bar belongs to the day on which it closed.

    Midnight's own bar is the last of the day before it, as for the daily loss guard.
    """
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000
    played, replayed = play_back_session(session), replay_session(session)
    lived, again = (_of_day(stream, begin) for stream in (session.stream, replayed.stream))
    closes = {taken.candle.ts_event for taken in session.heard.taken if not taken.history}
    return Night(
        account=session.account,
        day=day,
        bars=sum(begin < ts <= begin + DAY_NS for ts in closes),
        decisions=(len(lived), len(again)),
        digests=(digest(lived, session.config.symbols), digest(again, session.config.symbols)),
        first=_first(session, replayed, begin),
        expected=_expected(session, replayed),
        played=played,
        replayed=replayed,
        tape=_on_tape(session, begin),
    )


def _of_day(stream: Decisions, begin: int) -> Decisions:
    return stream[(stream["ts_ns"] > begin) & (stream["ts_ns"] <= begin + DAY_NS)]


def _first(session: LiveSession, replayed: SessionReplay, begin: int) -> str:
    """Where the decisions part up to the end of the day, "" where they do not: what parts later is another night's."""
    if replayed.why:
        return ""
    both = [stream[stream["ts_ns"] <= begin + DAY_NS] for stream in (session.stream, replayed.stream)]
    at = first_difference(*both)
    if at is None:
        return ""
    told = [line(stream[at], session.config.symbols) if at < len(stream) else "no decision" for stream in both]
    ts = min(int(stream["ts_ns"][at]) for stream in both if at < len(stream))
    earlier = " (before this day)" if ts <= begin else ""
    when = f"{np.datetime64(ts // 1_000_000, 'ms')}Z{earlier}"
    head = f"  decision {at} at {when} (time symbol side cents lots ticks check)"
    return f"{head}\n    live    {told[0]}\n    replay  {told[1]}{_because(both, at)}"


def _because(both: list[Decisions], at: int) -> str:
    """In what the two decisions differ, field by field; the conviction too, which says whether a signal did."""
    if not all(at < len(stream) for stream in both):
        return ""
    live, again = (stream[at] for stream in both)
    names = [name for name in DECISION.names or () if live[name] != again[name]]
    return "\n    differs in " + ", ".join(f"{name} ({live[name]} live, {again[name]} replayed)" for name in names)


def _expected(session: LiveSession, replayed: SessionReplay) -> str:
    """Why the replay may decide otherwise, "" where it may not."""
    if replayed.why:
        return replayed.why
    if session.matching == "book":
        return "the venue matched in its book, the replay at the next open"
    if replayed.unfilled:
        return f"{sum(replayed.unfilled.values()):,} orders did not fill whole, in the replay all do"
    return ""


def _on_tape(session: LiveSession, begin: int) -> TapeMatch:
    """The candles that were decided on that day, beside those of the tape next to the journal."""
    file = session.journal.parent / TAPE
    if not file.is_file():
        return TapeMatch(why=f"there is no {TAPE} beside the journal")
    used = {
        (taken.candle.symbol, taken.candle.ts_event): taken.candle
        for taken in session.heard.taken
        if not taken.history and begin < taken.candle.ts_event <= begin + DAY_NS
    }
    try:
        return _compared(used, file)
    except DataError as error:
        return TapeMatch(other=1, first=f"the tape cannot be read: {error}")


def _compared(used: Mapping[tuple[str, int], Candle], file: Path) -> TapeMatch:
    """What the tape says of the candles used: one of its tellings of a bar must be that which was used."""
    told: dict[tuple[str, int], list[Candle]] = {}
    for event in read_tape(file):
        if isinstance(event, Candle) and event.complete and (event.symbol, event.ts_event) in used:
            told.setdefault((event.symbol, event.ts_event), []).append(event)
    count: Counter[str] = Counter()
    first = ""
    for key, candle in sorted(used.items(), key=lambda item: item[0][::-1]):
        here = told.get(key, [])
        kind = "same" if any(_same(candle, one) for one in here) else "other" if here else "by_history"
        count[kind] += 1
        if kind == "other" and not first:
            first = _contradicted(candle, here[0])
    return TapeMatch(count["same"], count["by_history"], count["other"], first)


def _same(a: Candle, b: Candle) -> bool:
    return all(_equal(getattr(a, name), getattr(b, name)) for name in VALUES)


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and a != a and b != b)


def _contradicted(used: Candle, told: Candle) -> str:
    names = [name for name in VALUES if not _equal(getattr(used, name), getattr(told, name))]
    when = np.datetime64(used.ts_event // 1_000_000, "ms")
    values = ", ".join(f"{name} {getattr(told, name)} on the tape, {getattr(used, name)} used" for name in names)
    return f"the candle of {used.symbol} that closed {when}Z is another on the tape: {values}"
