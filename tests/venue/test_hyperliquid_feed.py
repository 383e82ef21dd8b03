"""The feed against a venue on loopback that speaks Hyperliquid's shapes: link, bars, time, history, settlements."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.venue.hyperliquid_feed import HyperliquidFeed
from flea_lab.venue.protocol import Link, Said
from flea_lab.venue.speech import PUBLIC
from tests.venue.hyperliquid_stand_in import (
    MINUTE_MS,
    Hand,
    HyperliquidStandIn,
    bar,
    before_a_minute,
    book,
    feed_of,
    minute,
    trade,
)

MS = 1_000_000
Heard = list[Said]


def just_before_a_minute() -> tuple[HyperliquidStandIn, Hand]:
    """A venue whose minute is nearly over, and the clock that ends it, its own and the feed's."""
    hand = before_a_minute()
    return HyperliquidStandIn(clock=hand), hand


async def comes(true: Callable[[], object]) -> None:
    """Returns once it is true."""
    while not true():
        await asyncio.sleep(0.005)


async def hear(
    venue: HyperliquidStandIn,
    play: Callable[[HyperliquidFeed, Heard], Awaitable[None]],
    until: Callable[[Heard], bool],
    **given: Any,
) -> Heard:
    """What the feed delivers while `play` goes on, until `until` is content."""
    heard: Heard = []
    done = asyncio.Event()

    def deliver(said: Said) -> None:
        heard.append(said)
        if until(heard):
            done.set()

    async with venue.running() as address, feed_of(address, clock=venue.clock, **given) as feed:
        venue.wanted = len(feed._speech.symbols) * len(feed._wanted)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(feed.run(deliver))
            await venue.subscribed.wait()
            await play(feed, heard)
            await done.wait()
            running.cancel()
    return heard


def links(heard: Heard) -> list[bool]:
    return [said.up for said in heard if isinstance(said, Link)]


def test_up_means_that_every_stream_was_acknowledged_and_then_everything_is_told() -> None:
    venue = HyperliquidStandIn()

    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        now = venue.now_ms()
        await venue.push("l2Book", book("BTC", now))
        await venue.push("trades", [trade("BTC", now, 1), trade("BTC", now, 2, "A")])
        await venue.push("candle", bar("BTC", minute(now), 101.0))
        await venue.push("activeAssetCtx", {"coin": "BTC", "ctx": {"funding": "0.0001"}})

    heard = asyncio.run(hear(venue, play, lambda heard: isinstance(heard[-1], Funding), channels=PUBLIC))
    kinds = [type(said) for said in heard if not isinstance(said, Heartbeat)]
    assert kinds == [Link, BookSnapshot, Trade, Trade, Candle, Funding]
    assert [said["method"] for said in venue.heard] == ["subscribe"] * 4


def test_a_bar_closes_in_a_silent_market_by_an_answered_ping() -> None:
    venue, hand = just_before_a_minute()

    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        await venue.push("candle", bar("BTC", minute(venue.now_ms()), 101.0))
        await comes(lambda: any(isinstance(said, Candle) for said in heard))
        hand.go_on(500)

    heard = asyncio.run(hear(venue, play, lambda heard: isinstance(heard[-1], Heartbeat), channels=["candle"]))
    partial, over, beat = heard[-3:]
    assert isinstance(partial, Candle) and not partial.complete
    assert isinstance(over, Candle) and over.complete and over.close == 101.0
    assert isinstance(beat, Heartbeat) and beat.ts_event == over.ts_event
    assert {"method": "ping"} in venue.heard


def test_a_connection_that_says_nothing_closes_no_bar() -> None:
    venue, hand = just_before_a_minute()
    venue.pongs = False

    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        await venue.push("candle", bar("BTC", minute(venue.now_ms()), 101.0))
        await comes(lambda: any(isinstance(said, Candle) for said in heard))
        hand.go_on(500)
        await comes(lambda: {"method": "ping"} in venue.heard)
        await asyncio.sleep(0.3)
        await venue.hang_up()

    heard = asyncio.run(hear(venue, play, lambda heard: links(heard) == [True, False, True], channels=["candle"]))
    assert not any(isinstance(said, Heartbeat) or (isinstance(said, Candle) and said.complete) for said in heard)


