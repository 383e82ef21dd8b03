"""Starting the runner of an account as a process of its own, and finding it again: all that a notebook holds of it."""

import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flea_lab.clock import Stopwatch, WallClock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import HALT, JOURNAL, LOG, account_folder, ready_folder
from flea_lab.live.consent import LIVE, Consent, agreed, hand_over, taken, terms_of
from flea_lab.live.control_client import ControlClient, HandAsked, Latch, NoRunner, Unanswered
from flea_lab.live.halt import Halted, halt_account
from flea_lab.live.keys import VARIABLE
from flea_lab.live.latch import is_latched
from flea_lab.live.lock import holder
from flea_lab.live.phrase import clearing_phrase, order_phrase, required
from flea_lab.live.process import config_file, end, last_line, open_log, start_detached

if TYPE_CHECKING:
    import pandas as pd

    from flea_lab.config import RunConfig

VENUES = ("sandbox", "paper")
POLL_S = 0.1


class Session:
    """A runner as seen from here: questions and commands over its control socket, results from its journal.

    Dropping it, or the death of this process, changes nothing for the runner; `attach` gives another.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.folder = account_folder(account)
        self._client = ControlClient(self.folder)

    @property
    def alive(self) -> bool:
        """Whether a runner holds the account."""
        return holder(self.folder) is not None

    @property
    def pid(self) -> int | None:
        """The process of the runner; None where there is none."""
        found = holder(self.folder)
        return found.pid if found is not None and found.pid else None

    def status(self) -> dict[str, Any]:
        """What the runner says of itself."""
        return self._client.status()

    def halt(self, reason: str = "", *, wait_s: float = 30.0) -> Halted:
        """What became of a halt: verified only once no order is open at the exchange."""
        return halt_account(self.folder, reason, wait_s=wait_s)

    def resume(
        self, clear: tuple[Latch, ...] | list[Latch], by: str, *, phrase: str | None = None, why: str = ""
    ) -> dict[str, Any]:
        """What the runner says after clearing these latches in the name of `by`, who says `why`.

        `phrase` is typed by that person: `"clear kill_switch of main"`. Without it it is asked for at a terminal;
        where there is none, as in a notebook that papermill runs, nothing is cleared and the error states the phrase.
        """
        expected = clearing_phrase(self.account, clear)
        said = required(expected, phrase, input, f"clearing {', '.join(clear)} of account {self.account!r}")
        return self._client.resume(clear, by, said, why)

    def order(
        self,
        symbol: str,
        side: Literal["buy", "sell"],
        usd: float,
        by: str,
        *,
        style: Literal["twap", "iceberg"] = "twap",
        minutes: float = 30.0,
        limit_price: float | None = None,
        phrase: str | None = None,
        name: str | None = None,
    ) -> str:
        """The id of the parent order that works `usd` of `symbol` in slices over `minutes`, in the name of `by`.

        It passes the guards like an intent of the desk, and is refused while the session is halted. `phrase` is typed
        by that person, as with `resume`: `"buy 2500.00 USD of BTCUSDT on main"`. Asked again under the same `name`, as
        after an answer that was lost, nothing is ordered twice.
        """
        expected = order_phrase(self.account, side, usd, symbol)
        said = required(expected, phrase, input, f"an order on account {self.account!r}")
        asked = HandAsked(
            symbol=symbol,
            side=side,
            usd=usd,
            name=name or f"hand-{WallClock().now_ns()}",
            by=by,
            phrase=said,
            style=style,
            minutes=minutes,
            limit_price=limit_price,
        )
        return str(self._client.order(asked)["parent_id"])

    def cancel(self, parent_id: str, by: str) -> dict[str, Any]:
        """What the runner says once nothing more of a parent order is given, and its child is taken back."""
        return self._client.cancel(parent_id, by)

    def stop(self, *, wait_s: float = 30.0) -> bool:
        """Whether the runner, asked to stop, ended within `wait_s`; True as well where none was there."""
        try:
            self._client.stop()
        except NoRunner:
            return True
        return self.wait(wait_s)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether the runner ended within `timeout_s`; without one, waits for its end."""
        watch, pause = Stopwatch(), threading.Event()
        while self.alive:
            if timeout_s is not None and not watch.elapsed_s() < timeout_s:
                return False
            pause.wait(POLL_S)
        return True

    def equity(self) -> "pd.DataFrame":
        """The account bar by bar, from the journal, which is opened for reading only."""
        from flea_lab.live.session_frames import curve_of

        return curve_of(self._journal())

    def fills(self) -> "pd.DataFrame":
        """Every fill of the account, from the journal, which is opened for reading only."""
        from flea_lab.live.session_frames import fills_of

        return fills_of(self._journal())

    def log(self, lines: int = 20) -> str:
        """The last lines that the runner wrote to its log."""
        try:
            text = (self.folder / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise WorkspaceError(f"log {self.folder / LOG}: cannot be read ({error.strerror})") from None
        return "\n".join(text.splitlines()[-lines:])

    def __repr__(self) -> str:
        pid = self.pid
        return f"Session({self.account!r}, {'no runner' if pid is None else f'pid {pid}'})"

    def _journal(self) -> Path:
        file = self.folder / JOURNAL
        if not file.is_file():
            raise WorkspaceError(f"account {self.account!r} has no journal yet ({file})")
        return file


def attach(account: str = "main") -> Session:
    """The session of the runner that holds `account`; `NoRunner` where nobody does."""
    session = Session(account)
    if not session.alive:
        raise NoRunner(f"no runner for account {account!r}: launch one, or flea run CONFIG --account {account}")
    return session


def launch(
    config: "RunConfig | Path | str",
    *,
    venue: str = "sandbox",
    account: str = "main",
    url: str | None = None,
    unpromoted: bool = False,
    live: bool = False,
    wait_s: float = 120.0,
) -> Session:
    """The session of a runner that trades `config` on `account`, once it answers.

    `config` is the name of a promotion; a file or a `RunConfig` trades only as `unpromoted`. Where a runner of the same
    config and venue holds the account already, it is that one; another's is refused. `WorkspaceError` carries the last
    line of the log where the new process ended.

    Real money is venue "live" and `live=True`, a promotion, and a sentence that the person at this notebook types.
    """
    require_venue(venue)
    named = isinstance(config, str) and is_promotion_name(config)
    if live != (venue == LIVE):
        raise ConfigError(f"venue {venue!r} with live={live}: real money is venue 'live' and live=True, both or none")
    if not named and (live or not unpromoted):
        raise ConfigError(f"config {_called(config)} is not promoted: flea promote, or launch(..., unpromoted=True)")
    folder = ready_folder(account)
    session = Session(account)
    if session.alive:
        return _same(session, _config_id(config, named), venue)
    if is_latched(folder / HALT):
        raise WorkspaceError(halted_text(account))
    what = str(config) if named else str(config_file(config, folder, "launched.toml"))
    words = ["-m", "flea_lab", "run", what, f"--venue={venue}", f"--account={account}"]
    words += [f"--url={url}"] * (url is not None) + ["--unpromoted"] * (not named)
    if live:
        hand_over(folder, _agreed(str(config), account, url))
    start = (folder / LOG).stat().st_size if (folder / LOG).exists() else 0
    with open_log(folder / LOG) as log:
        process = start_detached(words, log, folder)
    try:
        _until_it_answers(session, process, start, wait_s)
    except BaseException:
        end(process)
        raise
    finally:
        taken(folder)  # nobody else's, where the process never came to it
    return session


def _agreed(promotion: str, account: str, url: str | None) -> Consent:
    """That the person at this notebook or terminal agrees to real money."""
    from flea_lab.promotion import load_promoted
    from flea_lab.runs import code_state
    from flea_lab.workspace import workspace

    config = load_promoted(promotion, workspace()).config
    return agreed(terms_of(config, account, url, code_state(config).digest), WallClock(), notebook=True)


def halted_text(account: str) -> str:
    """Why `account` does not start while its HALT file is there, and what lifts that."""
    lift = f"flea resume --account {account} --clear kill_switch --by NAME"
    return f"account {account!r} is halted by {account_folder(account) / HALT}: {lift}"


def require_venue(venue: str) -> None:
    """Refuses a venue that this version does not trade on."""
    if venue not in (*VENUES, LIVE):
        raise ConfigError(f"venue {venue!r}: there are {', '.join((*VENUES, LIVE))}")


def is_promotion_name(text: str) -> bool:
    """Whether `text` names a promotion rather than a file."""
    return not text.endswith(".toml") and "/" not in text


def _until_it_answers(session: Session, process: "subprocess.Popen[bytes]", start: int, wait_s: float) -> None:
    watch, pause = Stopwatch(), threading.Event()
    log = session.folder / LOG
    while watch.elapsed_s() < wait_s:
        ended = process.poll()
        if ended is not None:
            said = last_line(log, start).removeprefix("flea: ")
            if said.startswith("no key") and VARIABLE in os.environ:
                said += f"; {VARIABLE} is not handed on to a launched runner"
            raise WorkspaceError(f"the runner of account {session.account!r} ended ({ended}): {said} (log {log})")
        try:
            if session.pid == process.pid and session.status():
                return
        except (NoRunner, Unanswered):
            pass  # not yet
        pause.wait(POLL_S)
    raise WorkspaceError(
        f"the runner of account {session.account!r} did not answer within {wait_s:g} s: {last_line(log, start)}"
    )


def _same(session: Session, config_id: str, venue: str) -> Session:
    status = session.status()
    runs, on = str(status.get("config_id", "")), str(status.get("venue", ""))
    if runs != config_id or on != venue:
        raise ConfigError(
            f"account {session.account!r} is traded already, by config {status.get('config', '?')} ({runs[:10]}) "
            f"on {on}, not {config_id[:10]} on {venue}: attach({session.account!r}) to it, or stop it first"
        )
    return session


def _config_id(config: "RunConfig | Path | str", named: bool) -> str:
    if not isinstance(config, str | Path):
        return config.id
    if not named:
        from flea_lab.config import load

        return load(Path(config).expanduser()).id
    from flea_lab.promotion import read_promoted
    from flea_lab.workspace import workspace

    return read_promoted(str(config), workspace()).config.id


def _called(config: "RunConfig | Path | str") -> str:
    return str(config) if isinstance(config, str | Path) else repr(config.name)
