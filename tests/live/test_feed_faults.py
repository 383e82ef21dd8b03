"""A notebook's feed and a whole session on a venue at which everything goes wrong: declared, mended, never traded on.

A longer campaign: pytest tests/live/test_feed_faults.py -m slow
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flea_lab.backtest.market import Market
from flea_lab.errors import VenueError
from flea_lab.journal import Entry
from flea_lab.live.feed import MarketFeed
from flea_lab.live.inbox import Inbox
from flea_lab.live.runner import OVER
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Heartbeat, Trade
from flea_lab.sandbox.faults import CANDLE, KINDS, FaultSettings
from flea_lab.settings import load_settings
from flea_lab.venue.speech import Kind
from tests.live.session import account, assert_whole, last_reconcile, rows, session, world
from tests.live.test_book_session import market_of
from tests.live.test_feed import feed_run, minutes
from tests.live.test_kills import SYMBOLS, busy
from tests.venue.stand_in import StandIn, Talk, candle_row

HISTORY = 30
KINDS_HEARD: tuple[Kind, ...] = ("candle", "book", "trades", "funding", "orders", "fills")
MS = 1_000_000


def book(symbol: str, ts: int) -> BookSnapshot:
    return BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=ts, seq=ts, bids=((1.0, 1.0),), asks=((2.0, 1.0),))


def trade(ts: int) -> Trade:
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=1.0, qty=1.0, side="buy")


def drained(inbox: Inbox[Any]) -> list[Any]:
    found = []
    while not inbox.empty():
        found.append(inbox.get_nowait())
    return found


def test_under_a_flood_only_the_newest_book_of_a_symbol_waits_and_nothing_else_is_lost() -> None:
    inbox: Inbox[Any] = Inbox(crowded=10)
    said: list[Any] = []
    for ts in range(1_000):
        said += [book("X", ts), trade(ts), book("Y", ts), Heartbeat(ts_event=ts)]
    for one in said:
        inbox.put_nowait(one)
    found = drained(inbox)
    assert [one for one in found if not isinstance(one, BookSnapshot)] == [
        one for one in said if not isinstance(one, BookSnapshot)
    ]
    books = [one for one in found if isinstance(one, BookSnapshot)]
    assert books[-2:] == [book("X", 999), book("Y", 999)] and inbox.left_out == 2_000 - len(books) > 1_900
    assert found.index(book("X", 999)) > found.index(trade(998))  # nothing is told before its time
    assert len(inbox) == 0


def test_what_is_not_crowded_is_not_thinned_and_changes_of_a_book_are_left_out_by_their_number() -> None:
    inbox: Inbox[Any] = Inbox(crowded=4)
    for ts in range(3):
        inbox.put_nowait(book("X", ts))
    inbox.put_nowait(trade(3))
    inbox.put_nowait(BookDelta(symbol="X", ts_event=4, ts_recv=4, prev_seq=3, seq=4))
    assert inbox.left_out == 1 and drained(inbox) == [book("X", 0), book("X", 1), book("X", 2), trade(3)]
    with pytest.raises(asyncio.QueueEmpty):
        inbox.get_nowait()


def test_more_than_can_be_kept_is_an_error() -> None:
    inbox: Inbox[Any] = Inbox(most=3)
    for ts in range(3):
        inbox.put_nowait(trade(ts))
    with pytest.raises(VenueError, match="3 things wait to be worked off: the market is faster than this machine"):
        inbox.put_nowait(trade(3))


def test_after_a_cut_the_candles_are_whole_even_when_history_answers_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flea_lab.live.feed.AGAIN_S", 0.05)

    async def cut(talk: Talk) -> None:
        await talk.confirm()
        if talk.number == 1:
            await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(2, complete=True))
            await asyncio.sleep(0.05)
            venue.answers["GET /candles/BTCUSDT"] = [
                *[(503, {"error": "away"})] * 12, (200, {"candles": [candle_row(m) for m in range(3, 5)]}),
            ]  # fmt: skip
            await talk.socket.close()  # 90 seconds go by: two bars close
            return
        await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(5, complete=True))
        await talk.idle()

    venue = StandIn(cut, **{"GET /candles/BTCUSDT": (200, {"candles": [candle_row(0), candle_row(1)]})})

    async def body(feed: MarketFeed) -> Any:
        async with feed:
            while len(feed.candles("BTCUSDT")) < 6:
                await asyncio.sleep(0.005)
        return feed.candles("BTCUSDT")

    assert minutes(feed_run(venue, body)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", ["silent", "frozen"])
def test_a_channel_that_is_dead_or_frozen_is_told_within_its_limit_and_a_second(how: str) -> None:
    async def dies(talk: Talk) -> None:
        await talk.confirm()
        for n in range(10_000):
            stamp = 1_700_000_040_000 + (n if n < 10 else 10)
            data = {"bids": [[99.0, 1.0]], "asks": [[101.0, 1.0]]}
            if n < 10 or how == "frozen":
                await talk.say(channel="orderbook_l2", symbol="BTCUSDT", seq=n, ts=stamp, data=data)
            if n == 10:
                died.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.01)

    died: list[float] = []
    told: list[float] = []

    async def body(feed: MarketFeed) -> None:
        feed.on("stale", lambda _: told.append(asyncio.get_running_loop().time()))
        async with feed:
            while not told:
                await asyncio.sleep(0.005)

    feed_run(StandIn(dies), body, stale_after_s=0.5)
    assert 0.4 <= told[0] - died[0] <= 0.5 + 1.0


def test_a_feed_goes_on_without_the_symbol_that_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def half(talk: Talk) -> None:
        asked = await talk.subscription()
        await talk.say(event="error", code="unknown_symbol", message="no symbol 'ETHUSDT', known are BTCUSDT")
        await talk.say(event="subscribed", channels=asked["channels"], symbols=["BTCUSDT"])
        await talk.say(channel="candle_1m", symbol="BTCUSDT", data=candle_row(1, complete=True))
        await talk.idle()

    venue = StandIn(half)
    venue.answers["GET /candles/ETHUSDT"] = (404, {"error": "unknown_symbol", "message": "no symbol"})

    async def body(feed: MarketFeed) -> Any:
        async with feed:
            while not feed.candles("BTCUSDT"):
                await asyncio.sleep(0.005)
            assert feed.freshness("trades", "BTCUSDT") is None
            return feed.refused

    assert feed_run(venue, body, symbols=("BTCUSDT", "ETHUSDT")) == {"ETHUSDT"}
    assert "goes on without candle_1m ETHUSDT" in caplog.text and "history of ETHUSDT" in caplog.text


FATAL = ("upgrade_401", "upgrade_403")
MARKET = tuple(kind for kind in KINDS if kind not in FATAL)


def rules(seed: int, scale: float) -> FaultSettings:
    """Every kind that a session may survive, each at its own rate."""
    rare = {"silence": [400], "deaf": [1_500], "half_acknowledged": [3], "unacknowledged": [5], "burst": [30]}
    rare |= {"upgrade_429": [2], "upgrade_503": [4], "clock_skew": [200], "time_seconds": [300], "frozen": [50]}
    often = dict.fromkeys(CANDLE, 0.02) | {kind: 0.03 for kind in KINDS if kind.startswith("rest_")}
    given: dict[str, Any] = {}
    for kind in MARKET:
        if kind in rare:
            given[kind] = {"at": rare[kind]}
        else:
            given[kind] = {"probability": often.get(kind, 0.004) * scale}
    given |= {kind: {"probability": 0.001 * scale} for kind in ("close_1000", "close_1001", "reset")}
    given["burst"]["amount"] = 2_000
    return load_settings({"seed": seed, "faults": given}, FaultSettings, "a test")


def assert_every_bar_is_the_markets(folder: Path, market: Market) -> int:
    """Every candle that the core was given is the one that was recorded, to the bit; how many there were."""
    decode = msgspec.msgpack.Decoder(Entry).decode
    given = [decode(body) for (body,) in rows(folder, "SELECT body FROM entries WHERE kind = 0 ORDER BY seq")]
    candles = [event for event in given if isinstance(event, Candle)]
    for candle in candles:
        bar = int(np.searchsorted(market.open_ms, candle.ts_event // MS - market.interval_ms))
        true = market.bars[market.symbols.index(candle.symbol), bar]
        assert (
            candle.complete and [candle.open, candle.high, candle.low, candle.close, candle.volume] == true[:5].tolist()
        )
    return len({(candle.symbol, candle.ts_event) for candle in candles})


def play(folder: Path, bars: int, seed: int, scale: float = 1.0, within_s: float = 120.0) -> dict[str, Any]:
    """What a session on a venue full of faults came to."""
    run = busy(history_bars=HISTORY)
    market = market_of(run, bars + HISTORY)
    quick = {"quiet_s": 0.3, "ping_s": 0.4, "acknowledge_within_s": 0.3, "request_timeout_s": 3.0, "reads": 12}

    async def whole() -> dict[str, Any]:
        faults = rules(seed, scale)
        options = {"matching": "book", "steps": 4, "levels": 8, "faults": faults}
        async with asyncio.timeout(within_s), world(run, market, HISTORY, **options) as here:
            assert await session(here, folder, dialect=quick, channels=KINDS_HEARD) == OVER
            assert_whole(here, folder)
            assert last_reconcile(folder) == account(here.customer)
            return {"counts": here.server.faults.counts, "market": market, "orders": len(here.customer.orders)}

    return asyncio.run(whole())


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("flea_lab.venue.stream.OFF_S", 0.2)
    return home / "journals" / "faulty"


def assert_it_was_declared(folder: Path, found: dict[str, Any], bars: int) -> None:
    """Every bar came, as it was recorded; the faults were counted on both sides, and none of them ended the account."""
    assert assert_every_bar_is_the_markets(folder, found["market"]) == len(SYMBOLS) * (bars + HISTORY)
    happened = {kind: count for kind, count in found["counts"].items() if count}
    said = [json.loads(line)["text"] for line in (folder / "alerts.jsonl").read_text().splitlines()]
    labelled = {kind for (kind,) in rows(folder, "SELECT DISTINCT kind FROM findings")}
    print(found["orders"], "orders;", len(said), "alerts; findings", sorted(labelled), happened)
    assert said and labelled and not [text for text in said if "differs from the venue's" in text]
    assert found["orders"] > bars / 10


def test_a_session_among_faults_of_all_kinds_trades_on_what_is_true_and_ends_equal(folder: Path) -> None:
    found = play(folder, 30, seed=3, scale=0.7)
    assert_it_was_declared(folder, found, 30)
    assert sum(count > 0 for count in found["counts"].values()) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_long_session_among_faults_of_all_kinds_ends_equal(folder: Path, seed: int) -> None:
    found = play(folder, 600, seed=seed, within_s=600.0)
    assert_it_was_declared(folder, found, 600)
    assert sum(count > 0 for count in found["counts"].values()) >= 35
