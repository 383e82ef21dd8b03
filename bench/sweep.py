"""A sweep of EMA crossovers through the product's own path, beside vectorbt on the same data and the same trades.

The crossover is a user's kernel (bench/kernels), found through FLEA_HOME like any other. Each engine runs in its own
process, turn by turn. Every combination's statistics must be equal before a figure is printed. The last line is JSON.
"""

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from engines.turns import Engine, serve, take_turns

HERE = Path(__file__).resolve()
SEED = 20_261_122
CASH_USD, STAKE_USD, FEE_BPS = 10_000_000.0, 1_000_000.0, 5.0
LOT = 0.1
CHUNK = 100
"""Combinations that vectorbt is given at a time: it keeps some 141 bytes a bar of each."""

GRIDS = {
    "100": {"fast": list(range(5, 15)), "slow": list(range(20, 70, 5))},
    "1,000": {"fast": list(range(5, 25)), "slow": list(range(30, 180, 3))},
    "10,000": {"fast": list(range(2, 102)), "slow": list(range(102, 302, 2))},
}
FULL = {"bars": 100_000, "grids": GRIDS, "seed_bars": 43_200}
SMOKE = {"bars": 3_000, "grids": {"4": {"fast": [5, 9], "slow": [21, 40]}}, "seed_bars": 0}
COLUMNS = ["total_return", "sharpe", "max_drawdown", "round_trips", "fills"]
STATISTICS = "total return, Sharpe, max drawdown, trades, orders"


def main() -> None:
    """Runs the engines in turns and prints the tables, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="one pass of vectorbt's default engine, 100 combinations")
    ask.add_argument("--rounds", type=int, default=5, help="timed passes of each engine, the first not counted")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        _child(*given.child)
        return
    settings = {**(SMOKE if given.smoke else FULL), "whole": not (given.quick or given.smoke)}
    rounds = given.rounds if settings["whole"] else 1
    figures = {"bars": settings["bars"], "rounds": rounds, "vectorbt": version("vectorbt")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        prepare(Path(folder), settings)
        run(Path(folder), settings, rounds, figures)
    print(json.dumps(figures))


def prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the candles, the settings and the kernel into the workspace that all children share."""
    from flea_lab.data.synthetic import synth

    frame = synth("mixed", np.random.default_rng(SEED), settings["bars"], lot=LOT)
    np.save(folder / "candles.npy", frame[["ts", "open", "high", "low", "close", "volume"]].to_numpy(np.float64))
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "signals").mkdir()
    shutil.copy(HERE.parent / "kernels" / "ema_cross.py", folder / "signals")


def candles(folder: Path) -> pd.DataFrame:
    """The candles that `prepare` wrote."""
    array = np.load(folder / "candles.npy")
    frame = pd.DataFrame(array, columns=["ts", "open", "high", "low", "close", "volume"])
    return frame.astype({"ts": np.int64})


def run(folder: Path, settings: dict[str, Any], rounds: int, figures: dict[str, Any]) -> None:
    """Every number of combinations, then the seed strategy."""
    figures["combinations"] = {}
    print(f"EMA cross x {settings['bars']:,} bars; statistics: {STATISTICS}")
    print(
        f"{'combinations':>12}  {'engine':<16}{'CPU s':>9}{'ns/bar-comb':>13}{'peak MiB':>10}{'first pass CPU s':>18}"
    )
    fewest, *others = settings["grids"]
    names = ["flea", "vectorbt-auto", "vectorbt-numba"] if settings["whole"] else ["flea", "vectorbt-auto"]
    first = row(folder, settings, fewest, names, rounds, figures)
    fastest = min(names[1:], key=lambda name: first[name]["ns"])
    figures["ratio"], figures["memory_ratio"] = first["ratio"], first[fastest]["peak_mib"] / first["flea"]["peak_mib"]
    for size in others:
        beside = [fastest] if settings["whole"] and size == "1,000" else []
        row(folder, settings, size, ["flea", *beside], 1 if beside else rounds, figures)
    if settings["seed_bars"]:
        figures["seed_strategy"] = seed_row(folder, settings, rounds, first[fastest]["ns"])


