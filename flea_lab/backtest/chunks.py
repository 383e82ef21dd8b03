"""Metrics of a sweep in chunks: a file each, a row of numbers a metric, read again chunk by chunk or metric by metric.

A chunk is written whole or not at all, and its name holds a checksum of its bytes: what a killed process leaves is
either a good chunk or none. Which sweep a folder belongs to is in its name, how it is cut in its index.
"""

import json
import shutil
import tempfile
import weakref
import zlib
from pathlib import Path

import numpy as np

from flea_lab.backtest.metrics import METRICS
from flea_lab.errors import WorkspaceError
from flea_lab.signal.kernel import Floats
from flea_lab.workspace import write_whole

HELD = 8 * 2**20
"""Bytes of metrics that are held in memory; what is more lies in files."""

INDEX = "index.json"


class Chunks:
    """Metrics of `n` cells in chunks of `size`. With a folder they stay there; without, they go with this object."""

    def __init__(self, n: int, size: int, folder: Path | None = None) -> None:
        self.n, self.size, self.folder = n, size, folder
        self._held: dict[int, Floats] = {}
        self._files: dict[int, Path] = {}
        self._place = folder
        if folder is not None:
            self.size = _index(folder, n, size)
            self._files = {int(path.name.split("-")[0]): path for path in folder.glob("[0-9]*-*.npy")}
        elif n * len(METRICS) * 8 > HELD:
            self._place = Path(tempfile.mkdtemp(prefix="flea-sweep-"))
            weakref.finalize(self, shutil.rmtree, self._place, True)

    @property
    def count(self) -> int:
        """How many chunks there are when all are finished."""
        return -(-self.n // self.size)

    def span(self, number: int) -> tuple[int, int]:
        """First cell of a chunk, and the one after its last."""
        return number * self.size, min((number + 1) * self.size, self.n)

    def load(self, number: int) -> Floats | None:
        """The metrics of a finished chunk, `(n_cells, len(METRICS))`; None where it is not finished, or broken."""
        found = self._held.get(number)
        if found is None and number in self._files:
            first, last = self.span(number)
            found = _read(self._files[number], (len(METRICS), last - first))
            if found is None:
                self._files.pop(number).unlink(missing_ok=True)
        return None if found is None else found.T

    def save(self, number: int, metrics: Floats) -> None:
        """Keeps a finished chunk, whole or not at all."""
        columns = np.ascontiguousarray(metrics.T)
        if self._place is None:
            self._held[number] = columns
            return
        path = self._place / f"{number:08d}-{zlib.crc32(columns.tobytes()):08x}.npy"
        partial = self._place / f".{number:08d}.part"
        with partial.open("wb") as file:
            np.save(file, columns, allow_pickle=False)
        partial.replace(path)
        self._files[number] = path

    def column(self, metric: str) -> Floats:
        """One metric of every cell, NaN where its chunk is not finished."""
        at, out = METRICS.index(metric), np.full(self.n, np.nan)
        for number in range(self.count):
            first, last = self.span(number)
            if number in self._held:
                out[first:last] = self._held[number][at]
            elif number in self._files:
                out[first:last] = np.load(self._files[number], mmap_mode="r", allow_pickle=False)[at]
        return out

    def rows(self, first: int, last: int) -> Floats:
        """All metrics of cells `first` to `last`, which is not among them; NaN where a chunk is not finished."""
        out = np.full((last - first, len(METRICS)), np.nan)
        for number in range(first // self.size, -(-last // self.size)):
            found = self.load(number)
            if found is not None:
                begin, end = self.span(number)
                low, high = max(first, begin), min(last, end)
                out[low - first : high - first] = found[low - begin : high - begin]
        return out


def kept_folder(parent: Path, identity: str) -> Path:
    """Where the chunks of the sweep of this identity lie below `parent`."""
    return parent / f"chunks-{identity[:16]}"


def _index(folder: Path, n: int, size: int) -> int:
    """The size of the chunks of a folder, which its first sweep decided; `WorkspaceError` for one cut otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / INDEX
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_whole(path, json.dumps({"cells": n, "chunk": size, "metrics": list(METRICS)}).encode())
        return size
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or (kept.get("cells"), kept.get("metrics")) != (n, list(METRICS)):
        raise WorkspaceError(f"chunks {folder}: {INDEX} is not of this sweep of {n:,} cells; remove the folder")
    return int(kept["chunk"])


def _read(path: Path, shape: tuple[int, int]) -> Floats | None:
    try:
        found: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    good = found.shape == shape and f"{zlib.crc32(found.tobytes()):08x}" == path.stem.split("-")[1]
    return found if good else None