def test_the_running_bar_is_asked_for_so_that_a_symbol_that_stays_silent_has_one() -> None:
    venue, hand = just_before_a_minute()
    opened = minute(venue.now_ms())
    venue.bars["ETH"] = [bar("ETH", opened, 102.0)]
    given = {"symbols": ("BTCUSDT", "ETHUSDT"), "channels": ["candle"]}

    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        await comes(lambda: any(isinstance(said, Candle) for said in heard))
        hand.go_on(500)

    heard = asyncio.run(hear(venue, play, lambda heard: isinstance(heard[-1], Heartbeat), **given))
    [over] = [said for said in heard if isinstance(said, Candle) and said.complete]
    assert (over.symbol, over.close, over.ts_event) == ("ETHUSDT", 102.0, (opened + MINUTE_MS) * MS)


def test_every_end_of_a_connection_is_a_link_down_and_a_new_connect() -> None:
    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        await venue.hang_up()

    venue = HyperliquidStandIn()
    heard = asyncio.run(hear(venue, play, lambda heard: links(heard) == [True, False, True], channels=["book"]))
    assert [said.reason for said in heard if isinstance(said, Link)][1].startswith("closed by the venue, code 1000")
    assert venue.connects == 2


def test_a_subscription_that_the_venue_calls_invalid_ends_the_feed() -> None:
    venue = HyperliquidStandIn()
    venue.errors = ['Invalid subscription {"type":"candle","coin":"BTC"}']

    async def session() -> None:
        async with venue.running() as address, feed_of(address, channels=["candle"]) as feed:
            await feed.run([].append)

    with pytest.raises(VenueRefusal, match="subscription refused: invalid_subscription: Invalid subscription"):
        asyncio.run(session())


def asked(venue: HyperliquidStandIn, question: Callable[[HyperliquidFeed], Awaitable[Any]], **given: Any) -> Any:
    async def session() -> Any:
        async with venue.running() as address, feed_of(address, clock=venue.clock, **given) as feed:
            return await question(feed)

    return asyncio.run(session())


