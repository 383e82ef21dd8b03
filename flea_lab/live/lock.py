"""One runner an account, and one account a key: locks that go with the process that holds them, however it ends."""

import fcntl
import hashlib
import json
import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import LOCK, account_folder, known_accounts, private_folder
from flea_lab.secret import Secret

TRIES = 20
BETWEEN_S = 0.01


class Holder(Struct, frozen=True):
    """Who holds a lock: process id, its account, and when it took the lock in ns UTC. 0 where it has not said yet."""

    pid: int = 0
    account: str = ""
    start_ns: int = 0


class AccountLock:
    """The locks of a running account; released by `close`, by leaving the `with`, or by the death of the process."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    def close(self) -> None:
        """Lets go. The files stay: a lock that is removed could be held twice."""
        self._held.close()

    def __enter__(self) -> "AccountLock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def lock_account(folder: Path, clock: Clock, key: Secret | None = None) -> AccountLock:
    """The lock of the account in `folder`, and of `key` where it trades with one.

    `WorkspaceError` names the account that is running, or trades with the same key, and its process.
    """
    account = folder.name
    me = {"pid": os.getpid(), "account": account, "start_ns": clock.now_ns()}
    with ExitStack() as taken:
        other = _take(folder / LOCK, me, taken)
        if other is not None:
            raise WorkspaceError(f"a runner is already running for account {account!r} ({_pid(other)})")
        if key is not None:
            name = hashlib.sha256(key.reveal().encode()).hexdigest()
            other = _take(private_folder(folder.parent.parent / "keys") / f"{name}.lock", me, taken)
            if other is not None:
                raise WorkspaceError(
                    f"the key of account {account!r} is already traded by account {other.account!r} ({_pid(other)})"
                )
        return AccountLock(taken.pop_all())


def holder(folder: Path) -> Holder | None:
    """Who runs the account in `folder`; None where nobody does."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError(f"lock {folder / LOCK}: cannot be read ({error.strerror})") from None
    try:
        # Held for an instant only, and shared: a runner that starts in it tries again.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(handle)
    finally:
        os.close(handle)
    return None


def running_accounts() -> list[str]:
    """The accounts of this workspace that a runner holds, by name."""
    return [account for account in known_accounts() if holder(account_folder(account)) is not None]


def _take(file: Path, me: dict[str, Any], held: ExitStack) -> Holder | None:
    """None once `file` is ours until `held` is closed; else who has it."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkspaceError(f"lock {file}: cannot be opened ({error.strerror})") from None
    pause = threading.Event()
    for left in range(TRIES, 0, -1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if left > 1:
                pause.wait(BETWEEN_S)
    else:
        other = _said(handle)
        os.close(handle)
        return other
    held.callback(os.close, handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(me).encode(), 0)
    except OSError as error:
        raise WorkspaceError(f"lock {file}: cannot be written ({error.strerror})") from None
    return None


def _said(handle: int) -> Holder:
    with suppress(ValueError, TypeError, KeyError):  # taken, and not written yet
        said = json.loads(os.pread(handle, 4096, 0))
        return Holder(int(said["pid"]), str(said["account"]), int(said["start_ns"]))
    return Holder()


def _pid(holder: Holder) -> str:
    return f"pid {holder.pid}" if holder.pid else "it has not said its pid yet"
