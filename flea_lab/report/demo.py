"""The whole path on the demo's market: data, a sweep, parity of its best cell, a report on it."""

import os
import sys

from flea_lab import runs
from flea_lab.backtest.sweep import load_grid
from flea_lab.clock import Stopwatch
from flea_lab.config import with_values
from flea_lab.errors import FleaError
from flea_lab.report.run import PAGE as REPORT
from flea_lab.report.run import run_report
from flea_lab.report.sweep import PAGE as SWEEP
from flea_lab.report.sweep import run_sweep, table_text
from flea_lab.research.parity import check_parity
from flea_lab.wiring import demo_config, load_market
from flea_lab.workspace import workspace, write_whole

GRID = {"ema_momentum.fast": [5, 9, 15, 30], "ema_momentum.slow": [21, 45, 90, 180], "rsi_reversion.period": [14, 28]}


def run_demo() -> None:
    """Prints what it does and where the results are; `FleaError` where sweep and replay disagree."""
    watch = Stopwatch()
    config = demo_config()
    loaded = load_market(config)
    kind = "synthetic" if loaded.synthetic else "recorded"
    _say(f"data     {loaded.source} ({kind}), {loaded.market.n:,} bars of {', '.join(config.symbols)}", watch)
    if loaded.synthetic:
        print("         set FLEA_DATA_DIR to a folder of recorded candles to run on those instead")
    folder, found = run_sweep(config, load_grid(GRID, "the demo's grid"), progress=sys.stderr.isatty())
    print(table_text(found, "sharpe", 5))
    _say(f"sweep    {folder / SWEEP}", watch)
    best = with_values(config, found.best("sharpe"))
    verdict = check_parity(best)
    if not verdict.equal:
        raise FleaError(f"sweep and replay disagree: {verdict.text()}")
    _say(
        f"parity   sweep and replay take the same {verdict.decisions[0]:,} decisions, {verdict.digests[0][:16]}", watch
    )
    report = run_report(best)
    _say(f"report   {report / REPORT}", watch)
    file = workspace().root / "demo.toml"
    write_whole(file, runs.to_toml(best.to_dict()).encode())
    print(f"\nopen the report in a browser, or go on from its configuration:\n  {_flea()} report {file}")
    print(f"  {_flea()} parity {file}\n  make lab        # the notebooks")


def _say(line: str, watch: Stopwatch) -> None:
    print(f"{line}  [{watch.elapsed_s():.0f} s]", flush=True)


def _flea() -> str:
    return os.path.relpath(sys.argv[0]) if os.path.basename(sys.argv[0]) == "flea" else "flea"
