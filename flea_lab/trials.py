"""Every evaluation on a data set, counted by itself: how many combinations were tried before the one that looks good.

A record is the first eight bytes of a config's id, so that the same combination tried again, or within another grid, is
counted once. Records are only ever added. A trial counts on all data that share its venue, a symbol and some time.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.errors import WorkspaceError
from flea_lab.workspace import Workspace, write_whole

ABOUT, RECORDS = "data.json", "tried"
RECORD = np.dtype(">u8")


class Tried(NamedTuple):
    """Data that something was tried on: bars of `symbols` of `venue` that open from `first_ms` to `last_ms`."""

    venue: str
    symbols: tuple[str, ...]
    first_ms: int
    last_ms: int

    def shares(self, other: "Tried") -> bool:
        """Whether some bars of the one may be of the other."""
        together = self.first_ms <= other.last_ms and other.first_ms <= self.last_ms
        return self.venue == other.venue and together and bool(set(self.symbols) & set(other.symbols))


def note_trials(home: Workspace, data: Tried, ids: Iterable[str]) -> None:
    """Adds that the configs with these ids were tried on `data`. Where there is no workspace, nothing is kept."""
    if not home.root.is_dir():
        return
    records = np.array([int(text[:16], 16) for text in ids], RECORD)
    folder = _folder(home) / hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / ABOUT).exists():
            write_whole(folder / ABOUT, json.dumps(data._asdict()).encode())
        _append(folder / RECORDS, records.tobytes())
    except OSError as error:
        raise WorkspaceError(f"trials {folder}: cannot be written: {error.strerror}") from None


def count_trials(home: Workspace, data: Tried) -> int:
    """How many different configs were tried on data that share bars with `data`."""
    found = [_records(folder) for folder, other in _kept(home) if data.shares(other)]
    return len(np.unique(np.concatenate(found))) if found else 0


def _append(path: Path, records: bytes) -> None:
    """Adds records in one piece, after the last whole one: a full disk may have cut one off."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(os.fstat(file.fileno()).st_size // RECORD.itemsize * RECORD.itemsize)
        file.write(records)


def _records(folder: Path) -> npt.NDArray[np.uint64]:
    try:
        text = (folder / RECORDS).read_bytes()
    except FileNotFoundError:
        return np.zeros(0, np.uint64)
    return np.frombuffer(text[: len(text) // RECORD.itemsize * RECORD.itemsize], RECORD).astype(np.uint64)


def _kept(home: Workspace) -> Iterator[tuple[Path, Tried]]:
    for path in sorted(_folder(home).glob(f"*/{ABOUT}")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            yield path.parent, Tried(about["venue"], tuple(about["symbols"]), about["first_ms"], about["last_ms"])
        except (OSError, ValueError, KeyError, TypeError):
            raise WorkspaceError(f"trials {path}: cannot be read; what was tried there is not known") from None


def _folder(home: Workspace) -> Path:
    return home.root / "trials"
