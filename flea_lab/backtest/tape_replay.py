"""What a live session would have heard of a tape, bar by bar, in the order of arrival.

Rules. They are the live session's, and so is the ear that is lent: books that can be vouched for and prints are
measured into the features of a bar, which the core is told right before its candle; of a fault that the config does
not tolerate it is told where it was found. Settlements are left out: the market has them. A candle that came late by
the clock of the wall is not found here: a tape does not say when it was worked off.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from flea_lab.backtest.replay import Played
from flea_lab.core import Event
from flea_lab.data.market_watch import Told as Faults
from flea_lab.data.tape_events import Lost, Told
from flea_lab.errors import DataError
from flea_lab.model.finding import Finding
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.trading import Doubt


class Ear(Protocol):
    """What a live session listens with."""

    def on(self, event: Trade | BookSnapshot | BookDelta | Funding) -> Faults:
        """Takes what came between two bars."""

    def bar(self, candle: Candle) -> tuple[Features | None, Faults]:
        """The features of a complete candle's bar, and what is wrong with the candle."""

    def lost(self, ts_event: int) -> Faults:
        """Takes that the connection was lost."""

    def doubt(self, finding: Finding) -> Doubt | None:
        """What the core is told of a fault."""


def heard(told: Iterable[Told], ear: Ear) -> Iterator[Event]:
    """What the core hears of what a feed `told`, settlements aside."""
    for one in told:
        if isinstance(one, Heartbeat):
            yield one
        elif isinstance(one, Lost):
            yield from _doubts(ear, ear.lost(one.ts_event))
        elif not isinstance(one, Candle):
            yield from _doubts(ear, ear.on(one))
        elif one.complete:
            features, faults = ear.bar(one)
            yield from _doubts(ear, faults)
            if features is not None:
                yield features
            yield one


def _doubts(ear: Ear, faults: Faults) -> Iterator[Doubt]:
    for one in faults:
        doubt = ear.doubt(one) if isinstance(one, Finding) and one.kind != "start" else None
        if doubt is not None:
            yield doubt


class BarByBar:
    """Hands out a stream in the pieces that `replay` asks for.

    A bar's piece ends with the last of its candles; what comes later belongs to the next.
    """

    def __init__(self, events: Iterable[Event], place: str) -> None:
        self._events, self._place = iter(events), place

    def __call__(self, played: Played) -> Iterator[Event]:
        """Everything up to the last candle of the bar; `DataError` where the stream ends before."""
        waiting = {candle.symbol: candle.ts_event for candle in played.candles}
        while waiting:
            event = next(self._events, None)
            if event is None:
                raise DataError(f"{self._place}: ends before the candle of {', '.join(waiting)} in bar {played.bar}")
            if isinstance(event, Candle) and waiting.get(event.symbol) == event.ts_event:
                del waiting[event.symbol]
            yield event
