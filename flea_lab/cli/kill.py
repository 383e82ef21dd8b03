"""`flea kill`: latch an account and take every order back at its venue, whatever its runner is doing.

Nothing of the runner, the core or the journal is loaded: it must be there at once, and it works where they do not.
"""

import json
from typing import Annotated

import msgspec
import typer

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import account_folder, require_there
from flea_lab.live.keys import load_kill_key
from flea_lab.live.kill import Kill, Killed, dialect_for, late_s, noted_venue
from flea_lab.live.kill_venue import cancel_only

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

VENUE_HELP = "A dialect's name, or paper; by default what the runner wrote down of its venue."


@app.callback()
def alone() -> None:
    """The one command that is there before all others are loaded."""


@app.command("kill")
def kill(
    account: Annotated[str, typer.Argument(help="Which account.")],
    venue: Annotated[str | None, typer.Option("--venue", help=VENUE_HELP)] = None,
    url: Annotated[str | None, typer.Option("--url", help="Base URL of the venue, if not the noted one.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the HALT file.")] = "flea kill",
    wait_s: Annotated[float, typer.Option("--wait-s", min=0.0, help="Seconds to go on trying.")] = 30.0,
    watch_s: Annotated[
        float | None, typer.Option("--watch-s", min=0.0, help="Seconds to look for orders that arrive late.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Halt an account without its runner: a HALT file, every order taken back, the venue asked again. Exit status 0
    only once the venue has listed no open order twice."""
    _require_one(account)
    told = None if as_json else _say
    work = Kill(account_folder(account), reason, WallClock(), told=told)
    work.latch()
    found = _killed(work, account, venue, url, wait_s, watch_s)
    print(json.dumps(msgspec.to_builtins(found)) if as_json else table(found, account))
    if found.outcome != "verified":
        raise typer.Exit(1)


def _require_one(account: str) -> None:
    """Refuses a name that has neither a folder nor a key: nothing could have traded under it."""
    try:
        require_there(account)
    except ConfigError as missing:
        try:
            load_kill_key(account)
        except (ConfigError, WorkspaceError):
            raise missing from None


def _killed(
    work: Kill, account: str, venue: str | None, url: str | None, wait_s: float, watch_s: float | None
) -> Killed:
    try:
        kind, dialect = dialect_for(account_folder(account), venue, url)
        if kind == "paper":
            return work.paper()
        noted = noted_venue(account_folder(account))
        there = cancel_only(dialect, load_kill_key(account), noted.instruments if noted is not None else None)
    except (ConfigError, WorkspaceError) as error:
        return work.unknown(error)
    try:
        return work.take_back(there, wait_s=wait_s, late_s=late_s(dialect) if watch_s is None else watch_s)
    except KeyboardInterrupt:
        return work.unknown(WorkspaceError("interrupted: the latch stands, orders may be open"))
    finally:
        there.close()


def table(found: Killed, account: str) -> str:
    """The outcome, for a person.

    >>> print(table(Killed(outcome="unverified", where="no venue", why="no key"), "main").splitlines()[-1])
    NOT KILLED  account main: no key
    """
    rows = [
        ("venue", found.where),
        ("runner", found.runner or "-"),
        ("latched", _at(found.latched_s)),
        ("taken back", f"{len(found.found)} in {found.rounds} rounds"),
        *(("", f"{order.name}  {order.text}") for order in found.found[:20]),
        ("none open", _at(found.cleared_s)),
        ("none again", f"{_at(found.verified_s)}, asked for {found.late_s:g} s"),
        ("left open", str(len(found.left))),
        *(("", f"{order.name}  {order.text}") for order in found.left[:20]),
        (
            "positions",
            f"{', '.join(found.positions) or 'none'} (not touched)" if found.verified_s >= 0 else "not asked",
        ),
    ]
    last = (
        f"KILLED      account {account}: no order is open at the venue"
        if found.outcome == "verified"
        else f"NOT KILLED  account {account}: {found.why}"
    )
    return "\n".join([*(f"{name:<12}{value}".rstrip() for name, value in rows), last])


def _at(seconds: float) -> str:
    return f"after {seconds:.2f} s" if seconds >= 0 else "NO"


def _say(line: str) -> None:
    print(line, flush=True)
