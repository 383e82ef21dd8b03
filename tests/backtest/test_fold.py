"""The fold and the replay are one: equal decisions, equal curves, equal metrics, to the bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from flea_lab.backtest.cell import build_cell
from flea_lab.backtest.fold import Folded, fold
from flea_lab.backtest.market import Market, build_market, window
from flea_lab.backtest.metrics import METRICS, summarise_curve
from flea_lab.backtest.replay import Replayed
from flea_lab.config import RunConfig, alphas, from_dict
from flea_lab.core import TradingCore
from flea_lab.data.synthetic import synth, synth_funding
from flea_lab.decision import digest, first_difference
from flea_lab.risk.checks import NAMES
from flea_lab.wiring import run_fold, run_replay

START = 1_735_689_600_000 + 20 * 3_600_000
"""20:00 UTC: a midnight falls into every market here."""

N = 900
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def frames(
    seed: int, kinds: tuple[str, str] = ("jump", "gap"), prices: tuple[float, float] = (60_000.0, 3_000.0)
) -> Any:
    rng = np.random.default_rng(seed)
    made = {}
    for symbol, kind, price in zip(SYMBOLS, kinds, prices, strict=True):
        tick, lot = price * 1e-5, 6.0 / price
        made[symbol] = synth(
            kind, rng, N, "1m", START, price, float(f"{tick:.0e}"), float(f"{lot:.0e}"), volatility=0.2
        )
    return made


def with_holes(made: dict[str, pd.DataFrame], seed: int) -> dict[str, pd.DataFrame]:
    """The second symbol begins late, midnight is missing from both, and single bars are lost."""
    rng = np.random.default_rng(seed)
    late = START + 37 * 60_000
    midnight = (START // 86_400_000 + 1) * 86_400_000
    out = {}
    for symbol, frame in made.items():
        keep = rng.random(len(frame)) > 0.05
        keep &= (frame["ts"] < midnight - 180_000) | (frame["ts"] > midnight + 120_000)
        if symbol == SYMBOLS[1]:
            keep &= frame["ts"] >= late
        out[symbol] = frame[keep].reset_index(drop=True)
    return out


def settlements(seed: int) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    return {symbol: synth_funding(rng, START - 3_600_000, START + N * 60_000, 1) for symbol in SYMBOLS}


def random_config(seed: int, **sections: Any) -> RunConfig:
    rng = np.random.default_rng(seed)
    fast = int(rng.integers(2, 12))
    source = str(rng.choice(["bars", "absent"]))
    values = {
        "name": f"random-{seed}",
        "symbols": list(rng.permutation(SYMBOLS)),
        "interval": "1m",
        "signals": [
            {
                "kernel": "ema_momentum",
                "params": {"fast": fast, "slow": fast + int(rng.integers(1, 20)), "z_window": 10},
            },
            {"kernel": "rsi_reversion", "weight": 0.7, "params": {"period": int(rng.integers(2, 20))}},
        ],
        "combination": {"min_confidence": float(rng.uniform(0, 0.4)), "min_conviction": float(rng.uniform(0, 0.2))},
        "sizing": {
            "mode": str(rng.choice(["increment", "target"])),
            "basis": str(rng.choice(["live", "initial"])),
            "base_fraction": float(rng.choice([0.05, 0.3, 1.0])),
            "rebalance_band": float(rng.choice([0.0, 0.05])),
        },
        "risk": {
            "max_daily_loss": float(rng.choice([0.005, 0.03, 1.0])),
            "max_drawdown": float(rng.choice([0.02, 0.1, 1.0])),
            "max_concentration": float(rng.choice([0.1, 0.5, 1.0, 3.0])),
            "concentration_of": str(rng.choice(["equity", "exposure"], p=[0.7, 0.3])),
            "max_order_usd": float(rng.choice([3_000.0, 50_000.0])),
            "vpin": {
                "source": source,
                "limit": float(rng.uniform(0.05, 0.5)),
                "window": int(rng.integers(2, 20)),
                "bucket_volume": {"BTCUSDT": 8.0, "ETHUSDT": 11.0},
            },
        },
        "costs": {"fee_bps": float(rng.uniform(0, 10)), "slippage_bps": float(rng.uniform(0, 5))},
        "data": {"venue": "binance_spot"},
    }
    return from_dict({**values, **sections})


def held_equal(run: RunConfig, market: Market, start: int | None = None) -> tuple[Replayed, TradingCore, Folded]:
    """Both drivers over one market; everything that both write down is held equal to the bit."""
    seen, core = run_replay(run, market, start)
    folded = run_fold(run, market, start, curves=True)
    at = first_difference(seen.decisions, folded.decisions)
    assert at is None, (seen.decisions[at], folded.decisions[at])
    assert digest(seen.decisions, run.symbols) == digest(folded.decisions, run.symbols)
    assert seen.decisions["conviction"].tobytes() == folded.decisions["conviction"].tobytes()
    first = int(np.searchsorted(market.close_ns, core._trade_from_ns))
    for name in ("equity", "cash", "gross", "lots"):
        ours, theirs = getattr(seen, name)[..., first:], getattr(folded.sink, name)[..., first:]
        assert np.array_equal(ours, theirs), name
    assert metrics_of(run, market, seen, core, first).tobytes() == folded.metrics.tobytes()
    bare = run_fold(run, market, start)
    assert bare.metrics.tobytes() == folded.metrics.tobytes(), "a sink changes nothing"
    return seen, core, folded


def metrics_of(run: RunConfig, market: Market, seen: Replayed, core: TradingCore, first: int) -> np.ndarray[Any, Any]:
    """The metrics from the replayed curve."""
    vetoes = np.bincount(seen.decisions["code"], minlength=len(NAMES)).astype(np.int64)
    out = np.empty(len(METRICS))
    cash = round(run.initial_cash_usd * 1e6)
    summarise_curve(seen.equity[first:], seen.gross[first:], cash, core.ledger.book, vetoes, market.bars_per_year, out)
    return out


@pytest.mark.parametrize("seed", range(16))
def test_a_random_config_decides_alike_in_sweep_and_replay(seed: int) -> None:
    run = random_config(seed)
    market = build_market(run, with_holes(frames(seed), seed), settlements(seed))
    held_equal(run, market)


def test_the_random_configs_together_exercise_every_check() -> None:
    codes = set()
    trips = fills = 0.0
    for seed in range(16):
        run = random_config(seed)
        folded = run_fold(run, build_market(run, with_holes(frames(seed), seed), settlements(seed)))
        codes |= set(folded.decisions["code"].tolist())
        fills += folded.metrics[METRICS.index("fills")]
        trips += folded.metrics[METRICS.index("round_trips")]
    assert {NAMES[code] for code in codes} >= {
        "passed",
        "daily_loss",
        "drawdown",
        "concentration",
        "order_size",
        "vpin",
    }
    assert fills > 200 and trips > 20


GRIDS: list[tuple[str, str, float, float]] = [
    ("0.0003", "0.0007", 60_000.0, 1_000.0),  # a lot at a tick is 21 / 100 micro-dollars
    ("0.00000001", "1", 0.00001, 100_000.0),  # a coin of a thousandth of a cent: 1 / 100, more than 3e9 lots
    ("0.25", "5", 4_500.0, 1_000_000.0),  # a future
    ("1000", "0.00000001", 60_000.0, 1_000.0),  # 60 ticks a price
    ("0.1", "0.001", 80_000_000.0, 10_000_000.0),  # near the last tick
    ("0.01", "1", 0.03, 1_000.0),  # three ticks a price: flat, then a jump by a third
]


@pytest.mark.parametrize(("tick", "lot", "price", "cash"), GRIDS)
@pytest.mark.parametrize("mode", ["increment", "target"])
def test_a_strange_grid_changes_nothing_about_it(tick: str, lot: str, price: float, cash: float, mode: str) -> None:
    made = with_holes(frames(3), 3)
    for frame in made.values():
        scale = price / frame["close"].iloc[0]
        for name in ("open", "high", "low", "close"):
            frame[name] = np.maximum(np.round(frame[name] * scale / float(tick)), 1) * float(tick)
    grid = {"tick_size": tick, "lot_size": lot}
    run = random_config(
        1,
        instruments=dict.fromkeys(SYMBOLS, grid),
        initial_cash_usd=cash,
        sizing={"mode": mode, "base_fraction": 1.0},
        risk={"max_concentration": 10.0, "max_drawdown": 1.0, "max_daily_loss": 1.0, "max_order_usd": 1e7},
    )
    seen, _, _ = held_equal(run, build_market(run, made, settlements(3)))
    assert len(seen.fills) > 0


def test_zero_volume_and_flat_prices_change_nothing_about_it() -> None:
    made = frames(5)
    for frame in made.values():
        frame.loc[200:260, ["volume", "buy_volume"]] = 0.0
        for name in ("open", "high", "low", "close"):
            frame.loc[300:420, name] = frame["close"].iloc[300]
    run = random_config(2)
    held_equal(run, build_market(run, made, settlements(5)))


def test_a_symbol_that_has_one_bar_only_changes_nothing_about_it() -> None:
    made = frames(6)
    made["ETHUSDT"] = made["ETHUSDT"].iloc[400:401].reset_index(drop=True)
    for seed in (0, 1):
        run = random_config(seed)
        held_equal(run, build_market(run, made, settlements(6)))


def test_a_ruined_account_is_told_alike() -> None:
    """Equity through zero: every decision is refused, and no number of the fold departs from the replay's."""
    made = frames(7)
    ts = made["BTCUSDT"]["ts"]
    crash = np.where(ts < ts.iloc[500], 1.0, np.where(ts < ts.iloc[600], 3.0, 0.2))
    for name in ("open", "high", "low", "close"):
        made["BTCUSDT"][name] *= crash
    loose = {"max_concentration": 10.0, "max_drawdown": 1.0, "max_daily_loss": 1.0, "max_order_usd": 1e9}
    ruined = 0
    for seed, mode in ((0, "increment"), (1, "target"), (2, "increment")):
        run = random_config(seed, risk=loose, sizing={"mode": mode, "base_fraction": 10.0})
        seen, _, _ = held_equal(run, build_market(run, made, settlements(7)))
        ruined += bool((seen.equity < 0).any())
    assert ruined


