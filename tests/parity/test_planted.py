"""Parity finds every planted bug, and names the very bar on which it first did harm."""

import functools

import numpy as np
import pandas as pd
import pytest

from flea_lab import config as configs
from flea_lab.backtest.fold import Folded
from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.replay import replay
from flea_lab.config import RunConfig, alphas, with_values
from flea_lab.data.synthetic import START_MS, synth
from flea_lab.research.parity import ParityReport, check_parity, compare
from flea_lab.wiring import build_core, build_exchange, prepare, run_fold
from tests.parity.planted import BUGS, Scene

SINCE = 700
BARS = 3_000


@functools.cache
def seed_config() -> RunConfig:
    return configs.from_dict(
        {
            "name": "planted",
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            "data": {"venue": "synthetic"},
        }
    )


@functools.cache
def market(*, holes: bool = False) -> Market:
    """Two symbols, settlements every hour; with `holes` of 1 to 6 bars in each, some of them in both."""
    grids = {"BTCUSDT": (60_000.0, 0.1), "ETHUSDT": (3_000.0, 0.01)}
    candles, funding = {}, {}
    for seed, (symbol, (price, tick)) in enumerate(grids.items()):
        rng = np.random.default_rng([11, seed])
        candles[symbol] = synth("mixed", rng, BARS, price=price, tick=tick, start_ms=START_MS)
        if holes:
            starts = [*range(500, BARS, 400), *np.random.default_rng([12, seed]).integers(100, BARS - 10, 25).tolist()]
            gone = {at + k for n, at in enumerate(starts) for k in range(1 + n % 6)}
            candles[symbol] = candles[symbol].drop(index=[i for i in gone if i < BARS]).reset_index(drop=True)
        times = np.arange(START_MS, START_MS + BARS * 60_000, 3_600_000)
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 1e-3, len(times))})
    return build_market(seed_config(), candles, funding)


def played(name: str) -> Market:
    """The market on which a bug can do harm."""
    return market(holes=any(path.startswith("tolerance.") for path in BUGS[name][1]))


def planted(name: str) -> tuple[Scene, ParityReport]:
    bug, settings = BUGS[name]
    config, found = with_values(seed_config(), settings), played(name)
    _, start = prepare(config, found)
    folded: Folded = run_fold(config, found, start, curves=True)
    core, exchange = build_core(config, alphas(config), int(found.close_ns[start])), build_exchange(config)
    scene = Scene(core, exchange, found, SINCE)
    bug(scene)
    return scene, compare(config, found, start, folded, replay(found, core, exchange))


@pytest.mark.parametrize("name", list(BUGS))
def test_a_planted_bug_is_found_on_the_bar_of_its_first_harm(name: str) -> None:
    scene, report = planted(name)
    assert scene.harmed_at is not None, "the bug did no harm: it proves nothing"
    assert not report.equal
    assert report.first is not None
    assert report.first.bar == scene.harmed_at
    assert f"they part at bar {scene.harmed_at}" in report.text()


@pytest.mark.parametrize("name", list(BUGS))
def test_without_a_bug_the_same_settings_are_equal(name: str) -> None:
    report = check_parity(with_values(seed_config(), BUGS[name][1]), played(name))
    assert report.equal, report.text()
    assert report.decisions[0] > 100


def test_the_explanation_shows_both_sides_and_the_bar() -> None:
    _, report = planted("partial candle")
    assert report.first is not None
    assert report.first.inputs["bar close"] == market().bars[0, SINCE, 3]
    text = report.text()
    assert "ema_momentum sweep" in text
    assert "ema_momentum replay" in text
    assert report.first.sweep != report.first.replay
