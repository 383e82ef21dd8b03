"""Every command of `flea`, in one app."""

import typer

from flea_lab.cli import (
    data,
    journal,
    kill,
    live,
    monitor,
    nightly,
    operations,
    promotion,
    record,
    report,
    research,
    runs,
    sandbox,
    schedule,
    sim,
    tape,
    walkforward,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From candles to a report that can be believed. Everything is kept in FLEA_HOME (by default .flea/).",
)
app.add_typer(data.app, name="data")
app.add_typer(tape.app, name="tape")
app.add_typer(journal.app, name="journal")
app.add_typer(monitor.alerts, name="alerts")
app.add_typer(schedule.app, name="schedule")
app.add_typer(runs.group, name="runs")
for module in (
    research,
    walkforward,
    report,
    runs,
    promotion,
    live,
    kill,
    sandbox,
    record,
    sim,
    monitor,
    nightly,
    operations,
):
    for command in module.app.registered_commands:
        app.registered_commands.append(command)
