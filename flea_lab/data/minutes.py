"""Candles out of prints, and longer candles out of shorter ones, one message at a time.

A bar is over when the venue's time is past its close, never before: by a print of a later minute, or by time itself
(`until`). A minute without prints is a hole that is told, not a bar that is invented. A bar whose prints may not all
have come (`missing`), and the one in which listening began, are not told either.
"""

from math import nan

import numpy as np

from flea_lab.model.finding import Finding, Kind
from flea_lab.model.market import INTERVAL_MS, MS_NS, Candle, Trade

Told = tuple[Candle | Finding, ...]


class Minutes:
    """One symbol's bars, complete ones only, from its prints in order."""

    def __init__(self, symbol: str, interval: str = "1m", since_ns: int | None = None, venue: str = "") -> None:
        """Bars of `interval` from the first that opens at or after `since_ns`, from when every print is known; None:
        from the first print, whose bar may have begun before and is left out."""
        self.symbol, self.venue = symbol, venue
        self.step_ns = INTERVAL_MS[interval] * MS_NS
        self._since = since_ns
        self._close: int | None = None
        self._ended: int | None = None
        self._broken = False
        self._recv = 0
        self._bar: list[float] = []

    @property
    def forming(self) -> Candle | None:
        """The bar so far, `complete=False`; None where it has no prints or lacks some."""
        if self._close is None or self._broken or not self._bar:
            return None
        return self._candle(self._close, complete=False)

    def on(self, trade: Trade) -> Told:
        """Takes the next print; the bars that are over by its time, and what was found on the way.

        Prints that are not from an order in the book (insurance, liquidation) end bars and are in none.
        """
        ts = trade.ts_event
        if self._ended is not None and ts < self._ended:
            detail = f"{trade.qty} at {trade.price}, {(self._ended - ts) / 1e9:.3f} s after its bar was told"
            return (self._found("late_trade", ts, ts, detail, "left out"),)
        told = self.until(ts, trade.ts_recv)
        if trade.kind == "normal" and ts >= (self._ended or ts):
            self._add(trade)
        return told

    def until(self, ts_event: int, ts_recv: int) -> Told:
        """Takes that the venue's time is `ts_event`: everything stamped before it has come."""
        opened = ts_event // self.step_ns * self.step_ns
        if self._ended is None:
            self._begin(ts_event, opened)
        told: list[Candle | Finding] = []
        self._recv = max(self._recv, ts_recv)
        ended = self._ended or opened
        while ended < opened:
            if self._close is None and opened - ended > self.step_ns:
                told.append(self._hole(ended, opened, "no prints"))
                ended = opened
            else:
                ended += self.step_ns
                told.append(self._over(ended))
        self._ended = max(ended, self._ended or ended)
        return tuple(told)

    def missing(self, ts_event: int) -> None:
        """Takes that prints were lost up to `ts_event`: the bar that is forming then is not told."""
        if self._ended is not None and ts_event >= self._ended:
            self._broken = True
            self._close = self._close or self._ended + self.step_ns

    def _begin(self, ts_event: int, opened: int) -> None:
        since = ts_event if self._since is None else self._since
        first = -(-since // self.step_ns) * self.step_ns
        self._ended = min(first, opened)
        if first > opened:
            self._broken = True
            self._close = opened + self.step_ns

    def _add(self, trade: Trade) -> None:
        bought = trade.qty if trade.side == "buy" else 0.0
        if not self._bar:
            self._close = (trade.ts_event // self.step_ns + 1) * self.step_ns
            self._bar = [trade.price, trade.price, trade.price, trade.price, trade.qty, bought]
            return
        bar = self._bar
        bar[1] = max(bar[1], trade.price)
        bar[2] = min(bar[2], trade.price)
        bar[3] = trade.price
        bar[4] += trade.qty
        bar[5] += bought

    def _over(self, close: int) -> Candle | Finding:
        """The bar that closes at `close`, or why there is none."""
        try:
            if self._close != close:
                return self._hole(close - self.step_ns, close, "no prints")
            if self._broken:
                return self._hole(close - self.step_ns, close, "prints are missing")
            return self._candle(close, complete=True)
        finally:
            if self._close == close:
                self._close, self._broken, self._bar = None, False, []

    def _candle(self, close: int, complete: bool) -> Candle:
        first, high, low, last, volume, bought = self._bar
        return Candle(
            symbol=self.symbol,
            ts_event=close,
            ts_recv=self._recv,
            open=first,
            high=high,
            low=low,
            close=last,
            volume=volume,
            buy_volume=bought,
            complete=complete,
        )

    def _hole(self, since: int, until: int, why: str) -> Finding:
        return self._found("hole", since, until, why, "" if why == "prints are missing" else why)

    def _found(self, kind: Kind, since: int, until: int, detail: str, resolved: str) -> Finding:
        return Finding(
            kind=kind,
            channel="candles",
            symbol=self.symbol,
            ts_from=since,
            ts_to=until,
            detail=detail,
            resolved=resolved,
            venue=self.venue,
        )


class Longer:
    """One symbol's bars of `to` out of its complete bars of `interval`, equal to `candles.resample` bit for bit."""

    def __init__(self, symbol: str, interval: str, to: str, venue: str = "") -> None:
        """Waits for the first bar of a bucket; `to` must be a multiple of `interval`."""
        self.symbol, self.venue = symbol, venue
        self._step, self._long = INTERVAL_MS[interval] * MS_NS, INTERVAL_MS[to] * MS_NS
        if self._long % self._step or self._long == self._step:
            raise ValueError(f"{to} is not a multiple of {interval}")
        self._bars: list[Candle] = []
        self._began: int | None = None

    def on(self, candle: Candle) -> Told:
        """Takes the next complete bar; the longer one that it ends, and the buckets that lack some of theirs."""
        if not candle.complete:
            return ()
        close = -(-candle.ts_event // self._long) * self._long
        told = self._before(close)
        self._bars.append(candle)
        if candle.ts_event < close:
            return told
        bars, self._bars = self._bars, []
        self._began = close
        if len(bars) * self._step == self._long:
            return (*told, self._whole(bars))
        return (*told, self._hole(close - self._long, close, len(bars)))

    def _before(self, close: int) -> Told:
        """The holes of buckets that were not ended before the one that closes at `close`."""
        opened = close - self._long
        began = opened if self._began is None else self._began
        self._began = opened
        if began >= opened:
            return ()
        had, self._bars = len(self._bars), []
        return (self._hole(began, opened, had),)

    def _whole(self, bars: list[Candle]) -> Candle:
        volume, bought = (
            float(np.add.reduceat(np.array(values), [0])[0])
            for values in ([bar.volume for bar in bars], [bar.buy_volume for bar in bars])
        )
        last = bars[-1]
        return Candle(
            symbol=self.symbol,
            ts_event=last.ts_event,
            ts_recv=last.ts_recv,
            open=bars[0].open,
            high=max(bar.high for bar in bars),
            low=min(bar.low for bar in bars),
            close=last.close,
            volume=volume,
            buy_volume=nan if bought != bought else bought,
        )

    def _hole(self, since: int, until: int, had: int) -> Finding:
        return Finding(
            kind="hole",
            channel="candles",
            symbol=self.symbol,
            ts_from=since,
            ts_to=until,
            detail=f"{had} of {(until - since) // self._step} bars",
            venue=self.venue,
        )
