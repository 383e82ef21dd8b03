"""Hyperliquid's public data behind the Feed face: one websocket, and questions to `/info`. No key, and no order.

Rules. What is asked for is paid from one budget of weight a minute. After every connect the running bars are asked
for, so that a symbol that stays silent until its bar is over has one all the same. Every hour's settlements are asked
for until the venue tells them. Bars that ended less than `bar_grace_s` ago are waited for before history is asked.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Self

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding
from flea_lab.model.trading import Fill
from flea_lab.venue.hyperliquid import CANDLE_ROWS, FUNDING_ROWS, HOUR_NS, HyperliquidSpeech
from flea_lab.venue.info import HEAVY, LIGHT, ROWS_A_WEIGHT, Info
from flea_lab.venue.protocol import Deliver, Link, Said, VenueClock
from flea_lab.venue.public_data import PublicData
from flea_lab.venue.reach import require_reach
from flea_lab.venue.reading import FrameError
from flea_lab.venue.rest import Rest
from flea_lab.venue.speech import Kind
from flea_lab.venue.stream import OnRaw, Stream

SETTLED_AFTER_S = 5.0
SETTLED_AGAIN_S = 10.0
SETTLED_TRIES = 30
TIME_S = 600.0
CANDLES_A_WEIGHT = 60

_open: Counter[str] = Counter()
"""Feeds that are open in this process, by address."""


class HyperliquidFeed:
    """Public market data of Hyperliquid for `symbols`: a `Feed`, in one session (`async with`).

    Faults are frames that could not be used, and settlements that the venue does not tell; `on_raw` hears every frame
    before it is read.
    """

    def __init__(self, asked: PublicData, *, on_raw: OnRaw | None = None, max_skew_s: float = 2.0) -> None:
        dialect, clock, on_fault = asked.dialect, asked.clock, asked.on_fault
        self.dialect, self._clock, self._wanted = dialect, clock, asked.channels
        self._speech = HyperliquidSpeech(dialect, asked.symbols, asked.interval)
        self._step_ns = asked.step_ns
        self._rest = Rest(dialect, None, clock)
        self._info = Info(dialect, self._rest)
        self._told = on_fault
        self._stream = Stream(
            self._speech,
            self._rest,
            clock,
            asked.channels,
            _no_fills,
            ack=False,
            on_fault=on_fault,
            on_raw=on_raw,
            max_skew_s=max_skew_s,
        )
        self._up = asyncio.Event()

    async def __aenter__(self) -> Self:
        dialect = self.dialect
        require_reach((dialect.rest_url, dialect.ws_url), f"dialect {dialect.name!r}")
        if _open[dialect.ws_url] >= dialect.connections:
            raise ConfigError(
                f"{_open[dialect.ws_url]} connections to {dialect.ws_url} are open: connections allows no more"
            )
        _open[dialect.ws_url] += 1
        try:
            await self._rest.open()
            await self._probe()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        _open[self.dialect.ws_url] -= 1
        await self._rest.close()

    async def _probe(self) -> None:
        try:
            await self.clock()
            await self.instruments()
        except FrameError as error:
            raise VenueRefusal(
                f"dialect mismatch: {self.dialect.rest_url} does not speak {self.dialect.name!r}: {error}"
            ) from None

    @property
    def faults(self) -> int:
        """How many frames could not be used."""
        return self._stream.faults

    @property
    def refused(self) -> set[tuple[str, str]]:
        """Nothing: what the venue does not give is refused when the feed is opened."""
        return set(self._stream.refused)

    def venue_now_ns(self) -> int:
        """The venue's time now, by the last answer on it."""
        return self._clock.now_ns() + self._speech.ahead_ns

    def freshness(self, channel: Kind, symbol: str, now_venue_ns: int) -> float | None:
        """Seconds since the venue's own time of the last message of `channel` and `symbol`; None before the first."""
        return self._stream.heard.age_s(channel, symbol, now_venue_ns)

    async def run(self, deliver: Deliver) -> None:
        """As `Feed.run`."""

        def hear(said: Said) -> None:
            if isinstance(said, Link):
                self._up.set() if said.up else self._up.clear()
            deliver(said)

        self._up = asyncio.Event()
        jobs = [self._stream.run(hear), self._keep_time()]
        if "candle" in self._wanted:
            jobs.append(self._seed(deliver))
        if "funding" in self._wanted:
            jobs.append(self._settle())
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _seed(self, deliver: Deliver) -> None:
        """After every connect: the bar that runs, of every symbol of which the connection has told nothing yet."""
        while True:
            await self._up.wait()
            for symbol in self._speech.symbols:
                try:
                    now_ns = self.venue_now_ns()
                    for candle in await self._candles(symbol, now_ns // self._step_ns * self._step_ns, now_ns, 1):
                        for said in (
                            self._speech.forming.seed(candle) if not candle.complete and self._up.is_set() else ()
                        ):
                            deliver(said)
                except VenueRefusal:
                    raise
                except VenueError as error:
                    self._fault(f"the running bar of {symbol} was not told: {error}")
            while self._up.is_set():  # until the connection ends; the next one is seeded again
                await asyncio.sleep(0.1)

    async def _keep_time(self) -> None:
        """Asks for the venue's time again, now and then: clocks drift."""
        while True:
            await asyncio.sleep(TIME_S)
            try:
                await self.clock()
            except VenueError as error:
                self._fault(f"time: {error}")

    async def _settle(self) -> None:
        """Every full hour: what was settled, asked for until it is told."""
        last = dict.fromkeys(self._speech.symbols, self.venue_now_ns())
        while True:
            now_ns = self.venue_now_ns()
            await asyncio.sleep((HOUR_NS - now_ns % HOUR_NS) / 1e9 + SETTLED_AFTER_S)
            missing = set(last)
            for _ in range(SETTLED_TRIES):
                for symbol in sorted(missing):
                    await self._ask_settled(symbol, last, missing)
                if not missing:
                    break
                await asyncio.sleep(SETTLED_AGAIN_S)
            if missing:
                self._fault(f"the settlement of {', '.join(sorted(missing))} was not told this hour")

    async def _ask_settled(self, symbol: str, last: dict[str, int], missing: set[str]) -> None:
        try:
            for funding in await self.settlements(symbol, last[symbol]):
                last[symbol] = funding.ts_event
                self._speech.forming.settled(funding)
                missing.discard(symbol)
        except VenueRefusal:
            raise
        except VenueError as error:
            self._fault(f"settlements of {symbol}: {error}")

    async def acknowledge(self, ts_event: int) -> None:
        """Nothing: the venue waits for nobody."""

    async def refresh(self, symbol: str) -> None:
        """Nothing: every book is whole."""

    async def instruments(self) -> Mapping[str, Instrument]:
        """As `Feed.instruments`: the finest grid of each coin, see `venue.hyperliquid`."""
        return self._speech.grids(await self._info.ask("instruments", HEAVY, "meta"))

    async def clock(self) -> VenueClock:
        """As `Feed.clock`. Whether a bar is over is told by it as well."""
        before_ns = self._clock.now_ns()
        told_ns = self._speech.status_ns(await self._info.ask("health", LIGHT, "exchangeStatus"))
        ours_ns = self._clock.now_ns()
        self._speech.ahead_ns = told_ns - (before_ns + ours_ns) // 2
        return VenueClock(now_ns=self.venue_now_ns(), kind="wall", matching=self.dialect.matching)

    async def book(self, symbol: str) -> BookSnapshot:
        """The book of `symbol`, asked for."""
        body = await self._info.ask("health", LIGHT, "l2Book", coin=self._speech.theirs[symbol])
        return self._speech.book(body, symbol, self._clock.now_ns())

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """As `Feed.history`, in pages. The venue keeps the last 5,000 bars."""
        young_ns = self.venue_now_ns() % self._step_ns
        await asyncio.sleep(max(0.0, self.dialect.bar_grace_s - young_ns / 1e9))
        if start_ns is not None:
            return (await self._after(symbol, start_ns, count))[:count]
        end_ns = self.venue_now_ns() // self._step_ns * self._step_ns
        found: list[Candle] = []
        for bars in (count, 4 * count):  # holes: look further back
            found = await self._after(symbol, max(0, end_ns - bars * self._step_ns), bars)
            if len(found) >= count or bars >= CANDLE_ROWS:
                break
        return found[-count:]

    async def _after(self, symbol: str, start_ns: int, count: int) -> list[Candle]:
        """Complete bars that close after `start_ns`, at least `count` of them where there are."""
        now_ns, page_ns = self.venue_now_ns(), min(self.dialect.page, CANDLE_ROWS, max(count, 2)) * self._step_ns
        found: list[Candle] = []
        at_ns = max(start_ns, now_ns // self._step_ns * self._step_ns - CANDLE_ROWS * self._step_ns)
        while at_ns < now_ns and len(found) < count:
            end_ns = min(at_ns + page_ns, now_ns)
            bars = max(1, (end_ns - at_ns) // self._step_ns)
            for candle in await self._candles(symbol, at_ns, end_ns, bars):
                if candle.complete and candle.ts_event > (found[-1].ts_event if found else start_ns):
                    found.append(candle)
            at_ns = end_ns
        return found

    async def _candles(self, symbol: str, start_ns: int, end_ns: int, bars: int) -> list[Candle]:
        """Bars that are open between these times, the running one as well."""
        coin, weight = self._speech.theirs[symbol], HEAVY + bars // CANDLES_A_WEIGHT
        span = {"startTime": start_ns // MS_NS, "endTime": end_ns // MS_NS}
        asked = {"coin": coin, "interval": self._speech.interval, **span}
        body = await self._info.ask("candles", weight, "candleSnapshot", req=asked)
        return self._speech.candles(body, symbol, self._clock.now_ns(), self.venue_now_ns())

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        """As `Feed.settlements`, at the venue's own stamps, which are some ms after the hour."""
        found: list[Funding] = []
        coin, weight = self._speech.theirs[symbol], HEAVY + FUNDING_ROWS // ROWS_A_WEIGHT
        while True:
            body = await self._info.ask(
                "funding", weight, "fundingHistory", coin=coin, startTime=max(1, start_ns // MS_NS + 1)
            )
            page = self._speech.settlements(body, symbol, self._clock.now_ns())
            fresh = [funding for funding in page if funding.ts_event > start_ns]
            found += fresh
            if not fresh or len(page) < FUNDING_ROWS:
                return found
            start_ns = found[-1].ts_event

    def _fault(self, text: str) -> None:
        if self._told is not None:
            self._told(text)


async def _no_fills(after: int) -> list[tuple[int, Fill]]:
    raise VenueRefusal(f"fills after {after}: no account is known to a feed of public data")
