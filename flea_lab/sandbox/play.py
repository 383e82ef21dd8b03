"""A recorded market as the steps in which a sandbox plays it, and as the history that it answers from.

Rules. Nothing is known before its bar was played: a step is taken, then its candles are history. A longer candle
exists where all its bars do, and appears with the last of them. The order of a step is the replay's: funding that
settles, then the opens, then the candles in the order of the symbols.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.errors import ConfigError
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import INTERVAL_MS, MS_NS, Candle, Funding

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
BLOCK = 1_024
OPEN, HIGH, LOW, CLOSE, VOLUME, BUY_VOLUME = range(6)
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Playlist:
    """A recorded market: what a sandbox plays. Arrays are read-only.

    `open_ms` `(n,)` is every bar open that any symbol has. `bars` `(n_symbols, n, 6 or more)` open, high, low, close,
    volume, buy volume (NaN where unknown, and all NaN where a symbol has no bar). `open_ticks`, `close_ticks`
    `(n_symbols, n)`, 0 where a symbol has no bar. Settlements, sorted by bar: `fund_at` (charged just before the opens
    of that bar), `fund_row` (symbol), `fund_rate`, `fund_ms` (their own time).
    """

    symbols: tuple[str, ...]
    interval_ms: int
    grids: tuple[Instrument, ...]
    open_ms: Ints
    bars: Floats
    open_ticks: Ints
    close_ticks: Ints
    fund_at: Ints
    fund_row: Ints
    fund_rate: Floats
    fund_ms: Ints

    @property
    def n(self) -> int:
        """How many bars there are."""
        return len(self.open_ms)

    @cached_property
    def instruments(self) -> dict[str, Instrument]:
        """The grids by symbol."""
        return dict(zip(self.symbols, self.grids, strict=True))

    @cached_property
    def interval(self) -> str:
        """The name of the played interval, such as "1m"."""
        return next(name for name, ms in INTERVAL_MS.items() if ms == self.interval_ms)

    @cached_property
    def intervals(self) -> tuple[str, ...]:
        """The intervals on offer: the played one, then every longer one that is made of whole bars of it."""
        own = self.interval_ms
        return tuple(name for name, ms in INTERVAL_MS.items() if ms >= own and ms % own == 0)


class Step(NamedTuple):
    """One bar: settlements before it, opens in ticks, its candles, and their closes in ticks. Times in ms UTC."""

    bar: int
    open_ms: int
    close_ms: int
    settled: list[Funding]
    opens: list[tuple[str, int]]
    candles: list[Candle]
    marks: list[tuple[str, int]]


class Series(NamedTuple):
    """One symbol's candles of one interval: opens in ms `(m,)` and bars `(m, 6)`, oldest first."""

    interval_ms: int
    open_ms: Ints
    bars: Floats

    def known(self, now_ms: int) -> int:
        """How many have closed at `now_ms`."""
        return int(np.searchsorted(self.open_ms, now_ms - self.interval_ms, side="right"))

    def last(self, now_ms: int, count: int) -> "Series":
        """The last `count` that have closed at `now_ms`."""
        known = self.known(now_ms)
        return self._cut(max(known - count, 0), known)

    def since(self, start_ms: int, now_ms: int, count: int) -> "Series":
        """The first `count` that close after `start_ms` and have closed at `now_ms`."""
        first = self.known(start_ms)
        return self._cut(first, max(min(first + count, self.known(now_ms)), first))

    def closing(self, close_ms: int) -> "Series":
        """The one that closes at `close_ms`, or none."""
        stop = self.known(close_ms)
        return self._cut(max(stop - 1, 0) if self._ends(stop, close_ms) else stop, stop)

    def rows(self) -> list[tuple[int, list[float]]]:
        """(open in ms, the six floats) of each."""
        return list(zip(self.open_ms.tolist(), self.bars.tolist(), strict=True))

    def _ends(self, stop: int, close_ms: int) -> bool:
        return stop > 0 and int(self.open_ms[stop - 1]) + self.interval_ms == close_ms

    def _cut(self, start: int, stop: int) -> "Series":
        return Series(self.interval_ms, self.open_ms[start:stop], self.bars[start:stop])


