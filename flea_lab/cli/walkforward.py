"""`flea walkforward`: parameters chosen on the past, traded on what came after, as a stored report."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flea_lab.config import load, read_toml
from flea_lab.runs import read_manifest

app = typer.Typer()


@app.command()
def walkforward(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration: docs/configuration.md.")],
    grid: Annotated[Path, typer.Option("--grid", help="A TOML grid: every setting to vary, with its values.")],
    train_days: Annotated[float, typer.Option("--train-days", help="Days that a choice is made on.")] = 30.0,
    test_days: Annotated[float, typer.Option("--test-days", help="Days that it is then traded.")] = 7.0,
    metric: Annotated[str, typer.Option("--metric", help="What is chosen by.")] = "sharpe",
    choose: Annotated[
        str, typer.Option("--choose", help="best, or plateau: the cell with the best neighbours.")
    ] = "best",
    anchored: Annotated[bool, typer.Option("--anchored", help="Choose on everything before, not on the last.")] = False,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Put plotly.js into the page: 5 MB, one file.")
    ] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Sweep GRID on every stretch of the past, trade what is best on the stretch after it, and store the report."""
    from flea_lab.report.run import PAGE
    from flea_lab.report.walk_run import run_walk_report
    from flea_lab.report.walkforward import Walk
    from flea_lab.settings import load_settings

    config = load(path)
    asked = {"train_days": train_days, "test_days": test_days, "metric": metric, "choose": choose, "anchored": anchored}
    values = {"config": config.to_dict(), "grid": read_toml(grid, "grid"), **asked}
    folder = run_walk_report(config, load_settings(values, Walk, "the command line"), standalone=standalone)
    done = read_manifest(folder).metrics
    print(f"{config.name}: {done['windows']:.0f} windows, {done['evaluated']:,.0f} cells")
    print(f"  return {_percent(done['total_return'])} out of sample, efficiency {_number(done['efficiency'])}")
    print(f"  {folder / PAGE}")
    if show:
        webbrowser.open((folder / PAGE).as_uri())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:+.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
