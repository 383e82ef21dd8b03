"""Twelve strategies as users write them, through the product's own path, beside vectorbt on the same data and trades.

Every kernel is a file in bench/kernels, found through FLEA_HOME like any other. Each engine runs in its own process,
turn by turn; a strategy's statistics must be equal in every combination before its figure counts. vectorbt computes
each window once and broadcasts. Widths and levels lie off the grid of ticks: no rounding decides a trade. Fees are low
enough that no account is lost to them: what is left of one decides orders here, not there. The last line is JSON.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sweep
from engines.turns import Engine, serve, take_turns

HERE = Path(__file__).resolve()
FEE_BPS = 1.0
FAST, SLOW = list(range(5, 15)), list(range(20, 70, 5))
SIZES = {
    "ema_cross": (("fast", FAST), ("slow", SLOW)),
    "macd": (("fast", FAST), ("slow", SLOW)),
    "bollinger": (("window", SLOW), ("width", [1.0137 + 0.2 * i for i in range(10)])),
    "donchian": (("window", list(range(10, 110))),),
    "rsi_levels": (("period", FAST), ("level", [15.0137 + 2 * i for i in range(10)])),
    "return_z": (("window", SLOW), ("width", [1.0137 + 0.2 * i for i in range(10)])),
    "keltner": (("period", SLOW), ("width", [0.5137 + 0.2 * i for i in range(10)])),
    "momentum": (("window", SLOW), ("smooth", FAST)),
    "vwap_reversion": (("window", SLOW), ("bps", [10.0137 + 5 * i for i in range(10)])),
    "trend_filter": (("period", SLOW), ("level", [2.0137 + 3 * i for i in range(10)])),
    "volatility_breakout": (("window", SLOW), ("width", [1.5137 + 0.3 * i for i in range(10)])),
    "stochastic": (("window", SLOW), ("level", [5.0137 + 2 * i for i in range(10)])),
}


def main() -> None:
    """Runs every strategy on both engines and prints the table, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="20,000 bars, every second value, one round")
    ask.add_argument("--rounds", type=int, default=1, help="timed passes of each engine, the first not counted")
    ask.add_argument("--only", nargs="*", help="these strategies")
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        child(*given.child)
        return
    names = given.only or list(SIZES)
    settings = {"bars": 20_000 if given.quick else 100_000, "step": 3 if given.quick else 1}
    figures: dict[str, Any] = {**settings, "rounds": given.rounds, "vectorbt": version("vectorbt"), "strategies": {}}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        sweep.prepare(Path(folder), settings)
        for path in (HERE.parent / "kernels" / "corpus").glob("*.py"):
            shutil.copy(path, Path(folder) / "signals")
        run(names, Path(folder), given.rounds, figures)
    figures["ratio"] = min(one["ratio"] for one in figures["strategies"].values())
    print(json.dumps(figures))


def run(names: list[str], folder: Path, rounds: int, figures: dict[str, Any]) -> None:
    """The turns of every strategy; its equality, then its figures."""
    print(f"{'strategy':<22}{'combinations':>13}{'flea ns':>10}{'vectorbt ns':>13}{'ratio':>8}{'largest gap':>13}")
    for name in names:
        engines = [Engine(HERE, f"{name}-{kind}", folder) for kind in ("flea", "vectorbt")]
        found = take_turns(engines, rounds)
        ours, theirs = (found[engine.name] for engine in engines)
        gap = sweep.check_equal(ours, theirs, f"vectorbt in {name}")
        trips = int(sum(row[3] for row in ours))
        for engine in engines:
            engine.end()
        work = len(ours) * figures["bars"]
        flea_ns, their_ns = (engine.median_s / work * 1e9 for engine in engines)
        row = {"combinations": len(ours), "flea_ns": flea_ns, "vectorbt_ns": their_ns, "round_trips": trips}
        figures["strategies"][name] = row | {"ratio": their_ns / flea_ns, "gap": gap}
        print(
            f"{name:<22}{len(ours):>13}{flea_ns:>10.2f}{their_ns:>13.1f}{their_ns / flea_ns:>8.1f}{gap:>13.1e}",
            flush=True,
        )


