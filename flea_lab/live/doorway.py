"""The doorway of an account: held from the last look of an order until its bytes are written.

Rules. Who sends holds it shared, and looks for the HALT file inside of it. Who halts puts the file on disk first and
waits then until nobody is inside: from that moment no order leaves, whatever the runner was doing. A process that hangs
or is stopped inside keeps it, and would send its order as soon as it goes on; its end frees it.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flea_lab.clock import Stopwatch
from flea_lab.live.account import DOORWAY

BETWEEN_S = 0.002


@contextmanager
def passage(folder: Path) -> Iterator[str]:
    """Gives why no order of the account in `folder` may go through now, or "": then nobody who halts passes meanwhile.

    What cannot be opened or locked is shut.
    """
    try:
        handle = os.open(folder / DOORWAY, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        yield f"{folder / DOORWAY} cannot be opened ({error.strerror})"
        return
    try:
        yield _entered(handle)
    finally:
        os.close(handle)


def _entered(handle: int) -> str:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return "halted" if error.errno == errno.EWOULDBLOCK else f"the doorway cannot be locked ({error.strerror})"
    return ""


def is_clear(folder: Path, within_s: float = 0.0) -> bool:
    """Whether no order of the account in `folder` is between its last look and the wire, waited for up to `within_s`.

    One that comes later looks later: asked after the HALT file is on disk, True says that none leaves any more.
    """
    watch, pause = Stopwatch(), threading.Event()
    while True:
        try:
            handle = os.open(folder / DOORWAY, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True  # nothing was ever sent
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if watch.elapsed_s() >= within_s:
                return False
        else:
            return True
        finally:
            os.close(handle)
        pause.wait(BETWEEN_S)


def stands_inside(folder: Path, pid: int) -> bool:
    """Whether process `pid` has the doorway of the account in `folder` open, as far as this system tells."""
    with suppress(OSError):
        door = (folder / DOORWAY).stat()
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), door):
                    return True
    return False
