"""The runners that a schedule looks after: one that should be running and is not is told within its interval."""

from collections.abc import Callable
from functools import partial

from flea_lab.live.account import account_folder
from flea_lab.live.control_client import ControlClient, Declined, NoRunner, Unanswered
from flea_lab.schedule.books import AlertPut
from flea_lab.schedule.job import Watched
from flea_lab.schedule.wording import moment

ASK_S = 2.0
AGAIN_NS = 3_600_000_000_000
"""How often one that stays away is told again."""


class RunnerWatch:
    """Looks at runners from time to time and tells `alert` which are not there."""

    def __init__(self, alert: AlertPut, ask: Callable[[str], str] | None = None) -> None:
        """`ask` says why an account's runner is not there, "" where it answers."""
        self._alert, self._ask = alert, ask or why_away
        self._at_ns = 0
        self._away: dict[str, tuple[int, int]] = {}  # since when, and when it was last told

    def look(self, watched: Watched, now_ns: int) -> None:
        """Asks them, where that is due."""
        if 0 <= now_ns - self._at_ns < watched.every_s * 1e9:
            return
        self._at_ns = now_ns
        for gone in self._away.keys() - set(watched.runners):
            del self._away[gone]
        for account in watched.runners:
            why = self._ask(account)
            tell = partial(self._alert, key=f"runner {account}")
            if not why:
                if self._away.pop(account, None) is not None:
                    tell("info", f"the runner of account {account!r} is there again")
                continue
            since, told = self._away.get(account, (now_ns, 0))
            if not 0 <= now_ns - told < AGAIN_NS:
                told = now_ns
                tell("critical", f"the runner of account {account!r} should be running: {why}, since {moment(since)}")
            self._away[account] = since, told


def why_away(account: str) -> str:
    """Why the runner of `account` is not there; "" where it answers."""
    try:
        ControlClient(account_folder(account), timeout_s=ASK_S).status()
    except NoRunner:
        return "there is none"
    except (Unanswered, Declined) as error:
        return str(error)
    return ""
