"""`flea nightly`: what live sessions did on a day, done again from what was recorded."""

import sys
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def nightly(
    accounts: Annotated[
        list[str] | None, typer.Argument(metavar="[ACCOUNT]...", help="Accounts; default: all that have traded.")
    ] = None,
    day: Annotated[
        str, typer.Option("--day", help="A UTC day, YYYY-MM-DD; yesterday, or last: the last one that was traded.")
    ] = "yesterday",
) -> None:
    """Replay what was recorded of a day: journal, tape and market. Status 1 where anything is unexplained.

    The last line says which account and why, for whoever watches a schedule.
    """
    from flea_lab.clock import WallClock
    from flea_lab.live.account import known_accounts
    from flea_lab.live.session import read_session
    from flea_lab.report.operations_facts import has_traded
    from flea_lab.report.session_facts import find_journal
    from flea_lab.research.nightly import last_day, look_again, read_day, yesterday

    asked = None if day in ("yesterday", "last") else read_day(day)
    named = accounts or [name for name in known_accounts() if has_traded(name)]
    if not named:
        print("no account has traded in this workspace")
        return
    different = []
    for name in named:
        session = read_session(find_journal(name))
        on = asked or (last_day(session) if day == "last" else yesterday(WallClock().now_ns()))
        night = look_again(session, on)
        print(night.text())
        if not night.equal:
            different.append(night.line())
    if different:
        print("\n".join(different), file=sys.stderr)
        raise typer.Exit(1)
