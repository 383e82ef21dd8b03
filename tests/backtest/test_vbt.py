"""vectorbt agrees with the replay: the same orders give the same equity, drawdown, return and round trips."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab import config as configs
from flea_lab.backtest.result import BacktestResult
from flea_lab.backtest.sweep import sweep
from flea_lab.backtest.vbt import cell_orders, cell_portfolio, equity_difference, indicator, orders, portfolio
from flea_lab.config import RunConfig, with_values
from flea_lab.data.sources.demo import find_demo
from flea_lab.data.sources.files import read_candle_file, read_funding_file
from flea_lab.data.synthetic import START_MS, synth
from flea_lab.errors import ConfigError, DataError
from flea_lab.signal.kernel import FIELDS
from flea_lab.signal.registry import builtin_kernels
from flea_lab.testing import law_bars
from flea_lab.wiring import Loaded, market_from_frames, run_backtest

MODES = ("increment", "target")
FLOATS = 1e-9
"""Relative: the law. What is left is the rounding of floats, some 1e-14, where money itself is exact."""

BARS = 4_000


def seed_config(**values: Any) -> RunConfig:
    settings = {
        "name": "vbt",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "interval": "1m",
        "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
        "costs": {"fee_bps": 5.0, "slippage_bps": 2.0, "funding": False},
        "risk": {"max_daily_loss": 0.5, "max_drawdown": 0.9},
    }
    return with_values(configs.from_dict(settings), values)


@functools.cache
def synthetic(kind: str = "mixed") -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Two symbols' candles and hourly funding, with holes where `kind` is "gap"."""
    candles, funding = {}, {}
    for seed, (symbol, price, tick) in enumerate((("BTCUSDT", 60_000.0, 0.1), ("ETHUSDT", 3_000.0, 0.01))):
        rng = np.random.default_rng([17, seed])
        candles[symbol] = synth(kind, rng, BARS, price=price, tick=tick)
        times = np.arange(START_MS, START_MS + BARS * 60_000, 3_600_000)
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 1e-3, len(times))})
    return candles, funding


def load(config: RunConfig, kind: str = "mixed") -> Loaded:
    candles, funding = synthetic(kind)
    return market_from_frames(config, candles, funding)


@functools.cache
def backtest(mode: str, funding: bool = False, kind: str = "mixed") -> BacktestResult:
    config = seed_config(**{"sizing.mode": mode, "costs.funding": funding})
    return run_backtest(config, load(config, kind))


@functools.cache
def real(data_dir: Path, mode: str, funding: bool) -> BacktestResult:
    """30 days of recorded BTC and ETH candles, one minute each, on one account."""
    config = seed_config(**{"sizing.mode": mode, "costs.funding": funding})
    config = configs.from_dict({**config.to_dict(), "instruments": {}, "data": {"venue": "binance_um"}})
    found = find_demo(data_dir, config.symbols)
    candles = {symbol: read_candle_file(paths[0]).frame for symbol, paths in found.candles.items()}
    last = min(frame["ts"].iloc[-1] for frame in candles.values())
    candles = {symbol: frame[frame["ts"] <= last].reset_index(drop=True) for symbol, frame in candles.items()}
    rates = {symbol: frame for path in found.funding for symbol, frame in read_funding_file(path).items()}
    return run_backtest(config, market_from_frames(config, candles, rates))


def check_equal(result: BacktestResult) -> None:
    """Equity, return and drawdown are vectorbt's, and nothing is named that could make them differ."""
    pf = portfolio(result)
    difference = equity_difference(result, pf)
    assert difference.relative < FLOATS
    assert difference.reasons == ()
    assert pf.total_return() == pytest.approx(result.metrics["total_return"], rel=FLOATS)
    assert pf.max_drawdown() == pytest.approx(result.metrics["max_drawdown"], rel=FLOATS)
    assert pf.drawdown().to_numpy() == pytest.approx(result.equity["drawdown"].to_numpy(), abs=FLOATS)
    # a bar's return is a small difference of large numbers: 1e-16 of equity is 1e-10 of a deviation of 1e-5
    assert pf.sharpe_ratio() == pytest.approx(result.metrics["sharpe"], rel=1e-8)


