"""What a bar offers beside its candle: its book, its prints and the funding ahead, as they were known at its close.

Rules. Only what is stamped at or before the close, and came before the candle did, is in a bar; what comes early waits
for its own bar, what comes late counts in no bar but goes on measuring VPIN. Research feeds the recorded messages, the
desk the live ones, in the order in which they came: the same class, so the same numbers.

The book is the last one, if it is not older than `fresh_s` at the close and not lost. Prints of insurance and
liquidation are not counted. Of the bar in which prints were first heard, or heard again after a loss, the part before
is unknown, so their counts are NaN. A rate that is due is done: at its settlement the predicted one takes its place.

::

    ts     imbalance  spread_bps  trades   trade_imbalance  vpin     current_rate  predicted_rate  hours_to_funding
    int64  float64    float64     float64  float64          float64  float64       float64         float64

``ts`` is the bar's open, ms UTC; a feature that is not known is NaN. See `Bar` for what they are.
"""

from collections.abc import Iterable
from math import nan
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Struct

from flea_lab.data.frames import interval_ms
from flea_lab.errors import DataError
from flea_lab.model.book import touch
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.vouched import Vouched
from flea_lab.settings import Settings
from flea_lab.signal.kernel import FEATURES, Bar, Stream
from flea_lab.signal.registry import builtin_kernels

if TYPE_CHECKING:
    import pandas as pd

HOUR_NS = 3_600_000_000_000
WAIT_NS = 60_000_000_000
"""How far the market may go on, at most, before a candle that did not come is given up."""

ABSENT = (nan,) * len(FEATURES)
Row = tuple[float, ...]
"""The features of one bar, in the order of `FEATURES`."""

Seen = Trade | BookSnapshot | Vouched | Funding
Kept = Trade | BookSnapshot | Funding
"""What can wait for its bar, and be saved."""


class FeatureSettings(Settings, frozen=True, kw_only=True):
    """How features are measured. `bucket_volume` of VPIN, base units; None: VPIN is not measured."""

    levels: Annotated[int, Meta(ge=1, le=1_000, description="best levels of a side")] = 10
    fresh_s: Annotated[float, Meta(gt=0.0, le=86_400.0, description="seconds")] = 10.0
    funding_interval_h: Annotated[int, Meta(ge=1, le=24, description="hours")] = 8
    bucket_volume: Annotated[float, Meta(gt=0.0, le=1e12, description="base units")] | None = None
    window: Annotated[int, Meta(ge=1, le=1_000, description="volume buckets")] = 50


class Featured(NamedTuple):
    """The features of one symbol's bars, and how they were measured."""

    frame: "pd.DataFrame"
    settings: FeatureSettings


class FeatureState(Struct, frozen=True, kw_only=True):
    """What a `BarFeatures` remembers between two events."""

    end_ns: int
    counted_ns: int
    closed_ns: int
    row: Row
    buys: int
    sells: int
    book_ns: int
    imbalance: float
    spread_bps: float
    rates: tuple[float, float]
    due_ns: int
    vpin: bytes
    ahead: list[Kept]
    told: Features | None


