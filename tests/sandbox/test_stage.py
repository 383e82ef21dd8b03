"""What a stage plays: the order of frames, what is known when, and fills equal to the replay's to the bit."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from flea_lab.backtest.market import Market
from flea_lab.backtest.playlist import playlist_of
from flea_lab.config import RunConfig, alphas
from flea_lab.errors import ConfigError
from flea_lab.ledger import PENDING
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, Candle, Funding, Heartbeat
from flea_lab.model.trading import Fill, NewOrder
from flea_lab.sandbox import api
from flea_lab.sandbox.api import Frame
from flea_lab.sandbox.order import Denied, OrderRequest
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage
from flea_lab.settings import load_settings
from flea_lab.wiring import build_core, run_replay
from tests.backtest.tiny import config, tiny
from tests.sandbox.stages import HOUR, MINUTE, NAN, T0, a_playlist, a_stage, asked, bar, settings


def said(frames: list[Frame]) -> list[tuple[str, str, int, int]]:
    return [(frame.channel, frame.symbol, frame.seq, (frame.ts_ms - T0) // MINUTE) for frame in frames]


def test_a_bar_is_told_in_its_order() -> None:
    stage = a_stage(a_playlist(60, settled=[(59, "Y", 0.1)]))
    scenes = stage.scenes()
    stage.claim("me", 1_000.0)
    for _ in range(59):
        bar(stage, scenes)
    stage.submit("me", asked("a", size="0.1"), stage.now_ms)
    assert said(stage.frames())[-1] == ("orders", "X", 1, 59)
    bar(stage, scenes)
    assert said(stage.frames()) == [
        ("funding", "Y", 1, 59),
        ("fills", "X", 2, 59),
        ("orders", "X", 3, 59),
        ("candle_1m", "X", 60, 60),
        ("candle_1m", "Y", 60, 60),
        ("candle_5m", "X", 12, 60),
        ("candle_5m", "Y", 12, 60),
        ("candle_15m", "X", 4, 60),
        ("candle_15m", "Y", 4, 60),
        ("candle_1h", "X", 1, 60),
        ("candle_1h", "Y", 1, 60),
    ]
    assert stage.over
    assert list(scenes) == []


def test_pushes_are_counted_whether_or_not_anybody_listens() -> None:
    stage = a_stage()
    scenes = stage.scenes()
    stage.wanted = set()
    bar(stage, scenes)
    assert stage.frames() == []
    stage.wanted = {"candle_1m"}
    bar(stage, scenes)
    assert said(stage.frames()) == [("candle_1m", "X", 2, 2), ("candle_1m", "Y", 2, 2)]


def test_a_missing_bar_is_silence() -> None:
    stage = a_stage(a_playlist(5, holes=[("X", 2)]))
    scenes = stage.scenes()
    for _ in range(5):
        bar(stage, scenes)
    frames = stage.frames()
    assert [ts for channel, symbol, _, ts in said(frames) if (channel, symbol) == ("candle_1m", "X")] == [1, 2, 4, 5]
    assert {symbol for channel, symbol, _, _ in said(frames) if channel == "candle_5m"} == {"Y"}


def test_the_future_is_not_told() -> None:
    stage = a_stage(a_playlist(130, settled=[(3, "X", 0.1), (70, "X", 0.2)]), start="2025-01-01T01:00")
    assert stage.now_ms == T0 + HOUR
    assert stage.exchange.marks == {"X": 1_595, "Y": 2_595}
    rows = stage.candles("X", "1m", 5_000, None)
    assert [row["t"] for row in rows] == [T0 + i * MINUTE for i in range(60)]
    assert [row["t"] for row in stage.candles("X", "1h", 10, None)] == [T0]
    assert stage.funding("X", 10, None) == [{"t": T0 + 3 * MINUTE, "rate": 0.1}]
    scenes = stage.scenes()
    for _ in range(10):
        bar(stage, scenes)
    assert len(stage.candles("X", "1m", 5_000, None)) == 70
    assert len(stage.funding("X", 10, None)) == 1, "stamped now, and paid only with the next opens"
    bar(stage, scenes)
    assert stage.funding("X", 10, T0 + 3 * MINUTE) == [{"t": T0 + 70 * MINUTE, "rate": 0.2}]
    assert [row["t"] for row in stage.candles("X", "1m", 2, T0 + 69 * MINUTE)] == [T0 + 69 * MINUTE, T0 + 70 * MINUTE]


def test_a_stage_without_history_knows_nothing_yet() -> None:
    stage = a_stage()
    assert stage.now_ms == T0
    assert stage.candles("X", "1m", 10, None) == []
    stage.claim("me", 1_000.0)
    denied = stage.submit("me", asked(size_usd="10"), stage.now_ms)
    assert isinstance(denied, Denied)
    assert denied.code == "no_price"


def test_inside_a_bar_books_and_prints_come_in_time_and_the_bar_last() -> None:
    stage = a_stage(a_playlist(3), matching="book", steps=4)
    scenes = stage.scenes()
    stage.claim("me", 10_000.0)
    bar(stage, scenes)
    stage.frames()
    stage.submit("me", asked("a", size="0.1"), stage.now_ms)
    assert [frame.channel for frame in stage.frames()] == ["orders"]
    bar(stage, scenes)
    frames = stage.frames()
    stamps = [frame.ts_ms for frame in frames]
    assert stamps == sorted(stamps)
    channels = [frame.channel for frame in frames]
    assert channels[-2:] == ["candle_1m", "candle_1m"]
    assert {"orderbook_l2", "trades", "fills", "orders"} < set(channels)
    forming = [frame.data for frame in frames[:-2] if frame.channel == "candle_1m"]
    assert forming and not any(data["complete"] for data in forming)
    assert all(frame.data["complete"] for frame in frames[-2:])
    assert channels.index("orderbook_l2") < channels.index("fills")


def test_the_same_seed_plays_the_same_and_another_does_not() -> None:
    def frames(seed: int) -> list[Frame]:
        stage = a_stage(a_playlist(3), matching="book", seed=seed)
        for scene in stage.scenes():
            scene.play()
        return stage.frames()

    assert frames(1) == frames(1)
    assert frames(1) != frames(2)


def test_a_market_on_the_wall_clock_begins_with_the_bar_that_is_forming() -> None:
    now_ms = T0 + 1_000 * HOUR + 12_345
    wall = settings(clock="wall", clock_skew_s=5.0, start="2025-01-01T00:02")
    stage = Stage(a_playlist(), wall, now_ms)
    assert stage.now_ms == T0 + 1_000 * HOUR
    assert [row["t"] - stage.now_ms for row in stage.candles("X", "1m", 9, None)] == [-2 * MINUTE, -MINUTE]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"pace": 0.5}, r"pace = 0.5: expected `float` >= 1.0"),
        ({"start": "soon"}, "start = 'soon' is not an ISO date or time"),
        ({"latency_ms": 5}, r"latency_ms \(5\) needs matching 'book'"),
        ({"clock_skew_s": 5.0}, r"clock_skew_s \(5.0\) needs clock 'wall'"),
        ({"port": 70_000}, "port = 70000"),
        ({"prot": 1}, "prot: unknown field, did you mean 'port'"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        load_settings(values, SandboxSettings, "test")


def test_every_cost_has_to_be_stated() -> None:
    with pytest.raises(ValueError, match="must be stated: use with_costs"):
        Stage(a_playlist(), load_settings({"start": "2025-01-01"}, SandboxSettings, "test"))


def test_play_money_beyond_64_bits_is_refused() -> None:
    stage = a_stage()
    assert stage.claim("me", 1_000_000.0) == 10**12
    fine = Instrument(tick_size=Decimal("0.01"), lot_size=Decimal("0.0000000001"))
    playlist = replace(a_playlist(1, ("X",)), grids=(fine,))
    tight = Stage(playlist, with_costs(SandboxSettings(faucet_usd=100.0), 1.0, 1.0))
    denied = tight.claim("me", 1e9)
    assert isinstance(denied, Denied)
    assert denied.code == "invalid_amount"


class Trader:
    """A core that hears a stage through its frames and answers with orders: a runner without sockets."""

    def __init__(self, run: RunConfig, market: Market) -> None:
        plain = SandboxSettings(days=30.0, leverage=100.0)
        self.stage = Stage(playlist_of(market), with_costs(plain, run.costs.fee_bps, run.costs.slippage_bps))
        self.stage.wanted = set(self.stage.channels)
        self.stage.claim("me", run.initial_cash_usd)
        self.core = build_core(run, alphas(run), 0, prefix="replay")
        self.grids = self.stage.playlist.instruments
        self.fills: list[Fill] = []
        self.equity: list[int] = []

    def play(self) -> None:
        for scene in self.stage.scenes():
            scene.play()
            for frame in self.stage.frames():
                self.on(frame)
            if scene.ends_bar:
                self.feed(Heartbeat(ts_event=scene.ts_ms * MS_NS))
                self.equity.append(int(self.core.ledger.equity_uusd()))

    def on(self, frame: Frame) -> None:
        symbol, ts, data = frame.symbol, frame.ts_ms * MS_NS, frame.data
        if frame.channel == "funding":
            self.feed(Funding(symbol=symbol, ts_event=ts, ts_recv=ts, rate=data["rate"]))
        elif frame.channel == "candle_1m":
            row = {
                name: data[key] for name, key in zip(("open", "high", "low", "close", "volume"), "ohlcv", strict=True)
            }
            self.feed(Candle(symbol=symbol, ts_event=ts, ts_recv=ts, **row, buy_volume=data.get("bv", NAN)))
        elif frame.channel == "fills":
            grid = self.grids[symbol]
            fill = Fill(
                client_order_id=data["client_order_id"],
                ts_event=ts,
                symbol=symbol,
                side=data["side"],
                lots=grid.lots(Decimal(data["size"])),
                price_ticks=int(Decimal(data["price"]) / grid.tick_size),
                fee_uusd=int(Decimal(data["fee"]) * 1_000_000),
                reference_ticks=int(Decimal(data["reference"]) / grid.tick_size),
            )
            self.fills.append(fill)
            self.feed(fill)

    def feed(self, event: Any) -> None:
        for command in self.core.on(event):
            if isinstance(command, NewOrder):
                self.order(command)

    def order(self, command: NewOrder) -> None:
        size = Decimal(api.size(command.lots, self.grids[command.symbol]))
        request = OrderRequest(
            client_order_id=command.client_order_id,
            symbol=command.symbol,
            side=command.side,
            type="market",
            size=size,
        )
        answer = self.stage.submit("me", request, self.stage.now_ms)
        assert not isinstance(answer, Denied), answer


def test_fills_and_equity_are_the_replays_to_the_micro_dollar() -> None:
    costs = {"fee_bps": 4.5, "slippage_bps": 1.0, "funding": True}
    run = config(("X", "Y"), costs=costs, sizing={"base_fraction": 0.2}, initial_cash_usd=100_000.0)
    rng = np.random.default_rng(5)
    rows: dict[str, list[tuple[int, float, float, float]]] = {}
    for symbol, price in (("X", 100.0), ("Y", 40.0)):
        path = np.round(price * np.exp(np.cumsum(rng.normal(0.0, 3e-3, 301))), 2)
        say = rng.uniform(-1.0, 1.0, 300)
        rows[symbol] = [(i, float(path[i]), float(path[i + 1]), float(say[i])) for i in range(300)]
    del rows["Y"][100:103]
    market = tiny(run, rows, {symbol: [(i * 60_000, 1e-4 * (i % 7 - 3)) for i in range(5, 300, 40)] for symbol in rows})
    wanted, _ = run_replay(run, market)
    trader = Trader(run, market)
    trader.play()
    assert len(wanted.fills) > 100
    assert trader.fills == wanted.fills
    assert trader.equity == wanted.equity.tolist()
    me = trader.stage.exchange.customers["me"]
    assert me.ledger.cash_uusd == trader.core.ledger.cash_uusd
    trader.core.ledger.book[:, PENDING] = 0  # what an exchange does not count
    assert me.ledger.book.tolist() == trader.core.ledger.book.tolist()
