"""Any exchange of ccxt behind the Feed face: against a stand-in with ccxt's shapes, and ccxt itself on loopback."""

import ast
import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.venue import ccxt_library, ccxt_reading, ccxt_venue
from flea_lab.venue.ccxt_library import make_exchange
from flea_lab.venue.ccxt_reading import addresses, candle_of, grid_of, market_of, moved, trade_of
from flea_lab.venue.ccxt_venue import CcxtFeed
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.protocol import Link, Said
from flea_lab.venue.public_data import public_data
from flea_lab.venue.reading import FrameError
from flea_lab.venue.speech import PUBLIC, Kind
from tests.venue.hyperliquid_stand_in import (
    MINUTE_MS,
    Hand,
    HyperliquidStandIn,
    bar,
    before_a_minute,
    book,
    minute,
    trade,
)

MS = 1_000_000
QUICK = {"backoff_first_s": 0.01, "backoff_last_s": 0.05, "bar_grace_s": 0.0, "acknowledge_within_s": 0.3}
HERE = importlib.util.find_spec("ccxt") is not None


def market(base: str, quote: str, kind: str = "swap", **values: Any) -> dict[str, Any]:
    symbol = f"{base}/{quote}:{quote}" if kind == "swap" else f"{base}/{quote}"
    told = {"symbol": symbol, "base": base, "quote": quote, "swap": kind == "swap", "spot": kind == "spot"}
    told |= {"contract": kind == "swap", "contractSize": 1.0 if kind == "swap" else None, "active": True}
    told |= {"precision": {"price": 0.1, "amount": 0.001}, "limits": {"cost": {"min": 5.0}}}
    return told | values


MARKETS = {
    one["symbol"]: one
    for one in (
        market("BTC", "USDT"),
        market("BTC", "USDT", "spot"),
        market("BTC", "USDC"),
        market("ETH", "USDT", contractSize=0.01),
        market("XRP", "USD", inverse=True),
    )
}


class BaseError(Exception):
    """As ccxt's."""


class NetworkError(BaseError):
    """As ccxt's."""


class BadSymbol(BaseError):
    """As ccxt's."""


class Exchange:
    """Says what is put into its queues, raises what is put there as an error, and knows no order at all."""

    precisionMode = 4

    def __init__(self) -> None:
        able = ("watchOHLCV", "watchOrderBook", "watchTrades", "fetchTime", "fetchFundingRate")
        self.has: dict[str, bool] = dict.fromkeys((*able, "fetchFundingRateHistory"), True)
        self.timeframes = {"1m": "1m"}
        self.urls: dict[str, Any] = {"api": {"public": "http://127.0.0.1:1", "ws": {"public": "ws://127.0.0.1:1"}}}
        self.behind_ms, self.clock = 0, WallClock()
        self.bars: list[list[float]] = []
        self.rates: list[dict[str, Any]] = []
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.called: list[str] = []
        self.closed = 0

    def now_ms(self) -> int:
        return self.clock.now_ns() // MS - self.behind_ms

    def put(self, what: str, said: Any) -> None:
        self.queues.setdefault(what, asyncio.Queue()).put_nowait(said)

    async def _next(self, what: str) -> Any:
        self.called.append(what)
        said = await self.queues.setdefault(what, asyncio.Queue()).get()
        if isinstance(said, Exception):
            raise said
        return said

    async def load_markets(self) -> dict[str, Any]:
        return MARKETS

    async def fetch_time(self) -> int:
        return self.now_ms()

    async def watch_ohlcv(self, symbol: str, timeframe: str) -> Any:
        return await self._next(f"candle {symbol}")

    async def watch_trades(self, symbol: str) -> Any:
        return await self._next(f"trades {symbol}")

    async def watch_order_book(self, symbol: str) -> Any:
        return await self._next(f"book {symbol}")

    async def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int) -> Any:
        self.called.append("fetch_ohlcv")
        return [row for row in self.bars if row[0] >= since][:limit]

    async def fetch_funding_rate(self, symbol: str) -> dict[str, Any]:
        return {"fundingRate": 0.0001, "fundingTimestamp": 1_700_000_000_000, "interval": "4h"}

    async def fetch_funding_rate_history(self, symbol: str, since: int, limit: int) -> Any:
        return [row for row in self.rates if row["timestamp"] >= since][:limit]

    async def close(self) -> None:
        self.closed += 1


