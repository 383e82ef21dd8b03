"""Which stored runs may go, and their removal. What is promoted stays, and a run at work is not touched."""

import fcntl
import os
import shutil
from collections import Counter
from pathlib import Path

from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.errors import WorkspaceError
from flea_lab.report.gallery import THUMBNAILS
from flea_lab.report.shelf import Stored, promoted_runs, shelf
from flea_lab.runs.folder import LOCK, PARTIAL
from flea_lab.workspace import Workspace

GONE = ".gone-"
DAY_NS = 86_400_000_000_000


class Removal(Struct, frozen=True):
    """One folder that may go, and the bytes that it holds."""

    folder: Path
    bytes: int


def removable(
    home: Workspace, clock: Clock, *, keep: int | None = None, older_than_days: float | None = None
) -> list[Removal]:
    """The runs that may go, newest first: all but the newest `keep` of a name and kind, or those that ended longer ago.

    With both, what either would keep stays. Never a promoted one nor one at work; failed ones are a kind of their own.
    """
    if keep is None and older_than_days is None:
        raise WorkspaceError("nothing says which runs may go: keep a number of them, or those of some days")
    promoted = promoted_runs(home)  # where one cannot be read, nothing may go
    limit_ns = None if older_than_days is None else clock.now_ns() - round(older_than_days * DAY_NS)
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for one in shelf(home):
        if one.run.state == "running":
            continue
        group = _group(one)
        seen[group] += 1
        old = limit_ns is None or one.run.folder.stat().st_mtime_ns < limit_ns
        if one.run.folder.name not in promoted and (keep is None or seen[group] > keep) and old:
            found.append(Removal(one.run.folder, _size(one.run.folder)))
    return found


def remove(home: Workspace, chosen: list[Removal]) -> list[Removal]:
    """Those of `chosen` that were removed: what was promoted or began to work in between stays.

    A folder is renamed first, so that none is ever half there under its own name.
    """
    done = []
    handle = os.open(home.ready().promoted, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # nothing is promoted meanwhile
        promoted = promoted_runs(home)
        for one in chosen:
            if one.folder.name in promoted or not one.folder.is_dir() or _at_work(one.folder):
                continue
            aside = one.folder.with_name(f"{GONE}{one.folder.name.lstrip('.')}")
            one.folder.rename(aside)
            shutil.rmtree(aside)
            (home.runs / THUMBNAILS / f"{one.folder.name}.svg").unlink(missing_ok=True)
            done.append(one)
    except OSError as error:
        raise WorkspaceError(f"{home.runs}: {error.strerror or error}; {len(done)} runs were removed") from None
    finally:
        os.close(handle)
    return done


def _group(one: Stored) -> tuple[str, str]:
    return (one.done.name, one.done.kind) if one.done else ("", "failed")


def _at_work(folder: Path) -> bool:
    """Whether a process is filling the folder: it holds its lock."""
    if not folder.name.startswith(PARTIAL) or not (folder / LOCK).exists():
        return False
    handle = os.open(folder / LOCK, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