def check_trips(result: BacktestResult) -> None:
    """Closed positions of vectorbt are our round trips: count, side, times, quantity, prices, fees and net gain."""
    pf = portfolio(result)
    records = pf.positions.records
    closed = records[records["status"] == 1]
    index = pf.wrapper.index.as_unit("ms").astype(np.int64)
    theirs = pd.DataFrame(
        {
            "symbol": np.array(result.config.symbols)[closed["col"]],
            "side": np.where(closed["direction"] == 0, "long", "short"),
            "entry_ts": index[closed["entry_idx"]],
            "exit_ts": index[closed["exit_idx"]],
            "qty": closed["size"],
            "entry_price": closed["entry_price"],
            "exit_price": closed["exit_price"],
            "pnl_usd": closed["pnl"],
            "fee_usd": closed["entry_fees"] + closed["exit_fees"],
            "return_frac": closed["return"],
        }
    )
    keys = ["symbol", "entry_ts"]
    theirs = theirs.sort_values(keys, ignore_index=True)
    ours = result.trades.sort_values(keys, ignore_index=True)
    assert len(ours) == len(theirs) == result.metrics["round_trips"]
    assert len(ours) > 20
    for name in ("symbol", "side", "entry_ts", "exit_ts"):
        assert list(ours[name]) == list(theirs[name]), name
    # an average price is off by floats only, and a gain is the difference of two such values
    for name in ("qty", "entry_price", "exit_price", "fee_usd"):
        assert ours[name].to_numpy() == pytest.approx(theirs[name].to_numpy(), rel=FLOATS), name
    entered = (ours["qty"] * ours["entry_price"]).to_numpy()
    assert (ours["pnl_usd"] / entered).to_numpy() == pytest.approx((theirs["pnl_usd"] / entered).to_numpy(), abs=FLOATS)
    assert ours["return_frac"].to_numpy() == pytest.approx(theirs["return_frac"].to_numpy(), abs=FLOATS)
    # the one that differs: vectorbt also lists what is still open at the end, with status 0
    held = result.positions.groupby("symbol")["qty"].last()
    assert (records["status"] == 0).sum() == (held != 0.0).sum()


@pytest.mark.parametrize("mode", MODES)
def test_equity_drawdown_and_return_are_those_of_vectorbt(mode: str) -> None:
    check_equal(backtest(mode))


@pytest.mark.parametrize("mode", MODES)
def test_round_trips_are_the_closed_positions_of_vectorbt(mode: str) -> None:
    check_trips(backtest(mode))


@pytest.mark.real_data
@pytest.mark.parametrize("mode", MODES)
def test_30_days_of_real_candles_are_those_of_vectorbt(mode: str, data_dir: Path) -> None:
    result = real(data_dir, mode, False)
    assert len(result.equity) > 43_000
    check_equal(result)
    check_trips(result)


@pytest.mark.real_data
def test_on_real_candles_the_difference_is_the_funding_paid(data_dir: Path) -> None:
    check_funding(real(data_dir, "increment", True))


@pytest.mark.parametrize("mode", MODES)
def test_the_difference_is_exactly_the_funding_paid(mode: str) -> None:
    check_funding(backtest(mode, funding=True))


def check_funding(result: BacktestResult) -> None:
    pf = portfolio(result)
    times = len(result.funding)
    assert times > 20
    gap = pf.value().iloc[-1] - result.equity["equity_usd"].iloc[-1]
    # near 1e5 USD the spacing of floats is 1.5e-11; some thousand sums of them stay below a micro-dollar
    assert gap == pytest.approx(result.metrics["funding_usd"], abs=1e-6)
    assert abs(gap) > 1e-2
    difference = equity_difference(result, pf)
    assert difference.relative < FLOATS
    paid = result.funding["paid_usd"].sum()
    assert difference.reasons == (
        f"vectorbt has no funding: compared net of {paid:,.2f} USD paid in {times} settlements",
    )


def test_settlements_inside_a_bar_count_from_the_next_open() -> None:
    config = seed_config(**{"costs.funding": True, "interval": "15m"})
    candles, funding = {}, {}
    for seed, symbol in enumerate(config.symbols):
        rng = np.random.default_rng([3, seed])
        candles[symbol] = synth("mixed", rng, BARS, interval="15m", price=1_000.0, tick=0.01)
        times = START_MS + 7 * 60_000 + np.arange(BARS // 4) * 3_600_000
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 1e-3, len(times))})
    result = run_backtest(config, market_from_frames(config, candles, funding))
    assert len(result.funding) > 100
    assert equity_difference(result, portfolio(result)).relative < FLOATS


