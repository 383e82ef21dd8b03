"""Public market data of any exchange that ccxt's websocket API knows, behind the Feed face. No key, and no order.

Rules. ccxt is imported when a feed is opened, and only its public methods are called. One task a stream asks ccxt for
what is next; when one of them fails, all end, ccxt closes its connections, the link is down, and after a wait by our
own back-off everything is asked for anew. The link is up when every stream of candles and books has told something,
or `acknowledge_within_s` after the first that has. ccxt does not say when a bar is over: a later bar, or the stamps of
the exchange, do; where neither comes, the bar is asked for over REST before it is called over.
"""

import asyncio
import itertools
import math
from collections.abc import Mapping
from typing import Any, Self

from msgspec.structs import replace

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.venue.ccxt_library import asking, make_exchange
from flea_lab.venue.ccxt_reading import (
    addresses,
    book_of,
    candle_of,
    grid_of,
    market_of,
    milli_ns,
    number,
    trade_of,
)
from flea_lab.venue.forming import Forming
from flea_lab.venue.heard import Heard
from flea_lab.venue.protocol import Deliver, Link, VenueClock
from flea_lab.venue.public_data import PublicData
from flea_lab.venue.reach import require_reach
from flea_lab.venue.reading import FrameError
from flea_lab.venue.reconnect import Reconnect
from flea_lab.venue.speech import Kind

WATCHES: dict[Kind, str] = {"candle": "watchOHLCV", "book": "watchOrderBook", "trades": "watchTrades"}
"""What an exchange must be able to do for a channel, in ccxt's names. Funding is asked for."""

KIND: dict[type, Kind] = {Candle: "candle", BookSnapshot: "book", Trade: "trades"}

PAGE = 500
TRADES = 4_096
BEAT_S = 0.2
FUNDING_S, TIME_S = 60.0, 600.0
AGAIN_S = 1.0


