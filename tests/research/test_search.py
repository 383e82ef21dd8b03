"""A search names points: seeded, none twice, the same again after an interrupt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flea_lab import runs
from flea_lab.backtest.market import Market
from flea_lab.backtest.plan import Plan, plan_points
from flea_lab.backtest.sweep import sweep
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError
from flea_lab.report.again import execute_again
from flea_lab.report.sweep import run_sweep
from flea_lab.research.search import BATCH, Search, bayes_points, choose, load_ranges, random_points, search
from flea_lab.wiring import demo_config, market_from_frames

RANGES = {
    "ema_momentum": {"fast": {"low": 2, "high": 20, "log": True}, "slow": {"start": 10, "stop": 60, "step": 5}},
    "risk.max_drawdown": {"low": 0.05, "high": 0.5},
}


@pytest.fixture
def config(home: Path) -> RunConfig:
    assert not home.exists()
    return from_dict({"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]})


@pytest.fixture
def market(config: RunConfig) -> Market:
    return market_from_frames(config, {"BTCUSDT": synth("mixed", np.random.default_rng(3), 600)}).market


def test_random_points_are_seeded_different_and_within_their_ranges() -> None:
    ranges = load_ranges(RANGES, "a test")
    points = random_points(ranges, 300, 7)
    assert points == random_points(ranges, 300, 7) != random_points(ranges, 300, 8)
    assert len({repr(point) for point in points}) == 300
    assert {point["ema_momentum.slow"] for point in points} == set(range(10, 61, 5))
    assert {point["ema_momentum.fast"] for point in points} == set(range(2, 21))
    assert all(0.05 <= point["risk.max_drawdown"] <= 0.5 for point in points)
    assert sum(point["ema_momentum.fast"] <= 6 for point in points) > 130  # half the orders of magnitude


def test_a_space_that_can_be_counted_is_drawn_to_its_last_point() -> None:
    ranges = load_ranges({"a": [1, 2, 3], "b": {"low": 4, "high": 5}}, "a test")
    assert len({repr(point) for point in random_points(ranges, 6, 1)}) == 6
    with pytest.raises(ConfigError, match="7 trials are asked for, the ranges have 6 points: sweep them all"):
        random_points(ranges, 7, 1)


def test_a_random_search_is_the_sweep_over_its_points(config: RunConfig, market: Market) -> None:
    found = search(config, RANGES, market, Search("random", 20, 3))
    points = random_points(load_ranges(RANGES, "a test"), 20, 3)
    assert found.table.equals(sweep(config, {}, market, cells=plan_points(config, points)).table)
    assert found.n + found.n_refused == 20


def test_a_bayesian_search_interrupted_goes_on_to_the_same_points(
    config: RunConfig, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    by = Search("bayes", 3 * BATCH, 5, "total_return")
    whole = choose(config, RANGES, market, by)
    points = list(whole.points) + [{k: v for k, v in one.items() if k != "reason"} for one in whole.refused]
    assert len({repr(point) for point in points}) == 3 * BATCH
    stopped = choose(config, RANGES, market, by, resume=tmp_path, cancelled=lambda: True)
    assert stopped.space.n == BATCH
    folded: list[int] = []
    fold = Plan.fold
    monkeypatch.setattr(Plan, "fold", lambda self, *a: folded.append(self.n) or fold(self, *a))
    again = choose(config, RANGES, market, by, resume=tmp_path)
    assert list(again.points) == list(whole.points)
    assert len(folded) == 2
    choose(config, RANGES, market, by, resume=tmp_path)
    assert len(folded) == 2


def test_a_bayesian_search_of_few_points_ends_when_all_are_known(config: RunConfig, market: Market) -> None:
    pytest.importorskip("optuna")
    ranges = load_ranges({"ema_momentum.fast": [3, 5, 30], "ema_momentum.slow": [20, 40]}, "a test")
    points = list(bayes_points(config, ranges, market, Search("bayes", 50)))
    assert len(points) == len({repr(point) for point in points}) == 6


def test_a_bayesian_search_asks_more_where_it_is_good(config: RunConfig, market: Market) -> None:
    pytest.importorskip("optuna")
    ranges = {"costs.fee_bps": {"low": 0.0, "high": 20.0}}
    found = search(config, ranges, market, Search("bayes", 4 * BATCH, 1, "total_return"))
    fees = found.table["costs.fee_bps"].to_numpy()
    drawn = [point["costs.fee_bps"] for point in random_points(load_ranges(ranges, "a test"), 4 * BATCH, 1)]
    assert np.median(fees) < 0.7 * np.median(drawn)


def test_a_stored_search_executed_again_gives_its_numbers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    ranges = {"ema_momentum.fast": {"low": 2, "high": 15}, "ema_momentum.slow": [21, 30, 45]}
    folder, found = run_sweep(
        demo_config(("BTCUSDT",), days=2), ranges, progress=False, search=Search("random", 12, 4, "total_return")
    )
    manifest = runs.read_manifest(folder)
    assert manifest.reproduce.endswith("--search random --trials 12 --seed 4 --metric total_return")
    assert found.plan.space.n == 12
    assert runs.read_manifest(execute_again(folder)).result_digest == manifest.result_digest
    assert "12 cells" in (folder / "sweep.html").read_text()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to search"),
        ({"a": {"low": 3, "high": 3}}, "low must be below high"),
        ({"a": {"low": 0.0, "high": 3.0, "log": True}}, "log needs low above 0"),
        ({"a": {"low": 0.0, "high": 3.0, "lgo": True}}, "lgo: unknown field"),
        ({"a": []}, "an axis needs at least one value"),
    ],
)
def test_ranges_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_ranges(values, "a test")


def test_a_search_that_cannot_be_is_refused(config: RunConfig, market: Market) -> None:
    with pytest.raises(ConfigError, match="search 'grid' is unknown, known are random, bayes"):
        Search("grid", 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="trials = 0: from 1 to 5,000,000"):
        Search("random", 0)
    with pytest.raises(ConfigError, match="metric 'luck' is unknown"):
        Search("random", 3, metric="luck")
    for how in ("random", "bayes"):
        with pytest.raises(ConfigError, match="no such parameter of ema_momentum"):
            choose(config, {"ema_momentum.fats": [3, 4]}, market, Search(how, 2))  # type: ignore[arg-type]