def spoken(name: str = "ccxt:binanceusdm", **values: Any) -> Dialect:
    return load_dialect({"name": name, **QUICK, **values}, "a test")


def feed_of(exchange: Any, *symbols: str, channels: Any = None, **values: Any) -> CcxtFeed:
    clock = getattr(exchange, "clock", WallClock())
    asked = public_data(spoken(**values), symbols or ("BTCUSDT",), "1m", clock, channels=channels)
    return CcxtFeed(asked, exchange=exchange)


async def hear(
    feed: CcxtFeed, until: Callable[[list[Said]], bool], play: Callable[[], Awaitable[None]] | None = None
) -> list[Said]:
    heard: list[Said] = []
    done = asyncio.Event()

    def deliver(said: Said) -> None:
        heard.append(said)
        if until(heard):
            done.set()

    async with feed, asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(feed.run(deliver))
        if play is not None:
            await play()
        await done.wait()
        running.cancel()
    return heard


def links(heard: list[Said]) -> list[bool]:
    return [said.up for said in heard if isinstance(said, Link)]


def trades(heard: list[Said]) -> int:
    return sum(isinstance(said, Trade) for said in heard)


def test_what_ccxt_tells_becomes_our_messages_in_base_units_each_print_once() -> None:
    exchange = Exchange()
    now = exchange.now_ms()
    print_ = {"id": "7", "price": 100.0, "amount": 300.0, "side": "sell", "timestamp": now}
    for said in ([print_], [print_, print_ | {"id": "8"}]):
        exchange.put("trades ETH/USDT:USDT", said)
    exchange.put("book ETH/USDT:USDT", {"bids": [[99.0, 100.0]], "asks": [[101.0, 200.0]], "timestamp": now})
    feed = feed_of(exchange, "ETHUSDT", channels=["book", "trades"])
    heard = asyncio.run(hear(feed, lambda heard: trades(heard) == 2 and len(heard) > 3))
    prints = [said for said in heard if isinstance(said, Trade)]
    assert [(one.trade_id, one.qty, one.side) for one in prints] == [(7, 3.0, "sell"), (8, 3.0, "sell")]
    [found] = [said for said in heard if isinstance(said, BookSnapshot)]
    assert (found.bids, found.asks, found.ts_event) == (((99.0, 1.0),), ((101.0, 2.0),), now * MS)
    assert links(heard) == [True]


def test_the_link_is_up_once_every_bar_and_book_has_told_something() -> None:
    exchange = Exchange()
    row = [minute(exchange.now_ms()), 1.0, 2.0, 1.0, 2.0, 5.0]
    exchange.put("candle BTC/USDT:USDT", [row])

    async def play() -> None:
        await asyncio.sleep(0.1)
        exchange.put("book BTC/USDT:USDT", {"bids": [[1.0, 1.0]], "asks": [[2.0, 1.0]], "timestamp": exchange.now_ms()})

    feed = feed_of(exchange, channels=["candle", "book", "trades"])
    heard = asyncio.run(hear(feed, lambda heard: links(heard) == [True], play))
    assert [type(said) for said in heard] == [Candle, BookSnapshot, Link]


def test_a_failure_is_a_link_down_everything_ended_and_asked_for_anew() -> None:
    exchange = Exchange()
    told = {"bids": [[1.0, 1.0]], "asks": [[2.0, 1.0]], "timestamp": exchange.now_ms()}
    for said in (told, NetworkError("the wire was cut"), told):
        exchange.put("book BTC/USDT:USDT", said)
    heard = asyncio.run(hear(feed_of(exchange, channels=["book"]), lambda heard: links(heard) == [True, False, True]))
    [reason] = [said.reason for said in heard if isinstance(said, Link) and not said.up]
    assert reason == "ccxt:binanceusdm book BTCUSDT: NetworkError: the wire was cut"
    assert exchange.closed == 2


