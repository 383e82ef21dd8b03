"""Market data in a notebook: candles, books and trades of a few symbols, kept fresh, with callbacks.

    feed = MarketFeed(["BTCUSDT"], api_key=key)
    feed.on("candle", lambda event: print(event["candle"].close))
    await feed.start_in_background()
    feed.closes("BTCUSDT")

Rules. What is kept (`closes`, `book`) is new as soon as it was read, however slow a callback is. Every callback has its
own queue and task: one that is slow or raises disturbs neither the reading nor the others. Of a symbol's books a slow
callback gets the newest; it loses no candle and no trade, and one that falls `backlog` behind is reported and no
longer called, so that nobody reads a stream with hidden holes. Candles come in order, each once: what was missed while
the connection was down is asked of history first, again until it answers. A symbol that the venue refuses is said once
and leaves the others alone.
"""

import asyncio
import inspect
import logging
import math
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from flea_lab.clock import Clock, WallClock
from flea_lab.errors import ConfigError, FleaError, VenueError, VenueRefusal
from flea_lab.live.feeds import Spoken, dialect_of, needs_key, open_feed
from flea_lab.live.inbox import Inbox
from flea_lab.live.keys import VARIABLE
from flea_lab.model.market import BookSnapshot, Candle, Trade
from flea_lab.secret import Secret
from flea_lab.venue.protocol import Link, Said
from flea_lab.venue.speech import Kind

Event = Literal["candle", "book", "trade", "stale"]
Callback = Callable[[dict[str, Any]], Awaitable[None] | None]

KEPT = 500
"""Complete candles kept a symbol."""

AGAIN_S = 1.0
"""Between two questions for history that does not answer."""

log = logging.getLogger("flea_lab.feed")


class Book(Struct, frozen=True, kw_only=True):
    """A symbol's book: levels are (price, size), best first. What an empty or crossed book cannot tell is NaN."""

    symbol: str
    ts_event: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]

    @property
    def mid_price(self) -> float:
        """Half way between the best bid and the best ask.

        >>> Book(symbol="B", ts_event=0, bids=((99.0, 1.0),), asks=((101.0, 2.0),)).mid_price
        100.0
        """
        if not (self.bids and self.asks and self.bids[0][0] < self.asks[0][0]):
            return math.nan
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def spread_bps(self) -> float:
        """The quoted spread over the mid, in basis points."""
        mid = self.mid_price
        return math.nan if math.isnan(mid) else (self.asks[0][0] - self.bids[0][0]) / mid * 10_000

    def depth_at_bps(self, bps: float) -> tuple[float, float]:
        """Bid and ask size within `bps` of the mid."""
        mid = self.mid_price
        if math.isnan(mid):
            return math.nan, math.nan
        near = mid * bps / 10_000
        bids = sum(size for price, size in self.bids if mid - price <= near)
        return bids, sum(size for price, size in self.asks if price - mid <= near)


class _Listener:
    """One callback, what waits for it, and the task that calls it."""

    def __init__(self, event: Event, callback: Callback, backlog: int) -> None:
        self.event, self._callback, self._backlog = event, callback, backlog
        self.name = getattr(callback, "__qualname__", None) or repr(callback)
        self._waiting: Inbox[dict[str, Any]] = Inbox(crowded=0, most=backlog)
        self._dropped = False

    def put(self, said: dict[str, Any]) -> None:
        if self._dropped:
            return
        try:
            self._waiting.put_nowait(said, said["symbol"] if self.event == "book" else "")
        except VenueError:
            self._dropped = True
            self._waiting.clear()
            log.error("callback %s of %r is %d behind and is no longer called", self.name, self.event, self._backlog)

    async def run(self) -> None:
        while True:
            await self._call(await self._waiting.get())

    async def _call(self, said: dict[str, Any]) -> None:
        try:
            found = self._callback(said)
            if inspect.isawaitable(found):
                await found
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.error("callback %s of %r cancelled itself", self.name, self.event)
        except Exception:  # a stranger's code: its fault is told under its name, and the feed goes on
            log.exception("callback %s of %r raised", self.name, self.event)


