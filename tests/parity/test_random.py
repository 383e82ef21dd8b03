"""Random configurations over every kernel, one to four symbols, holes and settlements: the fold takes the replay's
decisions and comes to its metrics, to the bit. A slice on every run, 500 in `make parity`."""

import functools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab import config as configs
from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.result import metrics_of
from flea_lab.config import RunConfig, with_values
from flea_lab.data.synthetic import START_MS, synth
from flea_lab.decision import digest
from flea_lab.wiring import prepare, run_fold, run_replay
from tests.parity.campaign import random_config
from tests.parity.featured import featured_config, featured_market
from tests.parity.test_campaign import unfunded

MANY = 500
BARS = 1_200
GRIDS = {
    "BTCUSDT": (60_000.0, "0.1", "0.001"),
    "ETHUSDT": (3_000.0, "0.01", "0.001"),
    "SOLUSDT": (150.0, "0.001", "0.0001"),  # a lot at a tick is a tenth of a micro-dollar
    "XRPUSDT": (2.0, "0.0001", "0.1"),
}
BUCKETS = {"BTCUSDT": 60.0, "ETHUSDT": 900.0, "SOLUSDT": 9_000.0, "XRPUSDT": 300_000.0}


@functools.cache
def base(symbols: int) -> RunConfig:
    """The seed signals on so many symbols."""
    names = list(GRIDS)[:symbols]
    return configs.from_dict(
        {
            "name": f"random-{symbols}",
            "symbols": names,
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            "instruments": {s: {"tick_size": GRIDS[s][1], "lot_size": GRIDS[s][2]} for s in names},
            "data": {"venue": "synthetic"},
        }
    )


@functools.cache
def market(symbols: int, seed: int) -> Market:
    """Another market for every seed; in one of two, bars are missing and the last symbol begins late."""
    candles, funding = {}, {}
    for at, (symbol, (price, tick, _)) in enumerate(list(GRIDS.items())[:symbols]):
        rng = np.random.default_rng([31, seed, at])
        kind = ("mixed", "jump", "gap")[int(rng.integers(3))]
        frame = synth(
            kind, rng, BARS, price=price, tick=float(tick), start_ms=START_MS, volatility=0.1 + seed % 5 * 0.1
        )
        if seed % 2:
            keep = rng.random(len(frame)) > 0.03
            keep[: 40 * at * (at + 1 == symbols)] = False
            frame = frame[keep].reset_index(drop=True)
        candles[symbol] = frame
        times = np.arange(START_MS, START_MS + BARS * 60_000, 3_600_000)
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 1e-3, len(times))})
    return build_market(base(symbols), candles, funding)


def drawn(seed: int) -> tuple[RunConfig, Market]:
    """Configuration number `seed` and its market: one in five reads features, the others one to four symbols."""
    if seed % 5 == 4:
        return random_config(featured_config(), seed, features=True), featured_market()
    symbols = 1 + seed % 5
    found = market(symbols, seed % 40)
    config = random_config(base(symbols), seed, {s: BUCKETS[s] for s in list(GRIDS)[:symbols]})
    if seed % 3 == 0:  # a stake that is held: long or short of a fixed sum
        config = with_values(config, {"sizing.mode": "target", "sizing.basis": "initial", "sizing.rebalance_band": 1.0})
    return config, found if config.costs.funding else unfunded(found)


def differences(seed: int) -> tuple[list[str], dict[str, Any]]:
    """What differs between fold and replay of configuration `seed`, and what the replay did."""
    config, found = drawn(seed)
    _, start = prepare(config, found)
    folded = run_fold(config, found, start)
    seen, core = run_replay(config, found, start)
    replayed = metrics_of(config, found, seen, core.ledger.book, start)
    out = [] if digest(folded.decisions, config.symbols) == digest(seen.decisions, config.symbols) else ["decisions"]
    for at, name in enumerate(METRICS):
        if not np.array_equal(folded.metrics[at], replayed[name], equal_nan=True):
            out.append(f"{name}: {folded.metrics[at]!r} in the fold, {replayed[name]!r} in the replay")
    latched = int((seen.decisions["code"] == 1).any()) + 2 * int((seen.decisions["code"] == 2).any())
    return out, {"decisions": len(seen.decisions), "latched": latched}


@pytest.mark.parametrize("seed", range(20))
def test_a_random_config_is_equal_in_fold_and_replay(seed: int) -> None:
    assert differences(seed)[0] == []


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_500_random_configs_are_equal_in_fold_and_replay(capsys: pytest.CaptureFixture[str]) -> None:
    told, decided, latched = [], 0, [0, 0, 0, 0]
    for seed in range(MANY):
        found, did = differences(seed)
        told += [f"config {seed}: {line}" for line in found]
        decided += did["decisions"] > 0
        latched[did["latched"]] += 1
    with capsys.disabled():
        print(json.dumps({"configs": MANY, "configs_that_decided": decided, "latched": latched, "differ": told[:10]}))
    assert told == []
    assert decided > 0.8 * MANY
    assert min(latched[1:3]) > 5