def test_what_no_other_attempt_can_mend_ends_the_feed_and_a_defect_is_raised_as_it_is() -> None:
    for error, kind in (
        (BadSymbol("no such market"), VenueRefusal),
        (ZeroDivisionError("a defect"), ZeroDivisionError),
    ):
        exchange = Exchange()
        exchange.put("book BTC/USDT:USDT", error)

        async def session(exchange: Exchange = exchange) -> None:
            async with feed_of(exchange, channels=["book"]) as feed:
                await feed.run([].append)

        with pytest.raises(kind, match=str(error)):
            asyncio.run(session())


def just_before_a_minute() -> tuple[Exchange, Hand]:
    exchange, hand = Exchange(), before_a_minute()
    exchange.clock = hand
    return exchange, hand


def test_a_bar_is_over_by_the_next_one_by_a_stamp_or_by_asking() -> None:
    exchange = Exchange()
    opened = minute(exchange.now_ms())
    for n in range(2):
        exchange.put("candle BTC/USDT:USDT", [[opened + n * MINUTE_MS, 1.0, 2.0, 1.0, 2.0, 5.0]])

    def complete(heard: list[Said]) -> list[Candle]:
        return [said for said in heard if isinstance(said, Candle) and said.complete]

    heard = asyncio.run(hear(feed_of(exchange, channels=["candle"]), lambda heard: bool(complete(heard))))
    assert complete(heard)[0].ts_event == (opened + MINUTE_MS) * MS

    exchange, hand = just_before_a_minute()
    opened = minute(exchange.now_ms())
    exchange.put("candle BTC/USDT:USDT", [[opened, 1.0, 2.0, 1.0, 2.0, 5.0]])
    exchange.bars = [[opened, 1.0, 3.0, 1.0, 3.0, 6.0]]  # a print came late: what was asked for is what counts

    async def play() -> None:
        while exchange.called.count("candle BTC/USDT:USDT") < 2:  # the first has been taken in
            await asyncio.sleep(0.005)
        hand.go_on(500)

    feed = feed_of(exchange, channels=["candle"])
    heard = asyncio.run(hear(feed, lambda heard: isinstance(heard[-1], Heartbeat), play))
    assert [(c.close, c.volume, c.ts_event) for c in complete(heard)] == [(3.0, 6.0, (opened + MINUTE_MS) * MS)]
    assert exchange.called.count("fetch_ohlcv") == 1


def test_rates_are_current_until_they_are_settled() -> None:
    exchange = Exchange()
    exchange.put("book BTC/USDT:USDT", {"bids": [[1.0, 1.0]], "asks": [[2.0, 1.0]], "timestamp": exchange.now_ms()})
    settled = {"timestamp": exchange.now_ms() + 150, "fundingRate": 0.0003}
    exchange.rates = [settled]

    async def play() -> None:
        await asyncio.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ccxt_venue, "FUNDING_S", 0.1)
        feed = feed_of(exchange, channels=["book", "funding"])
        rates = asyncio.run(hear(feed, lambda h: getattr(h[-1], "state", "") == "settled", play))
    found = [said for said in rates if isinstance(said, Funding)]
    assert [(one.rate, one.state) for one in found] == [(0.0001, "current"), (0.0003, "settled")]
    assert found[0].due_ns == 1_700_000_000_000 * MS and found[1].ts_event == settled["timestamp"] * MS


def asked(exchange: Exchange, question: Callable[[CcxtFeed], Awaitable[Any]], *symbols: str, **values: Any) -> Any:
    async def session() -> Any:
        async with feed_of(exchange, *symbols, **values) as feed:
            return await question(feed)

    return asyncio.run(session())


