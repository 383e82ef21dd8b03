"""A walk-forward chooses on what was known, trades what came after, and joins what it traded."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.market import Market, window
from flea_lab.backtest.sweep import sweep
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.synthetic import synth
from flea_lab.errors import ConfigError, DataError
from flea_lab.research.walkforward import Stretch, WalkForward, stretches, walk_forward
from flea_lab.wiring import market_from_frames

GRID: dict[str, list[Any]] = {"rsi_reversion.period": [5, 9, 14], "sizing.base_fraction": [0.05, 0.1, 0.2]}
BARS = 2_000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return synth("mixed", np.random.default_rng(5), BARS, lot=0.1)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return from_dict(
        {
            "name": "walked",
            "symbols": ["BTCUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "rsi_reversion"}],
            "sizing": {"mode": "target"},
            "costs": {"funding": False},
            "instruments": {"BTCUSDT": {"tick_size": "0.1", "lot_size": "0.001"}},
            "deployment": {"threads": 1},
        }
    )


def market_of(config: RunConfig, frame: pd.DataFrame) -> Market:
    return market_from_frames(config, {"BTCUSDT": frame}).market


def walked(config: RunConfig, market: Market, **given: Any) -> WalkForward:
    """Choices on 500 bars for the 250 after them, unless `given` says otherwise."""
    asked = {"train_days": 500 / 1440, "test_days": 250 / 1440, **given}
    return walk_forward(config, GRID, market, **asked)


@pytest.fixture(scope="module")
def found(config: RunConfig, frame: pd.DataFrame) -> WalkForward:
    return walked(config, market_of(config, frame))


def test_stretches_follow_each_other_and_lose_no_bar() -> None:
    assert stretches(10, 100, 40, 20) == [Stretch(10, 50, 70), Stretch(30, 70, 90), Stretch(50, 90, 100)]
    assert stretches(10, 99, 40, 20)[-1] == Stretch(30, 70, 90)  # nine bars are less than half a test
    assert [s.train_from for s in stretches(10, 100, 40, 20, anchored=True)] == [10, 10, 10]
    assert stretches(10, 50, 40, 20) == []


def test_what_is_chosen_is_the_best_of_the_bars_before_and_of_no_other(
    config: RunConfig, frame: pd.DataFrame, found: WalkForward
) -> None:
    market = market_of(config, frame)
    first = 15  # an RSI of 14 is ready on its 16th bar
    for row in found.windows.to_dict("records"):
        begin, turn = np.searchsorted(market.open_ms, [row["train_from"], row["test_from"]])
        alone = sweep(config, GRID, window(market, begin - first, turn))
        assert alone.start == first
        assert {name: row[name] for name in GRID} == alone.best("sharpe")
        assert row["in_sample"] == alone.table["sharpe"].max()


def test_the_future_changes_no_choice_and_no_earlier_curve(
    config: RunConfig, frame: pd.DataFrame, found: WalkForward
) -> None:
    poisoned = frame.copy()
    last = found.windows["test_from"].iloc[-1]
    after = poisoned["ts"] >= last
    for name in ("open", "high", "low", "close"):
        poisoned.loc[after, name] = poisoned.loc[after, name] * 2.0
    other = walked(config, market_of(config, poisoned))
    assert other.windows[list(GRID)].equals(found.windows[list(GRID)])
    assert other.windows["in_sample"].equals(found.windows["in_sample"])
    known = found.equity["ts"] <= last
    assert other.equity[known].equals(found.equity[known])
    assert not other.equity["walked_usd"].equals(found.equity["walked_usd"])  # the poison was there


def test_the_curve_is_the_growth_of_its_parts(found: WalkForward) -> None:
    assert len(found.windows) == 6
    assert found.windows["test_to"].iloc[:-1].tolist() == found.windows["test_from"].iloc[1:].tolist()
    growth = (1.0 + found.windows["out_return"]).prod()
    end = found.equity["walked_usd"].iloc[-1] / found.config.initial_cash_usd
    assert end == pytest.approx(growth, rel=1e-12)
    assert found.metrics["total_return"] == pytest.approx(growth - 1.0, rel=1e-9)
    own = (1.0 + found.windows["own_return"]).prod()
    assert found.equity["own_usd"].iloc[-1] / found.config.initial_cash_usd == pytest.approx(own, rel=1e-12)
    assert found.evaluated == 9 * 6
    assert found.equity["ts"].is_monotonic_increasing and found.equity["ts"].is_unique


def test_a_plateau_is_chosen_by_its_neighbours(config: RunConfig, frame: pd.DataFrame, found: WalkForward) -> None:
    other = walked(config, market_of(config, frame), choose="plateau")
    assert (other.windows["in_sample"] <= found.windows["in_sample"]).all()
    assert not other.windows["in_sample"].equals(found.windows["in_sample"])


def test_efficiency_is_what_was_kept_of_what_was_promised(found: WalkForward) -> None:
    made = dataclasses.replace(found, windows=pd.DataFrame({"in_annual": [0.2, 0.4], "out_annual": [0.1, 0.05]}))
    assert made.efficiency == pytest.approx(0.25)
    lost = dataclasses.replace(found, windows=pd.DataFrame({"in_annual": [-0.2, 0.1], "out_annual": [0.1, 0.05]}))
    assert np.isnan(lost.efficiency)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"metric": "sharp"}, ConfigError, "metric 'sharp' is unknown"),
        ({"choose": "luck"}, ConfigError, "choose = 'luck': it is best or plateau"),
        ({"test_days": 0.0}, ConfigError, "test_days = 0: a stretch has at least two bars of 1 min"),
        ({"train_days": float("nan")}, ConfigError, "train_days = nan"),
        ({"train_days": 2.0}, DataError, "1.389 days are too few: two stretches of 2"),
    ],
)
def test_what_cannot_be_walked_is_said(
    config: RunConfig, frame: pd.DataFrame, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        walked(config, market_of(config, frame), **given)
