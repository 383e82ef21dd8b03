"""`flea`: the command line. It parses, calls and prints; everything else lives below."""

import sys

import typer

from flea_lab.cli import data, report, research
from flea_lab.errors import FleaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From candles to a report that can be believed. Everything is kept in FLEA_HOME (by default .flea/).",
)
app.add_typer(data.app, name="data")
for module in (research, report):
    for command in module.app.registered_commands:
        app.registered_commands.append(command)


def main() -> None:
    """Runs the command line: an error of ours is one line and exit status 2, an interrupt is 130."""
    try:
        app()
    except FleaError as error:
        print(f"flea: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("flea: interrupted, nothing half-written", file=sys.stderr)
        sys.exit(130)