def test_history_comes_in_pages_without_the_running_bar_and_holes_stay_holes() -> None:
    exchange = Exchange()
    now = minute(exchange.now_ms())
    opens = [now - MINUTE_MS * back for back in range(60, -1, -1) if back not in range(20, 40)]
    exchange.bars = [[t, 1.0, 2.0, 1.0, 1.0 + n / 100, 1.0] for n, t in enumerate(opens)]
    closes = [t + MINUTE_MS for t in opens[:-1]]

    def times(found: list[Candle]) -> list[int]:
        assert all(candle.complete for candle in found)
        return [candle.ts_event // MS for candle in found]

    assert times(asked(exchange, lambda feed: feed.history("BTCUSDT", None, 30), page=7)) == closes[-30:]
    start = (now - MINUTE_MS * 50) * MS
    after = [t for t in closes if t * MS > start]
    assert times(asked(exchange, lambda feed: feed.history("BTCUSDT", start, 100), page=7)) == after
    assert times(asked(exchange, lambda feed: feed.history("BTCUSDT", start, 3))) == after[:3]


def test_settlements_come_in_pages_and_none_of_times_to_come() -> None:
    exchange = Exchange()
    now = exchange.now_ms()
    hour = 3_600_000
    exchange.rates = [{"timestamp": now - hour * back, "fundingRate": 0.0001} for back in range(600, -2, -1)]
    found = asked(exchange, lambda feed: feed.settlements("BTCUSDT", (now - hour * 560) * MS))
    assert len(found) == 560 and found[-1].ts_event == now * MS


def test_the_grid_is_what_the_exchange_states() -> None:
    async def question(feed: CcxtFeed) -> Any:
        return await feed.instruments(), await feed.clock()

    exchange = Exchange()
    exchange.behind_ms = 3_600_000
    grids, time = asked(exchange, question, "BTCUSDT", "ETHUSDT")
    assert grids["BTCUSDT"].tick_size == Decimal("0.1") and grids["BTCUSDT"].min_notional_usd == 5
    assert grids["ETHUSDT"].lot_size == Decimal("0.00001") and grids["BTCUSDT"].funding_interval_h == 4
    assert abs(time.now_ns // MS - exchange.now_ms()) < 500
    places = market("BTC", "USDT", precision={"price": 2, "amount": 3})
    assert str(grid_of(places, 2, 8).tick_size) == "0.01"
    with pytest.raises(VenueRefusal, match=r"BTC/USDT:USDT: the exchange states no step of price"):
        grid_of(market("BTC", "USDT", precision={"price": None, "amount": 1}), 4, 8)
    with pytest.raises(VenueRefusal, match=r"BTC/USDT:USDT: tick_size \(0.0\) must be"):
        grid_of(market("BTC", "USDT", precision={"price": 0.0, "amount": 1}), 4, 8)


def test_hours_between_settlements_that_the_exchange_does_not_tell_are_ours() -> None:
    async def question(hours: int | None) -> int:
        exchange = Exchange()
        exchange.has["fetchFundingRate"] = False
        ours = {
            "BTCUSDT": Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001"), funding_interval_h=hours or 8)
        }
        asked = public_data(spoken(), ("BTCUSDT",), "1m", WallClock())
        feed = CcxtFeed(asked, exchange=exchange, instruments=ours if hours else None)
        async with feed:
            return (await feed.instruments())["BTCUSDT"].funding_interval_h

    assert [asyncio.run(question(hours)) for hours in (None, 1, 8)] == [8, 1, 8]


def test_our_symbol_finds_its_market_or_the_nearest_are_named() -> None:
    assert market_of("BTCUSDT", MARKETS, spoken())["symbol"] == "BTC/USDT:USDT"
    assert market_of("BTCUSDT", MARKETS, spoken(market="spot"))["symbol"] == "BTC/USDT"
    assert market_of("BTC", MARKETS, spoken(symbols={"BTC": "BTC/USDC:USDC"}))["symbol"] == "BTC/USDC:USDC"
    with pytest.raises(VenueRefusal, match=r"no one spot market for 'BTCUSDC', near are BTC/USDC:USDC: say which in"):
        market_of("BTCUSDC", MARKETS, spoken(market="spot"))
    with pytest.raises(VenueRefusal, match=r"no one swap market for 'BTCUSD', near are BTC/USDC:USDC, BTC/USDT"):
        market_of("BTCUSD", MARKETS, spoken())
    with pytest.raises(VenueRefusal, match=r"no one swap market for 'ZZZ', it has 5"):
        market_of("ZZZ", MARKETS, spoken())
    with pytest.raises(VenueRefusal, match="is an inverse contract, only linear ones"):
        market_of("XRPUSD", MARKETS, spoken())


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([60_000, 1.0, 2.0, 1.0, 2.0], r"not a row \[t, o, h, l, c, v\]"),
        ([60_001, 1.0, 2.0, 1.0, 2.0, 1.0], "t = 60001: not the open of a 1m bar"),
        ([60_000, 1.0, 2.0, 1.5, 2.0, 1.0], r"t = 60000: high = 2\.0, low = 1\.5: do not span"),
        ([60_000, 1.0, 2.0, 1.0, 2.0, None], "t = 60000: volume = nan"),
        ([60_000, "x", 2.0, 1.0, 2.0, 1.0], "x: not a number"),
        ([None, 1.0, 2.0, 1.0, 2.0, 1.0], "time = None: not a time in ms"),
    ],
)
def test_a_row_that_cannot_be_is_named(row: list[Any], fault: str) -> None:
    with pytest.raises(FrameError, match=fault):
        candle_of(row, "X", "1m", 0)


