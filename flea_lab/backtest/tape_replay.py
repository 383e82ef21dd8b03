"""What was heard bar by bar, out of a stream of events in the order of their arrival."""

from collections.abc import Iterable, Iterator

from flea_lab.backtest.replay import Played
from flea_lab.core import Event
from flea_lab.errors import DataError
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade

Arriving = Candle | Trade | BookSnapshot | Funding | Heartbeat


class BarByBar:
    """Hands out a stream in the pieces that `replay` asks for.

    A bar's piece ends with the last of its candles; what comes later belongs to the next. Settlements are left out:
    the market has them.
    """

    def __init__(self, events: Iterable[Arriving], place: str) -> None:
        self._events, self._place = iter(events), place

    def __call__(self, played: Played) -> Iterator[Event]:
        """Everything up to the last candle of the bar; `DataError` where the stream ends before."""
        waiting = {candle.symbol: candle.ts_event for candle in played.candles}
        while waiting:
            event = next(self._events, None)
            if event is None:
                raise DataError(f"{self._place}: ends before the candle of {', '.join(waiting)} in bar {played.bar}")
            if isinstance(event, Candle):
                if not event.complete:
                    continue
                if waiting.get(event.symbol) == event.ts_event:
                    del waiting[event.symbol]
            elif isinstance(event, Funding) and event.state == "settled":
                continue
            yield event
