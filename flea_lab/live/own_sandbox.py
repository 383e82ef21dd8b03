"""A sandbox of a session's own: started for one account, remembered in the account's folder, ended with the session.

Rules. Every sandbox begins with fresh accounts, so every session on one has an account name, a key and a journal of its
own: `main`, then `main-2`, `main-3`. Whoever finds the session again, after the notebook's kernel died, finds its
sandbox by the file in the folder and can end it.
"""

import http.client
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from flea_lab.errors import VenueError
from flea_lab.live.account import JOURNAL, account_folder, check_account, known_accounts, ready_folder
from flea_lab.live.faucet import claim_key
from flea_lab.live.keys import key_file
from flea_lab.live.lock import holder
from flea_lab.live.process import start_sandbox
from flea_lab.live.socket_path import write_private

if TYPE_CHECKING:
    from flea_lab.config import RunConfig

FILE = "sandbox.json"
ASK_S = 2.0
SERVICE = "purpleflea-sandbox"


class OwnSandbox(Struct, frozen=True, kw_only=True):
    """Where the sandbox of an account listens, and its process."""

    url: str
    pid: int


def start_own_sandbox(
    account: str,
    config: "RunConfig | Path | str",
    *,
    pace: str | float,
    days: float | None,
    options: Mapping[str, object] | None = None,
) -> OwnSandbox:
    """A sandbox that plays the market of `config` for `account`, with a key of it kept for the runner."""
    folder = ready_folder(account)
    process = start_sandbox(config, pace=pace, days=days, options=options)
    try:
        claim_key(process.url, account)
        found = OwnSandbox(url=process.url, pid=process.pid)
        write_private(folder / FILE, msgspec.json.encode(found).decode() + "\n")
    except BaseException:
        process.stop()
        raise
    return found


def own_sandbox(account: str) -> OwnSandbox | None:
    """The sandbox of `account` that is still there; None where there is none."""
    try:
        found = msgspec.json.decode((account_folder(account) / FILE).read_bytes(), type=OwnSandbox)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if _is_it(found) else None


def end_own_sandbox(account: str) -> bool:
    """Whether a sandbox of `account` was there; it is asked to end. Nothing is done to a process that is none."""
    found = own_sandbox(account)
    if found is not None:
        os.kill(found.pid, signal.SIGTERM)
    (account_folder(account) / FILE).unlink(missing_ok=True)
    return found is not None


def family(name: str) -> list[str]:
    """The accounts `name`, `name-2`, `name-3` that have a folder, in this order."""
    numbers = {1: check_account(name)}
    for account in known_accounts():
        head, _, tail = account.rpartition("-")
        if head == name and tail.isdigit():
            numbers[int(tail)] = account
    known = set(known_accounts())
    return [account for _, account in sorted(numbers.items()) if account in known]


def current(name: str) -> str:
    """The account of the family that a runner holds, else the last one that was used, else `name`."""
    accounts = family(name)
    held = [account for account in accounts if holder(account_folder(account)) is not None]
    return (held or accounts or [name])[-1]


def unused(name: str) -> str:
    """The first account of the family that has neither key nor journal."""
    number, account = 1, check_account(name)
    while key_file(account).exists() or (account_folder(account) / JOURNAL).exists():
        number += 1
        account = check_account(f"{name}-{number}")
    return account


def _is_it(found: OwnSandbox) -> bool:
    """Whether the process is alive, is one of ours as far as the system tells, and a sandbox answers at its place."""
    told = Path(f"/proc/{found.pid}/cmdline")
    try:
        os.kill(found.pid, 0)
        if told.exists() and b"sandbox" not in told.read_bytes():
            return False
    except OSError:
        return False
    try:
        return _service(found.url) == SERVICE
    except VenueError:
        return False


def _service(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ASK_S)
    try:
        connection.request("GET", f"{parts.path}/health")
        said = msgspec.json.decode(connection.getresponse().read(65_536))
        return str(said.get("service")) if isinstance(said, dict) else ""
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        raise VenueError(f"no sandbox at {url}: {error}") from None
    finally:
        connection.close()