def test_a_print_without_a_side_or_a_size_is_none() -> None:
    told = {"id": "1", "price": 1.0, "amount": 1.0, "side": "buy", "timestamp": 1}
    assert trade_of(told | {"id": "a1"}, {}, "X", 0).trade_id is None
    for wrong in ({"side": None}, {"amount": 0.0}, {"price": None}):
        with pytest.raises(FrameError, match="no print"):
            trade_of(told | wrong, {}, "X", 0)


def test_what_an_exchange_cannot_do_is_refused_before_anything_is_asked_for() -> None:
    exchange = Exchange()
    exchange.has["watchTrades"] = False
    with pytest.raises(ConfigError, match=r"has no channel 'trades' \(watchTrades\); it has candle, book"):
        asked(exchange, lambda feed: feed.clock(), channels=["candle", "trades"])
    exchange.timeframes = {"5m": "5m"}
    with pytest.raises(ConfigError, match="has no candles of 1m; it has 5m"):
        asked(exchange, lambda feed: feed.clock())
    assert exchange.closed == 2
    with pytest.raises(ConfigError, match="only public data is read"):
        feed_of(exchange, channels=["orders"])


def test_offline_an_exchange_beyond_this_machine_is_not_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    exchange = Exchange()
    exchange.urls["api"]["ws"] = {"public": "wss://exchange.example/ws"}
    with pytest.raises(ConfigError, match=r"FLEA_OFFLINE=1 forbids .* 'ccxt:binanceusdm' to exchange\.example"):
        asked(exchange, lambda feed: feed.clock())


def test_addresses_can_be_others() -> None:
    urls = {"public": "https://a.example/v1", "ws": {"public": "wss://b.example/ws?x", "none": None}}
    dialect = spoken(rest_url="http://127.0.0.1:5", ws_url="ws://127.0.0.1:6/")
    assert addresses({"api": moved(urls, dialect)}) == ["http://127.0.0.1:5/v1", "ws://127.0.0.1:6/ws?x"]
    assert moved(urls, spoken()) == urls


