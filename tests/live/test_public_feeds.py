"""Paper on real venues' shapes: which feed a dialect picks, without a key, and a whole session on it."""

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flea_lab import config as configs
from flea_lab.clock import Stopwatch, WallClock
from flea_lab.data.tape_roll import TapeRoll
from flea_lab.errors import ConfigError
from flea_lab.live.control_client import ControlClient, NoRunner, Unanswered
from flea_lab.live.feed import MarketFeed
from flea_lab.live.feeds import dialect_of, needs_key, open_feed
from flea_lab.live.journal import open_journal
from flea_lab.live.paper import PaperVenue
from flea_lab.live.recorder import Recorded, Recorder, RecorderSettings
from flea_lab.model.market import Funding
from flea_lab.settings import load_settings
from flea_lab.venue.ccxt_venue import CcxtFeed
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.hyperliquid_feed import HyperliquidFeed
from flea_lab.wiring import live_session
from tests.venue.hyperliquid_stand_in import (
    MINUTE_MS,
    QUICK,
    Hand,
    HyperliquidStandIn,
    bar,
    book,
    minute,
    spoken,
    trade,
)

GRID = {"tick_size": "0.1", "lot_size": "0.00001", "min_notional_usd": "10", "funding_interval_h": 1}
BY_CCXT: dict[str, Any] = {
    "name": "ccxt:hyperliquid",
    "symbols": {"BTCUSDT": "BTC/USDC:USDC"},
    "options": {"fetchMarkets": {"types": ["swap"]}},
}
NEEDS_CCXT = pytest.mark.skipif(
    importlib.util.find_spec("ccxt") is None, reason="ccxt is not installed: it comes with the extra `venues`"
)
CCXT_WARNS = "ignore::DeprecationWarning", "ignore::ResourceWarning"
LOCAL = {"rest_url": "http://127.0.0.1:1", "ws_url": "ws://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def no_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)


def test_a_name_picks_the_feed() -> None:
    given = None, ["BTCUSDT"], "1m", {}, WallClock()
    assert isinstance(open_feed({"name": "hyperliquid", **LOCAL}, *given), HyperliquidFeed)
    assert isinstance(open_feed("ccxt:binanceusdm", *given), CcxtFeed)
    assert isinstance(open_feed(None, *given), PurpleFlea) and isinstance(open_feed({}, *given), PurpleFlea)
    assert [needs_key(dialect_of(name, "x")) for name in (None, "hyperliquid", "ccxt:okx")] == [True, False, False]
    with pytest.raises(ConfigError, match="shows no raw frames"):
        open_feed("ccxt:okx", *given, on_raw=lambda raw, ts: None)  # noqa: ARG005
    with pytest.raises(ConfigError, match=r"name = 'ccxt:': must be one of .*, or 'ccxt:EXCHANGE' \(in x\)"):
        dialect_of("ccxt:", "x")
    with pytest.raises(ConfigError, match=r"options: are for 'ccxt:EXCHANGE', not for 'hyperliquid'"):
        dialect_of({"name": "hyperliquid", "options": {"a": 1}}, "x")
    with pytest.raises(ConfigError, match=r"auth = 'bearer': only public data of 'ccxt:okx' is read, no key is sent"):
        dialect_of({"name": "ccxt:okx", "auth": "bearer"}, "x")


def test_offline_every_dialect_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    for name, url in (("hyperliquid", ""), ("purpleflea-seed", "https://exchange.example/x")):
        values = {"name": name, **({"rest_url": url} if url else {})}
        with pytest.raises(ConfigError, match=f"FLEA_OFFLINE=1 forbids the connection of dialect '{name}' to"):
            open_feed(values, None, ["BTCUSDT"], "1m", {}, WallClock())


def test_a_notebook_hears_the_venue_without_a_key() -> None:
    venue = HyperliquidStandIn(clock=Hand())
    venue.wanted = 3
    venue.bars["BTC"] = history(venue, 30)

    async def session() -> tuple[Any, ...]:
        async with venue.running() as address:
            feed = MarketFeed(["BTCUSDT"], dialect=spoken(address), clock=venue.clock)
            async with feed:
                await venue.subscribed.wait()
                await venue.push("l2Book", book("BTC", venue.now_ms()))
                while feed.book("BTCUSDT") is None:
                    await asyncio.sleep(0.01)
                return feed.book("BTCUSDT"), feed.closes("BTCUSDT"), feed.freshness("book", "BTCUSDT")

    found, closes, age_s = asyncio.run(session())
    assert found.mid_price == 100.5 and len(closes) == 30 and age_s == pytest.approx(0.0, abs=0.001)


def test_only_what_was_settled_is_paid_on_paper_and_the_rest_passes() -> None:
    rates = [
        Funding(symbol="BTCUSDT", ts_event=60 * n, ts_recv=0, rate=0.01, state=state)
        for n, state in enumerate(("current", "predicted", "settled"), 1)
    ]

    class Script:
        async def run(self, deliver: Any) -> None:
            for rate in rates:
                deliver(rate)

    for funding, passed in ((True, 3), (False, 2)):
        grid = config("127.0.0.1:1").instruments
        venue = PaperVenue(Script(), grid, 60_000, fee_e8=0, slippage_e8=0, cash_uusd=10**9, funding=funding)  # type: ignore[arg-type]
        heard: list[Any] = []
        asyncio.run(venue.run(heard.append))
        assert len(heard) == passed
        assert venue._account.settled_ns["BTCUSDT"] == (180 if funding else -1)


def history(venue: HyperliquidStandIn, bars: int) -> list[dict[str, Any]]:
    """Bars that rise, up to the minute before this one."""
    now = minute(venue.now_ms())
    return [bar("BTC", now - MINUTE_MS * back, 100.0 + (bars - back) / 2) for back in range(bars, 0, -1)]


def config(address: str, dialect: dict[str, Any] | None = None) -> configs.RunConfig:
    below = "" if dialect is BY_CCXT else "/ws"  # ccxt knows the path itself
    addresses = {"rest_url": f"http://{address}", "ws_url": f"ws://{address}{below}"}
    spoken = {**(dialect or {"name": "hyperliquid"}), **addresses, **QUICK}
    return configs.from_dict(
        {
            "symbols": ["BTCUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum", "params": {"fast": 2, "slow": 3}}],
            "instruments": {"BTCUSDT": GRID},
            "risk": {"max_concentration": 1.0},
            "live": {"dialect": spoken, "max_skew_s": 120.0, "stale_s": 120.0, "lag_block_s": 600.0},
        }
    )