def test_history_comes_in_pages_without_the_running_bar_and_its_holes_stay_holes() -> None:
    venue = HyperliquidStandIn(clock=Hand())
    now = minute(venue.now_ms())
    opens = [now - MINUTE_MS * back for back in range(50, -1, -1) if back not in (7, 8)]
    venue.bars["BTC"] = [bar("BTC", t, 100.0 + n) for n, t in enumerate(opens)]
    closes = [t + MINUTE_MS for t in opens[:-1]]

    def times(found: list[Candle]) -> list[int]:
        assert all(candle.complete for candle in found)
        return [candle.ts_event // MS for candle in found]

    given = {"values": {"page": 7}}
    assert times(asked(venue, lambda feed: feed.history("BTCUSDT", None, 20), **given)) == closes[-20:]
    assert len([one for one in venue.asked if one["type"] == "candleSnapshot"]) > 2
    start = (now - MINUTE_MS * 30) * MS
    assert times(asked(venue, lambda feed: feed.history("BTCUSDT", start, 1_000), **given)) == [
        t for t in closes if t * MS > start
    ]
    assert (
        times(asked(venue, lambda feed: feed.history("BTCUSDT", start, 5))) == [t for t in closes if t * MS > start][:5]
    )


def test_settlements_come_in_pages_at_the_venues_own_stamps() -> None:
    venue = HyperliquidStandIn()
    hour = 3_600_000
    stamps = [1_683_849_600_048 + hour * n for n in range(1_038)]
    venue.funding["BTC"] = [
        {"coin": "BTC", "fundingRate": "0.0001", "premium": "0.0", "time": stamp} for stamp in stamps
    ]
    found = asked(venue, lambda feed: feed.settlements("BTCUSDT", stamps[0] * MS))
    assert [funding.ts_event // MS for funding in found] == stamps[1:]
    assert {funding.state for funding in found} == {"settled"}


def test_the_settlement_of_the_hour_is_told_while_the_feed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flea_lab.venue.hyperliquid_feed.SETTLED_AFTER_S", 0.1)
    monkeypatch.setattr("flea_lab.venue.hyperliquid_feed.SETTLED_AGAIN_S", 0.1)
    hour = Hand().ns // 3_600_000_000_000 * 3_600_000 + 3_600_000
    hand = Hand((hour - 500) * MS)
    venue = HyperliquidStandIn(clock=hand)

    async def play(feed: HyperliquidFeed, heard: Heard) -> None:
        await comes(lambda: [one["type"] for one in venue.asked].count("fundingHistory") >= 2)  # and is asked again
        hand.go_on(1_000)
        venue.funding["BTC"] = [{"coin": "BTC", "fundingRate": "0.0002", "premium": "0.0", "time": hour + 48}]

    heard = asyncio.run(hear(venue, play, lambda heard: isinstance(heard[-1], Funding), channels=["funding"]))
    assert isinstance(heard[-1], Funding)
    assert (heard[-1].rate, heard[-1].state, heard[-1].ts_event) == (0.0002, "settled", (hour + 48) * MS)


def test_the_clock_is_the_venues_and_the_grid_and_book_are_asked_for() -> None:
    venue = HyperliquidStandIn(behind_ms=86_400_000, clock=Hand())

    async def question(feed: HyperliquidFeed) -> tuple[Any, ...]:
        return await feed.clock(), await feed.instruments(), await feed.book("BTCUSDT")

    time, grids, found = asked(venue, question)
    assert time.now_ns // MS == venue.now_ms() and (time.kind, time.matching) == ("wall", "book")
    assert (str(grids["BTCUSDT"].tick_size), str(grids["BTCUSDT"].lot_size)) == ("0.1", "0.00001")
    assert found.bids == ((100.0, 2.5),)
    time = asked(venue, lambda feed: feed.clock(), values={"matching": "next_open"})
    assert time.matching == "next_open"


def test_what_the_venue_allows_is_not_gone_beyond() -> None:
    symbols = tuple(f"C{n}USDT" for n in range(300))
    with pytest.raises(ConfigError, match=r"300 symbols on 4 channels are 1200 subscriptions, at most .* = 1000"):
        feed_of("127.0.0.1:1", symbols=symbols, channels=PUBLIC)
    with pytest.raises(ConfigError, match=r"channels \['fills'\] must be among candle, book, trades, funding"):
        feed_of("127.0.0.1:1", channels=["fills"])

    async def two(feed: HyperliquidFeed) -> None:
        address = feed.dialect.rest_url.removeprefix("http://")
        async with feed_of(address, values={"connections": 1}):
            pass

    with pytest.raises(ConfigError, match=r"1 connections to ws://127.* are open: connections allows no more"):
        asked(HyperliquidStandIn(), two)


def test_another_venue_at_the_address_and_an_unknown_coin_are_refused_at_once() -> None:
    venue = HyperliquidStandIn()
    venue.meta = {"universe": "none"}
    with pytest.raises(VenueRefusal, match=r"dialect mismatch: http://127.* does not speak 'hyperliquid': meta: "):
        asked(venue, lambda feed: feed.clock())
    with pytest.raises(VenueRefusal, match="the venue has no coin 'BTX'"):
        asked(HyperliquidStandIn(), lambda feed: feed.clock(), symbols=("BTXUSDT",))


def test_offline_nothing_beyond_this_machine_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", "1")

    async def session() -> None:
        async with feed_of("api.exchange.example"):
            raise AssertionError("it connected")

    with pytest.raises(ConfigError, match=r"FLEA_OFFLINE=1 forbids .* 'hyperliquid' to api\.exchange\.example"):
        asyncio.run(session())
