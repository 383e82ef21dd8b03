"""What a report computes beyond the backtest agrees with the backtest's own numbers and with sums made by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.curve import curve_metrics
from flea_lab.backtest.result import BacktestResult
from flea_lab.report import facts

DAY = 86_400_000


def shortened(result: BacktestResult, ts: list[int], equity: list[float]) -> BacktestResult:
    """`result` with an equity curve given by bar opens."""
    closes = np.array(ts) + result.config.interval_ms
    return replace(result, equity=pd.DataFrame({"ts": closes, "equity_usd": equity}))


def test_the_metrics_of_a_curve_are_those_of_the_backtest(result: BacktestResult) -> None:
    found = curve_metrics(result.equity["equity_usd"], result.config.initial_cash_usd, 365 * 24 * 60.0)
    for name, value in found.items():
        assert value == pytest.approx(result.metrics[name], rel=1e-9), name


def test_a_ratio_without_a_denominator_is_nan() -> None:
    found = curve_metrics([100.0, 100.0], 100.0, 365.0)
    assert all(math.isnan(found[name]) for name in ("volatility", "sharpe", "sortino", "calmar"))
    assert found["total_return"] == found["max_drawdown"] == 0.0


def test_the_drawdown_counts_from_the_initial_cash() -> None:
    assert curve_metrics([90.0, 95.0], 100.0, 365.0)["max_drawdown"] == pytest.approx(-0.1)


def test_the_profit_before_costs_is_that_of_the_same_fills_at_the_open(result: BacktestResult) -> None:
    fills = result.fills
    sign = np.where(fills["side"] == "buy", 1.0, -1.0)
    opens = fills["price"] - sign * fills["slippage_usd"] / fills["qty"]
    last = result.positions[result.positions["ts"] == result.positions["ts"].iloc[-1]]
    gross = float(-(sign * fills["qty"] * opens).sum() + last["notional_usd"].sum())
    found = facts.costs(result)
    assert found.gross_usd == pytest.approx(gross, abs=0.01)
    assert found.net_usd == pytest.approx(result.metrics["final_equity_usd"] - 100_000.0, abs=1e-6)
    assert found.paid_usd == pytest.approx(found.gross_usd - found.net_usd)


def test_a_short_run_is_shown_day_by_day_of_its_weeks(result: BacktestResult) -> None:
    thursday = 1_735_776_000_000  # 2025-01-02
    opens = [thursday, thursday + DAY - 60_000, thursday + DAY, thursday + 5 * DAY]
    table = facts.period_returns(shortened(result, opens, [1e5, 1.1e5, 1.21e5, 1.1e5]))
    assert list(table.columns) == list(facts.WEEKDAYS) and list(table.index) == ["30 Dec 2024", "06 Jan 2025"]
    first = table.loc["30 Dec 2024"]
    assert first["Thu"] == pytest.approx(0.1) and first["Fri"] == pytest.approx(0.1)
    assert table.loc["06 Jan 2025", "Tue"] == pytest.approx(1.1 / 1.21 - 1.0)
    assert table.notna().to_numpy().sum() == 3


def test_a_long_run_is_shown_month_by_month(result: BacktestResult) -> None:
    january = 1_735_689_600_000
    table = facts.period_returns(
        shortened(result, [january, january + 40 * DAY, january + 400 * DAY], [1e5, 0.5e5, 1e5])
    )
    assert list(table.columns) == list(facts.MONTHS) and list(table.index) == ["2025", "2026"]
    assert table.loc["2025", "Jan"] == 0.0 and table.loc["2025", "Feb"] == -0.5 and table.loc["2026", "Feb"] == 1.0


def test_days_together_give_the_whole_return(result: BacktestResult) -> None:
    table = facts.period_returns(result)
    together = float(np.prod(1.0 + table.to_numpy()[table.notna().to_numpy()])) - 1.0
    assert together == pytest.approx(result.metrics["total_return"], rel=1e-9)


def test_a_signal_followed_alone_is_the_slow_sum(result: BacktestResult) -> None:
    curves = facts.signal_curves(result)
    for source, curve in curves.items():  # noqa: B007  the query reads it
        total = 0.0
        for symbol in result.config.symbols:
            closes = dict(zip(result.candles[symbol]["ts"] + 60_000, result.candles[symbol]["close"], strict=True))
            part = result.signals.query("symbol == @symbol and source == @source")
            for row in part.itertuples():
                later = closes.get(row.ts + 60_000)
                if later is not None and row.direction == row.direction:
                    total += row.direction * row.confidence * (later / closes[row.ts] - 1.0) / 2
        assert curve["growth"].iloc[-1] == pytest.approx(total, rel=1e-9)
    assert list(curves) == ["ema_momentum", "rsi_reversion"]


def test_what_a_signal_did_is_counted_from_the_rows(result: BacktestResult) -> None:
    found = facts.signal_facts(result).set_index("signal")
    said = result.signals.query("source == 'ema_momentum'")
    counting = said[(said["confidence"] >= 0.3) & (said["direction"] != 0)]
    row = found.loc["ema_momentum"]
    assert row["counted"] == len(counting) / len(said) and row["weight"] == 1.0
    assert row["long"] == pytest.approx((counting["direction"] > 0).mean())
    sent = result.decisions.query("code == 0")
    sides = {(r.ts, r.symbol): "buy" if r.direction > 0 else "sell" for r in counting.itertuples()}
    agreed = [sides.get((r.ts, r.symbol)) == r.side for r in sent.itertuples()]
    assert row["agreed"] == pytest.approx(np.mean(agreed))


def test_every_guard_is_counted_also_at_zero(result: BacktestResult) -> None:
    found = facts.refused(result)
    assert list(found) == ["daily_loss", "drawdown", "concentration", "order_size", "vpin"]
    assert sum(found.values()) == (result.decisions["code"] != 0).sum() > 0
    other = replace(result, metrics={**result.metrics, "veto_below_minimum": 2.0})
    assert facts.refused(other)["below_minimum"] == 2


def test_the_first_refusal_is_the_earliest(result: BacktestResult) -> None:
    first = facts.first_refusal_ms(result, "daily_loss")
    assert first == result.decisions.query("check == 'daily_loss'")["ts"].min()
    assert facts.first_refusal_ms(result, "order_size") is None
