"""A recorded market plays in the sandbox as it was: its candles, its books, its prints, at any pace."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flea_lab.backtest.playlist import playlist_of
from flea_lab.clock import WallClock
from flea_lab.config import from_dict
from flea_lab.data.tape import read_tape
from flea_lab.data.tape_roll import TapeRoll
from flea_lab.live.recorder import Recorder, RecorderSettings
from flea_lab.model.market import BookSnapshot, Candle, Heartbeat, MarketEvent, Trade
from flea_lab.sandbox.recorded import RecordedBars
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage
from flea_lab.wiring import market_of_tape
from tests.backtest.test_tape_replay import VALUES, events, write
from tests.venue.test_with_sandbox import client

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MIN = 60_000_000_000


def record(tape: Path, out: Path, clock: str = "market", pace: Any = "acked") -> list[MarketEvent]:
    """What a client of a sandbox that plays `tape` hears in its last 12 bars, also on a tape at `out`."""

    async def run() -> None:
        config = from_dict(VALUES, "a test")
        loaded, recording = market_of_tape(config, tape)
        settings = SandboxSettings(port=0, days=12 / 1440, matching="book", clock=clock, pace=pace)  # type: ignore[arg-type]
        full = with_costs(settings, config.costs.fee_bps, config.costs.slippage_bps)
        stage = Stage(playlist_of(loaded.market), full, WallClock().now_ns() // 1_000_000, recording)
        server = SandboxServer(stage, WallClock())
        opened = server.open_account("desk", 100_000.0)
        assert isinstance(opened, tuple)
        recorder = Recorder(TapeRoll(out), RecorderSettings(), WallClock(), ack=True)
        async with server.listening() as url, asyncio.timeout(30):
            playing = asyncio.create_task(server.play())
            feed = client(url, opened[0], channels=("candle", "book", "trades"), ack=True, on_raw=recorder.hear_raw)
            await recorder.run(feed, SYMBOLS)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    asyncio.run(run())
    return list(read_tape(out))


def plain(told: list[Any], kind: type) -> list[Any]:
    """The complete messages of one kind, without what every connection numbers anew."""
    values = {"ts_recv": 0} | ({"seq": None} if kind is BookSnapshot else {})
    return [
        msgspec.structs.replace(one, **values)
        for one in told
        if isinstance(one, kind) and (kind is not Candle or one.complete)
    ]


@pytest.fixture
def tape(home: Path) -> Path:
    home.mkdir()
    return write(home / "a.tape", events(depth=12))


def test_what_is_played_is_what_was_recorded_and_again_when_that_is_played(tape: Path, tmp_path: Path) -> None:
    first = record(tape, tmp_path / "1.tape")
    want = [
        msgspec.structs.replace(one, ts_event=one.ts_recv) if isinstance(one, Trade | BookSnapshot) else one
        for one in read_tape(tape)
    ]
    for kind in (Trade, BookSnapshot):
        told = plain(first, kind)
        assert len(told) > 100 and told == plain(want, kind), kind
    candles = plain(first, Candle)
    assert candles == plain(want, Candle)[-len(candles) :] and len(candles) == 24


def test_a_market_moved_to_now_keeps_its_distances(tape: Path, tmp_path: Path) -> None:
    there, now = record(tape, tmp_path / "1.tape"), record(tape, tmp_path / "2.tape", clock="wall")
    moved = {b.ts_event - a.ts_event for a, b in zip(plain(there, Trade), plain(now, Trade), strict=True)}
    assert len(moved) == 1 and moved.pop() > 30 * 86_400 * 10**9
    assert [one.price for one in plain(there, Trade)] == [one.price for one in plain(now, Trade)]


def trade(ts: int, kind: str = "normal") -> Trade:
    return Trade(symbol="X", ts_event=ts, ts_recv=ts, price=1.0, qty=1.0, side="buy", kind=kind)  # type: ignore[arg-type]


def test_a_bar_has_what_is_stamped_in_it_also_what_came_a_little_late(tmp_path: Path) -> None:
    stream: list[Any] = [trade(1), Heartbeat(ts_event=5), trade(MIN), trade(MIN + 1), trade(MIN - 1), trade(2 * MIN),
                         trade(2 * MIN + 7, "insurance"), trade(5 * MIN), trade(4 * MIN)]  # fmt: skip
    bars = RecordedBars(stream, 60_000)
    found = [[one.ts_event for one in bars.inside(n * MIN)] for n in (1, 2, 3, 5, 6)]
    assert found == [[1, MIN - 1, MIN], [MIN + 1, 2 * MIN], [], [5 * MIN], []]
