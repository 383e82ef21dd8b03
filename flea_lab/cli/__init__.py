"""`flea`: the command line. It parses, calls and prints; everything else lives below."""

import sys
from typing import Any

import typer

from flea_lab.cli import data, live, promotion, record, report, research, sandbox, tape
from flea_lab.errors import FleaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From candles to a report that can be believed. Everything is kept in FLEA_HOME (by default .flea/).",
)
app.add_typer(data.app, name="data")
app.add_typer(tape.app, name="tape")
for module in (research, report, promotion, live, sandbox, record):
    for command in module.app.registered_commands:
        app.registered_commands.append(command)


UsageError: Any = typer.BadParameter.__mro__[1]  # click's, wherever this typer keeps its click
INTERRUPTED = 130


def main() -> None:
    """Runs the command line: a mistake is one line and exit status 2, an interrupt one line and 130."""
    try:
        status = app(standalone_mode=False, prog_name="flea")
    except FleaError as error:
        print(f"flea: {error}", file=sys.stderr)
        sys.exit(2)
    except UsageError as error:
        said = " ".join(error.format_message().split()).rstrip(".")
        if type(error).__name__ == "NoArgsIsHelpError":  # typer has printed the help by then, or hands it over
            print(error.format_message(), end="", file=sys.stderr)
        else:
            print(f"flea: {said[:1].lower()}{said[1:]} (see {error.ctx.command_path} --help)", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        print(
            "flea: interrupted, nothing half-written; what had been finished is kept",
            file=sys.stderr,
        )
    sys.exit(status if isinstance(status, int) else 0)
