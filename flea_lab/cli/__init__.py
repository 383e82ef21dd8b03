"""`flea`: the command line. It parses, calls and prints; everything else lives below.

The commands are loaded when first asked for: `flea kill` is there before the rest of the package would be.
"""

import sys
from typing import TYPE_CHECKING, Any

import typer

from flea_lab.errors import FleaError

if TYPE_CHECKING:
    from flea_lab.cli.commands import app as app

UsageError: Any = typer.BadParameter.__mro__[1]  # click's, wherever this typer keeps its click
INTERRUPTED = 130

RUNNERS = ("run", "status", "halt", "resume", "stop")
"""Commands of a runner, which need nothing of the others."""


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flea_lab.cli.commands import app

    return app


def main() -> None:
    """Runs the command line: a mistake is one line and exit status 2, an interrupt one line and 130."""
    try:
        status = _app()(standalone_mode=False, prog_name="flea")
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


def _app() -> typer.Typer:
    """All commands; only `flea kill`, or a runner's, where that is what was typed: they must be there at once."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first == "kill":
        from flea_lab.cli import kill

        return kill.app
    if first in RUNNERS:
        from flea_lab.cli import live

        return live.app
    from flea_lab.cli.commands import app

    return app
