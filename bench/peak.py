"""Peak memory of processes that do nothing but sweep EMA crossovers: long markets, and ever more combinations.

Every row is a fresh process that imports what a notebook does, builds the market from a frame, sweeps the grid on one
thread within its default budget and reads the best ten combinations, one metric of all and, in the last column, the
whole table. Some combinations of every grid are folded by themselves first and must be equal to the bit. The compile
cache is warm: a first process, of which nothing counts, has filled it. The last line is JSON; `ratio` is the highest
peak of the rows that differ only in their number of combinations over the lowest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sweep
from engines.turns import peak_mib, resident_mib

HERE = Path(__file__).resolve()
CHECKED = 5


class Row(NamedTuple):
    """One sweep: `bars` bars of the market, every pair of averages, from the first to before the second of each."""

    bars: int
    fast: tuple[int, int]
    slow: tuple[int, int]
    bound_mib: float | None = None


FEW_BARS = 2_000
ROWS = {
    "pairs": Row(72_000, (2, 101), (101, 298), 1_024.0),
    "long": Row(100_000, (2, 102), (102, 202), 350.0),
    "1,000": Row(FEW_BARS, (2, 12), (102, 202)),
    "10,000": Row(FEW_BARS, (2, 102), (102, 202)),
    "100,000": Row(FEW_BARS, (2, 202), (202, 702)),
}
FLAT = ("1,000", "10,000", "100,000")
SMOKE = {"100": Row(800, (2, 12), (12, 22)), "400": Row(800, (2, 22), (22, 42))}
FLAT_WITHIN = 1.10


def main() -> None:
    """Sweeps every row in a process of its own and prints the table, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="the same: it is quick")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        print(json.dumps(child(json.loads(given.child[0]), Path(given.child[1]))))
        return
    rows = SMOKE if given.smoke else ROWS
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        sweep.prepare(Path(folder), {"bars": max(row.bars for row in rows.values())})
        figures = run(rows, Path(folder), list(rows) if given.smoke else list(FLAT))
    print(json.dumps(figures))


def run(rows: dict[str, Row], folder: Path, flat: list[str]) -> dict[str, Any]:
    """The processes one after the other, and what their peaks come to."""
    first = ask_child(next(iter(rows.values()))._replace(fast=(2, 3), slow=(5, 6)), folder)
    figures: dict[str, Any] = {"rounds": 1, "first_process_mib": first["peak_mib"], "rows": {}}
    print("peak resident memory, MiB; each row a process of its own, one thread, metrics of every combination")
    head = f"{'imports':>9}{'market':>8}{'ready':>7}{'peak':>7}{'bound':>7}{'table':>7}{'CPU s':>8}"
    print(f"{'combinations x bars':>22}{head}")
    for name, row in rows.items():
        found = ask_child(row, folder)
        bound = "" if row.bound_mib is None else f"{row.bound_mib:.0f}"
        steps = [found[f"{step}_mib"] for step in ("imports", "market", "ready", "peak", "table")]
        told = "{:>9.0f}{:>8.0f}{:>7.0f}{:>7.0f}{bound:>7}{:>7.0f}".format(*steps, bound=bound)
        print(f"{found['combinations']:>13,} x {row.bars:>6,}{told}{found['cpu_s']:>8.2f}", flush=True)
        figures["rows"][name] = found | {"bound_mib": row.bound_mib}
    peaks = [figures["rows"][name]["peak_mib"] for name in flat]
    figures["ratio"] = max(peaks) / min(peaks)
    held = all(row["bound_mib"] is None or row["peak_mib"] <= row["bound_mib"] for row in figures["rows"].values())
    figures["held"] = held and figures["ratio"] <= FLAT_WITHIN
    print(f"from {flat[0]} to {flat[-1]} combinations x{figures['ratio']:.3f} (bound {FLAT_WITHIN})")
    return figures


def ask_child(row: Row, folder: Path) -> dict[str, Any]:
    """What a fresh process says of one row."""
    ran = subprocess.run(
        [sys.executable, str(HERE), "--child", json.dumps(row), str(folder)], stdout=subprocess.PIPE, text=True
    )
    if ran.returncode:
        raise SystemExit(f"the sweep of {row} ended with status {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def child(values: list[Any], folder: Path) -> dict[str, Any]:
    """One sweep; resident memory after its imports, with the market, ready to fold, and the peak."""
    from flea_lab.backtest import sweep as sweeps
    from flea_lab.wiring import market_from_frames

    row, found = Row(*values), dict[str, Any](imports_mib=resident_mib())
    config = sweep.flea_config("ema_cross")
    market = market_from_frames(config, {"BTCUSDT": sweep.candles(folder).iloc[: row.bars]}).market
    found["market_mib"] = resident_mib()
    grid = {f"ema_cross.{name}": list(range(*getattr(row, name))) for name in ("fast", "slow")}
    cells = sweeps.plan(config, grid)
    chosen = np.linspace(0, cells.n - 1, CHECKED).astype(int).tolist()
    alone = np.array([cells.fold(i, i + 1, market, sweeps.common_start(cells.configs, market))[0] for i in chosen])
    found["ready_mib"] = resident_mib()
    began = time.process_time()
    result = sweeps.sweep(config, grid, market, cells=cells)
    found["cpu_s"] = time.process_time() - began
    result.top("sharpe", 10), result.column("total_return")
    found["peak_mib"], found["combinations"] = peak_mib(), cells.n
    same = np.array([result.metrics.rows(i, i + 1)[0] for i in chosen])
    if same.tobytes() != alone.tobytes() or np.isnan(result.column("total_return")).any():
        raise SystemExit(f"combinations {chosen} differ from themselves folded alone")
    assert len(result.table) == cells.n
    return found | {"table_mib": peak_mib()}


if __name__ == "__main__":
    sys.exit(main())
