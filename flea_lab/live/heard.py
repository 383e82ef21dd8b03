"""The bars that a session's core took, as it took them: from the events of its journal, without the core.

Rules. They are the core's. Candles that close at one instant are one bar, taken when every symbol's is there, or when
something later says that the rest will not come; what comes late or twice is not used. A `WarmUp` drops what still
waits, and bars up to its instant only warm up. A control belongs to the first bar taken after it.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flea_lab.journal import Entry
from flea_lab.model.finding import Kind
from flea_lab.model.market import MS_NS, Candle, Funding, Heartbeat
from flea_lab.model.trading import Adopt, Control, Doubt, Fill, Halt, HandCancel, HandOrder, Reduce, Resume, WarmUp

HOLES = 20
"""Holes that are listed for a symbol, the longest."""


class Taken(NamedTuple):
    """A candle that was used. `history`: it only warmed up."""

    candle: Candle
    history: bool


class Heard:
    """Collects events in their order; afterwards holds what was used and counts what was not."""

    def __init__(self, symbols: tuple[str, ...], interval_ms: int) -> None:
        self.symbols, self.interval_ms = symbols, interval_ms
        self.taken: list[Taken] = []
        self.settlements: dict[str, list[Funding]] = {symbol: [] for symbol in symbols}
        self.unused = dict.fromkeys(symbols, 0)
        self.stale = dict.fromkeys(symbols, 0)
        self.late: list[tuple[str, int, Kind]] = []
        """Candles that came too late to be decided on or used (symbol, close in ns), and what they were: stale, resent
        or out_of_order."""
        self.controls: dict[int, tuple[list[Control], list[Control]]] = {}
        self._pending: tuple[list[Control], list[Control]] = ([], [])
        self._filled = False
        self._waiting: dict[str, Candle] = {}
        self._bar_ns = self._decided_ns = self._trade_from_ns = 0
        self._stale_ns = -1
        self._used: dict[str, set[int]] = {symbol: set() for symbol in symbols}

    def on(self, event: Entry) -> None:
        """Takes one event of the journal."""
        match event:
            case Candle() if event.symbol in self.unused:
                self._on_candle(event)
            case Heartbeat():
                if self._waiting and event.ts_event >= self._bar_ns:
                    self._decide()
            case Funding() if event.symbol in self.settlements and event.state == "settled":
                known = self.settlements[event.symbol]
                if not known or event.ts_event > known[-1].ts_event:
                    known.append(event)
            case WarmUp():
                self._waiting.clear()
                self._trade_from_ns = event.until_ns + 1
                self._stale_ns = event.until_ns if event.until_ns == event.ts_event else -1
                self._pending[self._filled].append(event)
            case Halt() | Reduce() | Resume() | Doubt() | Adopt() | HandOrder() | HandCancel():
                self._pending[self._filled].append(event)
            case Fill():
                self._filled = True

    def _on_candle(self, candle: Candle) -> None:
        ts, symbol = candle.ts_event, candle.symbol
        if ts == self._stale_ns:
            self.stale[symbol] += 1
            self.late.append((symbol, ts, "stale"))
        if self._waiting and ts > self._bar_ns:
            self._decide()
        if ts <= self._decided_ns or ts < self._bar_ns or symbol in self._waiting:
            self.unused[symbol] += 1
            self.late.append((symbol, ts, "resent" if ts in self._used[symbol] else "out_of_order"))
            return
        self._bar_ns = ts
        self._waiting[symbol] = candle
        self._used[symbol].add(ts)
        if len(self._waiting) == len(self.symbols):
            self._decide()

    def _decide(self) -> None:
        ts, history = self._bar_ns, self._bar_ns < self._trade_from_ns
        self.taken += [Taken(self._waiting[symbol], history) for symbol in self.symbols if symbol in self._waiting]
        if any(self._pending):
            self.controls[ts] = self._pending
        self._waiting, self._pending, self._filled, self._decided_ns = {}, ([], []), False, ts

    def first_live_ms(self) -> int | None:
        """Close of the first bar that was decided on; None before it."""
        return next((taken.candle.ts_event // MS_NS for taken in self.taken if not taken.history), None)

    def candles(self) -> dict[str, pd.DataFrame]:
        """Canonical candles by symbol, in order: what was used."""
        rows: dict[str, list[tuple[Any, ...]]] = {symbol: [] for symbol in self.symbols}
        for c, _ in self.taken:
            open_ms = c.ts_event // MS_NS - self.interval_ms
            rows[c.symbol].append((open_ms, c.open, c.high, c.low, c.close, c.volume, c.buy_volume))
        names = ["ts", "open", "high", "low", "close", "volume", "buy_volume"]
        return {symbol: pd.DataFrame(mine, columns=names) for symbol, mine in rows.items()}

    def funding(self) -> dict[str, pd.DataFrame]:
        """Settlements by symbol: ts ms UTC, funding_rate."""
        return {
            symbol: pd.DataFrame(
                {
                    "ts": np.array([one.ts_event // MS_NS for one in known], dtype=np.int64),
                    "funding_rate": np.array([one.rate for one in known], dtype=np.float64),
                }
            )
            for symbol, known in self.settlements.items()
        }

    def ledger(self) -> pd.DataFrame:
        """A row a symbol: bars that only warmed up (history), bars decided on (live), of the former those that came too
        late to be decided on (stale), candles not used because they came late or twice (unused), and the holes between
        used candles after the first live one: how many, bars missing, and the longest as (open in ms, bars)."""
        first, rows = self.first_live_ms(), []
        for symbol in self.symbols:
            mine = [taken for taken in self.taken if taken.candle.symbol == symbol]
            history = sum(taken.history for taken in mine)
            closes = np.array([taken.candle.ts_event // MS_NS for taken in mine], dtype=np.int64)
            shown = closes[closes >= first - self.interval_ms] if first is not None else closes[:0]
            bars = np.diff(shown) // self.interval_ms - 1
            at = np.flatnonzero(bars > 0)
            longest = sorted(((int(shown[i]), int(bars[i])) for i in at), key=lambda hole: -hole[1])[:HOLES]
            rows.append(
                {
                    "symbol": symbol,
                    "history": history,
                    "live": len(mine) - history,
                    "stale": self.stale[symbol],
                    "unused": self.unused[symbol],
                    "holes": len(at),
                    "missing": int(bars[at].sum()),
                    "longest": longest,
                    "first_ms": int(closes[0]) if len(closes) else None,
                    "last_ms": int(closes[-1]) if len(closes) else None,
                }
            )
        return pd.DataFrame(rows)
