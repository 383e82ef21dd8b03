"""One scheduler a workspace: a lock that goes with the process that holds it, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flea_lab.errors import WorkspaceError

LOCK = "scheduler.lock"


@contextmanager
def only_scheduler(folder: Path) -> Iterator[None]:
    """Holds the workspace of `folder` against every other scheduler; `WorkspaceError` names the one that has it."""
    file = folder / LOCK
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WorkspaceError(f"lock {file}: cannot be opened ({error.strerror})") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            said = os.pread(handle, 20, 0).decode(errors="replace").strip()
            who = f"pid {said}" if said else "no pid yet"
            raise WorkspaceError(f"a scheduler is already running on this workspace ({who}): {folder}") from None
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether a scheduler holds the workspace of `folder`."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