def row(
    folder: Path, settings: dict[str, Any], size: str, names: list[str], rounds: int, figures: dict[str, Any]
) -> dict[str, Any]:
    """The turns at one number of combinations, the check and the figures."""
    engines = {name: Engine(HERE, f"{name}@{size}", folder) for name in names}
    answers = take_turns(list(engines.values()), rounds)
    found = {name: answers[engine.name] for name, engine in engines.items()}
    worst = [check_equal(found["flea"], found[name], name) for name in names[1:]]
    told: dict[str, Any] = {}
    for name, engine in engines.items():
        peak, ns = engine.end(), engine.median_s / (len(found["flea"]) * settings["bars"]) * 1e9
        told[name] = {"cpu_s": engine.median_s, "ns": ns, "peak_mib": peak, "first_cpu_s": engine.cpu_s[0]}
        print(
            f"{size:>12}  {name:<16}{engine.median_s:>9.3f}{ns:>13.1f}{peak:>10.0f}{engine.cpu_s[0]:>18.1f}", flush=True
        )
    if worst:
        told["ratio"] = min(told[name]["ns"] for name in names[1:]) / told["flea"]["ns"]
        print(f"{'':>12}  ratio {told['ratio']:.1f}; equal in every combination, largest difference {max(worst):.1e}")
    figures["combinations"][size] = told
    return told


def seed_row(folder: Path, settings: dict[str, Any], rounds: int, theirs_ns: float) -> dict[str, float]:
    """The seed strategy with every guard applied, on two symbols: vectorbt has no such thing, so its EMA cross stands
    beside it, which takes `theirs_ns` a bar and combination of one symbol."""
    engine = Engine(HERE, "seed", folder)
    cells = take_turns([engine], rounds)["seed"]
    peak, ns = engine.end(), engine.median_s / (cells * settings["seed_bars"]) * 1e9
    print(
        f"seed strategy, all five guards, {cells} combinations x {settings['seed_bars']:,} bars x 2 symbols: "
        f"{engine.median_s:.3f} CPU s, {ns:.1f} ns per bar and combination of both symbols, peak {peak:.0f} MiB; "
        f"vectorbt's EMA cross takes {theirs_ns / ns:.1f} times that on one"
    )
    return {"cpu_s": engine.median_s, "ns": ns, "peak_mib": peak, "combinations": cells, "ratio": theirs_ns / ns}


def check_equal(ours: list[list[float]], theirs: list[list[float]], name: str) -> float:
    """The largest difference of any statistic: absolute of return and drawdown, relative of Sharpe. Counts are equal.

    The bound is 1e-9: fees are whole micro-dollars here, which is some 1e-11 of the account over all trades.
    """
    a, b = np.array(ours), np.array(theirs)
    gap = np.abs(a - b)
    gap[:, 1] /= np.abs(b[:, 1])
    if not (gap[:, 3:] == 0).all() or not gap[:, :3].max() < 1e-9:
        cell = int(np.argmax(gap.max(axis=1)))
        rows = dict(zip(COLUMNS, np.column_stack([a[cell], b[cell]]).tolist(), strict=True))
        raise SystemExit(f"{name} differs in combination {cell}: {rows}")
    return float(gap[:, :3].max())


def _child(name: str, folder: str) -> None:
    settings = json.loads((Path(folder) / "settings.json").read_text())
    if name == "seed":
        serve(seed_strategy(settings))
        return
    engine, size = name.split("@")
    frame, grid = candles(Path(folder)), settings["grids"][size]
    serve(flea(grid, frame) if engine == "flea" else with_vectorbt(grid, frame, engine.removeprefix("vectorbt-")))


def flea_config(kernel: str, fee_bps: float = FEE_BPS) -> Any:
    """A fixed stake, long or short, on the side that `kernel` last named."""
    from flea_lab import config as configs

    return configs.from_dict(
        {
            "name": kernel.replace("_", "-"),
            "symbols": ["BTCUSDT"],
            "interval": "1m",
            "signals": [{"kernel": kernel}],
            # a fixed stake, long or short; the band keeps it from trading between crosses
            "sizing": {
                "mode": "target",
                "base_fraction": STAKE_USD / CASH_USD,
                "basis": "initial",
                "rebalance_band": 1.0,
            },
            "risk": {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 10.0, "max_order_usd": 1e8},
            "costs": {"fee_bps": fee_bps, "slippage_bps": 0.0, "funding": False},
            "initial_cash_usd": CASH_USD,
            # a lot at a tick is a whole cent, so that the stake's lots do not depend on what was held before
            "instruments": {"BTCUSDT": {"tick_size": "0.1", "lot_size": str(LOT)}},
            "deployment": {"threads": 1},
        }
    )


def statistics(pf: Any) -> list[list[float]]:
    """What is compared of a vectorbt portfolio, a row a combination."""
    found = pf.total_return(), pf.sharpe_ratio(), pf.max_drawdown(), pf.trades.closed.count(), pf.orders.count()
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in found]).tolist()