class BarFeatures:
    """The features of one symbol's bars, from its messages in the order in which they came."""

    def __init__(self, interval_ns: int, settings: FeatureSettings) -> None:
        self._interval_ns, self.settings = interval_ns, settings
        self._wait_ns = min(interval_ns, WAIT_NS)
        self._fresh_ns = round(settings.fresh_s * 1e9)
        self._vpin = _vpin(settings)
        self._end_ns = self._closed_ns = -1
        self._counted_ns = -1  # prints are counted in bars that begin at or after it; -1: none were heard
        self._row: Row = ABSENT
        self._buys = self._sells = 0
        self._book_ns, self._book = -1, (nan, nan)
        self._unseen: BookSnapshot | Vouched | None = None  # the last book: looked at when asked for, most never are
        self._rates, self._due_ns = (nan, nan), -1
        self._ahead: list[Kept] = []
        self._told: Features | None = None

    def on(self, event: Seen | Candle | Features) -> None:
        """Takes one message of this symbol; a complete candle closes its bar."""
        ts = event.ts_event
        if ts <= self._end_ns:  # what there is most of
            if type(event) is Trade:
                if event.kind == "normal":
                    self._print(event)
                return
            if type(event) is Vouched:
                if ts >= self._book_ns:
                    self._book_ns, self._unseen = ts, event
                return
        if isinstance(event, Candle):
            if event.complete:
                self.close(ts)
            return
        if isinstance(event, Features):
            self._told = event
            return
        if isinstance(event, Vouched):
            event = event.snapshot()
        if self._end_ns < 0:
            self._end_ns = -(-ts // self._interval_ns) * self._interval_ns
        if ts <= self._end_ns:
            self._take(event)
            return
        self._ahead.append(event)
        over = ts - self._wait_ns - self._end_ns
        if over > 0:
            self._enter(self._end_ns + -(-over // self._interval_ns) * self._interval_ns)

    def close(self, ts_close: int) -> Row:
        """The features of the bar that closes at `ts_close`; NaN throughout where the market has gone on without it."""
        if ts_close <= self._closed_ns:
            return self.row(ts_close)
        self._closed_ns, self._row = ts_close, ABSENT
        if ts_close >= self._end_ns:
            if ts_close > self._end_ns:
                self._enter(ts_close)
            self._row = self._measure(ts_close)
            self._enter(ts_close + self._interval_ns)
        if self._told is not None and self._told.ts_event == ts_close:
            self._row = msgspec.structs.astuple(self._told)[3:]
        return self._row

    def row(self, ts_close: int) -> Row:
        """The features of the last bar if that closed at `ts_close`, else NaN throughout."""
        return self._row if ts_close == self._closed_ns else ABSENT

    def lose(self, channel: Literal["book", "trades"]) -> None:
        """Messages of `channel` are missing: no book until the next one, no counts until the next bar."""
        if channel == "book":
            self._book, self._unseen = (nan, nan), None
        elif self._counted_ns >= 0:
            self._counted_ns = self._end_ns

    def dump(self) -> FeatureState:
        """All that it remembers; `load` into one of the same settings."""
        imbalance, spread = self._looked()
        return FeatureState(
            end_ns=self._end_ns,
            counted_ns=self._counted_ns,
            closed_ns=self._closed_ns,
            row=self._row,
            buys=self._buys,
            sells=self._sells,
            book_ns=self._book_ns,
            imbalance=imbalance,
            spread_bps=spread,
            rates=self._rates,
            due_ns=self._due_ns,
            vpin=b"" if self._vpin is None else self._vpin.memory.tobytes(),
            ahead=list(self._ahead),
            told=self._told,
        )

    def load(self, state: FeatureState) -> None:
        """Goes on from `state`; `DataError` where it is of other settings."""
        size = 0 if self._vpin is None else self._vpin.memory.nbytes
        if len(state.vpin) != size:
            raise DataError(f"the saved features hold {len(state.vpin)} bytes of VPIN, these settings need {size}")
        if self._vpin is not None:
            self._vpin.memory[...] = np.frombuffer(state.vpin)
        self._end_ns, self._counted_ns, self._closed_ns = state.end_ns, state.counted_ns, state.closed_ns
        self._row, self._buys, self._sells = tuple(state.row), state.buys, state.sells
        self._book_ns, self._book, self._unseen = state.book_ns, (state.imbalance, state.spread_bps), None
        self._rates, self._due_ns = state.rates, state.due_ns
        self._ahead, self._told = list(state.ahead), state.told

    def _enter(self, end_ns: int) -> None:
        """Begins the bar that closes at `end_ns`, with what has come of it already."""
        self._end_ns = end_ns
        self._buys = self._sells = 0
        waiting, self._ahead = self._ahead, []
        for event in waiting:
            if event.ts_event <= end_ns:
                self._take(event)
            else:
                self._ahead.append(event)

    def _take(self, event: Kept) -> None:
        if isinstance(event, Trade):
            if event.kind == "normal":
                self._print(event)
        elif isinstance(event, BookSnapshot):
            if event.ts_event >= self._book_ns:
                self._book_ns, self._unseen = event.ts_event, event
        elif event.state != "settled":
            self._promise(event)

    def _print(self, trade: Trade) -> None:
        bought = trade.side == "buy"
        if self._vpin is not None:
            self._vpin.feed(Bar(nan, nan, nan, nan, trade.qty, trade.qty if bought else 0.0, nan))
        if self._counted_ns < 0:
            self._counted_ns = self._end_ns
        if trade.ts_event > self._end_ns - self._interval_ns:
            self._buys += bought
            self._sells += not bought

    def _promise(self, funding: Funding) -> None:
        self._settle(funding.ts_event)
        current, predicted = self._rates
        if funding.state == "current":
            self._rates = funding.rate, predicted
            self._due_ns = self._next(funding.ts_event) if funding.due_ns is None else funding.due_ns
        else:
            self._rates = current, funding.rate
            if self._due_ns < 0:
                self._due_ns = self._next(funding.ts_event)

    def _settle(self, ts: int) -> None:
        """Lets go of a rate whose settlement is not after `ts`."""
        while 0 <= self._due_ns <= ts:
            self._rates, self._due_ns = (self._rates[1], nan), self._due_ns + self.settings.funding_interval_h * HOUR_NS
            if self._rates[0] != self._rates[0]:
                self._due_ns = self._next(ts)

    def _next(self, ts: int) -> int:
        """The next settlement after `ts`, by the instrument's interval."""
        return (ts // (self.settings.funding_interval_h * HOUR_NS) + 1) * self.settings.funding_interval_h * HOUR_NS

    def _looked(self) -> tuple[float, float]:
        """Imbalance and spread of the last book."""
        if self._unseen is not None:
            self._book, self._unseen = look(self._unseen, self.settings.levels), None
        return self._book

    def _measure(self, ts: int) -> Row:
        imbalance, spread = self._looked()
        if not 0 <= ts - self._book_ns <= self._fresh_ns:
            imbalance = spread = nan
        count, share = nan, nan
        if 0 <= self._counted_ns <= ts - self._interval_ns:
            prints = self._buys + self._sells
            count, share = float(prints), (self._buys - self._sells) / prints if prints else 0.0
        self._settle(ts)
        vpin = nan if self._vpin is None else float(self._vpin.state.vpin)
        hours = nan if self._due_ns < 0 else (self._due_ns - ts) / HOUR_NS
        return imbalance, spread, count, share, vpin, *self._rates, hours


def _vpin(settings: FeatureSettings) -> Stream | None:
    if settings.bucket_volume is None:
        return None
    kernel = builtin_kernels()["vpin"]
    values = {"bucket_volume": settings.bucket_volume, "window": settings.window}
    return Stream(kernel, kernel.load(values, "feature settings"))


def look(book: BookSnapshot | Vouched, levels: int) -> tuple[float, float]:
    """(bids - asks) / (bids + asks) in base units over the best `levels`, and the quoted spread in bps of mid.

    NaN for both if the book is crossed, locked or empty. Fewer levels than asked for count as they are.

    >>> book = BookSnapshot(symbol="X", ts_event=0, ts_recv=0, seq=None, bids=((99.0, 3.0),), asks=((101.0, 1.0),))
    >>> look(book, 10)
    (0.5, 200.0)
    """
    bid, ask = (book.bid, book.ask) if isinstance(book, Vouched) else touch(book)
    if bid != bid:
        return nan, nan
    bids = sum([qty for _, qty in book.bids[:levels]])
    asks = sum([qty for _, qty in book.asks[:levels]])
    share = (bids - asks) / (bids + asks)
    return (share if -1.0 <= share <= 1.0 else nan), (ask - bid) / ((bid + ask) / 2) * 10_000


def features_of(
    events: Iterable[Any],
    interval: str,
    settings: FeatureSettings,
    symbol: str,
    *,
    closed_by: Literal["candle", "clock"] = "candle",
) -> "pd.DataFrame":
    """The frame of this module's docstring, a row a bar, from the messages of `symbol` in the order in which they came.

    A bar ends with its complete candle, as it does live. In a recording without candles it ends by the "clock": with
    the first message stamped after its close, or a heartbeat at it.
    """
    step = interval_ms(interval, f"features of {symbol}") * MS_NS
    made, rows = BarFeatures(step, settings), []
    end = -1
    for event in events:
        ts = event.ts_event
        if isinstance(event, Heartbeat):
            ts += 1
        elif event.symbol != symbol or not isinstance(event, Candle | Features | Seen):
            continue
        if isinstance(event, Candle):
            if closed_by == "candle" and event.complete and ts > end:
                rows.append((ts - step, *made.close(ts)))
                end = ts
            continue
        while closed_by == "clock" and 0 <= end < ts:
            rows.append((end - step, *made.close(end)))
            end += step
        if not isinstance(event, Heartbeat):
            made.on(event)
            if end < 0 and closed_by == "clock":
                end = -(-ts // step) * step
    return feature_frame(rows)


def feature_frame(rows: list[tuple[float, ...]]) -> "pd.DataFrame":
    """Rows of (open in ns, features) as a canonical frame."""
    import pandas as pd

    values = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), len(FEATURES))
    ts = np.array([row[0] // MS_NS for row in rows], np.int64)
    return pd.DataFrame({"ts": ts} | {name: values[:, i] for i, name in enumerate(FEATURES)})