def test_no_method_that_orders_or_needs_a_key_is_named_anywhere() -> None:
    """Every attribute of the exchange that the code uses is one of these: questions about public data."""
    allowed = {
        "urls", "has", "timeframes", "precisionMode", "close", "load_markets", "watch_ohlcv", "watch_trades",
        "watch_order_book", "fetch_ohlcv", "fetch_time", "fetch_funding_rate", "fetch_funding_rate_history",
    }  # fmt: skip
    used = set()
    for module in (ccxt_venue, ccxt_reading, ccxt_library):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        for word in ("create_order", "apiKey", "secret", "privateKey", "walletAddress", "withdraw", "cancel_order"):
            assert word not in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self._exchange", "exchange"):
                used.add(node.attr)
    assert used == allowed


@pytest.mark.skipif(HERE, reason="ccxt is installed")
def test_without_the_extra_one_line_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"dialect 'ccxt:binanceusdm' needs the extra `venues`: pip install"):
        make_exchange(spoken())


needs_ccxt = pytest.mark.skipif(not HERE, reason="ccxt is not installed: it comes with the extra `venues`")
ccxt_warns = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@needs_ccxt
@ccxt_warns
def test_an_unknown_exchange_is_refused_with_the_nearest_and_no_fee_is_given_away() -> None:
    with pytest.raises(ConfigError, match="ccxt has no exchange 'binanceusdn' with a websocket, near are binanceusdm"):
        make_exchange(spoken("ccxt:binanceusdn"))
    assert make_exchange(spoken("ccxt:hyperliquid", options={"builderFee": True})).options["builderFee"] is False
    assert not make_exchange(spoken("ccxt:hyperliquid")).apiKey


@needs_ccxt
@ccxt_warns
def test_ccxt_itself_reads_a_venue_on_loopback() -> None:
    venue = HyperliquidStandIn()
    venue.wanted = 3
    venue.behind_ms = venue.now_ms() % MINUTE_MS  # a minute that has just begun
    now = minute(venue.now_ms())
    venue.bars["BTC"] = [bar("BTC", now - MINUTE_MS * back, 101.0) for back in range(5, -1, -1)]
    values = {"options": {"fetchMarkets": {"types": ["swap"]}}, "symbols": {"BTCUSDT": "BTC/USDC:USDC"}}

    async def session() -> tuple[list[Said], Any, Any]:
        async with venue.running() as address:
            dialect = spoken("ccxt:hyperliquid", rest_url=f"http://{address}", ws_url=f"ws://{address}", **values)
            channels: tuple[Kind, ...] = ("candle", "book", "trades")
            feed = CcxtFeed(public_data(dialect, ["BTCUSDT"], "1m", WallClock(), channels=channels))
            found: list[Any] = []

            async def play() -> None:
                found.append(await feed.history("BTCUSDT", None, 3))
                found.append(await feed.instruments())
                for _ in range(2):
                    await venue.subscribed.wait()
                    await venue.push("candle", bar("BTC", now, 101.0))
                    await venue.push("l2Book", book("BTC", venue.now_ms()))
                    await venue.push("trades", [trade("BTC", venue.now_ms(), venue.connects)])
                    await asyncio.sleep(0.3)
                    if venue.connects == 1:
                        await venue.hang_up()
                        await asyncio.sleep(0.3)

            def both(heard: list[Said]) -> bool:
                return trades(heard) == 2 and links(heard) == [True, False, True]

            return await hear(feed, both, play), *found

    heard, past, grids = asyncio.run(session())
    assert {type(said) for said in heard} >= {Candle, BookSnapshot, Trade, Link}
    assert [candle.ts_event // MS for candle in past] == [now - 2 * MINUTE_MS, now - MINUTE_MS, now]
    assert str(grids["BTCUSDT"].lot_size) == "0.00001"


def test_every_channel_of_public_data_is_one_that_can_be_watched_or_asked_for() -> None:
    assert {*ccxt_venue.WATCHES, "funding"} == set(PUBLIC)
    assert issubclass(VenueRefusal, VenueError)
