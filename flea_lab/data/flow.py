"""Order flow as frames to look at: sampled second by second from a feed's messages, with everything wrong with them.

Rules. A row is what was known at its instant, by the venue's time, and no more: a book that cannot be vouched for, or
is older than `fresh_s`, makes its cells NaN. Imbalance, spread, VPIN and funding are those of `data.features`, measured
by the same class as a desk's. Memory is bounded: at most `MOST_ROWS` rows are kept (steps are joined in pairs, over and
over), at most `MOST_PRINTS` prints, the largest, and as many that no order in the book made.

::

    seconds  ts (ms UTC, the step's end), bid, ask, mid, spread_bps, imbalance, bid_depth_<bps>, ask_depth_<bps>,
             buys, sells (base units printed in the step), n_buys, n_sells, vpin, current_rate, predicted_rate,
             hours_to_funding
    levels   a row a step (index: ts), a column a band of prices (its middle): base units in the book; NaN: not seen
    prints   ts, price, qty, side (the aggressor's), kind
    ledger   see `data.findings.findings_frame`
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count
from math import floor, log10, nan
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import Meta

from flea_lab.data.features import BarFeatures, FeatureSettings
from flea_lab.data.findings import findings_frame
from flea_lab.data.market_watch import MarketWatch
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.vouched import Vouched
from flea_lab.settings import Settings
from flea_lab.signal.kernel import FEATURES

MOST_ROWS = 2_400
MOST_PRINTS = 400
MOST_BANDS = 400
DEPTH = 1_000
"""Levels a side that are read, once a step."""
LEAP_NS = 600_000_000_000
"""An instant this far ahead is believed when the next message says so too; what lies between is one blank row."""

FLOWS = ("buys", "sells", "n_buys", "n_sells")
MEASURED = ("imbalance", "spread_bps", "vpin", "current_rate", "predicted_rate", "hours_to_funding")

Floats = npt.NDArray[np.float32]
Watched = BookSnapshot | BookDelta | Trade | Candle | Funding


class FlowSettings(Settings, frozen=True, kw_only=True):
    """How order flow is sampled. `bucket_volume` of VPIN, base units; None: it is not measured."""

    step_s: Annotated[float, Meta(ge=0.1, le=3_600.0, description="seconds")] = 1.0
    fresh_s: Annotated[float, Meta(gt=0.0, le=86_400.0, description="seconds")] = 10.0
    levels: Annotated[int, Meta(ge=1, le=1_000, description="best levels of a side, of the imbalance")] = 10
    depth_bps: tuple[Annotated[float, Meta(gt=0.0, le=1_000.0)], ...] = (1.0, 5.0, 10.0)
    reach_bps: Annotated[float, Meta(gt=0.0, le=1_000.0, description="of the bands, from mid")] = 10.0
    bands: Annotated[int, Meta(ge=4, le=100, description="about how many a side")] = 40
    bucket_volume: Annotated[float, Meta(gt=0.0, le=1e12, description="base units")] | None = None
    window: Annotated[int, Meta(ge=1, le=1_000, description="volume buckets")] = 50
    funding_interval_h: Annotated[int, Meta(ge=1, le=24, description="hours")] = 8


class Flow(NamedTuple):
    """The frames of this module's docstring; `messages` counts what was heard by kind, `step_s` is the final step."""

    venue: str
    symbol: str
    step_s: float
    seconds: pd.DataFrame
    levels: pd.DataFrame
    prints: pd.DataFrame
    ledger: pd.DataFrame
    messages: dict[str, int]

    @property
    def readable(self) -> float:
        """Share of the rows in which the book could be vouched for and was fresh."""
        return float(self.seconds["mid"].notna().mean()) if len(self.seconds) else nan


def flow_frames(events: Iterable[Any], venue: str, symbol: str, settings: FlowSettings | None = None) -> Flow:
    """The order flow of `symbol` in `events`, which come in the order of their receipt; `venue` names the rules."""
    sampler = FlowSampler(venue, symbol, settings or FlowSettings())
    for event in events:
        if isinstance(event, Heartbeat | Watched):
            sampler.on(event)
    return sampler.flow()


def without(events: Iterable[Any], from_s: float, to_s: float) -> Iterator[Any]:
    """`events` without those from `from_s` to `to_s` seconds after the first: an outage that nobody announces."""
    first: int | None = None
    for event in events:
        first = event.ts_event if first is None else first
        if not from_s <= (event.ts_event - first) / 1e9 < to_s:
            yield event