def child(name: str, folder: str) -> None:
    """One engine on one strategy."""
    settings = json.loads((Path(folder) / "settings.json").read_text())
    name, kind = name.rsplit("-", 1)
    frame = sweep.candles(Path(folder))
    axes = {axis: values[:: settings["step"]] for axis, values in SIZES[name]}
    serve(flea(name, axes, frame) if kind == "flea" else with_vectorbt(name, axes, frame))


def flea(name: str, axes: dict[str, Any], frame: pd.DataFrame) -> Callable[[], Any]:
    """The sweep as a user starts it, on one thread."""
    from flea_lab.backtest.sweep import sweep as run_sweep
    from flea_lab.wiring import market_from_frames

    config = sweep.flea_config(name, FEE_BPS)
    market = market_from_frames(config, {"BTCUSDT": frame}).market
    grid = {f"{name}.{axis}": values for axis, values in axes.items()}
    return lambda: run_sweep(config, grid, market).table[sweep.COLUMNS].to_numpy().tolist()


def with_vectorbt(name: str, axes: dict[str, Any], frame: pd.DataFrame) -> Callable[[], Any]:
    """The same trades in vectorbt's idiom: indicators, masks, `from_signals`."""
    import vectorbt

    from flea_lab.signal.registry import find_kernel
    from flea_lab.workspace import workspace

    kernel = find_kernel(name, workspace().signals, "corpus")
    cells = pd.MultiIndex.from_product(axes.values(), names=axes).to_frame(index=False)
    assert kernel.warmup is not None
    start = max(kernel.warmup(kernel.load(row, "corpus")) for row in cells.to_dict("records")) - 1
    frame = frame.set_axis(pd.to_datetime(frame["ts"], unit="ms"))
    lots = np.floor(sweep.STAKE_USD / (frame["close"] * sweep.LOT) + 1e-9) * sweep.LOT

    def one_pass() -> Any:
        longs, shorts = MASKS[name](vectorbt, frame, Axes(axes))
        longs, shorts = longs[start:-1], shorts[start:-1]
        none = np.zeros((1, longs.shape[1]), bool)
        pf = vectorbt.Portfolio.from_signals(
            frame["close"].iloc[start:],
            entries=np.concatenate([none, longs]),
            short_entries=np.concatenate([none, shorts]),
            price=frame["open"].iloc[start:],
            size=lots.shift(1).iloc[start:],
            fees=FEE_BPS / 1e4,
            init_cash=sweep.CASH_USD,
            freq=pd.Timedelta(1, unit="min"),
        )
        return sweep.statistics(pf)

    return one_pass


class Axes:
    """The axes of a grid: `of` repeats the columns of one over all combinations, the last axis fastest."""

    def __init__(self, axes: dict[str, Any]) -> None:
        self.axes = axes
        self.places = dict(zip(axes, np.indices([len(v) for v in axes.values()]).reshape(len(axes), -1), strict=True))

    def __getitem__(self, name: str) -> list[Any]:
        return list(self.axes[name])

    def of(self, name: str, columns: Any) -> Any:
        """Columns of every combination."""
        return np.asarray(columns)[..., self.places[name]]


def _averages(vbt: Any, series: Any, windows: list[int], ewm: bool = True) -> Any:
    return vbt.MA.run(series, window=windows, ewm=ewm).ma.to_numpy().reshape(len(series), -1)


def _deviations(vbt: Any, series: Any, windows: list[int]) -> Any:
    return vbt.MSTD.run(series, window=windows, ewm=False, ddof=0).mstd.to_numpy().reshape(len(series), -1)


def _edges(frame: pd.DataFrame, windows: list[int]) -> tuple[Any, Any]:
    top = np.column_stack([frame["high"].vbt.rolling_max(window) for window in windows])
    return top, np.column_stack([frame["low"].vbt.rolling_min(window) for window in windows])


