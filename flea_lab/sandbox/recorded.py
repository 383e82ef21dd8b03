"""What was recorded inside of bars, read along with the market that plays: books and prints of a tape."""

from collections.abc import Iterable, Iterator
from typing import TypeGuard

from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.vouched import Vouched
from flea_lab.sandbox.depth import recorded

Recording = Iterable[Candle | Trade | BookSnapshot | Vouched | Funding | Heartbeat]

LATE_NS = 2_000_000_000
"""How far beyond a bar's close the recording is read for what came late."""


class RecordedBars:
    """The recorded books and prints of one bar after the other, bars asked for in order. Holds one bar at a time.

    Prints that did not come from an order in the book (insurance, liquidation) are left out: nobody could trade there.
    """

    def __init__(self, events: Recording, interval_ms: int) -> None:
        self._events: Iterator[object] = iter(events)
        self._interval_ms = interval_ms
        self._ahead: list[BookSnapshot | Trade] = []
        self._over = False

    def inside(self, close_ns: int) -> list[BookSnapshot | Trade]:
        """Those after the open and up to the close of the bar that closes at `close_ns`, in order of time."""
        while not self._over and not (self._ahead and self._ahead[-1].ts_event > close_ns + LATE_NS):
            event = next(self._events, None)
            if isinstance(event, Vouched):
                event = event.snapshot()
            if event is None:
                self._over = True
            elif _is_played(event) and event.ts_event > close_ns - self._interval_ms * MS_NS:
                self._ahead.append(event)
        mine = [event for event in self._ahead if event.ts_event <= close_ns]
        self._ahead = [event for event in self._ahead if event.ts_event > close_ns]
        return recorded(mine, [close_ns], self._interval_ms)[0]


def _is_played(event: object) -> TypeGuard[BookSnapshot | Trade]:
    return isinstance(event, BookSnapshot) or (isinstance(event, Trade) and event.kind == "normal")
