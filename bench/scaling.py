"""What a sweep's CPU time grows with: ten times the bars, ten times the combinations, and the exponents of both.

EMA crossovers, and the seed strategy with every guard on two symbols, each in a process of its own, warm, on one
thread. All sizes take turns. Some combinations of every sweep are folded by themselves first and must be equal to the
bit, and so must those that a smaller grid has as well. An exponent is the slope of log time over log size by least
squares: 1 is in proportion, below it is a share that does not grow. The last line is JSON; `ratio` is the worst of
time at ten times the size over ten times the time: above 1 it grows faster than its work.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sweep
from engines.turns import Engine, serve

HERE = Path(__file__).resolve()
CHECKED = 3


class Sizes(NamedTuple):
    """Bars at `combinations[0]` combinations, and combinations at `bars[0]` bars: each ten times from first to last."""

    bars: tuple[int, ...]
    combinations: tuple[int, ...]


FULL = {
    "ema_cross": Sizes((20_000, 50_000, 100_000, 200_000), (100, 200, 500, 1_000)),
    "seed": Sizes((10_000, 25_000, 50_000, 100_000), (20, 50, 100, 200)),
}
SMOKE = {"ema_cross": Sizes((500, 1_000, 5_000), (10, 20, 100))}
SLOW = 10
"""Values of the second axis, the same for every number of combinations, so that all begin on one bar."""


def main() -> None:
    """Measures both strategies and prints the tables, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="three rounds")
    ask.add_argument("--rounds", type=int, default=7, help="timed passes of every size")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        _child(*given.child)
        return
    rounds, chosen = (1 if given.smoke else 3 if given.quick else given.rounds), SMOKE if given.smoke else FULL
    figures: dict[str, Any] = {"rounds": rounds}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        sweep.prepare(Path(folder), {"bars": max(chosen["ema_cross"].bars)})
        for name, sizes in chosen.items():
            (Path(folder) / "sizes.json").write_text(json.dumps([sizes, rounds]))
            engine = Engine(HERE, name, Path(folder))
            seconds = engine.turn()
            engine.end()
            figures[name] = told(name, sizes, seconds)
    grown = [one["over_linear"] for name in chosen for one in figures[name].values()]
    figures["ratio"] = max(grown)
    print(json.dumps(figures))


def told(name: str, sizes: Sizes, seconds: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Prints the medians of a strategy; its exponents."""
    found = {}
    for axis, values in sizes._asdict().items():
        medians = [statistics.median(each) for each in seconds[axis]]
        beside = sizes.combinations[0] if axis == "bars" else sizes.bars[0]
        exponent = float(np.polyfit(np.log(values), np.log(medians), 1)[0])
        found[axis] = {
            "sizes": values,
            "cpu_s": medians,
            "exponent": exponent,
            "over_linear": medians[-1] / medians[0] / (values[-1] / values[0]),
        }
        other = "combinations" if axis == "bars" else "bars"
        print(f"{name}, {axis} at {beside:,} {other}: exponent {exponent:.2f}")
        for value, cpu_s in zip(values, medians, strict=True):
            print(f"{value:>12,}{cpu_s:>10.4f} CPU s{cpu_s / (value * beside) * 1e9:>10.1f} ns per bar and combination")
    return found


def _child(name: str, folder: str) -> None:
    values, rounds = json.loads((Path(folder) / "sizes.json").read_text())
    serve(lambda: measure(name, Sizes(*values), rounds, Path(folder)))


def measure(name: str, sizes: Sizes, rounds: int, folder: Path) -> dict[str, list[list[float]]]:
    """CPU seconds of every pass, by axis and size; the first of each is checked and not counted."""
    from flea_lab.backtest.market import window

    config, market, axes = (_ema_cross if name == "ema_cross" else _seed)(max(sizes.bars), folder)
    least = window(market, 0, sizes.bars[0])
    runs = {
        "bars": [_pass(config, axes(sizes.combinations[0]), window(market, 0, bars)) for bars in sizes.bars],
        "combinations": [_pass(config, axes(combinations), least) for combinations in sizes.combinations],
    }
    found = [run() for run in runs["combinations"]]
    for one in found[:-1]:
        if not np.array_equal(one, found[-1][: len(one)], equal_nan=True):
            raise SystemExit(f"{name}: combinations of a grid differ from the same in a larger one")
    seconds: dict[str, list[list[float]]] = {axis: [[] for _ in each] for axis, each in runs.items()}
    for done in range(rounds + 1):
        for axis, each in runs.items():
            for at, run in enumerate(each):
                began = time.process_time()
                run()
                if done:
                    seconds[axis][at].append(time.process_time() - began)
    return seconds


def _pass(config: Any, grid: dict[str, list[Any]], market: Any) -> Callable[[], Any]:
    """A sweep as a user starts it, checked once; a pass returns all metrics."""
    from flea_lab.backtest import sweep as sweeps

    cells = sweeps.plan(config, grid)
    start = sweeps.common_start(cells.configs, market)
    chosen = np.linspace(0, cells.n - 1, CHECKED).astype(int).tolist()
    alone = np.array([cells.fold(i, i + 1, market, start)[0] for i in chosen])

    def run() -> Any:
        return sweeps.sweep(config, grid, market).metrics.rows(0, cells.n)

    if run()[chosen].tobytes() != alone.tobytes():
        raise SystemExit(f"combinations {chosen} of {cells.n} differ from themselves folded alone")
    return run


def _ema_cross(bars: int, folder: Path) -> tuple[Any, Any, Callable[[int], dict[str, list[Any]]]]:
    from flea_lab.wiring import market_from_frames

    config = sweep.flea_config("ema_cross")
    frame = sweep.candles(folder).iloc[:bars]
    market = market_from_frames(config, {"BTCUSDT": frame}).market
    slow = list(range(120, 120 + SLOW))
    return config, market, lambda n: {"ema_cross.fast": list(range(5, 5 + n // SLOW)), "ema_cross.slow": slow}


def _seed(bars: int, _folder: Path) -> tuple[Any, Any, Callable[[int], dict[str, list[Any]]]]:
    config, market = sweep.seed_market(bars)
    slow = list(range(40, 40 + SLOW))
    return config, market, lambda n: {"ema_momentum.fast": list(range(5, 5 + n // SLOW)), "ema_momentum.slow": slow}


if __name__ == "__main__":
    sys.exit(main())
