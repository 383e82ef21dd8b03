"""The client against the sandbox: a market in lockstep, orders and their fills, an account equal to the last lot."""

import asyncio
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import VenueRefusal
from flea_lab.live.feed import MarketFeed
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import Accepted, CancelOrder, CancelRejected, Fill, Rejected
from flea_lab.sandbox.play import Playlist
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.settings import SandboxSettings
from flea_lab.sandbox.stage import Stage
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.protocol import Link, Played, Said
from tests.venue.stand_in import GRID, T0, order

BARS, HISTORY = 60, 20
NS = 1_000_000


def market() -> Playlist:
    """Two symbols, flat but for one tick a bar; a settlement before the bar 30."""
    grids = (GRID, Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.001")))
    opens = 970_000 + np.arange(BARS)
    closes = opens + 1
    bars = np.empty((2, BARS, 6))
    for row, tick in enumerate((10, 100)):
        bars[row] = np.column_stack(
            [
                opens / tick,
                (closes + 5) / tick,
                (opens - 5) / tick,
                closes / tick,
                np.full(BARS, 2.0),
                np.full(BARS, 1.0),
            ]
        )
    return Playlist(
        symbols=("BTCUSDT", "ETHUSDT"),
        interval_ms=60_000,
        grids=grids,
        open_ms=T0 + 60_000 * np.arange(BARS),
        bars=bars,
        open_ticks=np.stack([opens, opens]),
        close_ticks=np.stack([closes, closes]),
        fund_at=np.array([30]),
        fund_row=np.array([0]),
        fund_rate=np.array([0.0001]),
        fund_ms=np.array([T0 + 60_000 * 30]),
    )


def sandbox(**settings: Any) -> SandboxServer:
    playlist = market()
    costs = {"maker_fee_bps": 1.0, "taker_fee_bps": 5.0, "slippage_bps": 1.0}
    days = (BARS - HISTORY) / 1440
    stage = Stage(playlist, SandboxSettings(port=0, days=days, **(costs | settings)))
    return SandboxServer(stage, WallClock())


def client(url: str, key: str, *, values: dict[str, Any] | None = None, **given: Any) -> PurpleFlea:
    spoken = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws"}
    dialect = load_dialect(spoken | (values or {}), "a test")
    grids = market().instruments
    return PurpleFlea(dialect, Secret(key), list(grids), "1m", grids, WallClock(), **given)


def key_of(server: SandboxServer) -> str:
    opened = server.open_account("desk", 100_000.0)
    assert isinstance(opened, tuple)
    return opened[0]


def test_a_market_in_lockstep_with_orders_comes_out_to_the_micro_dollar() -> None:
    async def run() -> tuple[list[Said], Any, list[Any], list[Candle]]:
        server = sandbox()
        heard: list[Said] = []
        inbox: asyncio.Queue[Said] = asyncio.Queue()
        sent: list[Any] = []
        async with server.running() as url, client(url, key_of(server), ack=True) as venue:
            assert await venue.instruments() == market().instruments
            time = await venue.clock()
            assert (time.kind, time.now_ns) == ("market", (T0 + 60_000 * HISTORY) * NS)
            history = await venue.history("BTCUSDT", None, 1_500)
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                running = group.create_task(venue.run(inbox.put_nowait))
                while not isinstance(said := await inbox.get(), Played):
                    heard.append(said)
                    if isinstance(said, Heartbeat):
                        beat = sum(isinstance(one, Heartbeat) for one in heard)
                        if beat in (3, 20):
                            sent += await venue.send(order(f"run-{beat}", ts_event=said.ts_event))
                        if beat == 30:
                            sent += await venue.send(order("run-30", symbol="DOGEUSDT"))
                            sent += await venue.send(
                                CancelOrder(client_order_id="run-3", symbol="BTCUSDT", ts_event=said.ts_event)
                            )
                            sent.append(await venue.order("run-3"))
                            sent.append(await venue.order("run-99"))
                            sent.append(await venue.open_orders())
                        await venue.acknowledge(said.ts_event)
                running.cancel()
            account = await venue.account()
            assert account.seq == venue.private_seq
            assert [fill for _, fill in await venue.fills(0)] == [said for said in heard if isinstance(said, Fill)]
            rates = await venue.settlements("BTCUSDT", 0)
            assert [replaced.rate for replaced in rates] == [0.0001]
            assert venue.faults == 0
        return heard, account, sent, history

    heard, account, sent, history = asyncio.run(run())
    assert len(history) == HISTORY
    candles = [said for said in heard if isinstance(said, Candle)]
    assert [said.symbol for said in candles] == ["BTCUSDT", "ETHUSDT"] * (BARS - HISTORY)
    assert candles[0].ts_event == (T0 + 60_000 * (HISTORY + 1)) * NS and all(said.complete for said in candles)
    assert isinstance(heard[0], Link) and heard[0].up and isinstance(heard[1], Heartbeat)
    assert sum(isinstance(said, Funding) for said in heard) == 1
    fills = [said for said in heard if isinstance(said, Fill)]
    assert [fill.client_order_id for fill in fills] == ["run-3", "run-20"]
    assert [type(said) for said in sent[:2]] == [Accepted, Accepted]
    assert isinstance(sent[2], Rejected) and isinstance(sent[3], CancelRejected)
    assert (sent[4].status, sent[4].filled_lots, sent[5], sent[6]) == ("filled", 10, None, [])
    assert account.lots == {"BTCUSDT": 20} and account.fees_uusd == sum(fill.fee_uusd for fill in fills)
    assert account.funding_uusd != 0
    paid = sum(fill.lots * fill.price_ticks * 100 for fill in fills)  # a lot at a tick is 100 micro-dollars
    held = account.lots["BTCUSDT"] * (970_000 + BARS) * 100
    gained = held - paid - account.fees_uusd - account.funding_uusd
    assert account.equity_uusd == 100_000_000_000 + gained


def test_a_feed_of_everything_at_speed_has_no_fault() -> None:
    async def run() -> tuple[list[Said], int]:
        server = sandbox(pace=1_000.0, matching="book")
        heard: list[Said] = []
        over = asyncio.Event()

        def deliver(said: Said) -> None:
            heard.append(said)
            if isinstance(said, Played):
                over.set()

        async with server.running() as url, client(url, key_of(server), channels=("candle", "book", "trades")) as venue:
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                running = group.create_task(venue.run(deliver))
                await over.wait()
                running.cancel()
            return heard, venue.faults

    heard, faults = asyncio.run(run())
    assert faults == 0
    kinds = {type(said) for said in heard}
    assert {BookSnapshot, Trade, Candle, Heartbeat, Link, Played} <= kinds
    assert not all(said.complete for said in heard if isinstance(said, Candle))


def test_the_notebook_feed_reads_the_sandbox() -> None:
    async def run() -> tuple[np.ndarray, list[Any]]:
        server = sandbox(pace=1_000.0, matching="book")
        heard: list[Any] = []
        async with server.running() as url:
            dialect = {"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws"}
            feed = MarketFeed(["BTCUSDT", "ETHUSDT"], api_key=key_of(server), dialect=dialect)
            feed.on("candle", heard.append)
            async with feed, asyncio.timeout(20):
                while len(heard) < 20:
                    await asyncio.sleep(0.01)
                book = feed.book("ETHUSDT")
                assert book is not None and not math.isnan(book.mid_price)
                return feed.closes("BTCUSDT"), heard

    closes, heard = asyncio.run(run())
    assert len(closes) >= HISTORY + 9
    assert (np.diff(closes) > 0).all()
    assert [event["candle"].ts_event for event in heard] == sorted(event["candle"].ts_event for event in heard)


def test_a_wrong_key_is_refused_at_the_door() -> None:
    async def run() -> None:
        async with sandbox().running() as url, client(url, "pf_wrong"):
            pytest.fail("let in")

    with pytest.raises(VenueRefusal, match=r"answered 401 invalid_key.*the key, or the way it is sent"):
        asyncio.run(run())
