"""`flea run | status | halt | resume | stop`: a runner, and what another process may ask of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from flea_lab.cli.live_text import moment, running_line, status_text
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import HALT, account_folder, known_accounts
from flea_lab.live.consent import LIVE, Consent, agreed, taken, terms_of
from flea_lab.live.control_client import ControlClient, Declined, Latch, NoRunner, Unanswered
from flea_lab.live.halt import halt_account
from flea_lab.live.latch import is_latched, lift_halt_file, read_latch
from flea_lab.live.launcher import Session, halted_text, is_promotion_name, require_venue
from flea_lab.live.lock import holder, running_accounts
from flea_lab.live.phrase import at_terminal, clearing_phrase, required

if TYPE_CHECKING:
    from flea_lab.config import RunConfig
    from flea_lab.promotion import Promoted

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CONFIG_HELP = "The name of a promotion (`flea promoted`), or with --unpromoted a TOML file."
Account = Annotated[
    str | None, typer.Option("--account", help="Which account; may be left out where only one is running.")
]
WaitS = Annotated[float, typer.Option("--wait-s", min=0.0, help="Seconds to wait for it.")]


@app.command("run")
def run(
    what: Annotated[str, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    venue: Annotated[str, typer.Option("--venue", help="sandbox, paper, or live: real money, confirmed.")] = "sandbox",
    account: Annotated[str, typer.Option("--account", help="Account: its key, its journal, one runner.")] = "main",
    url: Annotated[str | None, typer.Option("--url", help="Base URL of the venue, if not the configured one.")] = None,
    unpromoted: Annotated[bool, typer.Option("--unpromoted", help="Trade a config that is not promoted.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would run and what is missing; start nothing.")
    ] = False,
    other_code: Annotated[
        bool, typer.Option("--other-code", help="Go on live with other code than the journal's, from its state.")
    ] = False,
) -> None:
    """Trade a promoted configuration until it is stopped: on the sandbox, on paper, or live once a person confirms."""
    require_venue(venue)
    if venue == LIVE and unpromoted:
        raise ConfigError(f"config {what} is not promoted: real money needs a promotion, --unpromoted is for play")
    config, promotion = resolve(what, unpromoted)
    if is_latched(account_folder(account) / HALT):
        raise WorkspaceError(halted_text(account))
    if check:
        print("\n".join(_check(config, promotion, venue, account, url)))
        return
    from flea_lab.wiring_live import live_session

    name = None if promotion is None else promotion.name
    consent = _consent(config, account, url) if venue == LIVE else None
    ended = live_session(config, name, venue=venue, account=account, url=url, consent=consent, other_code=other_code)
    raise typer.Exit(ended)


def _consent(config: "RunConfig", account: str, url: str | None) -> Consent:
    """What a person agreed to: in the notebook that launched this process, or here and now."""
    handed = taken(account_folder(account))
    if handed is not None:
        return handed
    from flea_lab.runs import code_state

    return agreed(terms_of(config, account, url, code_state(config).digest), WallClock())


@app.command("status")
def status(
    account: Account = None, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False
) -> None:
    """What a runner says of itself. Exit status 1 where none is running."""
    running = running_accounts()
    if account is None and len(running) > 1:
        _status_of_several(running, as_json)
        return
    account = account or (running[0] if running else _only(known_accounts()) or "main")
    folder = account_folder(account)
    if account not in running:
        halted = is_latched(folder / HALT)
        said = {"state": "not running", "account": account, "halt_file": halted}
        print(json.dumps(said) if as_json else f"no runner for account {account}{', HALT file present' * halted}")
        raise typer.Exit(1)
    answer = ControlClient(folder).status()
    print(json.dumps(answer) if as_json else status_text(answer))


@app.command("halt")
def halt(
    account: Account = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the journal.")] = "flea halt",
    wait_s: WaitS = 30.0,
) -> None:
    """Stop trading and take every open order back. Exit status 0 only once the exchange has no open order."""
    account = _which(account, known_accounts() or ["main"])
    folder = account_folder(account)
    said: list[str] = []

    def tell(answer: dict[str, Any]) -> None:
        line = f"halting: {_open(answer)} at the exchange"
        if answer.get("halt_verified") is not True and said[-1:] != [line]:
            said.append(line)
            print(line, flush=True)

    try:
        found = halt_account(folder, reason, wait_s=wait_s, tell=tell)
    except KeyboardInterrupt:
        print("no longer watching; a halt that was taken stands: flea status says whether it is verified")
        raise typer.Exit(1) from None
    if found.outcome == "verified":
        print("halted: no open order at the exchange")
        return
    if found.outcome == "open":
        known = f"{_open(found.status)} known here"
        print(f"halt stands, not verified after {wait_s:g} s: the exchange has not said that none is open, {known}")
    else:
        left = f"; {_open(found.status)} may be left at the exchange" if found.status else ""
        print(
            f"not halted by a runner: {found.why}{left}\n"
            f"wrote {folder / HALT}: no runner of account {account} starts or sends an order while it is there; "
            f"orders that are open at the exchange stay open: flea kill {account} takes them back"
        )
    raise typer.Exit(1)


@app.command("resume")
def resume(
    by: Annotated[str, typer.Option("--by", help="Who decides this, for the journal.")],
    clear: Annotated[list[str], typer.Option("--clear", help="kill_switch, reducing or drawdown; repeat for several.")],
    account: Account = None,
    why: Annotated[str, typer.Option("--why", help="Why it may trade again, for the journal.")] = "",
    phrase: Annotated[
        str | None, typer.Option("--phrase", help="The confirmation, where there is no terminal to type it at.")
    ] = None,
) -> None:
    """Clear what keeps a runner from trading; it trades again when nothing else does."""
    latches = [_latch(one) for one in clear]
    account = _which(account, known_accounts())
    folder = account_folder(account)
    if phrase is None and at_terminal():
        print(f"account {account} trades again once {', '.join(latches)} is cleared in the name of {by}")
        latch = read_latch(folder)
        if latch is not None:
            print(f"halted by {folder / HALT}: {latch.reason or 'it cannot be read'}, {moment(latch.ts_ns)}")
    what = f"clearing {', '.join(latches)} of account {account!r}"
    said = required(clearing_phrase(account, latches), phrase, _typed, what)
    if holder(folder) is None:
        if "kill_switch" not in latches or not lift_halt_file(folder, by, why, WallClock()):
            raise NoRunner(f"no runner for account {account!r}: its latches are cleared by a runner, start it first")
        print(f"removed {folder / HALT}; latches in the journal stay until a runner is asked to clear them")
        return
    answer = ControlClient(folder).resume(latches, by, said, why)
    print(f"cleared {', '.join(latches)}; {running_line({**ControlClient(folder).status(), **answer})}")


@app.command("stop")
def stop(account: Account = None, wait_s: WaitS = 30.0) -> None:
    """End a runner in order: no new orders, open ones taken back, journal closed."""
    account = _which(account, known_accounts())
    session = Session(account)
    if not session.alive:
        raise NoRunner(f"no runner for account {account!r}")
    if not session.stop(wait_s=wait_s):
        print(f"asked to stop, the runner of account {account} (pid {session.pid}) still runs after {wait_s:g} s")
        raise typer.Exit(1)
    print(f"stopped account {account}")


def resolve(what: str, unpromoted: bool) -> "tuple[RunConfig, Promoted | None]":
    """The config that `what` names, with its promotion; a file only where it may be `unpromoted`."""
    if is_promotion_name(what):
        from flea_lab.promotion import load_promoted
        from flea_lab.workspace import workspace

        promotion = load_promoted(what, workspace())
        return promotion.config, promotion
    from flea_lab.config import load

    config = load(Path(what))
    if not unpromoted:
        raise ConfigError(f"config {what} is not promoted: flea report and flea promote it, or pass --unpromoted")
    return config, None


def _status_of_several(accounts: list[str], as_json: bool) -> None:
    """A line a runner; one that is silent does not hide the others."""
    found: list[dict[str, Any]] = []
    for account in accounts:
        try:
            found.append(ControlClient(account_folder(account)).status())
        except (NoRunner, Unanswered, Declined) as error:
            found.append({"state": "silent", "account": account, "error": str(error)})
    print(json.dumps(found) if as_json else "\n".join(running_line(one) for one in found))
    if any(one["state"] == "silent" for one in found):
        raise typer.Exit(1)


def _check(config: "RunConfig", promotion: "Promoted | None", venue: str, account: str, url: str | None) -> list[str]:
    lines = [
        f"config    {config.name}, id {config.id[:16]}, {'not promoted' if promotion is None else 'promoted'}",
        f"symbols   {', '.join(config.symbols)}, {config.interval}",
        f"venue     {venue}{f' at {url}' if url else ''}",
        f"account   {account}, {account_folder(account)}",
    ]
    running = holder(account_folder(account))
    if running is not None:
        raise WorkspaceError(f"a runner is already running for account {account!r} (pid {running.pid})")
    from flea_lab.live.feeds import dialect_of, needs_key
    from flea_lab.live.keys import load_key

    if venue == "paper" and not needs_key(dialect_of(config.live.dialect, f"config {config.name!r}")):
        return [*lines, "key       none is needed: public data", "nothing is in the way"]
    load_key(account)
    return [*lines, "key       there", "nothing is in the way"]


def _which(account: str | None, candidates: list[str]) -> str:
    """The account that is meant: the one named, the only one running, or the only one there is."""
    if account is not None:
        return account
    running = running_accounts()
    if len(running) > 1:
        raise ConfigError(f"several accounts are running: {', '.join(running)}; pass --account")
    found = _only(running) or _only(candidates)
    if found is None:
        known = f"known are {', '.join(candidates)}" if candidates else "none has been here"
        raise ConfigError(f"no account is running, {known}; pass --account")
    return found


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _typed(question: str) -> str:
    """What a person answers; nothing where there is none to ask, or who interrupts."""
    try:
        return str(typer.prompt(question, default="", show_default=False))
    except typer.Abort:
        print()
        return ""


def _latch(text: str) -> Latch:
    for known in get_args(Latch):
        if text == known:
            return known
    raise ConfigError(f"--clear {text}: unknown, known are {', '.join(get_args(Latch))}")


def _open(answer: dict[str, Any]) -> str:
    open_, unknown = int(answer.get("open_orders", 0)), int(answer.get("unknown_orders", 0))
    unclear = f" and {unknown} of unknown fate" if unknown else ""
    return f"{open_} open order{'s' * (open_ != 1)}{unclear}"
