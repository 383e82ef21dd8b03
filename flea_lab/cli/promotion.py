"""`flea promote` and `flea promoted`: which finished backtest may trade, and what already may."""

import sys
from typing import Annotated

import typer

from flea_lab.promotion import Listed, Promoted, list_promoted, read_promoted
from flea_lab.workspace import workspace

app = typer.Typer()

HEAD = ("name", "config", "code", "promoted", "state", "run")


@app.command("promote")
def promote(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its folder, its name in `flea runs`, or a CONFIG.")],
    name: Annotated[str | None, typer.Option("--name", help="Name to trade under; by default the config's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of what has this name.")] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Promote code that no commit holds; it is marked.")
    ] = False,
) -> None:
    """Bind a finished backtest to its config, data and code, after sweep and replay agree once more; it may trade."""
    from flea_lab.research.promote import promote_run

    file = promote_run(run, name, replace=replace, allow_dirty=allow_dirty, progress=sys.stderr.isatty())
    print("\n".join(described(read_promoted(file.stem, workspace()))))
    print(f"  {file}")


@app.command("promoted")
def promoted() -> None:
    """List what is promoted: its config, the code it is bound to, when, and whether it still holds."""
    home = workspace()
    found = list_promoted(home)
    if not found:
        print(f"nothing is promoted in {home.promoted}")
        return
    rows = [HEAD, *(_row(one) for one in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for one in found:
        if one.why:
            print(one.why)


def described(found: Promoted) -> list[str]:
    """What a promotion is bound to, for a person."""
    bound = found.bound
    data = [
        f"  data       {row['venue']} {row['symbol']} {row['interval']}, {row['rows']:,} bars, "
        f"{len(row['partitions'])} partitions"
        for row in bound.data
    ]
    kind = "synthetic data" if bound.synthetic else "recorded data"
    replaced = [f"  replaces   {bound.replaces}"] if bound.replaces else []
    return [
        f"promoted {bound.name}, on {kind}: {bound.source}",
        f"  config     {bound.config_id}",
        f"  run        {bound.run}",
        *data,
        f"  code       {_code(found)}",
        f"  parity     {bound.parity.decisions:,} decisions, {bound.decisions_digest[:16]} in sweep and replay",
        f"  result     {bound.result_digest[:16]}",
        *replaced,
    ]


def _code(found: Promoted) -> str:
    code = found.bound.code
    commit = "unversioned" if code.commit is None else f"commit {code.commit[:10]}"
    return f"{code.digest[:16]}, {commit}{', dirty' if found.bound.dirty else ''}"


def _row(one: Listed) -> tuple[str, ...]:
    if one.promoted is None:
        return (one.name, "", "", "", one.state, "")
    bound = one.promoted.bound
    code = f"{bound.code.digest[:10]}{' dirty' if bound.dirty else ''}"
    return (one.name, bound.config_id[:10], code, bound.promoted, one.state, bound.run)