class CcxtFeed:
    """Market data of one exchange of ccxt for `symbols`: a `Feed`, in one session (`async with`).

    `instruments` says what the exchange does not tell of its
    markets. `exchange` stands in for ccxt's own, for tests.
    """

    def __init__(
        self, asked: PublicData, *, instruments: Mapping[str, Instrument] | None = None, exchange: Any = None
    ) -> None:
        self.dialect, self.symbols, self.interval = asked.dialect, asked.symbols, asked.interval
        self._clock, self._wanted, self._told = asked.clock, asked.channels, asked.on_fault
        self._exchange, self._ours = exchange, dict(instruments or {})
        self._step_ns = asked.step_ns
        self._grace_ns = round(self.dialect.bar_grace_s * 1e9)
        self._forming = Forming(self.symbols, self._step_ns, self._grace_ns)
        self._markets: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, dict[str, None]] = {symbol: {} for symbol in self.symbols}
        self._settled: dict[str, int] = {}
        self._ahead_ns, self._heard = 0, Heard()
        self._waiting: set[tuple[Kind, str]] = set()
        self._up = False
        self._deliver: Deliver | None = None
        self._first_s = self._last_s = 0.0
        self.faults = 0

    async def __aenter__(self) -> Self:
        if self._exchange is None:
            self._exchange = make_exchange(self.dialect)
        require_reach(addresses(self._exchange.urls), f"dialect {self.dialect.name!r}")
        try:
            async with asking(self.dialect, "load_markets"):
                markets = await self._exchange.load_markets()
            self._markets = {symbol: market_of(symbol, markets, self.dialect) for symbol in self.symbols}
            self._require_channels()
            await self.clock()
        except BaseException:
            await self._exchange.close()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._exchange.close()

    def _require_channels(self) -> None:
        able = self._exchange.has
        for kind in self._wanted:
            name = WATCHES.get(kind)
            if name and not able.get(name):
                told = [one for one in WATCHES if able.get(WATCHES[one])]
                has = ", ".join(told) or "none of them"
                raise ConfigError(f"dialect {self.dialect.name!r} has no channel {kind!r} ({name}); it has {has}")
        if self.interval not in (self._exchange.timeframes or {self.interval: ""}):
            known = ", ".join(self._exchange.timeframes)
            raise ConfigError(f"dialect {self.dialect.name!r} has no candles of {self.interval}; it has {known}")

    @property
    def refused(self) -> set[tuple[str, str]]:
        """Nothing: what the exchange does not give is refused when the feed is opened."""
        return set()

    def venue_now_ns(self) -> int:
        """The exchange's time now, by the last answer on it; ours where it tells none."""
        return self._clock.now_ns() + self._ahead_ns

    def freshness(self, channel: Kind, symbol: str, now_venue_ns: int) -> float | None:
        """Seconds since the exchange's own time of the last message of `channel` and `symbol`; None before any."""
        return self._heard.age_s(channel, symbol, now_venue_ns)

    # ---- the streams

    async def run(self, deliver: Deliver) -> None:
        """As `Feed.run`."""
        dialect, loop = self.dialect, asyncio.get_running_loop()
        pace = Reconnect(dialect.backoff_first_s, dialect.backoff_last_s, dialect.connects_per_minute, dialect.steady_s)
        self._deliver = deliver
        while True:
            await asyncio.sleep(pace.wait_s(loop.time(), self._clock.jitter()))
            pace.connecting(loop.time())
            self._forming.begin(self.venue_now_ns())
            self._up, self._first_s, self._last_s = False, 0.0, 0.0
            self._waiting = {(kind, s) for kind in self._wanted for s in self.symbols if kind in ("candle", "book")}
            reason, final = await self._connection()
            deliver(Link(up=False, ts_recv=self._clock.now_ns(), reason=reason))
            if final:
                raise VenueRefusal(reason)
            pace.ended(self._last_s - self._first_s)
            await self._exchange.close()

    async def _connection(self) -> tuple[str, bool]:
        """Why the streams ended, and whether no others could do better."""
        jobs = [self._watch(kind, symbol) for kind in self._wanted if kind in WATCHES for symbol in self.symbols]
        jobs += [self._beat(), self._keep_time()]
        if "funding" in self._wanted:
            jobs += [self._fund(symbol) for symbol in self.symbols]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (VenueError, TimeoutError) as error:
            return str(error) or "no answer", isinstance(error, VenueRefusal)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise AssertionError("a stream ended by itself")

    async def _watch(self, kind: Kind, symbol: str) -> None:
        theirs, read = self._markets[symbol]["symbol"], {"candle": self._candles, "trades": self._trades}.get(kind)
        while True:
            async with asking(self.dialect, f"{kind} {symbol}"):
                if kind == "candle":
                    told = await self._exchange.watch_ohlcv(theirs, self.interval)
                elif kind == "trades":
                    told = await self._exchange.watch_trades(theirs)
                else:
                    told = await self._exchange.watch_order_book(theirs)
            self._last_s = asyncio.get_running_loop().time()
            self._first_s = self._first_s or self._last_s
            try:
                (read or self._book)(symbol, told, self._clock.now_ns())
            except FrameError as error:
                self._fault(f"{kind} {symbol}: {error}")
                if error.critical:
                    raise
            self._waiting.discard((kind, symbol))
            self._lift()

    def _lift(self) -> None:
        waited_s = asyncio.get_running_loop().time() - self._first_s
        if not self._up and self._first_s and (not self._waiting or waited_s >= self.dialect.acknowledge_within_s):
            self._up = True
            self._say(Link(up=True, ts_recv=self._clock.now_ns()))

    def _say(self, said: Any) -> None:
        if isinstance(said, Candle | BookSnapshot | Trade):
            self._heard.note(KIND[type(said)], said.symbol, said.ts_event)
        if self._deliver is not None:
            self._deliver(said)

    async def _beat(self) -> None:
        """Calls bars over, asks for those of which nothing shows that they are, and ends a connection that is dead."""
        silence_s = max(self.dialect.silence_s, self._step_ns / 1e9 + 30.0)
        began_s = loop_s = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(BEAT_S)
            loop_s = asyncio.get_running_loop().time()
            self._lift()
            if not loop_s - max(self._last_s, began_s) <= silence_s:
                raise VenueError(f"no message for {silence_s:g} s")
            if not self._up:
                continue
            if "candle" in self._wanted and self._forming.due(self.venue_now_ns()):
                try:
                    await self._confirm()
                except VenueRefusal:
                    raise
                except VenueError as error:
                    self._fault(str(error))
                    await asyncio.sleep(AGAIN_S)
            self._over()

    async def _keep_time(self) -> None:
        """Asks for the exchange's time again, now and then: clocks drift."""
        while True:
            await asyncio.sleep(TIME_S)
            try:
                await self.clock()
            except VenueError as error:
                self._fault(f"time: {error}")

    def _over(self) -> None:
        for said in self._forming.over(self._clock.now_ns()):
            self._say(said)

    async def _confirm(self) -> None:
        """Asks for the bar that has just ended, of every symbol."""
        now_ns = self.venue_now_ns()
        end_ns = (now_ns - self._grace_ns) // self._step_ns * self._step_ns
        for symbol in self.symbols:
            for candle in await self._fetched(symbol, end_ns - self._step_ns, 2):
                for said in self._forming.on(candle) if candle.ts_event == end_ns else ():
                    self._say(said)
        self._forming.hear(now_ns, now_ns)

    def _candles(self, symbol: str, rows: Any, ts_recv: int) -> None:
        for row in rows:
            for said in self._forming.on(candle_of(row, symbol, self.interval, ts_recv)):
                self._say(said)

    def _trades(self, symbol: str, rows: Any, ts_recv: int) -> None:
        trades = [(str(row.get("id") or ""), trade_of(row, self._markets[symbol], symbol, ts_recv)) for row in rows]
        seen = self._seen[symbol]
        for name, trade in trades:
            if name and name in seen:
                continue
            seen[name] = None
            if len(seen) > TRADES:
                del seen[next(iter(seen))]
            self._forming.hear(trade.ts_event, self.venue_now_ns())
            self._over()
            self._say(trade)

    def _book(self, symbol: str, told: Any, ts_recv: int) -> None:
        book = book_of(told, self._markets[symbol], symbol, ts_recv, self.dialect.depth)
        if told.get("timestamp") is not None:  # else it bears our own time, which proves nothing
            self._forming.hear(book.ts_event, self.venue_now_ns())
            self._over()
        self._say(book)

    async def _fund(self, symbol: str) -> None:
        """Asks for the rate that runs, and after its time for what was settled."""
        last, rate = self.venue_now_ns(), math.nan
        while True:
            try:
                if self._exchange.has.get("fetchFundingRate"):
                    rate = await self._current(symbol, rate)
                for funding in await self.settlements(symbol, last):
                    last = funding.ts_event
                    self._forming.settled(funding)
            except VenueRefusal:
                raise
            except VenueError as error:
                self._fault(str(error))
            await asyncio.sleep(FUNDING_S)

    async def _current(self, symbol: str, last: float) -> float:
        async with asking(self.dialect, f"funding {symbol}"):
            told = await self._exchange.fetch_funding_rate(self._markets[symbol]["symbol"])
        rate, due = told.get("fundingRate"), told.get("fundingTimestamp") or told.get("nextFundingTimestamp")
        if rate is None or rate == last or not -1.0 < rate < 1.0:
            return last
        now_ns = self._clock.now_ns()
        due_ns = None if due is None else milli_ns(due)
        self._say(
            Funding(
                symbol=symbol, ts_event=self.venue_now_ns(), ts_recv=now_ns, rate=rate, state="current", due_ns=due_ns
            )
        )
        return float(rate)

    # ---- questions

    async def acknowledge(self, ts_event: int) -> None:
        """Nothing: the venue waits for nobody."""

    async def refresh(self, symbol: str) -> None:
        """Nothing: every book is whole."""

    async def instruments(self) -> Mapping[str, Instrument]:
        """As `Feed.instruments`, from the precision and limits of the exchange's markets; hours between settlements
        from its funding rates, where it tells them, else as we have them."""
        mode = self._exchange.precisionMode
        return {symbol: grid_of(self._markets[symbol], mode, await self._hours(symbol)) for symbol in self.symbols}

    async def _hours(self, symbol: str) -> int:
        ours = self._ours[symbol].funding_interval_h if symbol in self._ours else 8
        if not self._exchange.has.get("fetchFundingRate") or not self._markets[symbol].get("swap"):
            return ours
        async with asking(self.dialect, f"funding {symbol}"):
            told = (await self._exchange.fetch_funding_rate(self._markets[symbol]["symbol"])).get("interval")
        text = str(told or "").removesuffix("h")
        return int(text) if text.isdigit() and 1 <= int(text) <= 24 else ours

    async def clock(self) -> VenueClock:
        """As `Feed.clock`; ours where the exchange does not tell its own."""
        if self._exchange.has.get("fetchTime"):
            before_ns = self._clock.now_ns()
            async with asking(self.dialect, "time"):
                told = await self._exchange.fetch_time()
            self._ahead_ns = milli_ns(told) - (before_ns + self._clock.now_ns()) // 2
        return VenueClock(now_ns=self.venue_now_ns(), kind="wall", matching=self.dialect.matching)

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """As `Feed.history`, in pages, as far back as the exchange goes."""
        young_s = self.venue_now_ns() % self._step_ns / 1e9
        await asyncio.sleep(max(0.0, self.dialect.bar_grace_s - young_s))
        if start_ns is not None:
            return (await self._after(symbol, start_ns, count))[:count]
        end_ns = self.venue_now_ns() // self._step_ns * self._step_ns
        found: list[Candle] = []
        for bars in (count, 2 * count, 4 * count):  # holes: look further back
            seen = len(found)
            found = await self._after(symbol, max(0, end_ns - bars * self._step_ns), bars)
            if len(found) >= count or len(found) == seen:
                break
        return found[-count:]

    async def _after(self, symbol: str, start_ns: int, count: int) -> list[Candle]:
        found: list[Candle] = []
        page = min(self.dialect.page, PAGE)
        at_ns = -(-start_ns // self._step_ns) * self._step_ns  # the first open of a bar that closes later
        while len(found) < count and at_ns < (now_ns := self.venue_now_ns()):
            rows = await self._fetched(symbol, at_ns, page)
            fresh = [row for row in rows if row.ts_event > (found[-1].ts_event if found else start_ns)]
            found += [replace(row, complete=True) for row in fresh if row.ts_event <= now_ns]
            # A page of nothing may be a hole as long as a page.
            at_ns = fresh[-1].ts_event if fresh else at_ns + page * self._step_ns
        return found

    async def _fetched(self, symbol: str, since_ns: int, limit: int) -> list[Candle]:
        async with asking(self.dialect, f"candles {symbol}"):
            theirs, since_ms = self._markets[symbol]["symbol"], since_ns // MS_NS
            rows = await self._exchange.fetch_ohlcv(theirs, self.interval, since_ms, limit)
        now_ns = self._clock.now_ns()
        found = [candle_of(row, symbol, self.interval, now_ns) for row in rows]
        for one, other in itertools.pairwise(found):
            if not other.ts_event > one.ts_event:
                raise FrameError(f"candles {symbol}: {other.ts_event // MS_NS} is not after the row before it")
        return found

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        """As `Feed.settlements`; none where the exchange does not tell them."""
        if not self._exchange.has.get("fetchFundingRateHistory") or not self._markets[symbol].get("swap"):
            return []
        found: list[Funding] = []
        while True:
            async with asking(self.dialect, f"settlements {symbol}"):
                theirs, since_ms = self._markets[symbol]["symbol"], start_ns // MS_NS + 1
                rows = await self._exchange.fetch_funding_rate_history(theirs, since_ms, PAGE)
            told_ns = self._clock.now_ns()
            page = [(milli_ns(row["timestamp"]), number(row["fundingRate"])) for row in rows]
            fresh = sorted(row for row in page if start_ns < row[0] <= self.venue_now_ns())
            for ts, rate in fresh:
                if not -1.0 < rate < 1.0:
                    raise FrameError(f"settlements {symbol}: rate = {rate}: must be a share between -1 and 1")
                found.append(Funding(symbol=symbol, ts_event=ts, ts_recv=told_ns, rate=rate))
            if not fresh or len(page) < PAGE // 5:  # exchanges give 100 to 1,000 a page, and do not say which
                return found
            start_ns = found[-1].ts_event

    def _fault(self, text: str) -> None:
        self.faults += 1
        if self._told is not None:
            self._told(text)
