"""Where the runner of one account keeps its files: `FLEA_HOME/journals/<account>/`, its owner's alone."""

import re
from pathlib import Path

from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.workspace import workspace

JOURNAL = "journal.sqlite"
LOCK = "runner.lock"
HALT = "HALT"
LOG = "runner.log"
ALERTS = "alerts.jsonl"
CONTROL = "control"
DOORWAY = "doorway.lock"

_NAME = re.compile(r"[a-z0-9_-]{1,40}")


def check_account(account: str) -> str:
    """`account` where it may name a folder; `ConfigError` where not."""
    if not _NAME.fullmatch(account):
        raise ConfigError(f"account = {account!r}: lower-case letters, digits, _ and -, 1 to 40 of them")
    return account


def account_folder(account: str) -> Path:
    """The folder of `account` in this workspace, whether it is there or not."""
    return workspace().root / "journals" / check_account(account)


def ready_folder(account: str) -> Path:
    """The folder of `account`, made where it is missing, mode 0700."""
    folder = account_folder(account)
    workspace().ready()
    return private_folder(folder)


def private_folder(folder: Path) -> Path:
    """`folder`, made where it is missing, readable by its owner only; `WorkspaceError` where that fails."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise WorkspaceError(f"folder {folder} cannot be made its owner's alone: {error.strerror}") from None
    return folder


def require_there(account: str) -> Path:
    """The folder of `account`, whatever is in it; where there is none `ConfigError` names the accounts that are."""
    folder = account_folder(account)
    try:
        folder.lstat()
    except FileNotFoundError:
        known = ", ".join(known_accounts()) or "none"
        raise ConfigError(f"account {account!r} is not there; there are: {known}") from None
    except OSError:
        pass  # what cannot be looked at may be there
    return folder


def known_accounts() -> list[str]:
    """The accounts that have a folder in this workspace, by name."""
    journals = workspace().root / "journals"
    if not journals.is_dir():
        return []
    return sorted(entry.name for entry in journals.iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name))