def flea(axes: dict[str, list[int]], frame: pd.DataFrame) -> Any:
    """The sweep as a user starts it, on one thread; a pass returns the statistics of every cell."""
    from flea_lab.backtest.sweep import sweep
    from flea_lab.wiring import market_from_frames

    config = flea_config("ema_cross")
    market = market_from_frames(config, {"BTCUSDT": frame}).market
    grid = {f"ema_cross.{name}": values for name, values in axes.items()}
    return lambda: sweep(config, grid, market).table[COLUMNS].to_numpy().tolist()


def with_vectorbt(axes: dict[str, list[int]], frame: pd.DataFrame, engine: str) -> Any:
    """The same in vectorbt's idiom: columns of averages, their crossings, orders at the next open; `CHUNK` combinations
    at a time, of which the first pass, where it compiles, takes the first chunk alone if there are several.

    Its engine "auto" is Rust for what that can do and numba for the rest, "numba" is numba alone.

    The first bar that all are ready on takes the side it finds; averages are `MA` with `ewm`, as recursive as ours.
    """
    import vectorbt

    vectorbt.settings["engine"] = engine
    frame = frame.set_axis(pd.to_datetime(frame["ts"], unit="ms"))
    start = max(axes["slow"]) - 1
    pairs = [(f, s) for f in axes["fast"] for s in axes["slow"]]
    chunks = [pairs[at : at + CHUNK] for at in range(0, len(pairs), CHUNK)]
    close = frame["close"]
    lots = np.floor(STAKE_USD / (close * LOT) + 1e-9) * LOT
    warm: list[bool] = []

    def fold(chunk: list[tuple[int, int]]) -> list[list[float]]:
        fasts, slows = zip(*chunk, strict=True)
        fast = vectorbt.MA.run(close, window=list(fasts), ewm=True, short_name="fast")
        slow = vectorbt.MA.run(close, window=list(slows), ewm=True, short_name="slow")
        up, down = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
        above = fast.ma.iloc[start].to_numpy() > slow.ma.iloc[start].to_numpy()
        up, down = up.iloc[start:].copy(), down.iloc[start:].copy()
        up.iloc[0], down.iloc[0] = above, ~above
        pf = vectorbt.Portfolio.from_signals(
            close.iloc[start:],
            entries=up.vbt.signals.fshift(1),
            short_entries=down.vbt.signals.fshift(1),
            price=frame["open"].iloc[start:],
            size=lots.shift(1).iloc[start:],  # whole lots already: vectorbt's granularity floors 3.3 // 0.1 to 32
            fees=FEE_BPS / 1e4,
            init_cash=CASH_USD,
            freq=pd.Timedelta(1, unit="min"),
        )
        return statistics(pf)

    def one_pass() -> list[list[float]]:
        found = []
        for chunk in chunks if warm else chunks[:1]:
            found += fold(chunk)
            if len(chunks) > 1:
                gc.collect()  # its objects hold each other: without this the next chunk comes on top
        warm.append(True)
        return found

    return one_pass


def seed_strategy(settings: dict[str, Any]) -> Any:
    """The seed strategy on two symbols; a pass returns the number of cells."""
    from flea_lab.backtest.sweep import sweep

    config, market = seed_market(settings["seed_bars"])
    grid = {"ema_momentum.fast": list(range(5, 15)), "rsi_reversion.period": list(range(5, 25, 2))}
    return lambda: len(sweep(config, grid, market).table)


def seed_market(bars: int) -> tuple[Any, Any]:
    """The seed strategy's config on two symbols, VPIN measured on the bars, and a market of so many bars."""
    from flea_lab import config as configs
    from flea_lab.data.sources.demo import synthetic_market
    from flea_lab.wiring import market_from_frames

    symbols = ["BTCUSDT", "ETHUSDT"]
    config = configs.from_dict(
        {
            "name": "seed",
            "symbols": symbols,
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            "risk": {"vpin": {"source": "bars", "bucket_volume": {"BTCUSDT": 60.0, "ETHUSDT": 900.0}}},
            "deployment": {"threads": 1},
        }
    )
    made = {symbol: synthetic_market(symbol, n_bars=bars) for symbol in symbols}
    found, funding = ({s: frames[i] for s, frames in made.items()} for i in (0, 1))
    return config, market_from_frames(config, found, funding).market


if __name__ == "__main__":
    sys.exit(main())
