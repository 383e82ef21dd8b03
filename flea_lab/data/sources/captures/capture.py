"""A capture of a venue's raw messages as our own messages, in order of receipt."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from flea_lab.data.sources.captures.frame import BadLine, Frame, read_frames
from flea_lab.data.sources.captures.recognise import VENUES, venue_at, venue_of
from flea_lab.data.sources.captures.venue import GRACE_NS, At, Decoded, Told
from flea_lab.errors import DataError
from flea_lab.model.market import Candle

_AHEAD = 10_000


class Unreadable(Struct, frozen=True):
    """A line of which nothing could be made: half a frame, no JSON, a field missing. `reason` names file and line."""

    line: int
    ts_recv: int
    reason: str


class Heard(Struct, frozen=True):
    """One frame and what is in it; `timed` where its messages tell the venue's time themselves."""

    line: int
    ts_recv: int
    decoded: Decoded | Unreadable
    timed: bool = False


class Decoder:
    """The messages of a venue's frames, one after the other.

    It remembers two things for messages that do not tell them: the venue's latest time (a bound, for the message is
    no older), and the capture's one symbol.
    """

    def __init__(self, venue: str, place: str) -> None:
        """For frames of `venue` in `place`, which errors name; `DataError` where nobody knows that venue."""
        if venue not in VENUES:
            raise DataError(f"{place}: venue {venue!r} is none of {', '.join(sorted(VENUES))}")
        self.venue, self._place = venue, place
        self._decode = VENUES[venue]
        self._ts_venue, self._told = 0, False
        self._symbols: set[str] = set()
        self.timed = False
        """Whether the messages of the last frame told their time themselves."""

    def on(self, frame: Frame) -> Decoded | Unreadable:
        """What `frame` says; an `Unreadable` where it cannot be read."""
        symbol = next(iter(self._symbols)) if len(self._symbols) == 1 else ""
        if not self._told:
            self._ts_venue = frame.ts_recv - GRACE_NS
        self.timed = False
        at = At(frame.ts_recv, self._ts_venue, frame.url, symbol)
        try:
            decoded = self._decode(msgspec.json.decode(frame.raw), at)
        except (
            msgspec.DecodeError,
            KeyError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            # A foreign text may break any promise of its shape; each is this one line's fault, told and counted.
            return Unreadable(frame.line, frame.ts_recv, f"{self._place}:{frame.line}: {_said(error)}")
        self.timed = not isinstance(decoded, str) and all(told.ts_event > at.ts_venue for told in decoded)
        if not isinstance(decoded, str):
            for told in decoded:
                self._symbols.add(told.symbol)
                self._note(told)
        return decoded

    def _note(self, told: Told) -> None:
        if isinstance(told, Candle) or told.ts_event == self._ts_venue:  # a candle's is its close, maybe to come
            return
        self._ts_venue = max(self._ts_venue, told.ts_event) if self._told else told.ts_event
        self._told = True


def read_capture(path: Path, *, venue: str | None = None, strict: bool = True) -> Iterator[Told]:
    """Every message of a capture in order of receipt; format and venue are recognised, unless `venue` is named.

    With `strict` the first line that cannot be read is a `DataError` naming file and line; without, such lines are
    passed over (`hear` yields them, `describe` counts them).
    """
    for heard in hear(path, venue=venue):
        if isinstance(heard.decoded, Unreadable):
            if strict:
                raise DataError(heard.decoded.reason)
        elif not isinstance(heard.decoded, str):
            yield from heard.decoded


def hear(path: Path, *, venue: str | None = None) -> Iterator[Heard]:
    """Every received frame of a capture with what is in it, in order of receipt."""
    decoder = Decoder(venue or recognise(path), path.name)
    ts_recv = 0
    for frame in read_frames(path):
        if isinstance(frame, BadLine):
            yield Heard(frame.line, ts_recv, Unreadable(frame.line, ts_recv, frame.reason))
        elif frame.how in ("pushed", "replied"):
            ts_recv = frame.ts_recv
            decoded = decoder.on(frame)
            yield Heard(frame.line, ts_recv, decoded, decoder.timed)


def recognise(path: Path) -> str:
    """The venue that a capture is of; `DataError` where none of its first frames tells, or the first bad line's."""
    bad = ""
    for number, frame in enumerate(read_frames(path)):
        if number >= _AHEAD:
            break
        if isinstance(frame, BadLine):
            bad = bad or frame.reason
            continue
        venue = venue_at(frame.url) if frame.url else venue_of(_json(frame.raw))
        if venue:
            return venue
    raise DataError(bad or f"{path.name}: of no venue known here ({', '.join(sorted(VENUES))})")


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing or unknown"
    return (str(error) or type(error).__name__).splitlines()[0]
