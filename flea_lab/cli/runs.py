"""`flea verify` and `flea runs`: what is stored, whether it can be believed, how two runs differ, what may go."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flea_lab.errors import ConfigError
from flea_lab.runs import list_runs
from flea_lab.workspace import Workspace, workspace

if TYPE_CHECKING:
    from flea_lab.report.shelf import Stored

app = typer.Typer(no_args_is_help=True, help="Stored runs.")
group = typer.Typer(help="The stored runs: listed, compared, shown on one page, cleared away.")

HEAD = ("run", "config", "kind", "finished", "return", "sharpe", "data", "state")


@app.command("verify")
def verify(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder, or its name below runs.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every finished run of the workspace.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Digests only: nothing is executed again.")] = False,
    result: Annotated[
        bool,
        typer.Option("--result", help="Status 0 where the result is the same, whatever code and packages it took."),
    ] = False,
) -> None:
    """Execute a stored RUN again in a clean process and compare; name what differs: parameters, data, code, a signal,
    packages, an edited output, the manifest.

    Status 0: equal. 1: different. 2: cannot be verified, data are gone for instance.
    """
    from flea_lab.report.verify import verify as judge

    if (run is None) is not every:
        raise ConfigError("which run: flea verify RUN, or flea verify --all")
    home = workspace()
    folders = [one.folder for one in list_runs(home) if one.state == "ok"] if every else [find_folder(str(run), home)]
    worst = 0
    for folder in folders:
        found = judge(folder, home, quick=quick)
        typer.echo(found.text())
        worst = max(worst, found.result_status if result else found.status)
    if every and not folders:
        typer.echo(f"no finished runs in {home.runs}")
    raise typer.Exit(worst)


@app.command("again", hidden=True)
def again(folder: Path) -> None:
    """Execute the run in FOLDER once more, in this process' workspace; the last line is where the second one lies."""
    from flea_lab.report.again import execute_again

    typer.echo(execute_again(folder))


@group.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="backtest, sweep, session, walkforward, operations.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the configuration or the run; * and ? are open.")] = None,
    since: Annotated[str | None, typer.Option(help="Finished at this ISO date or time or later, UTC.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Such as 'sharpe>1'; several must all hold.")] = None,
    promoted: Annotated[bool, typer.Option("--promoted", help="Only what is promoted.")] = False,
    sort: Annotated[str | None, typer.Option(help="A metric, highest first; else the newest first.")] = None,
) -> None:
    """List the stored runs, newest first; of a failed one, why."""
    if context.invoked_subcommand is not None:
        return
    from flea_lab.report.shelf import Choice, shelf

    home = workspace()
    choice = Choice(kind=kind, name=name, since=since, metrics=metric or (), promoted=promoted, sort=sort)
    found = shelf(home, choice)
    asked = "" if choice == Choice() else " that are meant"
    typer.echo(_table([_row(one) for one in found]) if found else f"no runs{asked} in {home.runs}")
    for one in found:
        if one.run.why:
            typer.echo(f"{one.run.folder.name}: {one.run.why}")


@group.command("diff")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A run's folder, or its name below runs.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Compare two runs: parameters, data, code, results; and a page with both equity curves on one chart."""
    from flea_lab.report.run_diff import diff_text, write_diff

    home = workspace()
    folders = (find_folder(first, home), find_folder(second, home))
    typer.echo(diff_text(*folders))
    page = write_diff(*folders, home)
    typer.echo(f"page    {page}")
    if show:
        webbrowser.open(page.as_uri())


@group.command("clean")
def clean(
    keep: Annotated[int | None, typer.Option(min=0, help="So many of each name and kind stay, the newest.")] = None,
    older_than: Annotated[float | None, typer.Option(min=0.0, help="Only what ended so many days ago or more.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would go.")] = False,
) -> None:
    """Remove old runs: all but the newest, or those of some age. What is promoted or at work always stays."""
    from flea_lab.clock import WallClock
    from flea_lab.report.gallery import write_gallery
    from flea_lab.report.retention import removable, remove

    if keep is None and older_than is None:
        raise ConfigError("what may go: flea runs clean --keep N, or --older-than DAYS, or both")
    home = workspace()
    chosen = removable(home, WallClock(), keep=keep, older_than_days=older_than)
    done = remove(home, chosen) if yes else chosen
    for one in done:
        typer.echo(f"{one.folder.name}  {_bytes(one.bytes)}")
    total = _bytes(sum(one.bytes for one in done))
    if yes:
        write_gallery(home)
        typer.echo(f"{len(done)} removed, {total} freed")
    else:
        typer.echo(f"{len(done)} would go, {total}: the same with --yes removes them")


@group.command("index")
def index(
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the page of all runs, with a picture of each; every report does so too."""
    from flea_lab.report.gallery import write_gallery

    page = write_gallery(workspace())
    typer.echo(page)
    if show:
        webbrowser.open(page.as_uri())


def find_folder(run: str, home: Workspace) -> Path:
    """The folder that `run` means: a path, or a name below the workspace's runs."""
    for folder in (Path(run), home.runs / run):
        if folder.is_dir():
            return folder.absolute()
    raise ConfigError(f"run {run}: neither a folder nor a run in {home.runs}")


def _row(one: "Stored") -> tuple[str, ...]:
    done, run = one.done, one.run
    if done is None:
        return (run.folder.name, *("" for _ in HEAD[2:]), run.state)
    state = {None: "ok, unversioned code", True: "ok, dirty code", False: "ok"}[done.code.dirty]
    state += "".join(f", promoted as {name}" for name in one.promoted) + (", hidden state" if done.hidden else "")
    numbers = (_percent(done.metrics.get("total_return")), _number(done.metrics.get("sharpe")))
    source = f"{done.source}, synthetic" if done.synthetic and "synthetic" not in done.source else done.source
    return (run.folder.name, done.config_id[:10], done.kind, done.finished, *numbers, source, state)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:+.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[at]) for row in (HEAD, *rows)) for at in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (HEAD, *rows)]
    return "\n".join(line.rstrip() for line in lines)