def steps(playlist: Playlist, start: int = 0, stop: int | None = None) -> Iterator[Step]:
    """The bars `start` to `stop` (default: the last), each with the settlements charged before its opens."""
    stop = playlist.n if stop is None else stop
    k = int(np.searchsorted(playlist.fund_at, start))
    for first in range(start, stop, BLOCK):
        cut = slice(first, min(first + BLOCK, stop))
        opens, closes = playlist.open_ticks[:, cut].tolist(), playlist.close_ticks[:, cut].tolist()
        rows = playlist.bars[:, cut, :6].tolist()
        for i, open_ms in enumerate(playlist.open_ms[cut].tolist()):
            settled, k = _settled(playlist, first + i, k)
            close_ms = open_ms + playlist.interval_ms
            here = [(s, symbol) for s, symbol in enumerate(playlist.symbols) if closes[s][i]]
            yield Step(
                first + i,
                open_ms,
                close_ms,
                settled,
                [(symbol, opens[s][i]) for s, symbol in here],
                [candle_of(symbol, close_ms, rows[s][i]) for s, symbol in here],
                [(symbol, closes[s][i]) for s, symbol in here],
            )


def _settled(playlist: Playlist, bar: int, k: int) -> tuple[list[Funding], int]:
    found = []
    while k < len(playlist.fund_at) and playlist.fund_at[k] == bar:
        when = int(playlist.fund_ms[k]) * MS_NS
        symbol, rate = playlist.symbols[int(playlist.fund_row[k])], float(playlist.fund_rate[k])
        found.append(Funding(symbol=symbol, ts_event=when, ts_recv=when, rate=rate))
        k += 1
    return found, k


def candle_of(symbol: str, close_ms: int, row: list[float], complete: bool = True) -> Candle:
    """The candle message of six floats."""
    ts = close_ms * MS_NS
    return Candle(
        symbol=symbol,
        ts_event=ts,
        ts_recv=ts,
        open=row[OPEN],
        high=row[HIGH],
        low=row[LOW],
        close=row[CLOSE],
        volume=row[VOLUME],
        buy_volume=row[BUY_VOLUME],
        complete=complete,
    )


def series(playlist: Playlist, symbol: str, interval: str) -> Series:
    """All candles of `symbol` in `interval`, one of `playlist.intervals`; the future among them.

    A longer candle is made as the data shop's `resample` makes it: buckets counted from 1970, those that miss a bar
    left out, volumes summed in order.
    """
    s = playlist.symbols.index(symbol)
    present = playlist.close_ticks[s] > 0
    open_ms, bars = playlist.open_ms[present], playlist.bars[s, present, :6]
    step, long = playlist.interval_ms, INTERVAL_MS[interval]
    if long == step or not len(open_ms):
        return Series(long, open_ms, bars)
    buckets, first, counts = np.unique(open_ms // long * long, return_index=True, return_counts=True)
    columns = [
        bars[first, OPEN],
        np.maximum.reduceat(bars[:, HIGH], first),
        np.minimum.reduceat(bars[:, LOW], first),
        bars[first + counts - 1, CLOSE],
        np.add.reduceat(bars[:, VOLUME], first),
        np.add.reduceat(bars[:, BUY_VOLUME], first),
    ]
    whole = counts == long // step
    return Series(long, buckets[whole], np.stack(columns, axis=1)[whole])


def played_range(playlist: Playlist, start_ms: int | None, days: float) -> tuple[int, int]:
    """The bars `start` to `stop` that are played: those that open from `start_ms` on, for `days`.

    Without `start_ms` the last `days`. `ConfigError` where that leaves none.
    """
    open_ms, length = playlist.open_ms, round(days * DAY_MS)
    if start_ms is None:
        start_ms = int(open_ms[-1]) + playlist.interval_ms - length
    start = int(np.searchsorted(open_ms, start_ms))
    stop = int(np.searchsorted(open_ms, start_ms + length))
    if not start < stop:
        first, last = (np.datetime64(int(ms), "ms").item().isoformat() for ms in (open_ms[0], open_ms[-1]))
        asked = np.datetime64(start_ms, "ms").item().isoformat()
        raise ConfigError(f"no bar opens from {asked} on for {days:g} days, stored are {first} to {last}")
    return start, stop


def shifted(playlist: Playlist, ms: int) -> Playlist:
    """The same market `ms` later (whole bars): what a market of yesterday would look like today."""
    whole = ms // playlist.interval_ms * playlist.interval_ms
    return replace(playlist, open_ms=playlist.open_ms + whole, fund_ms=playlist.fund_ms + whole)
