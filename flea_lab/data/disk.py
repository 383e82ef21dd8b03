"""Whole or not at all: how the store's files are encoded, written, locked, and how their failures read."""

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flea_lab.errors import DataError, WorkspaceError

AGAIN = "remove the folder and import again"


def encode(frame: pd.DataFrame, notes: dict[bytes, bytes] | None = None) -> bytes:
    """`frame` as parquet, with `notes` among its metadata."""
    out = io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | (notes or {})), out, compression="zstd")
    return out.getvalue()


def read_parquet(file: Path) -> pa.Table:
    """The table in `file`, or a `DataError` naming it where it is missing or damaged; other failures stay `OSError`."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: missing, though its dataset names it; {AGAIN}") from None
    try:
        return pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{file}: not a readable parquet file ({reason})") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time in `folder`; the lock goes with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def os_errors(place: Path) -> Iterator[None]:
    """A full disk, a missing permission and their like as one line that names the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (str(error) or type(error).__name__).splitlines()[0]
        raise WorkspaceError(f"store {place}: {reason[0].lower()}{reason[1:]}") from None
