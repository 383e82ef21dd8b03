"""The market of a scenario: prices that wander within bounds, a candle a bar, books in between. It is never wrong:
what reaches a process of it is."""

from collections.abc import Callable
from decimal import Decimal

from flea_lab.clock import Dice
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Candle, Heartbeat, Levels

SYMBOLS = ("BTCUSDT", "ETHUSDT")
GRID = Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001"), min_notional_usd=Decimal(5))
UNIT_UUSD = 100
"""Micro-dollars of one lot at one tick, on the grid of every symbol."""

BAR_S = 1.0
BAR_NS = 1_000_000_000
BOOK_S = 0.5
MIDDLE = 10_000
WANDER = 150
"""Ticks that a price goes away from `MIDDLE` at most: what one lot is worth changes by 1.5 % within a scenario."""

DEPTH = 3
BEFORE = 8
"""Bars before the scenario begins."""

Tell = Callable[[str, str, Candle | BookSnapshot | Heartbeat], None]
"""Takes channel, symbol and message, to be sent to everybody who listens."""


class Market:
    """What the venue knows of its market. `books` holds every book that ever was, by symbol and number."""

    def __init__(self, dice: Dice, start_ns: int) -> None:
        self._dice = dice
        self.start_ns = start_ns
        self.ticks = dict.fromkeys(SYMBOLS, MIDDLE)
        self.bars: dict[str, list[Candle]] = {symbol: [] for symbol in SYMBOLS}
        self.books: dict[str, dict[int, tuple[Levels, Levels]]] = {symbol: {} for symbol in SYMBOLS}
        for n in range(BEFORE):
            self.close_bar(start_ns - (BEFORE - 1 - n) * BAR_NS)

    def close_bar(self, close_ns: int) -> list[Candle]:
        """The candles that close at `close_ns`."""
        found = []
        for symbol in SYMBOLS:
            first = self.ticks[symbol]
            path = [first]
            for _ in range(2):
                path.append(min(MIDDLE + WANDER, max(MIDDLE - WANDER, path[-1] + self._dice.randint(-4, 4))))
            self.ticks[symbol] = path[-1]
            price = [GRID.price(ticks) for ticks in (first, max(path), min(path), path[-1])]
            candle = Candle(
                symbol=symbol, ts_event=close_ns, ts_recv=0,
                open=price[0], high=price[1], low=price[2], close=price[3], volume=1.0 + self._dice.randrange(9),
            )  # fmt: skip
            self.bars[symbol].append(candle)
            found.append(candle)
        return found

    def quote(self, symbol: str, ts: int) -> BookSnapshot:
        """The whole book of `symbol` at `ts`, the next in number."""
        middle = self.ticks[symbol]
        bids = tuple((GRID.price(middle - 1 - n), 1.0 + self._dice.randrange(5)) for n in range(DEPTH))
        asks = tuple((GRID.price(middle + 1 + n), 1.0 + self._dice.randrange(5)) for n in range(DEPTH))
        seq = len(self.books[symbol]) + 1
        self.books[symbol][seq] = bids, asks
        return BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=0, seq=seq, bids=bids, asks=asks)

    def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """As `Feed.history`."""
        bars = self.bars[symbol]
        if start_ns is None:
            return bars[-count:]
        return [candle for candle in bars if candle.ts_event > start_ns][:count]
