"""Metrics against numpy on the whole curve."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flea_lab.backtest.metrics import BASIC, METRICS, UNITS, VETOES, summarise_curve
from flea_lab.ledger import COLUMNS, FEES, FILLS, FUNDING, SLIPPAGE, TRIPS, TURNOVER, WINS
from flea_lab.risk.checks import NAMES

USD = 1_000_000
FIRST = 100_000 * USD
YEAR = 525_600.0


def summary(equity: list[int], gross: list[int] | None = None, first: int = FIRST) -> dict[str, float]:
    """Every metric of a curve in whole dollars, on a book whose columns are told apart by their values."""
    book = np.zeros((2, COLUMNS), np.int64)
    book[:, FEES], book[:, FUNDING], book[:, SLIPPAGE] = (3 * USD, 4 * USD), (-USD, -2 * USD), (USD, 5 * USD)
    book[:, TURNOVER], book[:, FILLS], book[:, TRIPS], book[:, WINS] = FIRST, (7, 2), (3, 1), (2, 1)
    vetoes = np.arange(len(NAMES), dtype=np.int64) * 10
    out = np.empty(len(METRICS))
    held = gross if gross is not None else [0] * len(equity)
    summarise_curve(np.array(equity, np.int64) * USD, np.array(held, np.int64) * USD, first, book, vetoes, YEAR, out)
    return dict(zip(METRICS, out.tolist(), strict=True))


def independent(equity: np.ndarray, gross: np.ndarray) -> dict[str, float]:
    """The same from the definitions, over the whole array."""
    curve = np.concatenate([[FIRST / USD], equity.astype(float)])
    returns = curve[1:] / curve[:-1] - 1.0
    fall = (curve / np.maximum.accumulate(curve) - 1.0).min()
    annual = (curve[-1] / curve[0]) ** (YEAR / len(equity)) - 1.0
    downside = math.sqrt((np.minimum(returns, 0.0) ** 2).mean())
    return {
        "total_return": curve[-1] / curve[0] - 1.0,
        "annual_return": annual,
        "volatility": returns.std(ddof=1) * math.sqrt(YEAR),
        "sharpe": returns.mean() / returns.std(ddof=1) * math.sqrt(YEAR),
        "sortino": returns.mean() / downside * math.sqrt(YEAR),
        "calmar": annual / -fall,
        "max_drawdown": fall,
        "exposure": (gross / equity).mean(),
        "final_equity_usd": equity[-1],
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_those_of_numpy(seed: int) -> None:
    """Within 1e-12 relative; 1e-10 for a mean a thousand times smaller than its terms, and for a power of 525."""
    rng = np.random.default_rng(seed)
    equity = np.round(100_000 * np.exp(np.cumsum(rng.normal(1e-6, 1e-3, 1_000)))).astype(np.int64)
    gross = rng.integers(0, 200_000, 1_000)
    found = summary(equity.tolist(), gross.tolist())
    for name, value in independent(equity, gross).items():
        tight = 1e-12 if name not in ("annual_return", "calmar", "sharpe", "sortino") else 1e-10
        assert found[name] == pytest.approx(value, rel=tight), name


def test_the_numbers_of_three_bars_by_hand() -> None:
    found = summary([110_000, 99_000, 99_000], [55_000, 0, 49_500])
    assert found["total_return"] == pytest.approx(-0.01, rel=1e-12)
    assert found["max_drawdown"] == pytest.approx(-0.1, rel=1e-12)
    assert found["exposure"] == pytest.approx(1 / 3, rel=1e-12)
    # returns 0.1, -0.1, 0: mean 0, deviation 0.1, downside sqrt(0.01 / 3)
    assert found["volatility"] == pytest.approx(0.1 * math.sqrt(YEAR), rel=1e-12)
    assert found["sharpe"] == pytest.approx(0.0, abs=1e-9)
    assert found["final_equity_usd"] == 99_000
    assert (found["fees_usd"], found["funding_usd"], found["slippage_usd"]) == (7.0, -3.0, 6.0)
    assert (found["fills"], found["round_trips"], found["win_rate"], found["turnover"]) == (9, 4, 0.75, 2.0)


def test_vetoes_stand_under_their_names() -> None:
    found = summary([100_000])
    for code, name in NAMES.items():
        if code:
            assert found[f"veto_{name}"] == 10 * code


def test_a_ratio_without_a_denominator_is_nan() -> None:
    found = summary([100_000] * 5)
    assert all(math.isnan(found[name]) for name in ("sharpe", "sortino", "calmar", "volatility"))
    assert (found["total_return"], found["max_drawdown"], found["exposure"]) == (0.0, 0.0, 0.0)
    one = summary([101_000])
    assert math.isnan(one["volatility"]) and math.isnan(one["sharpe"])
    assert one["total_return"] == pytest.approx(0.01)
    assert all(math.isnan(summary([])[name]) for name in ("volatility", "sharpe", "sortino", "calmar", "exposure"))


def test_a_lost_account_has_lost_everything() -> None:
    found = summary([50_000, -10_000])
    assert found["total_return"] == pytest.approx(-1.1)
    assert found["annual_return"] == -1.0
    assert found["max_drawdown"] == pytest.approx(-1.1)


@given(arrays(np.int64, st.integers(2, 50), elements=st.integers(1, 10**9)))
def test_the_drawdown_is_the_deepest_fall_from_any_peak_before(equity: np.ndarray) -> None:
    curve = [FIRST // USD, *equity.tolist()]
    deepest = min(b / a - 1.0 for i, a in enumerate(curve) for b in curve[i:])
    assert summary(equity.tolist())["max_drawdown"] == pytest.approx(min(deepest, 0.0), rel=1e-12)


def test_every_metric_has_a_name_a_unit_and_one_place() -> None:
    assert len(set(METRICS)) == len(METRICS)
    assert set(UNITS) >= set(BASIC)
    assert list(VETOES) == [f"veto_{NAMES[code]}" for code in range(1, len(NAMES))]