@contextmanager
def beside(venue: HyperliquidStandIn) -> Iterator[str]:
    """The venue in a thread of its own, telling books, prints and the running bar ten times a second."""
    ready, over, found = threading.Event(), threading.Event(), list[str]()

    async def play() -> None:
        async with venue.running() as address:
            found.append(address)
            ready.set()
            tid = 0
            while not over.is_set():
                await asyncio.sleep(0.1)
                now, tid = venue.now_ms(), tid + 1
                if venue.subscribed.is_set():
                    await venue.push("candle", bar("BTC", minute(now), 160.0))
                    await venue.push("l2Book", book("BTC", now, 159.9, 160.1))
                    await venue.push("trades", [trade("BTC", now, tid, px=160.1)])

    thread = threading.Thread(target=lambda: asyncio.run(play()))
    thread.start()
    assert ready.wait(60)
    try:
        yield found[0]
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("dialect", "streams"),
    [
        ({"name": "hyperliquid"}, 4),
        pytest.param(BY_CCXT, 3, marks=[NEEDS_CCXT, *map(pytest.mark.filterwarnings, CCXT_WARNS)]),
    ],
    ids=["hyperliquid", "ccxt"],
)
def test_a_paper_session_on_a_real_venues_shapes_decides_trades_and_stops_without_any_key(
    home: Path, dialect: dict[str, Any], streams: int
) -> None:
    venue = HyperliquidStandIn()
    venue.wanted = streams
    if dialect is BY_CCXT:
        importlib.import_module("ccxt.pro")  # takes seconds, which the minute would not wait for
    venue.behind_ms = (venue.now_ms() + 4_000) % MINUTE_MS  # its minute ends in 4 s
    venue.bars["BTC"] = history(venue, 250)
    folder = home / "journals" / "main"
    seen: list[dict[str, Any]] = []

    def until_filled() -> None:
        watch = Stopwatch()
        while watch.elapsed_s() < 200 and not (seen and seen[-1].get("fills")):  # or in a later minute
            threading.Event().wait(0.1)
            with suppress(NoRunner, Unanswered):  # not there yet
                seen.append(ControlClient(folder).status())
        ControlClient(folder).stop()

    with beside(venue) as address:
        watcher = threading.Thread(target=until_filled)
        watcher.start()
        assert live_session(config(address, dialect), None, venue="paper", account="main") == 0
        watcher.join()
    assert "trading" in [status["state"] for status in seen] and seen[-1]["fills"] >= 1, seen[-1]
    assert not (home / "keys").exists() or not list((home / "keys").glob("*.key"))
    journal = open_journal(folder)
    try:
        assert (journal.get("venue"), journal.get("key")) == ("paper", "paper")
    finally:
        journal.close()


def test_a_recorder_keeps_what_the_venue_told_frame_by_frame(home: Path, tmp_path: Path) -> None:
    venue = HyperliquidStandIn()
    venue.wanted = 4
    values = {"keep": "both", "history": 5}
    with beside(venue) as address:
        venue.bars["BTC"] = history(venue, 10)
        recorder = Recorder(TapeRoll(tmp_path / "t.tape"), load_settings(values, RecorderSettings, "x"), WallClock())
        given = None, ["BTCUSDT"], "1m", {}, WallClock()
        feed = open_feed(spoken(address), *given, on_raw=recorder.hear_raw, on_fault=recorder.hear_fault)

        async def enough() -> Recorded:
            recording = asyncio.create_task(recorder.run(feed, ["BTCUSDT"], "1m", 60.0))
            least = {"Candle": 6, "BookSnapshot": 2, "Trade": 2, "RawFrame": 6}
            while any(recorder.counts[kind] < count for kind, count in least.items()) and not recording.done():
                await asyncio.sleep(0.01)
            recorder.finish("enough")
            return await recording

        done = asyncio.run(enough())
    assert done.counts["Candle"] > 5 and done.counts["BookSnapshot"] >= 2 and done.counts["Trade"] >= 2
    assert done.counts["RawFrame"] >= 6 and done.faults == 0, done


def test_orders_never_go_to_a_venue_that_is_data_only() -> None:
    with pytest.raises(
        ConfigError, match="dialect 'hyperliquid' is no sandbox's: venue 'paper' trades on its market, 'live' there"
    ):
        live_session(config("127.0.0.1:1"), None, venue="sandbox", account="main")


def test_another_grid_than_the_venues_does_not_start(home: Path) -> None:
    venue = HyperliquidStandIn()
    with beside(venue) as address:
        other = config(address)
        values = {**other.to_dict(), "instruments": {"BTCUSDT": {**GRID, "lot_size": "0.001"}}}
        with pytest.raises(Exception, match=r"BTCUSDT: lot_size is 0\.00001 at the venue, 0\.001 in the config"):
            live_session(configs.from_dict(values), None, venue="paper", account="main")
