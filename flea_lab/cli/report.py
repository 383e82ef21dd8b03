"""`flea report` and `flea session`: stored reports of a configuration and of a live session."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flea_lab.config import load
from flea_lab.errors import ConfigError
from flea_lab.runs import read_manifest

app = typer.Typer(no_args_is_help=True, help="Stored reports.")


@app.command("report")
def report(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML configuration: docs/configuration.md.")],
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Put plotly.js into the page: 5 MB, one file.")
    ] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Run the backtest of CONFIG and store its report: a folder with page, frames, configuration and manifest."""
    from flea_lab.report.run import PAGE, run_report  # papermill and nbconvert cost seconds that `runs` need not pay

    folder = run_report(load(config), standalone=standalone)
    done = read_manifest(folder)
    kind = "synthetic data" if done.synthetic else "recorded data"
    typer.echo(f"{done.name} on {kind}: {done.source}")
    typer.echo(f"  return {_percent(done.metrics['total_return'])}, sharpe {_number(done.metrics['sharpe'])}")
    typer.echo(f"  decisions {done.decisions_digest}")
    typer.echo(f"  {folder / PAGE}")
    if show:
        webbrowser.open((folder / PAGE).as_uri())


@app.command("session")
def session(
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="An account, or the folder of a journal (a path).")
    ] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Put plotly.js into the page: 5 MB, one file.")
    ] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Report on what the live session of ACCOUNT did so far: played back, replayed, stored like a backtest's report.

    The session may be running: its journal is only read. Without ACCOUNT, the only one that runs or has run.
    """
    from flea_lab.report.run import PAGE
    from flea_lab.report.session import SUMMARY
    from flea_lab.report.session_run import run_session_report

    named = account or _only_account()
    folder = run_session_report(Path(named) if "/" in named else named, standalone=standalone)
    typer.echo((folder / SUMMARY).read_text(encoding="utf-8").rstrip())
    typer.echo(f"{'page':<11}{folder / PAGE}")
    if show:
        webbrowser.open((folder / PAGE).as_uri())


def _only_account() -> str:
    """The only account that runs, or the only one that has a folder; `ConfigError` where that names none or several."""
    from flea_lab.live.account import known_accounts
    from flea_lab.live.lock import running_accounts

    running, known = running_accounts(), known_accounts()
    for found in (running, known):
        if len(found) == 1:
            return found[0]
    said = f"which account: {', '.join(running or known)}" if known else "no account has traded in this workspace"
    raise ConfigError(f"{said}; flea session ACCOUNT")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:+.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
