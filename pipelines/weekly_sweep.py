"""The sweeps that are run again and again; status 1 and one line for each that failed.

    python pipelines/weekly_sweep.py [PARAMS]

PARAMS is a TOML file, by default params/weekly_sweep.toml. From cron, in the checkout, every Sunday at 03:00:

    0 3 * * 0  cd CHECKOUT && FLEA_HOME=WORKSPACE .venv/bin/python pipelines/weekly_sweep.py
"""

import sys
from pathlib import Path

from flea_lab.backtest.sweep import load_grid
from flea_lab.config import load, read_toml
from flea_lab.errors import FleaError
from flea_lab.report.sweep import run_sweep
from flea_lab.settings import Settings, load_settings

PARAMS = Path(__file__).parent / "params" / "weekly_sweep.toml"


class Sweep(Settings, frozen=True, kw_only=True):
    """A config and a grid, both beside the params, and the metric of the heat map."""

    config: str
    grid: str
    metric: str = "sharpe"


class Params(Settings, frozen=True, kw_only=True):
    """What is swept, in this order."""

    sweeps: tuple[Sweep, ...]


def main(file: Path = PARAMS) -> int:
    """0 where every sweep was made, else 1; what was made is printed, what failed goes to stderr."""
    failed = 0
    try:
        params = load_settings(read_toml(file, "params"), Params, file.name)
    except FleaError as error:
        print(f"weekly_sweep: {error}", file=sys.stderr)
        return 1
    for one in params.sweeps:
        try:
            grid = load_grid(read_toml(file.parent / one.grid, "grid"), one.grid)
            print(run_sweep(load(file.parent / one.config), grid, metric=one.metric)[0])
        except FleaError as error:
            print(f"weekly_sweep: {one.config}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
