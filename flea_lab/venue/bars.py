"""Which bars a stream of candles still owes, and which of them nobody should believe at once. Pure.

Rules. A bar is owed once a later one of its symbol is heard, forming or complete, or a heartbeat says that its time is
over; it is asked for once. What was over before the connection's first candle or heartbeat is history's business. A
close that is `LEAP` times the one before, or as little of it, is asked about before it is believed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from flea_lab.model.market import Candle, Heartbeat

LEAP = 1.5
"""A minute that moves a price by half of itself is worth a question."""


class Owed(NamedTuple):
    """Bars of `symbol` that close after `after_ns` and up to `until_ns`."""

    symbol: str
    after_ns: int
    until_ns: int


class Bars:
    """The bars of one connection, `step_ns` long. `closes` holds the last close known, also of an earlier one."""

    def __init__(self, symbols: Sequence[str], step_ns: int, closes: dict[str, float] | None = None) -> None:
        self._symbols, self.step_ns = list(symbols), step_ns
        self._last: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._close = {} if closes is None else closes

    def drop(self, symbol: str) -> None:
        """Expects no bar of `symbol` any more."""
        self._symbols.remove(symbol)

    def owed(self, said: Candle | Heartbeat) -> list[Owed]:
        """What should have come before `said`, and has not; each is named once."""
        step = self.step_ns
        if isinstance(said, Candle):
            return self._before(said.symbol, said.ts_event - step)
        until = said.ts_event // step * step
        return [owed for symbol in self._symbols for owed in self._before(symbol, until)]

    def _before(self, symbol: str, until_ns: int) -> list[Owed]:
        last = self._last.setdefault(symbol, until_ns)
        if until_ns <= max(last, self._asked.get(symbol, 0)):
            return []
        self._asked[symbol] = until_ns
        return [Owed(symbol, last, until_ns)]

    def wild(self, candle: Candle) -> bool:
        """Whether a complete candle is too far from the one before to be believed unasked."""
        close = self._close.get(candle.symbol)
        return close is not None and candle.complete and not close / LEAP < candle.close < close * LEAP

    def told(self, candle: Candle) -> None:
        """Takes note that a complete candle was delivered."""
        if candle.complete and candle.ts_event > self._last.get(candle.symbol, 0):
            self._last[candle.symbol] = candle.ts_event
            self._close[candle.symbol] = candle.close
