"""Executes the walk-forward's notebook into a run folder."""

from pathlib import Path

from flea_lab import runs
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.sweep import load_grid
from flea_lab.clock import Clock
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError
from flea_lab.report.run import Job, check_notebook, run_job
from flea_lab.report.walkforward import Walk, run_values
from flea_lab.wiring import load_market

PARAMETER = "walk"


def run_walk_report(
    config: RunConfig,
    walk: Walk,
    *,
    notebook: Path = runs.WALK_NOTEBOOK,
    standalone: bool = False,
    progress: bool | None = None,
    clock: Clock | None = None,
) -> Path:
    """The finished run folder of a walk-forward of `config`; `report.run.run_report` says the rest."""
    check_notebook(notebook, PARAMETER)
    load_grid(walk.grid, "the grid")
    if walk.metric not in METRICS:
        raise ConfigError(f"metric {walk.metric!r} is unknown, known are {', '.join(METRICS)}")
    load_market(config)
    title = f"{config.name}: walk-forward"
    job = Job("walkforward", config, notebook, PARAMETER, run_values(config, walk), title, reproduce=walk.command)
    return run_job(job, standalone=standalone, progress=progress, clock=clock)
