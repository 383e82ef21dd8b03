"""Candles and funding from an exchange's public interface, through ccxt, into the store: no key, no account.

Rules. What is stored stays: fetching goes on where the store ends, page by page, so that an interrupt costs a page.
Only bars that are over are taken. A bar that the exchange does not have is a hole, never an invented one. With
FLEA_OFFLINE=1 nothing leaves this machine.
"""

import difflib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pandas as pd
from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.frames import MINUTE_MS, canonical, canonical_funding, interval_ms, iso
from flea_lab.data.quality import quality
from flea_lab.data.sources.files import source_label
from flea_lab.data.sources.recognise import symbol_of
from flea_lab.data.store import CandleStore
from flea_lab.errors import ConfigError, DataError, VenueError, VenueRefusal

INSTALL = "ccxt is not installed: pip install 'flea-lab[venues]' (make installs it)"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE = 1_000
FUNDING_PAGE = 500
ATTEMPTS = 5
FIRST_WAIT_S = 1.0
KEPT_PAGES = 20
"""Pages that are in memory only, at most."""


class Market(NamedTuple):
    """Where a venue of the store is found at ccxt: the exchange, the kind of market, and its raw klines, if known."""

    exchange: str
    kind: str
    klines: str = ""


MARKETS = {
    "binance_um": Market("binanceusdm", "swap", "fapiPublicGetKlines"),
    "binance_cm": Market("binancecoinm", "swap"),
    "binance_spot": Market("binance", "spot", "publicGetKlines"),
    "bybit_linear": Market("bybit", "swap"),
    "hyperliquid": Market("hyperliquid", "swap"),
}
"""By the store's name; any other name is ccxt's own, of spot markets where it has both."""

RAW = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote", "count", "taker_buy_base")
"""Columns of Binance's klines, which say what takers bought; ccxt's own candles do not."""


class Fetched(Struct, frozen=True, kw_only=True):
    """What came of a fetch: bars and settlements that are new, and what is stored in the range asked for."""

    dataset: Dataset
    bars: int
    settlements: int
    pages: int
    first_ms: int | None
    last_ms: int | None
    holes: list[tuple[int, int]]
    missing: int


Progress = Callable[[int, int, int], None]
"""Hears (opens in ms of: the range's start, where it is, the range's end) after every page."""

Pause = Callable[[float], object]


def pause(seconds: float) -> object:
    """Waits; an interrupt ends it."""
    return threading.Event().wait(seconds)


