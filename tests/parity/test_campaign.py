"""Sweep and replay take the same decisions: a slice on every run, 200 configurations in `make parity`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flea_lab import config as configs
from flea_lab.backtest.market import Market, window
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.result import metrics_of
from flea_lab.config import RunConfig
from flea_lab.data.sources.demo import find_demo
from flea_lab.data.sources.files import read_candle_file, read_funding_file
from flea_lab.research.parity import compare
from flea_lab.risk.checks import DATA
from flea_lab.wiring import market_from_frames, prepare, run_fold, run_replay
from tests.parity.campaign import random_config
from tests.parity.test_planted import market as synthetic_market
from tests.parity.test_planted import seed_config

REAL = 200
DAY = 1_440


def unfunded(market: Market) -> Market:
    """`market` as it is built for a config that leaves funding out."""
    none = np.zeros(0, np.int64)
    return replace(market, funded=False, fund_at=none, fund_row=none, fund_rate=np.zeros(0), fund_ms=none)


def check(config: RunConfig, market: Market) -> int:
    """Asserts that both legs are equal, to the last bit of every metric; returns the number of decisions."""
    market = market if config.costs.funding else unfunded(market)
    _, start = prepare(config, market)
    folded = run_fold(config, market, start, curves=True)
    seen, core = run_replay(config, market, start)
    report = compare(config, market, start, folded, seen)
    assert report.equal, report.text()
    replayed = metrics_of(config, market, seen, core.ledger.book, start)
    assert np.array_equal(folded.metrics, [replayed[name] for name in METRICS], equal_nan=True)
    return len(seen.decisions)


def real_market(data_dir: Path) -> tuple[RunConfig, Market]:
    """30 days of BTC and ETH on one account, with their funding."""
    config = configs.from_dict({**seed_config().to_dict(), "instruments": {}, "data": {"venue": "binance_um"}})
    found = find_demo(data_dir, config.symbols)
    candles = {symbol: read_candle_file(paths[0]).frame for symbol, paths in found.candles.items()}
    last = min(frame["ts"].iloc[-1] for frame in candles.values())
    candles = {symbol: frame[frame["ts"] <= last].reset_index(drop=True) for symbol, frame in candles.items()}
    funding = {symbol: frame for path in found.funding for symbol, frame in read_funding_file(path).items()}
    return config, market_from_frames(config, candles, funding).market


@pytest.mark.parametrize("seed", range(10))
def test_random_configs_are_equal_on_a_synthetic_market(seed: int) -> None:
    buckets = {"BTCUSDT": 60.0, "ETHUSDT": 900.0}
    check(random_config(seed_config(), seed, buckets), synthetic_market())


def test_random_configs_are_equal_on_a_market_with_holes_and_some_refuse_for_them() -> None:
    refused = 0
    for seed in range(12):
        config = random_config(seed_config(), seed, {"BTCUSDT": 60.0, "ETHUSDT": 900.0})
        market = synthetic_market(holes=True)
        check(config, market)
        held = market if config.costs.funding else unfunded(market)
        refused += int((run_fold(config, held).decisions["code"] == DATA).sum())
    assert refused > 100


@pytest.mark.real_data
@pytest.mark.parametrize("seed", range(8))
def test_random_configs_are_equal_on_three_real_days(seed: int, data_dir: Path) -> None:
    config, market = real_market(data_dir)
    check(random_config(config, seed), window(market, seed * 3 * DAY, (seed * 3 + 3) * DAY))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.timeout(3_600)
def test_200_random_configs_are_equal_on_30_real_days(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, market = real_market(data_dir)
    taken = [check(random_config(config, seed), market) for seed in range(REAL)]
    busy = sum(n > 0 for n in taken)
    with capsys.disabled():
        print(json.dumps({"configs": REAL, "bars": market.n, "decisions": sum(taken), "configs_that_decided": busy}))
    assert busy > 0.8 * REAL
