"""A dataset's parts on disk: parquet by calendar month, each named by its content."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from flea_lab.data.dataset import Partition
from flea_lab.data.disk import encode
from flea_lab.data.frames import content_digest
from flea_lab.workspace import write_whole


def by_month(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of every calendar month (UTC) of `frame`, in order of time."""
    months = frame["ts"].to_numpy().astype("datetime64[ms]").astype("datetime64[M]")
    for month in np.unique(months):
        yield str(month), frame[months == month].reset_index(drop=True)


def write_part(folder: Path, month: str, rows: pd.DataFrame) -> Partition:
    """The part that `rows` of `month` are, once it is on disk."""
    digest = content_digest(rows)
    part = Partition(
        month=month,
        file=f"{month}-{digest[:12]}.parquet",
        rows=len(rows),
        first_ms=int(rows["ts"].iloc[0]),
        last_ms=int(rows["ts"].iloc[-1]),
        digest=digest,
    )
    write_whole(folder / part.file, encode(rows))
    return part


def sweep_parts(folder: Path, parts: tuple[Partition, ...]) -> None:
    """Removes the parts that `dataset.json` no longer names, and what a dead process left."""
    named = {part.file for part in parts}
    for file in (*folder.glob("*.parquet"), *folder.glob("*.part")):
        if file.name not in named:
            file.unlink(missing_ok=True)
