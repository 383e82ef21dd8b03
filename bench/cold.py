"""A process from its start to the statistics of a backtest, beside vectorbt: with warm caches, and the first time ever.

Every turn is a new process: interpreter, imports, candles, one EMA crossover, statistics. What is counted is the CPU of
that process, as the kernel tells it of an ended child. "First ever" begins with an empty folder for machine code.
Statistics must be equal before a figure is printed. The last line is JSON.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import single
import sweep

HERE = Path(__file__).resolve()
WARM = ("flea", "vectorbt-auto")
FIRST = ("flea-first", "vectorbt-numba-first")


def main() -> None:
    """Runs the processes in turns and prints the table, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="one round")
    ask.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    ask.add_argument("--bars", type=int, default=100_000)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        child(*given.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        sweep.prepare(Path(folder), {**single.CROSS, "bars": given.bars})
        run(Path(folder), given.bars, 1 if given.quick else given.rounds)


def run(folder: Path, bars: int, rounds: int) -> None:
    """The turns, the check and the figures."""
    cpu_s: dict[str, list[float]] = {name: [] for name in (*WARM, *FIRST)}
    found = {}
    for name in WARM:  # fills the caches
        found[name], _ = spawn(name, folder, folder / "caches")
    for _ in range(rounds):
        for name in cpu_s:
            with tempfile.TemporaryDirectory() as empty:
                found[name], taken = spawn(name, folder, Path(empty) if name in FIRST else folder / "caches")
            cpu_s[name].append(taken)
    worst = max(sweep.check_equal(found["flea"], found[name], name) for name in cpu_s)
    median = {name: statistics.median(taken) for name, taken in cpu_s.items()}
    print(f"EMA cross on {bars:,} bars, from the start of a process to {sweep.STATISTICS}")
    print(f"equal, largest difference {worst:.1e}")
    print(f"{'process':<24}{'CPU s':>8}   each")
    for name, taken in cpu_s.items():
        print(f"{name:<24}{median[name]:>8.2f}   {' '.join(f'{each:.2f}' for each in taken)}")
    warm, first = (median[theirs] / median[ours] for ours, theirs in (WARM, FIRST))
    print(f"warm: vectorbt's default engine {warm:.2f} of ours; first ever: its numba engine {first:.2f} of ours")
    figures: dict[str, Any] = {"bars": bars, "rounds": rounds, "vectorbt": version("vectorbt"), "cpu_s": median}
    # the goals: half of the one, a quarter of the other
    print(json.dumps(figures | {"warm_ratio": warm, "first_ratio": first, "ratio": min(warm / 2.0, first / 4.0)}))


def spawn(name: str, folder: Path, caches: Path) -> tuple[list[list[float]], float]:
    """What a process of this kind found, and its CPU seconds."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(caches), "NUMBA_CACHE_DIR": str(caches / "numba")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    order = [sys.executable, str(HERE), "--child", name, str(folder)]
    ended = subprocess.run(order, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"the process {name} ended with status {ended.returncode}")
    return json.loads(ended.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def child(name: str, folder: str) -> None:
    """The whole job of one process."""
    import pandas as pd

    array = np.load(Path(folder) / "candles.npy")
    frame = pd.DataFrame(array, columns=["ts", "open", "high", "low", "close", "volume"]).astype({"ts": np.int64})
    engine, *_ = name.removeprefix("vectorbt-").split("-")
    if engine == "flea":
        print(json.dumps(flea(frame)))
    else:
        job = single.with_vectorbt(frame, engine, sweep.CASH_USD)
        print(json.dumps(job.run()[0]))


def flea(frame: Any) -> list[list[float]]:
    """One config as a user runs it."""
    from flea_lab.wiring import market_from_frames, run_single

    config = sweep.flea_config("ema_cross")
    market = market_from_frames(config, {"BTCUSDT": frame}).market
    found = run_single(config, market)
    return [[found.metric(name) for name in sweep.COLUMNS]]


if __name__ == "__main__":
    sys.exit(main())
