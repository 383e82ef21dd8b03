"""The third leg: what a session over REST and websocket decides is what replay and sweep decide."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab import wiring
from flea_lab.backtest.market import OHLCV, Market, build_market, window
from flea_lab.config import RunConfig, with_values
from flea_lab.core import TradingCore
from flea_lab.model.trading import Approved, NewOrder
from flea_lab.research.live_parity import LiveReport, check_live_parity
from flea_lab.risk.checks import DATA
from flea_lab.wiring import prepare, run_fold
from tests.parity.campaign import random_config
from tests.parity.test_campaign import real_market, unfunded
from tests.parity.test_planted import market as synthetic_market
from tests.parity.test_planted import seed_config

MINUTE_NS = 60_000_000_000


def some(bars: int = 500) -> Market:
    """A piece of the synthetic market, settlements every hour."""
    return window(synthetic_market(), 0, bars)


def test_a_live_session_decides_what_replay_and_sweep_decide() -> None:
    found = check_live_parity(seed_config(), some(1_200))
    assert found.equal, found.text()
    assert found.decisions > 100
    assert found.digest == found.legs.digests[0] == found.legs.digests[1]
    assert re.search(r"live +\d+ decisions  [0-9a-f]{16}  over REST and websocket\nequal, decision by d", found.text())


@pytest.mark.parametrize(("seed", "holes"), [(1, False), (4, False), (7, False), (2, True), (3, True), (8, True)])
def test_random_configs_live_the_same_lives(seed: int, holes: bool) -> None:
    config = random_config(seed_config(), seed, {"BTCUSDT": 60.0, "ETHUSDT": 900.0})
    found = window(synthetic_market(holes=holes), 0, 600)
    market = found if config.costs.funding else unfunded(found)
    found = check_live_parity(config, market)
    assert found.equal, found.text()


@pytest.mark.parametrize("longest", [None, 0, 2])
def test_holes_of_one_symbol_and_of_both_live_as_they_replay(longest: int | None) -> None:
    loose = {"risk.max_concentration": 10.0, "risk.max_drawdown": 1.0, "risk.max_daily_loss": 1.0}
    tolerance = {"tolerance.max_hole_bars": longest, "tolerance.settle_bars": 40}
    config, whole = with_values(seed_config(), loose | tolerance), some(600)
    gone = {"BTCUSDT": [150, 151, 152, 300], "ETHUSDT": [150, 151, 200, 400, 401]}
    candles = {}
    for row, symbol in enumerate(config.symbols):
        columns = dict(zip(OHLCV, whole.bars[row].T, strict=False))
        candles[symbol] = pd.DataFrame({"ts": whole.open_ms, **columns}).drop(index=gone[symbol])
    rates = {
        symbol: pd.DataFrame({"ts": whole.fund_ms[whole.fund_row == row], "funding_rate": 0.001})
        for row, symbol in enumerate(config.symbols)
    }
    holed = build_market(config, candles, rates)
    assert holed.n == 598
    found = check_live_parity(config, holed)
    assert found.equal, found.text()
    refused = int((run_fold(config, holed).decisions["code"] == DATA).sum())
    assert (refused > 0) == (longest is not None)


def lived_otherwise(monkeypatch: pytest.MonkeyPatch, config: RunConfig, market: Market, live: Market) -> LiveReport:
    """The three legs of `config` where the sandbox plays `live` and the others have `market`."""
    real = wiring.run_rehearsal

    def rehearse(*given: object, **named: object) -> Path:
        return real(given[0], live, *given[2:], **named)  # type: ignore[arg-type]

    monkeypatch.setattr("flea_lab.research.live_parity.run_rehearsal", rehearse)
    return check_live_parity(config, market)


def test_one_order_of_one_lot_more_is_named_as_the_decision_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = wiring.build_core, 0

    def build(*given: object, **named: object) -> TradingCore:
        core = real(*given, **named)  # type: ignore[arg-type]
        if named.get("prefix", "replay") != "replay":
            route = core.router.on

            def on(approved: Approved, lots: int, ticks: int) -> NewOrder:
                nonlocal count
                count += 1
                return route(approved, lots if count != 5 else lots + (1 if lots > 0 else -1), ticks)

            core.router.on = on  # type: ignore[method-assign]
        return core

    monkeypatch.setattr(wiring, "build_core", build)
    config = with_values(seed_config(), {"risk.max_concentration": 10.0})
    found = check_live_parity(config, some(300))
    assert not found.equal
    assert found.legs.equal
    told = re.search(r"decision 4 .*\n    replay  (.+)\n    live    (.+)\Z", found.text())
    assert told is not None, found.text()
    replayed, lived = (text.split() for text in told.groups())
    assert (int(replayed[4]) + 1, replayed[:4], replayed[5:]) == (int(lived[4]), lived[:4], lived[5:])


def test_one_price_that_the_venue_tells_otherwise_is_named_as_the_bar_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    market = some(400)
    bars, closes = market.bars.copy(), market.close_ticks.copy()
    at = 250
    bars[0, at, 3] += 0.1
    bars[0, at, 1] = max(bars[0, at, 1], bars[0, at, 3])
    closes[0, at] += 1
    found = lived_otherwise(monkeypatch, seed_config(), market, replace(market, bars=bars, close_ticks=closes))
    assert not found.equal
    when = str(np.datetime64(int(market.open_ms[at]) + market.interval_ms, "ms"))
    assert f"equity at the close of {when}Z" in found.text()


@pytest.mark.real_data
def test_a_day_of_two_real_symbols_lives_as_it_replays(data_dir: Path) -> None:
    config, market = real_market(data_dir)
    check_days(config, market, 1)


@pytest.mark.real_data
@pytest.mark.slow
def test_seven_days_of_two_real_symbols_live_as_they_replay(data_dir: Path) -> None:
    config, market = real_market(data_dir)
    assert check_days(config, market, 7) > 3_000


def check_days(config: RunConfig, market: Market, days: int) -> int:
    """Asserts that the last `days` are equal on all three legs; the number of decisions."""
    _, warmup = prepare(config, market)
    found = check_live_parity(config, window(market, market.n - days * 1_440 - warmup, market.n))
    assert found.equal, found.text()
    return found.decisions
