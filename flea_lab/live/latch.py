"""The HALT file: a halt that stands whoever wrote it and whoever dies. No order is sent while it is there.

Rules. It is on disk, its folder too, before anybody is told that it stands. What is there and cannot be read is a halt
all the same: only a folder that says that there is no such file says that there is none.
"""

import os
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import HALT
from flea_lab.live.socket_path import write_private

LONGEST = 64 * 1024

COARSE_NS = 20_000_000
"""How far a file's own time may be behind the clock."""


CLEARED = "CLEARED"


class Clearing(Struct, frozen=True, kw_only=True):
    """Who lifted a HALT file while no runner was there, when and why: the next runner takes it into its journal."""

    by: str
    why: str
    ts_ns: int
    reason: str = ""


class Written(Struct, frozen=True, kw_only=True):
    """What a HALT file says: why, since when (ns UTC), and by which process. Of one that cannot be read, nothing."""

    reason: str = ""
    ts_ns: int = 0
    pid: int = 0


LIFTED = f"{HALT}.lifted"
"""A HALT file that is being looked at before it goes."""


def is_latched(file: str | Path) -> bool:
    """Whether `file` is there, as far as anybody can tell: what cannot be looked at counts as there."""
    try:
        os.lstat(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read_latch(folder: Path) -> Written | None:
    """What the HALT file of the account in `folder` says; None where there is none."""
    file = folder / HALT
    if not is_latched(file):
        return None
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(LONGEST), type=Written)
    except (OSError, ValueError, RecursionError):
        return Written()


def write_halt_file(folder: Path, reason: str, clock: Clock) -> Path:
    """The HALT file of the account in `folder`, durable by now; `WorkspaceError` where none can be."""
    file = folder / HALT
    part = folder / f"{HALT}.{os.getpid()}.{threading.get_ident()}.part"
    said = Written(reason=reason[:500], ts_ns=clock.now_ns(), pid=os.getpid())
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(folder.parent)
        with open(part, "wb", opener=_private) as out:
            out.write(msgspec.json.encode(said) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
        _sync(folder)
    except OSError as error:
        part.unlink(missing_ok=True)
        if not is_latched(file):
            raise WorkspaceError(f"{file}: cannot be written ({error.strerror})") from None
    return file


def remove_halt_file(folder: Path) -> bool:
    """Whether there was a HALT file, which is gone now, for good."""
    file = folder / HALT
    try:
        file.unlink()
        _sync(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise WorkspaceError(f"{file}: cannot be removed ({error.strerror})") from None
    return True


def remove_before(folder: Path, ns: int) -> bool:
    """Whether no HALT file of after `ns` stands; one of before is gone, for good.

    It is moved aside before it is looked at, so that one which comes meanwhile is not taken for it; what cannot be
    read is as old as its file.
    """
    file, aside = folder / HALT, folder / LIFTED
    try:
        file.rename(aside)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise WorkspaceError(f"{file}: cannot be removed ({error.strerror})") from None
    try:
        said = msgspec.json.decode(aside.read_bytes(), type=Written).ts_ns
    except (OSError, ValueError, RecursionError):
        said = 0
    try:
        if (said or aside.lstat().st_mtime_ns + COARSE_NS) > ns:
            aside.rename(file)
            return False
        aside.unlink()
        _sync(folder)
    except OSError as error:
        aside.rename(file)
        raise WorkspaceError(f"{file}: cannot be removed ({error.strerror})") from None
    return True


def put_back(folder: Path) -> bool:
    """Whether a HALT file stands again that somebody who died had moved aside: nobody knows whether it was to go."""
    file, aside = folder / HALT, folder / LIFTED
    if not is_latched(aside):
        return False
    try:
        if is_latched(file):
            aside.unlink()
            return False
        aside.rename(file)
        _sync(folder)
    except OSError as error:
        raise WorkspaceError(f"{aside}: cannot be put back ({error.strerror})") from None
    return True


def lift_halt_file(folder: Path, by: str, why: str, clock: Clock) -> bool:
    """Whether there was a HALT file, which `by` has lifted; written down before it goes."""
    latch = read_latch(folder)
    if latch is None:
        return False
    said = Clearing(by=by, why=why, ts_ns=clock.now_ns(), reason=latch.reason)
    write_private(folder / CLEARED, msgspec.json.encode(said).decode() + "\n")
    return remove_halt_file(folder)


def take_clearing(folder: Path) -> Clearing | None:
    """Who lifted a HALT file since the last runner; `forget_clearing` once that is in a journal."""
    try:
        return msgspec.json.decode((folder / CLEARED).read_bytes(), type=Clearing)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return Clearing(by="?", why="what was written down of it cannot be read", ts_ns=0)


def forget_clearing(folder: Path) -> None:
    """Takes away what `take_clearing` said."""
    (folder / CLEARED).unlink(missing_ok=True)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
