"""`flea verify` and `flea runs`: what is stored, whether it can be believed, how two runs differ, what may go."""

from pathlib import Path
from typing import Annotated

import typer

from flea_lab.errors import ConfigError
from flea_lab.runs import list_runs
from flea_lab.workspace import Workspace, workspace

app = typer.Typer(no_args_is_help=True, help="Stored runs.")


@app.command("verify")
def verify(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder, or its name below runs.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every finished run of the workspace.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Digests only: nothing is executed again.")] = False,
    result: Annotated[
        bool, typer.Option("--result", help="Status 0 where the result is the same, whatever code it took.")
    ] = False,
) -> None:
    """Execute a stored RUN again in a clean process and compare; name what differs: parameters, data, code, a signal,
    packages, an edited output, the manifest.

    Status 0: equal. 1: different. 2: cannot be verified, data are gone for instance.
    """
    from flea_lab.report.verify import DIFFERENT
    from flea_lab.report.verify import verify as judge

    if (run is None) is not every:
        raise ConfigError("which run: flea verify RUN, or flea verify --all")
    home = workspace()
    folders = [one.folder for one in list_runs(home) if one.state == "ok"] if every else [find_folder(str(run), home)]
    worst = 0
    for folder in folders:
        found = judge(folder, home, quick=quick)
        typer.echo(found.text())
        forgiven = result and found.status == DIFFERENT and found.same_result
        worst = max(worst, 0 if forgiven else found.status)
    if every and not folders:
        typer.echo(f"no finished runs in {home.runs}")
    raise typer.Exit(worst)


@app.command("again", hidden=True)
def again(folder: Path) -> None:
    """Execute the run in FOLDER once more, in this process' workspace; the last line is where the second one lies."""
    from flea_lab.report.again import execute_again

    typer.echo(execute_again(folder))


def find_folder(run: str, home: Workspace) -> Path:
    """The folder that `run` means: a path, or a name below the workspace's runs."""
    for folder in (Path(run), home.runs / run):
        if folder.is_dir():
            return folder.absolute()
    raise ConfigError(f"run {run}: neither a folder nor a run in {home.runs}")
