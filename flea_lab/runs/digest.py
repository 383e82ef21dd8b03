"""Digests of files, frames and plain values: what a run is recognised by."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flea_lab.errors import WorkspaceError

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "\x00"


def file_digest(file: Path) -> str:
    """SHA-256 of the bytes of `file`, hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of `value` as compact JSON with sorted keys, hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def frame_digest(frame: "pd.DataFrame") -> str:
    """SHA-256 over the columns of `frame`: names, and values as int64, float64 or text; not over how it is stored.

    >>> import pandas as pd
    >>> frame_digest(pd.DataFrame({"a": [1, 2]})) == frame_digest(pd.DataFrame({"a": np.array([1, 2], np.int32)}))
    True
    """
    return _columns_digest(len(frame), ((str(name), frame[name]) for name in frame.columns))


def stored_digest(file: Path) -> str:
    """The `frame_digest` of a Parquet file, which is read column by column."""
    import pandas as pd
    import pyarrow.parquet as pq

    about = pq.read_schema(file)
    columns = ((name, pd.read_parquet(file, columns=[name])[name]) for name in about.names)
    return _columns_digest(pq.read_metadata(file).num_rows, columns)


def _columns_digest(rows: int, columns: "Iterable[tuple[str, pd.Series]]") -> str:
    hasher = hashlib.sha256(f"{rows}\n".encode())
    for name, column in columns:
        values = column.to_numpy()
        hasher.update(f"{name} ".encode())
        if values.dtype.kind in "iubmM":
            hasher.update(np.ascontiguousarray(values).astype("<i8").tobytes())
        elif values.dtype.kind == "f":
            numbers = values.astype("<f8")
            numbers[np.isnan(numbers)] = np.nan  # one of the many
            hasher.update(numbers.tobytes())
        else:
            gone = column.isna().to_numpy()
            words = (NOTHING if empty else str(value) for value, empty in zip(values, gone, strict=True))
            hasher.update("\x01".join(words).encode())
    return hasher.hexdigest()


def result_digest(metrics: Mapping[str, float | None], decisions_digest: str | None, curve: "pd.DataFrame") -> str:
    """SHA-256 over what a re-run must give again: metrics, decisions, and the numbers of `curve`, column by column."""
    return numbers_digest(metrics, decisions_digest, ((str(name), curve[name]) for name in curve.columns))


def numbers_digest(
    metrics: Mapping[str, float | None], decisions_digest: str | None, columns: "Iterable[tuple[str, pd.Series]]"
) -> str:
    """The `result_digest` of a curve that comes column by column."""
    hasher = hashlib.sha256(json_digest([defined(metrics), decisions_digest]).encode())
    for name, column in columns:
        values = column.to_numpy()
        kind = "<i8" if values.dtype.kind in "iub" else "<f8"
        hasher.update(name.encode() + np.ascontiguousarray(values, dtype=kind).tobytes())
    return hasher.hexdigest()


def defined(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """`metrics` as JSON can hold them: what is not finite is None."""
    finite = {name: value is not None and math.isfinite(value) for name, value in metrics.items()}
    return {name: float(value) if value is not None and finite[name] else None for name, value in metrics.items()}


@contextlib.contextmanager
def one_line(place: Path) -> Iterator[None]:
    """What the disk refuses below `place`, as a `WorkspaceError` of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WorkspaceError(f"run folder {place}: {reason[0].lower()}{reason[1:]}") from None
