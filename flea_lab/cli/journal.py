"""`flea journal`: whether a journal is whole, and whether this code does again what it says was done."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The journal of an account: check it.")


@app.callback()
def journal() -> None:
    """The journal of an account."""


@app.command("check")
def check(
    what: Annotated[str, typer.Argument(metavar="ACCOUNT|FILE", help="An account of this workspace, or a file.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Fold it again from its first row: same commands, same state.")
    ] = False,
) -> None:
    """Check every row's checksum and digest, the facts and the snapshot. Status 1 where anything is wrong."""
    from flea_lab.live.journal_check import check_journal, told

    path = _path(what)
    found = check_journal(path)
    lines = told(found)
    good = found.sound
    if replay and good:
        from flea_lab.research.journal_replay import replay_journal

        again = replay_journal(path)
        good = again.equal
        lines += [
            ("replay", "equal" if again.equal else again.parted),
            ("events", f"{again.events:,}"),
            ("commands", f"{again.commands:,}, digest {again.commands_digest}"),
            ("state", f"{again.state_hash}, {again.marks:,} marks on the way"),
        ]
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name.ljust(width)}  {text}" for name, text in lines))
    if not good:
        raise typer.Exit(1)


def _path(what: str) -> Path:
    """The file that `what` names: itself, or the journal of that account."""
    from flea_lab.live.account import account_folder
    from flea_lab.live.store import FILE

    file = Path(what)
    return file if file.suffix or "/" in what else account_folder(what) / FILE
