"""The notebook's market feed against small venues: fresh, in order, and undisturbed by what its callbacks do."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.live.feed import Book, MarketFeed
from flea_lab.model.market import Candle, Trade
from tests.venue.stand_in import CANARY, T0, StandIn, Talk, candle_row, dialect_of

Body = Callable[[MarketFeed], Awaitable[Any]]
BOOK = {"bids": [[99.0, 1.0], [98.0, 2.0]], "asks": [[101.0, 3.0]]}
TRADE = {"price": 100.0, "size": 1.0, "side": "buy"}


def feed_run(venue: StandIn, body: Body, *, symbols: tuple[str, ...] = ("BTCUSDT",), **given: Any) -> Any:
    for symbol in symbols:
        venue.answers.setdefault(f"GET /candles/{symbol}", (200, {"candles": []}))

    async def run() -> Any:
        async with venue.running() as address:
            feed = MarketFeed(symbols, api_key=CANARY, dialect=dialect_of(address), **given)
            async with asyncio.timeout(5):
                try:
                    return await body(feed)
                finally:
                    await feed.stop()

    return asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def minutes(found: tuple[Candle, ...] | list[Candle]) -> list[int]:
    return [(candle.ts_event // 1_000_000 - T0) // 60_000 - 1 for candle in found]


async def says_everything(talk: Talk) -> None:
    await talk.confirm()
    await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(2, complete=False))
    await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(2, close=97_050.0, complete=True))
    await talk.say(channel="orderbook_l2", symbol="BTCUSDT", data=BOOK)
    await talk.say(channel="trades", symbol="BTCUSDT", data=TRADE)
    await talk.idle()


HISTORY = (200, {"candles": [candle_row(0), candle_row(1)]})


def test_callbacks_get_exactly_what_was_promised_plain_or_async() -> None:
    heard: list[dict[str, Any]] = []

    async def later(event: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        heard.append(event)

    async def body(feed: MarketFeed) -> MarketFeed:
        for name in ("candle", "trade"):
            feed.on(name, later)
        feed.on("book", heard.append)
        await feed.start_in_background()
        await until(lambda: len(heard) == 3)
        assert feed.book("BTCUSDT") == next(event["book"] for event in heard if "book" in event)
        return feed

    feed = feed_run(StandIn(says_everything, **{"GET /candles/BTCUSDT": HISTORY}), body)
    by_keys = {tuple(event): event for event in heard}
    assert set(by_keys) == {("symbol", "candle"), ("symbol", "book"), ("symbol", "trade")}
    assert {event["symbol"] for event in heard} == {"BTCUSDT"}
    candle, book, trade = (by_keys["symbol", name][name] for name in ("candle", "book", "trade"))
    assert isinstance(candle, Candle) and candle.close == 97_050.0
    assert isinstance(trade, Trade) and (trade.price, trade.side) == (100.0, "buy")
    assert (book.mid_price, book.spread_bps, book.depth_at_bps(100)) == (100.0, 200.0, (1.0, 3.0))
    assert feed.closes("BTCUSDT").tolist() == [97_000.0, 97_000.0, 97_050.0]
    assert feed.volumes("BTCUSDT").dtype == np.float64


def test_a_book_that_tells_nothing_is_nan() -> None:
    for bids, asks in [((), ((1.0, 1.0),)), (((2.0, 1.0),), ((2.0, 1.0),))]:
        book = Book(symbol="B", ts_event=0, bids=bids, asks=asks)
        assert math.isnan(book.mid_price) and math.isnan(book.spread_bps) and math.isnan(book.depth_at_bps(10)[0])


def test_what_was_missed_while_away_comes_first_and_every_candle_comes_once() -> None:
    async def leaves(talk: Talk) -> None:
        first = 2 if talk.number == 1 else 5
        await talk.confirm()
        await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(first, complete=True))
        if talk.number == 1:
            await asyncio.sleep(0.05)
            venue.answers["GET /candles/BTCUSDT"] = (200, {"candles": [candle_row(m) for m in range(5)]})
            await talk.socket.close()
        await talk.idle()

    venue = StandIn(leaves, **{"GET /candles/BTCUSDT": HISTORY})
    heard: list[Candle] = []

    async def body(feed: MarketFeed) -> tuple[Candle, ...]:
        feed.on("candle", lambda event: heard.append(event["candle"]))
        async with feed:
            await until(lambda: len(heard) == 4)
        return feed.candles("BTCUSDT")

    assert minutes(feed_run(venue, body)) == [0, 1, 2, 3, 4, 5]
    assert minutes(heard) == [2, 3, 4, 5]


def test_no_more_than_500_candles_are_kept() -> None:
    async def many(talk: Talk) -> None:
        await talk.confirm()
        for minute in range(600):
            await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(minute, complete=True))
        await talk.idle()

    async def body(feed: MarketFeed) -> tuple[Candle, ...]:
        async with feed:
            await until(lambda: minutes(feed.candles("BTCUSDT")[-1:]) == [599])
        return feed.candles("BTCUSDT")

    assert minutes(feed_run(StandIn(many), body)) == list(range(100, 600))


def test_a_callback_that_raises_is_named_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def breaks(event: dict[str, Any]) -> None:
        raise ZeroDivisionError("mine")

    async def cancels(event: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    async def body(feed: MarketFeed) -> None:
        for callback in (breaks, cancels, heard.append):
            feed.on("trade", callback)
            feed.on("candle", callback)
        async with feed:
            await until(lambda: len(heard) == 2)

    feed_run(StandIn(says_everything, **{"GET /candles/BTCUSDT": HISTORY}), body)
    text = caplog.text
    assert "breaks of 'trade' raised" in text and "breaks of 'candle' raised" in text and "ZeroDivisionError" in text
    assert "cancels of 'trade' cancelled itself" in text


def test_a_slow_callback_stops_neither_the_reader_nor_the_others_and_loses_no_trade() -> None:
    async def floods(talk: Talk) -> None:
        await talk.confirm()
        for number in range(200):
            await talk.say(channel="trades", symbol="BTCUSDT", data={**TRADE, "id": number})
            book = {"bids": [[99.0, 1.0 + number]], "asks": [[101.0, 1.0]]}
            await talk.say(channel="orderbook_l2", symbol="BTCUSDT", data=book)
        await talk.idle()

    slow: list[Any] = []
    books: list[Book] = []
    quick: list[Any] = []
    go = asyncio.Event()

    async def slowly(event: dict[str, Any]) -> None:
        await go.wait()
        slow.append(event["trade"].trade_id)

    async def books_slowly(event: dict[str, Any]) -> None:
        await go.wait()
        books.append(event["book"])

    async def body(feed: MarketFeed) -> None:
        feed.on("trade", slowly)
        feed.on("trade", quick.append)
        feed.on("book", books_slowly)
        async with feed:
            await until(lambda: len(quick) == 200 and feed.book("BTCUSDT").bids[0][1] == 200.0)  # type: ignore[union-attr]
            assert slow == []
            go.set()
            await until(lambda: len(slow) == 200 and books and books[-1].bids[0][1] == 200.0)

    feed_run(StandIn(floods), body)
    assert slow == list(range(200))
    assert len(books) <= 2  # the one it had begun with, then the newest


def test_a_callback_that_falls_too_far_behind_is_told_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def floods(talk: Talk) -> None:
        await talk.confirm()
        for _ in range(20):
            await talk.say(channel="trades", symbol="BTCUSDT", data=TRADE)
        await talk.idle()

    async def stuck(event: dict[str, Any]) -> None:
        await asyncio.sleep(10)

    async def body(feed: MarketFeed) -> None:
        feed.on("trade", stuck)
        async with feed:
            await until(lambda: caplog.text)

    feed_run(StandIn(floods), body, backlog=5)
    assert "stuck of 'trade' is 5 behind and is no longer called" in caplog.text


def test_a_symbol_is_stale_by_its_own_age_which_counts_from_the_start() -> None:
    async def only_one(talk: Talk) -> None:
        await talk.confirm()
        while True:
            await talk.say(channel="trades", symbol="BTCUSDT", data=TRADE)
            await asyncio.sleep(0.02)

    stale: list[dict[str, Any]] = []

    async def body(feed: MarketFeed) -> None:
        feed.on("stale", stale.append)
        async with feed:
            await until(lambda: len(stale) == 2)

    feed_run(StandIn(only_one), body, symbols=("BTCUSDT", "ETHUSDT"), stale_after_s=0.2)
    assert [event["symbol"] for event in stale] == ["ETHUSDT", "ETHUSDT"]
    assert 0.2 < stale[0]["age_secs"] < 0.6 and set(stale[0]) == {"symbol", "age_secs"}
    assert 0.08 < stale[1]["age_secs"] - stale[0]["age_secs"] < 0.5


def test_start_runs_until_stop_and_a_feed_can_be_started_again() -> None:
    async def body(feed: MarketFeed) -> None:
        for _ in range(2):
            running = asyncio.create_task(feed.start())
            await until(lambda: feed.book("BTCUSDT") is not None)
            with pytest.raises(ConfigError, match="the feed is running already"):
                await feed.start()
            await feed.stop()
            await running
        running = asyncio.create_task(feed.start())
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: len(asyncio.all_tasks()) < 8)  # nothing of the feed is left, once the venue saw it go
        await feed.start_in_background()

    feed_run(StandIn(says_everything, **{"GET /candles/BTCUSDT": HISTORY}), body)


def test_a_callback_may_stop_the_feed() -> None:
    async def body(feed: MarketFeed) -> None:
        async def enough(event: dict[str, Any]) -> None:
            await feed.stop()

        feed.on("trade", enough)
        await feed.start()

    feed_run(StandIn(says_everything), body)


def test_a_venue_that_refuses_is_said_at_the_start_and_later_at_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def refused(feed: MarketFeed) -> None:
        with pytest.raises(VenueRefusal, match=r"GET /candles/BTCUSDT answered 401 invalid_key"):
            await feed.start_in_background()

    feed_run(StandIn(**{"GET /candles/BTCUSDT": (401, {"error": "invalid_key"})}), refused)

    async def unknown(talk: Talk) -> None:
        await talk.subscription()
        await talk.say(event="error", code="unknown_symbol", message=f"no symbol, key {CANARY}")

    async def later(feed: MarketFeed) -> None:
        task = await feed.start_in_background()
        await asyncio.wait({task})
        with pytest.raises(VenueRefusal, match=r"subscription refused: unknown_symbol: no symbol, key \*\*\*"):
            await feed.stop()

    with caplog.at_level(logging.WARNING):
        feed_run(StandIn(unknown), later)
    assert "the feed has ended: subscription refused" in caplog.text
    assert "pf_canary" not in caplog.text


def test_what_cannot_be_asked_of_a_feed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_API_KEY", CANARY)
    feed = MarketFeed(["BTCUSDT"])
    assert "pf_canary" not in repr(feed) + repr(vars(feed))
    with pytest.raises(ConfigError, match="event 'candles' must be one of 'candle', 'book', 'trade', 'stale'"):
        feed.on("candles", print)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"stale_after_s \(nan\)"):
        MarketFeed(["BTCUSDT"], stale_after_s=math.nan)
    with pytest.raises(ConfigError, match=r"history \(501\) must be between 0 and 500"):
        MarketFeed(["BTCUSDT"], history=501)
    with pytest.raises(KeyError):
        feed.book("DOGEUSDT")
    assert feed.book("BTCUSDT") is None and feed.closes("BTCUSDT").shape == (0,)