def test_a_symbol_with_holes_is_marked_at_its_last_close() -> None:
    result = backtest("increment", kind="gap")
    missing = {symbol: len(result.equity) - (frame["ts"] >= result.equity["ts"].iloc[0]).sum() for symbol, frame in
               result.candles.items()}  # fmt: skip
    assert all(n > 5 for n in missing.values())
    check_equal(result)


def test_fees_as_a_rate_differ_by_the_rounding_to_micro_dollars() -> None:
    """Nothing of our fee or slippage arithmetic goes in: vectorbt computes both fees and cash from rates."""
    import vectorbt

    result = backtest("target")
    found = orders(result)
    pf = vectorbt.Portfolio.from_orders(
        found.close,
        size=found.size,
        price=found.price,
        fees=5e-4,
        init_cash=100_000.0,
        cash_sharing=True,
        freq=pd.Timedelta(1, unit="min"),
    )
    gap = np.abs(pf.value().to_numpy() - result.equity["equity_usd"].to_numpy())
    rounding = 0.5e-6 * len(result.fills)  # each fee is off by half a micro-dollar at most
    assert gap.max() < rounding + 1e-8
    assert gap.max() / 100_000.0 < FLOATS
    assert gap.max() > 1e-8  # it was really vectorbt's arithmetic


def test_slippage_as_a_rate_is_within_a_tick_of_the_price_paid() -> None:
    result = backtest("target")
    sizes, prices = orders(result).size, orders(result).price
    for symbol in result.config.symbols:
        frame, tick = result.candles[symbol], float(result.config.instruments[symbol].tick_size)
        opens = pd.Series(frame["open"].to_numpy(), index=pd.to_datetime(frame["ts"], unit="ms"))
        filled = sizes[symbol].dropna()
        sign = np.sign(filled)
        plain = opens.loc[filled.index] * (1 + sign * 2e-4)
        worse = (prices[symbol].loc[filled.index] - plain) * sign
        assert worse.min() > -1e-6
        assert worse.max() < tick


def test_an_odd_grid_is_named_and_stays_within_its_rounding() -> None:
    grid = {"tick_size": "0.01", "lot_size": "0.00001", "min_notional_usd": "5"}  # 0.1 micro-dollars
    config = seed_config(instruments={"BTCUSDT": grid, "ETHUSDT": seed_config().to_dict()["instruments"]["ETHUSDT"]})
    result = run_backtest(config, load(config))
    difference = equity_difference(result, portfolio(result))
    bound = 0.5e-6 * ((result.fills["symbol"] == "BTCUSDT").sum() + 1)
    assert difference.reasons == (
        f"a lot of BTCUSDT at a tick is no whole micro-dollar: up to {bound:.1e} USD of rounding",
    )
    assert 1e-9 < difference.usd <= bound + 1e-8
    assert difference.relative < FLOATS


def test_an_account_that_borrowed_is_refused_until_the_cash_is_lent() -> None:
    config = seed_config(**{"risk.max_concentration": 5.0, "sizing.base_fraction": 0.9})
    result = run_backtest(config, load(config))
    assert result.equity["cash_usd"].min() < 0.0
    with pytest.raises(ConfigError, match=r"^the buy of [0-9.]+ (BTC|ETH)USDT at \d+ ms takes cash to -[0-9,.]+ USD, "
                                          r"and vectorbt lends none: pass extra_cash_usd=\d+$") as refused:  # fmt: skip
        portfolio(result)
    need = float(str(refused.value).rsplit("=", 1)[1])
    pf = portfolio(result, extra_cash_usd=need)
    difference = equity_difference(result, pf)
    assert difference.relative < FLOATS
    assert difference.reasons == (f"vectorbt lends no cash: compared net of {need:,.2f} USD of extra cash",)
    with pytest.raises(ConfigError, match="vectorbt lends none"):
        portfolio(result, extra_cash_usd=need - 2.0)