def test_a_window_of_a_market_is_the_market_of_that_window() -> None:
    run = random_config(0)
    made, settled = with_holes(frames(8), 8), settlements(8)
    market = build_market(run, made, settled)
    cut = window(market, 100, 700)
    low, high = market.open_ms[100], market.open_ms[700]
    inside = {s: f[(f["ts"] >= low) & (f["ts"] < high)].reset_index(drop=True) for s, f in made.items()}
    again = build_market(run, inside, settled)
    for name in ("open_ms", "open_ticks", "close_ticks"):
        assert np.array_equal(getattr(cut, name), getattr(again, name)), name
    assert digest(run_fold(run, cut).decisions, run.symbols) == digest(run_replay(run, cut)[0].decisions, run.symbols)


def test_decisions_beyond_the_first_guess_of_their_number_are_all_there() -> None:
    rng = np.random.default_rng(9)
    made = {symbol: synth("chop", rng, 3_000, "1m", START, 100.0, 0.01, 0.001, volatility=0.05) for symbol in SYMBOLS}
    run = from_dict(
        {
            "symbols": list(SYMBOLS),
            "interval": "1m",
            "signals": [{"kernel": "rsi_reversion", "params": {"period": 2, "overbought": 50.1, "oversold": 49.9}}],
            "combination": {"min_confidence": 0.0, "min_conviction": 0.0},
            "sizing": {"base_fraction": 0.001},
        }
    )
    seen, _, _ = held_equal(run, build_market(run, made))
    assert len(seen.decisions) > 4_096


def test_folding_twice_is_equal_and_leaves_the_cell_as_it_was() -> None:
    run = random_config(4)
    market = build_market(run, frames(4), settlements(4))
    found, cell = alphas(run), build_cell(run, alphas(run))
    before = cell.mem.copy(), cell.book.copy(), cell.vpin_mem.copy()
    one, two = (fold(market, found.kernels, cell, found.warmup - 1) for _ in range(2))
    assert one.metrics.tobytes() == two.metrics.tobytes()
    assert one.decisions.tobytes() == two.decisions.tobytes()
    for ours, theirs in zip(before, (cell.mem, cell.book, cell.vpin_mem), strict=True):
        assert ours.tobytes() == theirs.tobytes()