class FlowSampler:
    """Samples one symbol of one feed; watches all of it."""

    def __init__(self, venue: str, symbol: str, settings: FlowSettings) -> None:
        self.venue, self.symbol, self.settings = venue, symbol, settings
        self.watch = MarketWatch(venue, depth=DEPTH)
        self._step_ns = round(settings.step_s * 1e9)
        self._features = BarFeatures(self._step_ns, _measured_by(settings))
        self._joined = 1
        self._pending: list[tuple[float, ...]] = []
        self._rows: list[tuple[float, ...]] = []
        self._levels = _Bands(settings)
        self._end_ns = self._doubt_ns = -1
        self._tally = [0.0, 0.0, 0, 0]
        self._order = count()
        self._largest: list[tuple[float, int, Trade]] = []
        self._odd: list[Trade] = []
        self._messages: Counter[str] = Counter()

    def on(self, event: Watched | Heartbeat) -> None:
        """Takes the next message."""
        if isinstance(event, Heartbeat):
            self._reach(event.ts_event)
            return
        mine = event.symbol == self.symbol
        if mine and not isinstance(event, Candle):
            self._reach(event.ts_event)
        told = self.watch.on(event)
        if not mine:
            return
        self._messages[type(event).__name__] += 1
        if isinstance(event, Trade):
            if any(isinstance(one, Finding) and one.kind == "gap" for one in told):
                self._features.lose("trades")
            self._features.on(event)
            self._print(event)
        elif isinstance(event, Funding):
            self._features.on(event)

    def flow(self) -> Flow:
        """Everything so far; ends the step that is under way."""
        if self._end_ns >= 0:
            self._sample()
            self._end_ns += self._step_ns
        rows = [*self._rows, *([_join(self._pending, self._names)] if self._pending else [])]
        seconds = pd.DataFrame(rows, columns=list(self._names), dtype=np.float64).astype({"ts": np.int64})
        kept = sorted([*(one for *_, one in self._largest), *self._odd], key=lambda one: one.ts_event)
        prints = pd.DataFrame(
            [(one.ts_event // MS_NS, one.price, one.qty, one.side, one.kind) for one in kept],
            columns=["ts", "price", "qty", "side", "kind"],
        ).astype({"ts": np.int64, "price": np.float64, "qty": np.float64})
        return Flow(
            venue=self.venue,
            symbol=self.symbol,
            step_s=self.settings.step_s * self._joined,
            seconds=seconds,
            levels=self._levels.frame(),
            prints=prints,
            ledger=findings_frame(self.watch.ledger.rows()),
            messages=dict(self._messages),
        )

    @property
    def _names(self) -> tuple[str, ...]:
        depth = [f"{side}_depth_{bps:g}" for bps in self.settings.depth_bps for side in ("bid", "ask")]
        return ("ts", "bid", "ask", "mid", *depth, *FLOWS, *MEASURED)

    def _print(self, trade: Trade) -> None:
        if trade.kind != "normal":
            if len(self._odd) < MOST_PRINTS:
                self._odd.append(trade)
            return
        bought = trade.side == "buy"
        self._tally[0 if bought else 1] += trade.qty
        self._tally[2 if bought else 3] += 1
        row = trade.qty, next(self._order), trade
        if len(self._largest) < MOST_PRINTS:
            heapq.heappush(self._largest, row)
        else:
            heapq.heappushpop(self._largest, row)

    def _reach(self, ts: int) -> None:
        """Samples every instant before `ts`."""
        if self._end_ns < 0:
            self._end_ns = -(-ts // self._step_ns) * self._step_ns
        if ts - self._end_ns > LEAP_NS:
            if not -LEAP_NS <= ts - self._doubt_ns <= LEAP_NS:
                self._doubt_ns = ts
                return
            self._sample()
            self._keep((float((self._end_ns + self._step_ns) // MS_NS), *[nan] * (len(self._names) - 1)))
            self._end_ns = -(-ts // self._step_ns) * self._step_ns
        while self._end_ns < ts:
            self._sample()
            self._end_ns += self._step_ns

    def _sample(self) -> None:
        """The row of the step that ends now."""
        ts, wanted = self._end_ns, self.settings
        book = self.watch.book(self.symbol)
        if book is not None and not ts - book.ts_event <= wanted.fresh_s * 1e9:
            book = None
        if book is None:
            self._features.lose("book")
            touch, depth = (nan, nan, nan), [nan] * (2 * len(wanted.depth_bps))
        else:
            self._features.on(book)
            touch = book.bid, book.ask, book.mid
            depth = [qty for bps in wanted.depth_bps for qty in book.depth_at_bps(bps)]
        row = dict(zip(FEATURES, self._features.close(ts), strict=True))
        self._levels.take(ts // MS_NS, book)
        self._keep((float(ts // MS_NS), *touch, *depth, *self._tally, *(row[name] for name in MEASURED)))
        self._tally = [0.0, 0.0, 0, 0]

    def _keep(self, row: tuple[float, ...]) -> None:
        self._pending.append(row)
        if len(self._pending) < self._joined:
            return
        self._rows.append(_join(self._pending, self._names))
        self._pending = []
        if len(self._rows) >= MOST_ROWS:
            pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
            self._rows = [_join(list(pair), self._names) for pair in pairs]
            self._joined *= 2


def _measured_by(settings: FlowSettings) -> FeatureSettings:
    return FeatureSettings(
        levels=settings.levels,
        fresh_s=settings.fresh_s,
        funding_interval_h=settings.funding_interval_h,
        bucket_volume=settings.bucket_volume,
        window=settings.window,
    )


def _join(rows: list[tuple[float, ...]], names: tuple[str, ...]) -> tuple[float, ...]:
    """Rows that follow each other as one: what flowed is summed, the rest is as it was in the last."""
    if len(rows) == 1:
        return rows[0]
    last = dict(zip(names, rows[-1], strict=True))
    for name in FLOWS:
        values = np.array([row[names.index(name)] for row in rows])
        last[name] = nan if np.isnan(values).all() else float(np.nansum(values))
    return tuple(last.values())


class _Bands:
    """Base units in the book by bands of prices, a row a step; every other row goes where there are too many."""

    def __init__(self, settings: FlowSettings) -> None:
        self._reach, self._bands = settings.reach_bps / 10_000, settings.bands
        self.width = nan
        self._every = 1
        self._seen = 0
        self._rows: list[tuple[int, int, Floats]] = []

    def take(self, ts_ms: int, book: Vouched | None) -> None:
        """Takes the book at `ts_ms`, None where it cannot be read."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        row = (0, np.empty(0, np.float32)) if book is None else self._row(book)
        self._rows.append((ts_ms, *row))
        if len(self._rows) >= MOST_ROWS:
            self._rows = self._rows[::2]
            self._every *= 2

    def frame(self) -> pd.DataFrame:
        """The `levels` of the module docstring."""
        seen = [(low, len(qty)) for _, low, qty in self._rows if len(qty)]
        first, last = (min(low for low, _ in seen), max(low + n for low, n in seen)) if seen else (0, 0)
        join = max(1, -(-(last - first) // MOST_BANDS))
        bands = -(-(last - first) // join)
        table = np.full((len(self._rows), bands), np.nan, np.float32)
        for row, (_, low, qty) in zip(table, self._rows, strict=True):
            at = (np.arange(len(qty)) + low - first) // join
            row[at] = 0.0
            np.add.at(row, at, qty)
        width = self.width * join
        prices = first * self.width + (np.arange(bands) + 0.5) * width
        index = pd.Index([ts for ts, *_ in self._rows], name="ts", dtype=np.int64)
        return pd.DataFrame(table, index=index, columns=np.round(prices, 10))

    def _row(self, book: Vouched) -> tuple[int, Floats]:
        """Number of the lowest band within reach of mid, and what is in it and those above."""
        reach = book.mid * self._reach
        if self.width != self.width:
            self.width = _round_width(reach / self._bands)
        low, high = floor((book.mid - reach) / self.width), floor((book.mid + reach) / self.width)
        levels = np.array([*book.bids, *book.asks])
        at = np.floor(levels[:, 0] / self.width + 1e-9).astype(np.int64) - low
        inside = (at >= 0) & (at <= high - low)
        row = np.bincount(at[inside], weights=levels[inside, 1], minlength=high - low + 1)
        return low, row.astype(np.float32)


def _round_width(width: float) -> float:
    """The next of 1, 2, 5, 10, ... that is no less than `width`."""
    scale = 10.0 ** floor(log10(width))
    return next(scale * step for step in (1.0, 2.0, 5.0, 10.0) if scale * step >= width * (1 - 1e-9))
