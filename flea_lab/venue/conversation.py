"""What one connection to a venue means, frame by frame: what is delivered, in which order, and what ends it.

Rules. Nearly every frame is the next of its book or its prints, with a price near the one before: it is delivered at
once. A frame before which bars or private frames are missing waits, with all that follow it, until the venue has been
asked. What cannot be believed is said as a fault and not delivered; where it may not be missed, it ends the connection.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.market import BookSnapshot, Candle, Heartbeat, Trade
from flea_lab.model.trading import Fill
from flea_lab.venue.bars import Bars, Owed
from flea_lab.venue.heard import BAND, Bands, Heard, Skew
from flea_lab.venue.mending import History, mended
from flea_lab.venue.numbering import Numbers
from flea_lab.venue.protocol import Deliver, Link, Played
from flea_lab.venue.reading import FrameError
from flea_lab.venue.rest import Rest
from flea_lab.venue.speech import CRITICAL, PRIVATE, Complaint, Kind, Push, Speech, Subscribed
from flea_lab.venue.speech import Said as Told

FINAL = ("unknown_symbol", "unknown_channel", "invalid_symbol", "invalid_channel", "invalid_subscription")

OnFault = Callable[[str], None]
"""Hears of a frame that could not be used, one line each; must return at once."""

OnRaw = Callable[[bytes, int], None]
"""Hears every frame as it came, without the key, with the time of its receipt (ns UTC), before it is read; must return
at once.
"""

Missed = Callable[[int], Awaitable[list[tuple[int, Fill]]]]
"""Asks for every fill with a private sequence number beyond the one given."""


class Ended(NamedTuple):
    """Why a connection ended, and whether no other could do better."""

    reason: str
    final: bool = False


BEHIND = Ended("private frames are missing")

Question = Callable[[], Awaitable[Ended | None]]
"""What the venue has to be asked before the next frame, once it is called and waited for."""

Answer = Ended | Question | None
"""What a frame leads to: the end, a question, or nothing."""


class Terms(NamedTuple):
    """What a conversation is held on: what is asked for, who hears of it, and what may be asked besides."""

    kinds: tuple[Kind, ...]
    missed: Missed
    history: History | None
    ack: bool
    partial: bool
    on_fault: OnFault | None
    on_raw: OnRaw | None


class Known:
    """What outlives a connection: `private_seq` is the last private frame delivered, `faults` counts what could not be
    used, `refused` holds (channel, their symbol) that the venue does not give, `closes` the last close known.
    """

    def __init__(self, max_skew_s: float) -> None:
        self.heard, self.skew = Heard(), Skew(max_skew_s)
        self.refused: set[tuple[str, str]] = set()
        self.closes: dict[str, float] = {}
        self.private_seq: int | None = None
        self.been_up = False
        self.faults = 0


class Conversation:
    """One connection. `waiting` holds (channel, their symbol) not yet acknowledged; a private channel has no symbol.
    `owed_ns` is a heartbeat that we have not acknowledged yet, `beat_ns` the latest; `off_s` is when the venue was
    found to be a bar ahead of it. Data flowed from `first_s` to `last_s`.
    """

    def __init__(
        self, speech: Speech, rest: Rest, terms: Terms, known: Known, deliver: Deliver, now_ns: Callable[[], int]
    ) -> None:
        self._speech, self._rest, self._terms, self._known = speech, rest, terms, known
        self._deliver, self._now_ns, self._dialect = deliver, now_ns, speech.dialect
        self.waiting = speech.asked(terms.kinds) - known.refused
        self.bars: Bars | None = None
        self.answered = self.up = self.played = self.refused = False
        self.first_s = self.last_s = self.off_s = self._judged_s = 0.0
        self.owed_ns, self.beat_ns = 0, 0
        self.numbers, self.bands = Numbers(), Bands()
        self._quick, self._on_raw = speech.quick, terms.on_raw
        self._apart, self._latest = known.skew.apart, known.heard.latest
        self._last, self._prices, self._doubts = self.numbers.last, self.bands.price, self.bands.doubts

    def take(self, raw: bytes, ts_recv: int, now_s: float) -> Answer:
        """Takes the next frame, read at `ts_recv` (ns UTC) and `now_s` of the loop."""
        self.off_s = 0.0
        if now_s >= self._judged_s + 1.0 and self.up:
            self._judged_s = now_s
            apart = self._known.skew.complaint()
            if apart:
                self.fault(apart)
        if self._on_raw is not None:
            self._on_raw(self._rest.without_key(raw), ts_recv)
        quick = self._quick(raw, ts_recv) if self.up else None
        if quick is not None:
            stream, seq, said, price = quick
            before = self._prices.get(stream[1])
            near = not price or (before is not None and before / BAND < price < before * BAND and not self._doubts)
            if near and (seq is None or self._last.get(stream) == seq - 1):  # the next of its stream, as nearly all are
                if seq is not None:
                    self._last[stream] = seq
                if price:
                    self._prices[stream[1]] = price
                ts = said.ts_event
                if ts > self._latest.get(stream, 0):
                    self._latest[stream] = ts
                self._apart.append(ts_recv - ts)
                self.last_s = now_s
                self._deliver(said)
                return None
        return self._read(raw, ts_recv, now_s)

    def _read(self, raw: bytes, ts_recv: int, now_s: float) -> Answer:
        """The same, the long way."""
        try:
            told = self._speech.push(raw, ts_recv)
        except FrameError as error:
            text = self._rest.unkeyed(raw, str(error))
            self.fault(text)
            return Ended(text) if error.critical else None
        pushes: Sequence[Told] = told if isinstance(told, list) else (told,)
        for place, one in enumerate(pushes):
            answer = self._say(one, now_s)
            if isinstance(answer, Ended):
                return answer
            if answer is not None:
                return partial(self._one_after_the_other, answer, pushes[place + 1 :], now_s)
        return None

    async def _one_after_the_other(self, first: Question, rest: Sequence[Told], now_s: float) -> Ended | None:
        ended = await first()
        for one in rest:
            if ended is not None:
                break
            answer = self._say(one, now_s)
            ended = answer if answer is None or isinstance(answer, Ended) else await answer()
        return ended

    def _say(self, told: Told, now_s: float) -> Answer:
        if not isinstance(told, Push):
            return self._told(told)
        said, bars = told.said, self.bars
        if bars is not None and isinstance(said, Candle | Heartbeat):
            owed, wild = bars.owed(said), isinstance(said, Candle) and bars.wild(said)
            if owed or wild:
                return partial(self._mended, bars, owed, said if wild else None, told, now_s)
            if isinstance(said, Candle):
                bars.told(said)
        ended = self._pushed(told, now_s)
        return partial(self._catch_up, told) if ended is BEHIND else ended

    async def _mended(
        self, bars: Bars, owed: list[Owed], wild: Candle | Heartbeat | None, push: Push, now_s: float
    ) -> Ended | None:
        """Delivers bars that are owed, then `push`; one that is hard to believe as the venue's history has it, if it
        does."""
        assert self._terms.history is not None
        try:
            found = await mended(self._terms.history, owed, wild, bars.step_ns)
        except VenueError as error:
            return Ended(f"candles are missing: {error}", isinstance(error, VenueRefusal))
        for text in found.faults:
            self.fault(text)
        for candle in found.candles:
            bars.told(candle)
            self._deliver(candle)
        said = push.said if wild is None else found.instead
        if isinstance(said, Candle):
            bars.told(said)
        ended = self._pushed(push._replace(said=said), now_s)
        return await self._catch_up(push) if ended is BEHIND else ended

    def _pushed(self, push: Push, now_s: float) -> Ended | None:
        """Delivers `push`; `BEHIND` where private frames before it are missing."""
        kind, seq, known = push.kind, push.seq, self._known
        if not kind:
            self.played = self.played or isinstance(push.said, Played)
        elif kind in PRIVATE:
            if seq is not None:
                if known.private_seq is not None and seq > known.private_seq + 1:
                    return BEHIND
                known.private_seq = seq if known.private_seq is None else max(seq, known.private_seq)
        else:
            self.first_s, self.last_s = self.first_s or now_s, now_s
            if not self.up and not self.answered and self._dialect.acknowledged == "maybe":
                self.lift()  # data before any answer: a venue that does not acknowledge
            if seq is not None:
                place = self.numbers.place((kind, push.symbol), seq)
                if place != "next":
                    text = f"{self._speech.channel[kind]} {push.symbol}: seq = {seq}: "
                    text += f"{self.numbers.missed} missing before it" if place == "gap" else f"came {place}"
                    self.fault(text)
                    if place == "gap" and kind in CRITICAL:
                        return Ended(text)
                    if place == "again" or (place == "late" and isinstance(push.said, BookSnapshot)):
                        return None
        said = push.said
        if said is not None and (kind in PRIVATE or self._believed(kind, push.symbol, said)):
            self._deliver(said)
        return None

    def _believed(self, kind: str, symbol: str, said: object) -> bool:
        """Whether the price of a print or book is near the one before. Notes how recent it all is."""
        known = self._known
        if isinstance(said, Heartbeat):
            self.beat_ns = max(self.beat_ns, said.ts_event)
            self.owed_ns = said.ts_event if self._terms.ack else 0
            if not self._speech.beat_s:
                known.skew.note(said.ts_event, self._now_ns())
            return True
        price = 0.0
        if isinstance(said, BookSnapshot):
            price = said.bids[0][0] if said.bids else 0.0
        elif isinstance(said, Trade):
            price = said.price
        if price and not self.bands.believes(symbol, price):
            self.fault(f"{kind} {symbol}: price = {price}: too far from the one before")
            return False
        ts = getattr(said, "ts_event", 0)
        known.heard.note(kind, symbol, ts)
        if kind in ("book", "trades"):
            known.skew.note(ts, said.ts_recv)  # type: ignore[attr-defined]
        return True

    def _told(self, said: Subscribed | Complaint | None) -> Ended | None:
        if isinstance(said, Complaint):
            text = f"{said.code}: {said.message}"
            if said.code in FINAL and self._terms.partial:
                self.refused = True
                self.fault(f"subscription refused: {text}")
                named = {pair for pair in self.waiting if any(f"'{name}'" in said.message for name in pair if name)}
                return self.go_without(named)
            if said.code in FINAL:
                return Ended(f"subscription refused: {text}", True)
            self.fault(text)
        elif isinstance(said, Subscribed):
            self.answered = True
            symbols = ("", *said.symbols)
            self.waiting -= {(channel, symbol) for channel in said.channels for symbol in symbols}
            if not self.waiting and not self.up:
                self.lift()
        return None

    def go_without(self, pairs: set[tuple[str, str]]) -> Ended | None:
        """Goes on without what the venue does not give; there must be something left."""
        for channel, symbol in sorted(pairs):
            self.fault(f"goes on without {channel} {symbol}".rstrip())
        self._known.refused |= pairs
        for symbol in self._speech.symbols:
            if self.bars is not None and (self._speech.channel["candle"], self._dialect.theirs(symbol)) in pairs:
                self.bars.drop(symbol)
        self.waiting -= pairs
        if not self._speech.asked(self._terms.kinds) - self._known.refused:
            return Ended("nothing that was asked for is given", True)
        if self.answered and not self.waiting and not self.up:
            self.lift()
        return None

    def unanswered(self, within_s: float, *, last: bool) -> Ended | None:
        """What follows where `within_s` for acknowledgements are over: another connection, unless more time than this
        is given to none (`last`)."""
        if not last:
            return Ended(f"not acknowledged within {within_s:g} s: {self._missing()}")
        if self._terms.partial and (self.refused or self.answered):
            ended = self.go_without(set(self.waiting))
            if ended is not None:
                return ended
        elif self.answered or self._dialect.acknowledged == "always":
            return Ended(f"not acknowledged within {within_s:g} s: {self._missing()}")
        if not self.up:
            self.lift()  # a venue that says nothing at all of subscriptions
        return None

    def _missing(self) -> str:
        return ", ".join(" ".join(filter(None, pair)) for pair in sorted(self.waiting))

    def lift(self) -> None:
        """The connection is up."""
        self.up = self._known.been_up = True
        self._deliver(Link(up=True, ts_recv=self._now_ns()))

    async def _catch_up(self, push: Push) -> Ended | None:
        """Delivers the fills that were missed before `push`, then `push`."""
        known = self._known
        after, seq = known.private_seq or 0, push.seq or 0
        what = f"private frames {after + 1} to {seq - 1} are missing"
        self.fault(f"{what}, asking for their fills")
        try:
            missed = await self._terms.missed(after)
        except VenueError as error:
            return Ended(f"{what}: {error}", isinstance(error, VenueRefusal))
        for number, fill in missed:
            if number < seq:
                self._deliver(fill)
        known.private_seq = seq
        if push.said is not None:
            self._deliver(push.said)
        return None

    def fault(self, text: str) -> None:
        """Counts and tells what could not be used."""
        self._known.faults += 1
        if self._terms.on_fault is not None:
            self._terms.on_fault(self._rest.masked(text))