class ExchangeSource:
    """One venue's public data. `url` replaces the host of every address, say by that of a stub on this machine."""

    def __init__(self, venue: str, clock: Clock, *, url: str | None = None, timeout_s: float = 10.0) -> None:
        """`ConfigError` where FLEA_OFFLINE forbids it, ccxt is missing, or nobody knows the venue."""
        if os.environ.get("FLEA_OFFLINE") == "1" and urlsplit(url or "").hostname not in LOOPBACK:
            raise ConfigError(f"FLEA_OFFLINE=1: nothing is fetched from {venue}")
        if importlib.util.find_spec("ccxt") is None:
            raise ConfigError(INSTALL)
        import ccxt

        self.venue, self._clock, self._ccxt = venue, clock, ccxt
        market = MARKETS.get(venue) or Market(venue, "")
        if market.exchange not in ccxt.exchanges:
            close = difflib.get_close_matches(venue, [*MARKETS, *ccxt.exchanges], n=3, cutoff=0.4)
            known = f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(MARKETS)} and ccxt's own"
            raise ConfigError(f"venue {venue!r} is unknown to ccxt {ccxt.__version__}: {known}")
        self._market = market
        options = {"fetchMarkets": {"types": ["swap" if market.kind == "swap" else "spot"]}}
        self._exchange: Any = getattr(ccxt, market.exchange)(
            {"enableRateLimit": True, "timeout": round(timeout_s * 1_000)}
            | ({"options": options} if market.exchange in ("hyperliquid", "binance") else {})
        )
        self._exchange.requests_trust_env = url is None
        if url is not None:
            self._exchange.urls["api"] = _moved(self._exchange.urls["api"], url.rstrip("/"))

    def close(self) -> None:
        """Ends the session."""
        session = getattr(self._exchange, "session", None)
        if session is not None:
            session.close()

    def find(self, symbol: str) -> dict[str, Any]:
        """ccxt's market of `symbol`, as the store, ccxt or the exchange spells it, or its base alone where that is
        one; `ConfigError` with the nearest names where there is none."""
        markets = [one for one in self._ask(self._exchange.load_markets).values() if self._fits(one)]
        names = {symbol_of(one["symbol"]): one for one in reversed(markets)}
        same = [one for one in markets if symbol in (one["symbol"], one["id"])]
        found = same[0] if same else names.get(symbol)
        found = found or next((one for one in markets if one["base"] == symbol), None)
        if found:
            return dict(found)
        close = difflib.get_close_matches(symbol.upper(), [*names, *{one["base"] for one in markets}], n=3, cutoff=0.4)
        near = f", did you mean {', '.join(close)}?" if close else f", it has {len(names)} others"
        raise ConfigError(f"{self.venue} has no symbol {symbol!r}{near}")

    def candles(self, market: dict[str, Any], interval: str, start_ms: int, end_ms: int) -> Iterator[pd.DataFrame]:
        """Frames of bars that open in [start, end) and are over, page after page; an empty one where none are."""
        step = interval_ms(interval, self.venue)
        if interval not in (self._exchange.timeframes or {}):
            known = ", ".join(self._exchange.timeframes or {}) or "none"
            raise ConfigError(f"{self.venue} has no {interval} candles, it has {known}")
        at = start_ms
        while at < end_ms:
            rows = self._page(market, interval, at)
            frame = self._frame(rows, market["symbol"])
            over = min(end_ms, self._clock.now_ns() // 1_000_000 - step + 1)
            frame = frame[(frame["ts"] >= at) & (frame["ts"] < over)].reset_index(drop=True)
            yield frame
            after = at + PAGE * step
            at = int(frame["ts"].iloc[-1]) + step if len(frame) else after
            if not len(frame) and after >= over:
                return

    def funding(self, market: dict[str, Any], start_ms: int, end_ms: int) -> Iterator[pd.DataFrame]:
        """Frames of settlements in [start, end), page after page; none where the exchange does not tell them."""
        if not market.get("swap") or not self._exchange.has.get("fetchFundingRateHistory"):
            return
        at = start_ms
        while at < end_ms:
            rows = self._ask(self._exchange.fetch_funding_rate_history, market["symbol"], at, FUNDING_PAGE)
            settled = {round(row["timestamp"] / MINUTE_MS) * MINUTE_MS: row["fundingRate"] for row in rows}
            kept = sorted(ts for ts in settled if at <= ts < end_ms)
            if not kept:
                return
            frame = pd.DataFrame({"ts": kept, "funding_rate": [settled[ts] for ts in kept]})
            yield canonical_funding(frame, f"{self.venue} {market['symbol']}")
            at = kept[-1] + MINUTE_MS

    def _fits(self, market: dict[str, Any]) -> bool:
        wanted = self._market.kind or "spot"
        return bool(market.get(wanted)) and market.get("active") is not False

    def _page(self, market: dict[str, Any], interval: str, at: int) -> list[Sequence[Any]]:
        if self._market.klines:
            ask = getattr(self._exchange, self._market.klines)
            rows = self._ask(ask, {"symbol": market["id"], "interval": interval, "startTime": at, "limit": PAGE})
            return [(int(row[0]), *(float(row[n]) for n in (1, 2, 3, 4, 5, 9))) for row in rows]
        return list(self._ask(self._exchange.fetch_ohlcv, market["symbol"], interval, at, PAGE))

    def _frame(self, rows: list[Sequence[Any]], symbol: str) -> pd.DataFrame:
        names = ["ts", "open", "high", "low", "close", "volume", "buy_volume"]
        width = len(rows[0]) if rows else 6
        frame = pd.DataFrame(rows, columns=names[:width])
        frame["ts"] = frame["ts"].astype("int64")
        frame = frame.drop_duplicates("ts").sort_values("ts", ignore_index=True)
        return canonical(frame, f"{self.venue} {symbol}")

    def _ask(self, what: Callable[..., Any], *words: Any) -> Any:
        """The answer, asked again while the network or the exchange's limits say no."""
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                return what(*words)
            except self._ccxt.NetworkError as error:
                reason = _said(error)
            except self._ccxt.BaseError as error:
                refusal = f"{self.venue}: {_said(error)}"
                raise VenueRefusal(refusal) from None
            if attempt + 1 < ATTEMPTS:
                pause(FIRST_WAIT_S * 2**attempt)
        raise VenueError(f"{self.venue}: {reason} (asked {ATTEMPTS} times); run it again to go on where it ended")


def fetch(
    store: CandleStore,
    source: ExchangeSource,
    symbol: str,
    interval: str,
    since_ms: int,
    until_ms: int,
    *,
    progress: Progress | None = None,
) -> Fetched:
    """What was fetched into `store` of the bars that open in [since, until), with their funding.

    Goes on where the store ends; bars before the first that is stored come in one piece, once all of them are here.
    """
    if not since_ms < until_ms:
        raise ConfigError(f"since {iso(since_ms)} must be before until {iso(until_ms)}")
    step = interval_ms(interval, "fetch")
    market = source.find(symbol)
    key = Dataset(source.venue, symbol_of(market["symbol"]), interval)
    start, end = -(-since_ms // step) * step, -(-until_ms // step) * step
    filler = _Filler(store, key, source, market, progress)
    held = next((one for one in store.list() if one.dataset == key), None)
    if held is None:
        filler.fill(start, end, KEPT_PAGES)
    else:
        if start < held.first_ms:
            filler.fill(start, min(held.first_ms, end), None)
        filler.fill(max(start, held.last_ms + step), end, KEPT_PAGES)
    settlements = _fetch_funding(store, source, market, key, start, end)
    return _summary(store, key, filler, settlements, start, end)


class _Filler:
    """Takes ranges of bars into the store."""

    def __init__(
        self,
        store: CandleStore,
        key: Dataset,
        source: ExchangeSource,
        market: dict[str, Any],
        progress: Progress | None,
    ) -> None:
        self._store, self._key, self._source, self._market, self._progress = store, key, source, market, progress
        self.bars = self.pages = 0

    def fill(self, start: int, end: int, kept_pages: int | None) -> None:
        """Stores the bars of [start, end), at least every `kept_pages` pages, or all at once."""
        waiting: list[pd.DataFrame] = []
        try:
            for frame in self._source.candles(self._market, self._key.interval, start, end):
                self.pages += 1
                if len(frame):
                    waiting.append(frame)
                if self._progress is not None:
                    self._progress(start, int(frame["ts"].iloc[-1]) if len(frame) else end, end)
                if kept_pages is not None and len(waiting) >= kept_pages:
                    self._store_them(waiting)
        except BaseException:
            if kept_pages is not None:
                self._store_them(waiting)  # what is here goes on from here, whatever ends it
            raise
        self._store_them(waiting)

    def _store_them(self, waiting: list[pd.DataFrame]) -> None:
        if not waiting:
            return
        frame = pd.concat(waiting, ignore_index=True)
        self._store.write(self._key, frame, Origin(source=source_label(self._key), synthetic=False))
        self.bars += len(frame)
        waiting.clear()


def _fetch_funding(
    store: CandleStore, source: ExchangeSource, market: dict[str, Any], key: Dataset, start: int, end: int
) -> int:
    held = store.read_funding(key.venue, key.symbol)
    parts = [(start, end)]
    if len(held):
        first, last = int(held["ts"].iloc[0]), int(held["ts"].iloc[-1])
        parts = [(start, min(first, end)), (max(start, last + MINUTE_MS), end)]
    count = 0
    for low, high in parts:
        frames = list(source.funding(market, low, high))
        if frames:
            frame = pd.concat(frames, ignore_index=True)
            store.write_funding(key.venue, key.symbol, frame)
            count += len(frame)
    return count


def _summary(store: CandleStore, key: Dataset, filler: _Filler, settlements: int, start: int, end: int) -> Fetched:
    try:
        frame = store.read(key, start, end)
    except DataError:
        return Fetched(
            dataset=key, bars=0, settlements=settlements, pages=filler.pages, first_ms=None, last_ms=None, holes=[],
            missing=0,
        )  # fmt: skip
    found = quality(frame, key.interval)
    return Fetched(
        dataset=key,
        bars=filler.bars,
        settlements=settlements,
        pages=filler.pages,
        first_ms=found.first_ms,
        last_ms=found.last_ms,
        holes=found.holes,
        missing=found.missing,
    )


def _moved(urls: Any, base: str) -> Any:
    """The same tree of addresses at another host."""
    if isinstance(urls, dict):
        return {name: _moved(one, base) for name, one in urls.items()}
    return base + urlsplit(urls).path if isinstance(urls, str) else urls


def _said(error: Exception) -> str:
    """What ccxt says, short and in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {text[:200]}"
