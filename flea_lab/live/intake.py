"""What the market says, on its way into the core: recorded, measured, judged for age and for faults.

Rules. A message is on the tape before anything is made of it. What was found in the data is kept, and told to the core
where the config does not tolerate it. A candle that comes late decides nothing; where others of its bar wait to be
decided on, history must bring the bar whole.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings
from flea_lab.core import Event
from flea_lab.data.market_watch import Told
from flea_lab.data.tape import TapeWriter
from flea_lab.errors import VenueError
from flea_lab.live.brake import AlertPut
from flea_lab.live.hearing import Hearing
from flea_lab.live.pump import Pump
from flea_lab.model.finding import Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import WarmUp
from flea_lab.venue.protocol import Feed

REFRESH_S = 5.0
"""How long at least between two wishes for a whole book of one symbol."""


class Tape(Protocol):
    """Where the market is recorded."""

    def append(self, record: Candle | Trade | BookSnapshot | BookDelta | Funding) -> None:
        """Takes one message."""

    def flush(self) -> None:
        """Hands everything so far to the system."""

    def close(self) -> None:
        """Ends the record."""


class Intake:
    """Carries market data to `give`. `venue_ns` is the newest time that the venue named, `late` counts candles that
    came after their bar, `found` faults of the data; `wanted` are the symbols whose book must be asked for."""

    def __init__(
        self,
        *,
        pump: Pump,
        hearing: Hearing,
        settings: LiveSettings,
        wall_clock: bool,
        clock: Clock,
        folder: Path,
        alert: AlertPut,
        give: Callable[[Event], None],
        tape: Tape | None = None,
    ) -> None:
        """`wall_clock` says that the venue's time is the time of day, so that a candle's age can be told. Without a
        `tape` the market goes onto one in `folder`."""
        self._pump, self._core, self._hearing, self._settings = pump, pump.core, hearing, settings
        self._wall_clock, self._clock, self._alert, self._give = wall_clock, clock, alert, give
        self._tape: Tape = TapeWriter(folder / "market.tape") if tape is None else tape
        self._heard_ns = clock.now_ns()  # everything on the tape was received by then
        self._refreshed_s: dict[str, float] = {}
        self._warm_ns = self._fresh_ns = -1
        self._saw_ns, self._saw_s = 0, 0.0  # a time that the venue named, and that of the loop then
        self.wanted = set[str]()
        self.venue_ns = self.late = self.found = 0

    def age_s(self, ts_event: int) -> float:
        """How long ago `ts_event` was, in seconds: by the clock, or longer, where that was set back since the venue
        last named its time."""
        if not self._wall_clock:
            return (self.venue_ns - ts_event) / 1e9
        since_s = asyncio.get_running_loop().time() - self._saw_s
        return max((self._clock.now_ns() - ts_event) / 1e9, (self._saw_ns - ts_event) / 1e9 + since_s)

    def saw(self, ts_event: int) -> None:
        """Takes note that it is `ts_event` at the venue, or later."""
        if ts_event <= self.venue_ns:
            return
        self.venue_ns = ts_event
        now_s = asyncio.get_running_loop().time()
        if (ts_event - self._saw_ns) / 1e9 >= now_s - self._saw_s:  # what waited in a queue says less than what did not
            self._saw_ns, self._saw_s = ts_event, now_s

    def take(self, item: Trade | BookSnapshot | BookDelta | Funding | Heartbeat) -> None:
        """Takes one message of the market, candles aside."""
        if isinstance(item, Heartbeat):
            self.saw(item.ts_event)
            self._give(item)
            return
        self._record(item)
        if not isinstance(item, Funding):
            self.saw(item.ts_event)
        self._note(self._hearing.on(item))
        if isinstance(item, Funding) and item.state == "settled":
            self._give(item)

    def take_candle(self, candle: Candle, ready: bool) -> bool:
        """Whether history must bring its bar whole. `ready` says that bars may be decided on."""
        self._record(candle)
        if not candle.complete:
            return False
        ts = candle.ts_event
        self.saw(ts)
        features, told = self._hearing.bar(candle)
        self._note(told)
        if ts <= self._core.decided_ns:
            self.late += 1  # history had it already, or it came twice
            return False
        age_s = self.age_s(ts)
        stale = not age_s <= self._settings.stale_s
        if stale:
            self._alert("warning", f"the candle of {candle.symbol} came {age_s:.0f} s late: it decides nothing")
        if stale and self._fresh_ns == ts:  # others of its bar wait to be decided on: history brings the bar whole
            return True
        if stale or not ready:
            if self._warm_ns != ts:  # once a bar: it drops what waits
                self._give(WarmUp(ts_event=ts, until_ns=ts))
                self._warm_ns = ts
        else:
            self._fresh_ns = ts
        if features is not None:
            self._give(features)
        self._give(candle)
        return False

    def _record(self, item: Candle | Trade | BookSnapshot | BookDelta | Funding) -> None:
        self._heard_ns = max(self._heard_ns, item.ts_recv)
        self._tape.append(item)

    def take_past(self, candle: Candle) -> None:
        """Takes a candle of history, which the core hears of beside it.

        On the tape it stands as received with what was heard last: what comes meanwhile waits, and is written later.
        """
        self._tape.append(replace(candle, ts_recv=self._heard_ns))
        self.saw(candle.ts_event)
        self._note(self._hearing.bar(candle)[1])

    def lost(self) -> None:
        """Takes note that the connection went down."""
        self._note(self._hearing.lost(self.venue_ns))

    async def refresh(self, feed: Feed) -> None:
        """Asks for the snapshots that books need."""
        now = asyncio.get_running_loop().time()
        for symbol in sorted(self.wanted):
            if now - self._refreshed_s.get(symbol, -REFRESH_S) < REFRESH_S:
                continue  # a feed that stays broken is not asked at every message
            self._refreshed_s[symbol] = now
            try:
                await feed.refresh(symbol)
            except VenueError as error:
                self._alert("warning", f"no snapshot of {symbol} can be asked for: {error}")
                return  # asked again
            self.wanted.discard(symbol)

    def flush(self) -> None:
        """Writes out what the tape holds back."""
        self._tape.flush()

    def close(self) -> None:
        """Ends the tape."""
        self._tape.close()

    def _note(self, told: Told) -> None:
        """What was found in the data is kept, and told to the core where the config does not tolerate it; a book that
        needs a snapshot is asked for."""
        for one in told:
            if isinstance(one, Resync):
                if one.reason != "start":
                    self._alert("warning", f"the book of {one.symbol} cannot be read ({one.reason}): asked for afresh")
                self.wanted.add(one.symbol)
            elif one.kind != "start":
                self.found += 1
                self._pump.journal.finding(one)
                if one.ts_to is None or one.resolved == "told":
                    self._alert("warning", f"{one.channel} of {one.symbol}: {one.kind} {one.detail}".rstrip())
                doubt = self._hearing.doubt(one)
                if doubt is not None:
                    self._give(doubt)
