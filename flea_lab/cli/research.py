"""`flea config | signals | sweep | parity | demo`."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

app = typer.Typer()

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration: docs/configuration.md.")]


@app.command()
def config(path: ConfigFile) -> None:
    """A configuration as it is understood, every default written out, and its id."""
    from flea_lab.config import load

    found = load(path)
    print(json.dumps(found.to_dict(), indent=2))
    print(f"id {found.id}")


@app.command()
def signals() -> None:
    """Every signal that a configuration may name: parameters, ranges, warm-up; your own as well."""
    from flea_lab.signal.registry import known_kernels
    from flea_lab.workspace import workspace

    own = workspace().signals
    for name, kernel in sorted(known_kernels(own).items()):
        kind = "alpha" if kernel.is_alpha else "feature"
        default = kernel.load({}, name)
        warmup = f"{kernel.warmup(default)} bars" if kernel.warmup else "until its data suffices"
        first = kernel.doc.splitlines()[0] if kernel.doc else ""
        print(f"{name}  ({kind}, warm-up {warmup}, reads {', '.join(kernel.inputs + kernel.optional)})\n    {first}")
        for field in msgspec.structs.fields(kernel.params):
            print(f"    {field.name:<16} {getattr(default, field.name)!r:<12} {describe(field.type)}")


def describe(kind: Any) -> str:
    """Range and unit of an annotated type, for a person."""
    choices = [repr(value) for value in getattr(kind, "__args__", ()) if isinstance(value, str)]
    if choices:
        return "one of " + ", ".join(choices)
    for meta in getattr(kind, "__metadata__", ()):
        low = f"from {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else ""
        high = f"to {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else ""
        return " ".join(part for part in (low, high, meta.description or "") if part)
    return ""


@app.command()
def parity(
    path: ConfigFile,
    days: Annotated[
        float | None, typer.Option("--days", min=0.01, help="The last days of the stored market; default: all of it.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live/--no-live", help="Run the third leg: a session on the sandbox, about 1 ms a bar.")
    ] = True,
) -> None:
    """Sweep, replay and a live session, decision by decision; explains the first difference. Exit status 1 if any."""
    from flea_lab.config import load
    from flea_lab.research.live_parity import check_live_parity
    from flea_lab.research.parity import check_parity, last_days
    from flea_lab.wiring import load_market

    config = load(path)
    market = last_days(config, load_market(config).market, days)
    found: Any = (
        check_live_parity(config, market, progress=True) if live else check_parity(config, market, progress=True)
    )
    print(found.text())
    if not found.equal:
        raise typer.Exit(1)


@app.command()
def sweep(
    path: ConfigFile,
    grid: Annotated[
        Path, typer.Option("--grid", metavar="GRID", help="A TOML file: a list, or start/stop/step, for each setting.")
    ],
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            help="What the table is sorted by and the heat map shows: sharpe, total_return, max_drawdown and others.",
        ),
    ] = "sharpe",
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of the table that are printed.")] = 10,
    search: Annotated[
        str | None,
        typer.Option("--search", help="random or bayes: choose points; an axis may be {low, high, log}."),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", help="Points that a search chooses.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of a search: the same seed, the same points.")] = 0,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler: docs/sweeps.md.")
    ] = None,
) -> None:
    """Every combination of a grid, or those that a search chooses: a table, a heat map, a run folder. Interrupted, it
    goes on where it stopped."""
    from contextlib import nullcontext

    from flea_lab.backtest.cluster import connected
    from flea_lab.backtest.sweep import load_grid
    from flea_lab.config import load, read_toml
    from flea_lab.report.sweep import run_sweep, table_text
    from flea_lab.research.search import Search, load_ranges

    config, values = load(path), read_toml(grid, "grid")
    by = Search(search, trials, seed, metric) if search else None  # type: ignore[arg-type]  # it refuses another word
    axes = load_ranges(values, grid.name) if by else load_grid(values, grid.name)
    with connected(cluster) if cluster else nullcontext() as client:
        folder, found = run_sweep(config, axes, metric=metric, progress=True, search=by, client=client)
    print(table_text(found, metric, rows))
    print(f"run      {folder}")
    print(f"heat map {folder / 'sweep.html'}")


@app.command()
def demo() -> None:
    """The whole path on the demo's market: data, a sweep, parity, a report."""
    from flea_lab.report.demo import run_demo

    run_demo()