class MarketFeed:
    """Live market data of one venue for `symbols`.

    `api_key` None reads FLEA_API_KEY; `dialect` may be a name (`hyperliquid`, `ccxt:binanceusdm`), a `Dialect` or the
    values that override the published one. Public data needs no key.
    `stale_after_s` without data of a symbol says `stale`, again every half of it; before the first data the age counts
    from the start.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        api_key: str | Secret | None = None,
        dialect: Spoken = None,
        interval: str = "1m",
        history: int = KEPT,
        stale_after_s: float = 10.0,
        backlog: int = 100_000,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < stale_after_s < math.inf or not 0 <= history <= KEPT or not backlog >= 1:
            text = f"stale_after_s ({stale_after_s}) and backlog ({backlog}) must be above 0"
            raise ConfigError(f"{text}, history ({history}) must be between 0 and {KEPT}")
        spoken = dialect_of(dialect, "the feed's dialect")
        key = api_key if api_key is not None else os.environ.get(VARIABLE) or None
        secret = Secret(key) if isinstance(key, str) else key
        self.symbols = tuple(symbols)
        self._client = open_feed(
            spoken,
            secret if needs_key(spoken) else None,
            self.symbols,
            interval,
            {},
            clock or WallClock(),
            ("candle", "book", "trades"),
            on_fault=lambda text: log.warning("a frame was not used: %s", text),
            partial=len(self.symbols) > 1,
        )
        self._history, self._stale_after_s, self._backlog = history, stale_after_s, backlog
        self._candles: dict[str, deque[Candle]] = {symbol: deque(maxlen=KEPT) for symbol in self.symbols}
        self._books: dict[str, Book] = {}
        self._last_s: dict[str, float] = {}
        self._newest: dict[tuple[type, str], object] = {}
        self._listeners: list[_Listener] = []
        self._heard: asyncio.Queue[Candle | Link] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None

    def on(self, event: Event, callback: Callback) -> Callback:
        """Calls `callback`, plain or async, with a dict for every `event`: {symbol, candle} for a complete candle,
        {symbol, book}, {symbol, trade}, {symbol, age_secs} when a symbol is stale.
        """
        if event not in get_args(Event):
            raise ConfigError(f"event {event!r} must be one of {', '.join(map(repr, get_args(Event)))}")
        listener = _Listener(event, callback, self._backlog)
        self._listeners.append(listener)
        if self._group is not None:
            self._begin(self._group, listener)
        return callback

    def closes(self, symbol: str) -> npt.NDArray[np.float64]:
        """Closes of the last complete candles, oldest first, at most 500."""
        return np.array([candle.close for candle in self._candles[symbol]], np.float64)

    def volumes(self, symbol: str) -> npt.NDArray[np.float64]:
        """Volumes of the last complete candles, oldest first, at most 500."""
        return np.array([candle.volume for candle in self._candles[symbol]], np.float64)

    def candles(self, symbol: str) -> tuple[Candle, ...]:
        """The last complete candles, oldest first, at most 500."""
        return tuple(self._candles[symbol])

    def book(self, symbol: str) -> Book | None:
        """The newest book; None before the first."""
        if symbol not in self._candles:
            raise KeyError(symbol)
        return self._books.get(symbol)

    def freshness(self, channel: Kind, symbol: str) -> float | None:
        """Seconds since the venue's own time of the last message of `channel` ("candle", "book", "trades"), as of now;
        None before the first.
        """
        return self._client.freshness(channel, symbol, self._client.venue_now_ns())

    @property
    def refused(self) -> frozenset[str]:
        """Symbols, as the venue spells them, that it does not give."""
        return frozenset(symbol for _, symbol in self._client.refused if symbol)

    async def start(self) -> None:
        """Loads history, then runs until `stop`; a `VenueError` says why it cannot."""
        task = await self.start_in_background()
        try:
            await asyncio.wait({task})
        finally:
            if self._task is task:
                await self.stop()

    async def start_in_background(self) -> "asyncio.Task[None]":
        """The task that keeps the feed running, once history is loaded. Its end by an error is logged and raised by
        `stop`.
        """
        if self._task is not None:
            raise ConfigError("the feed is running already")
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(ready), name="market feed")
        self._task.add_done_callback(lambda task: self._ended(task, ready))
        try:
            await ready
        except BaseException:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
            raise
        return self._task

    async def stop(self) -> None:
        """Ends the feed; raises what had ended it before."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def __aenter__(self) -> Self:
        await self.start_in_background()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop()

    def _ended(self, task: "asyncio.Task[None]", ready: "asyncio.Future[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if not ready.done():
            ready.set_exception(error) if error is not None else ready.cancel()
        elif error is not None:
            log.error("the feed has ended: %s", error)

    async def _live(self, ready: "asyncio.Future[None]") -> None:
        self._last_s = dict.fromkeys(self.symbols, asyncio.get_running_loop().time())
        self._heard = asyncio.Queue()
        failed: FleaError | None = None
        try:
            async with self._client:
                await self._warm_up()
                async with asyncio.TaskGroup() as group:
                    self._group = group
                    for listener in self._listeners:
                        self._begin(group, listener)
                    group.create_task(self._client.run(self._hear), name="feed reader")
                    group.create_task(self._order_candles(), name="feed candles")
                    group.create_task(self._watch(), name="feed staleness")
                    ready.set_result(None)
        except* FleaError as group_of_them:
            failed = next(error for error in group_of_them.exceptions if isinstance(error, FleaError))
        finally:
            self._group = None
            self._books.clear()  # a book that nobody refreshes is no book
        if failed is not None:
            raise failed

    async def _warm_up(self) -> None:
        for symbol, kept in self._candles.items():
            kept.clear()
            if self._history:
                try:
                    kept.extend(await self._client.history(symbol, None, self._history))
                except VenueRefusal:
                    raise
                except VenueError as error:
                    if len(self.symbols) == 1:
                        raise
                    log.error("history of %s: %s", symbol, error)

    @staticmethod
    def _begin(group: asyncio.TaskGroup, listener: _Listener) -> None:
        group.create_task(listener.run(), name=f"feed callback {listener.name}")

    def _hear(self, said: Said) -> None:
        """Takes one thing the venue said; never waits."""
        if isinstance(said, Candle | BookSnapshot | Trade):
            self._refresh(said)
        if isinstance(said, BookSnapshot):
            if not (said.bids and said.asks):
                self._books.pop(said.symbol, None)
                return
            book = Book(symbol=said.symbol, ts_event=said.ts_event, bids=said.bids, asks=said.asks)
            self._books[said.symbol] = book
            self._emit("book", {"symbol": said.symbol, "book": book})
        elif isinstance(said, Trade):
            self._emit("trade", {"symbol": said.symbol, "trade": said})
        elif isinstance(said, Link) or (isinstance(said, Candle) and said.complete):
            self._heard.put_nowait(said)
        if isinstance(said, Link) and not said.up:
            self._books.clear()
            log.warning("connection lost: %s", said.reason)

    def _refresh(self, said: Candle | BookSnapshot | Trade) -> None:
        """A symbol is fresh by what is new in the venue's own time; a frozen feed sends the same again and again."""
        new = (said.ts_event, said.close, said.volume) if isinstance(said, Candle) else said.ts_event
        key = type(said), said.symbol
        if self._newest.get(key) != new:
            self._newest[key] = new
            self._last_s[said.symbol] = asyncio.get_running_loop().time()

    def _emit(self, event: Event, said: dict[str, Any]) -> None:
        for listener in self._listeners:
            if listener.event == event:
                listener.put(dict(said))

    async def _order_candles(self) -> None:
        """Keeps and emits every complete candle once and in order; after a connect, what was missed comes first."""
        linked, whole, early = False, False, list[Candle]()
        while True:
            try:
                async with asyncio.timeout(AGAIN_S if linked and not whole else None):
                    heard = await self._heard.get()
            except TimeoutError:
                heard = None  # history has not answered yet: it is asked again
            if isinstance(heard, Candle):
                if whole:
                    self._keep(heard)
                else:
                    early.append(heard)
                continue
            if heard is not None:
                linked, whole, early = heard.up, False, []
            missed = await self._missed() if linked else None
            if missed is not None:
                for candle in sorted([*missed, *early], key=lambda candle: candle.ts_event):
                    self._keep(candle)
                whole, early = True, []

    async def _missed(self) -> list[Candle] | None:
        """What every symbol's history has beyond what is kept; None where it does not answer."""
        found: list[Candle] = []
        for symbol, kept in self._candles.items():
            try:
                found += await self._client.history(symbol, kept[-1].ts_event, KEPT) if kept else []
            except VenueError as error:
                log.error("candles of %s after the connect are missing, asked again: %s", symbol, error)
                return None
        return found

    def _keep(self, candle: Candle) -> None:
        kept = self._candles[candle.symbol]
        if not kept or candle.ts_event > kept[-1].ts_event:
            kept.append(candle)
            self._emit("candle", {"symbol": candle.symbol, "candle": candle})

    async def _watch(self) -> None:
        """Says of every symbol that it is stale, again every half of the limit while it stays so."""
        loop, limit_s = asyncio.get_running_loop(), self._stale_after_s
        told = dict.fromkeys(self.symbols, -math.inf)
        while True:
            await asyncio.sleep(min(1.0, limit_s / 10))
            now_s = loop.time()
            for symbol in self.symbols:
                age_s = now_s - self._last_s[symbol]
                if age_s > limit_s and now_s - told[symbol] >= limit_s / 2:
                    told[symbol] = now_s
                    self._emit("stale", {"symbol": symbol, "age_secs": age_s})