def test_fills_that_vectorbt_cannot_hold_are_refused() -> None:
    result = backtest("target")
    twice = pd.concat([result.fills, result.fills.iloc[:1]], ignore_index=True)
    first = result.fills.iloc[0]
    with pytest.raises(DataError, match=rf"^two fills of {first['symbol']} at {first['ts']} ms: vectorbt takes one"):
        orders(replace(result, fills=twice))
    late = result.fills.assign(ts=result.fills["ts"] + 1)
    with pytest.raises(DataError, match=rf"^fill at {first['ts'] + 1} ms is at no bar's open: .* next_open rule$"):
        orders(replace(result, fills=late))
    tiny = result.fills.assign(qty=1e-13)
    with pytest.raises(DataError, match=rf"^vectorbt took 0 of {len(tiny)} fills: sizes below 1e-12 units$"):
        portfolio(replace(result, fills=tiny))


def test_a_backtest_without_fills_is_a_flat_line() -> None:
    config = seed_config(**{"risk.max_order_usd": 1.0})
    result = run_backtest(config, load(config))
    assert len(result.fills) == 0 and len(result.decisions) > 100
    pf = portfolio(result)
    assert (pf.value() == 100_000.0).all()
    assert equity_difference(result, pf).usd == 0.0


def test_the_portfolio_draws_plain_figures_on_a_naive_utc_index() -> None:
    pf = portfolio(backtest("target"))
    index = pf.wrapper.index
    assert index.tz is None
    assert index.dtype == "datetime64[ns]"
    assert int(index[0].value) // 1_000_000 + 60_000 == backtest("target").equity["ts"].iloc[0]
    figure = pf.value().iloc[:500].vbt.plot()
    assert type(figure).__name__ == "Figure"


@pytest.mark.parametrize("kind", ["mixed", "gap"])
def test_a_cell_of_a_sweep_is_a_portfolio_of_the_orders_that_its_replay_gives(kind: str) -> None:
    config = seed_config(**{"sizing.mode": "target"})
    loaded = load(config, kind)
    found = sweep(config, {"ema_momentum.fast": [5, 9], "risk.max_daily_loss": [0.001, 0.5]}, loaded.market)
    for at, values in enumerate(found.plan.points):
        result = run_backtest(found.cell_config(values), loaded, start=found.start)
        for ours, theirs in zip(cell_orders(found, values, loaded.market), orders(result), strict=True):
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        made = cell_portfolio(found, values, loaded.market)
        assert made.total_return() == pytest.approx(found.table["total_return"][at], rel=FLOATS)
        assert len(made.order_records) == found.table["fills"][at] > 5
    assert found.table["fills"].nunique() > 2


def test_a_cell_that_borrowed_is_refused_until_the_cash_is_lent() -> None:
    config = seed_config(**{"risk.max_concentration": 5.0, "sizing.base_fraction": 0.9})
    loaded = load(config)
    found = sweep(config, {"ema_momentum.fast": [9]}, loaded.market)
    with pytest.raises(ConfigError, match=r"takes cash to -[0-9,.]+ USD, and vectorbt lends none: pass extra_cash_usd"):
        cell_portfolio(found, found.best(), loaded.market)
    made = cell_portfolio(found, found.best(), loaded.market, extra_cash_usd=1e6)
    gain = made.value().iloc[-1] - made.init_cash
    assert gain == pytest.approx(found.table["final_equity_usd"][0] - config.initial_cash_usd, abs=1e-3)


def test_an_indicator_is_the_fold_to_the_bit() -> None:
    found = builtin_kernels()["ema_momentum"]
    bars = law_bars(300)
    close, volume = (bars[:, FIELDS.index(name)] for name in ("close", "volume"))
    ran = indicator(found).run(close, volume, fast=[5, 9], slow=[21, 30], param_product=True)
    assert ran.direction.shape == (300, 4)
    for c, (fast, slow) in enumerate(((5, 21), (5, 30), (9, 21), (9, 30))):
        params = found.load({"fast": fast, "slow": slow}, "t")
        expected = found.fold(found.start(params), bars, params, ("direction", "confidence", "z_score"))
        got = np.column_stack([np.asarray(out)[:, c] for out in (ran.direction, ran.confidence, ran.z_score)])
        assert np.isfinite(expected).any() and got.tobytes() == expected.tobytes()


def test_an_indicator_refuses_what_the_kernel_refuses() -> None:
    with pytest.raises(ConfigError, match=r"fast \(9\) must be shorter than slow \(5\)"):
        indicator(builtin_kernels()["ema_momentum"]).run(np.arange(9.0), np.ones(9), fast=9, slow=5)