def _column(frame: pd.DataFrame, name: str) -> Any:
    return frame[name].to_numpy()[:, None]


def ema_cross(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    fast, slow = (a.of(name, _averages(vbt, frame["close"], a[name])) for name in ("fast", "slow"))
    return fast > slow, ~(fast > slow)


def macd(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    ran = vbt.MACD.run(
        frame["close"], fast_window=a["fast"], slow_window=a["slow"], signal_window=9, macd_ewm=True, signal_ewm=True,
        param_product=True,
    )  # fmt: skip
    above = ran.macd.to_numpy() > ran.signal.to_numpy()
    return above, ~above


def bollinger(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    middle = a.of("window", _averages(vbt, frame["close"], a["window"], False))
    reach = a.of("window", _deviations(vbt, frame["close"], a["window"])) * a.of("width", a["width"])
    close = _column(frame, "close")
    return close < middle - reach, close > middle + reach


def donchian(_: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    (top, bottom), close = _edges(frame, a["window"]), _column(frame, "close")
    none = np.full((1, top.shape[1]), np.nan)
    return close > np.concatenate([none, top[:-1]]), close < np.concatenate([none, bottom[:-1]])


def rsi_levels(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    rsi = a.of("period", vbt.RSI.run(frame["close"], window=a["period"], ewm=False).rsi.to_numpy())
    level = a.of("level", a["level"])
    return rsi < level, rsi > 100.0 - level


def return_z(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    move = frame["close"] / frame["close"].shift(1) - 1.0
    middle = a.of("window", _averages(vbt, move, a["window"], False))
    reach, now = (
        a.of("window", _deviations(vbt, move, a["window"])) * a.of("width", a["width"]),
        move.to_numpy()[:, None],
    )
    return now < middle - reach, now > middle + reach


def keltner(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    middle = a.of("period", _averages(vbt, frame["close"], a["period"]))
    reach = a.of("period", _averages(vbt, frame["high"] - frame["low"], a["period"])) * a.of("width", a["width"])
    close = _column(frame, "close")
    return close > middle + reach, close < middle - reach


def momentum(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    now = pd.DataFrame(_averages(vbt, frame["close"], a["smooth"]))
    before = np.concatenate([now.shift(window - 1).to_numpy() for window in a["window"]], axis=1)
    above = a.of("smooth", now) > before
    return above, ~above


def vwap_reversion(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    money = _averages(vbt, frame["close"] * frame["volume"], a["window"], False)
    vwap, bps = a.of("window", money / _averages(vbt, frame["volume"], a["window"], False)), a.of("bps", a["bps"])
    close = _column(frame, "close")
    return close < vwap * (1.0 - bps * 1e-4), close > vwap * (1.0 + bps * 1e-4)


def trend_filter(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    up, down = frame["high"].diff().clip(lower=0.0), (-frame["low"].diff()).clip(lower=0.0)
    plus, minus = (a.of("period", _averages(vbt, one, a["period"])) for one in (up, down))
    apart, enough = plus - minus, 0.01 * a.of("level", a["level"]) * (plus + minus)
    return apart > enough, apart < -enough


def volatility_breakout(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    body = frame["close"] - frame["open"]
    reach = a.of("window", _averages(vbt, body.abs(), a["window"], False)) * a.of("width", a["width"])
    now = body.to_numpy()[:, None]
    return now > reach, now < -reach


def stochastic(vbt: Any, frame: pd.DataFrame, a: Axes) -> tuple[Any, Any]:
    ran = vbt.STOCH.run(frame["high"], frame["low"], frame["close"], k_window=a["window"])
    k, level = a.of("window", ran.percent_k.to_numpy()), a.of("level", a["level"])
    return k < level, k > 100.0 - level


MASKS: dict[str, Callable[..., tuple[Any, Any]]] = {
    f.__name__: f
    for f in (
        *(ema_cross, macd, bollinger, donchian, rsi_levels, return_z, keltner, momentum, vwap_reversion),
        *(trend_filter, volatility_breakout, stochastic),
    )
}

if __name__ == "__main__":
    sys.exit(main())
