"""`flea operations`: the report on a day of everything that traded."""

import sys
import webbrowser
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def operations(
    accounts: Annotated[
        list[str] | None, typer.Argument(metavar="[ACCOUNT]...", help="Accounts; default: all that have traded.")
    ] = None,
    day: Annotated[
        str, typer.Option("--day", help="A UTC day, YYYY-MM-DD; yesterday, or last: the last one that was traded.")
    ] = "yesterday",
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Put plotly.js into the page: 5 MB, one file.")
    ] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Sessions, replays, risk, data, costs and the schedule of one day, as a stored report.

    Status 1 where the day holds something that no replay explains; the report is stored all the same.
    """
    from flea_lab.report.operations_facts import Asked
    from flea_lab.report.operations_run import run_operations_report
    from flea_lab.report.run import PAGE
    from flea_lab.runs import read_manifest

    folder = run_operations_report(Asked(day=day, accounts=tuple(accounts or ())), standalone=standalone)
    done = read_manifest(folder)
    told = {name: 0.0 if value is None else value for name, value in done.metrics.items()}
    print(
        f"{done.config['day']}: {told['accounts']:.0f} accounts, {told['pnl_usd']:+,.2f} USD, {told['fills']:.0f} fills"
    )
    print(f"  {told['critical_alerts']:.0f} critical alerts, {told['jobs_not_done']:.0f} jobs not done")
    print(f"  {folder / PAGE}")
    if show:
        webbrowser.open((folder / PAGE).as_uri())
    if told["replays_different"]:
        print(f"{told['replays_different']:.0f} of the day's replays differ: see the report", file=sys.stderr)
        raise typer.Exit(1)
