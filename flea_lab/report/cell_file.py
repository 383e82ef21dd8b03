"""The cells of a finished sweep as one Parquet file: written in pieces, read metric by metric or row by row."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flea_lab.backtest.found import FRAME, SweepResult
from flea_lab.backtest.metrics import METRICS
from flea_lab.signal.kernel import Floats

CELLS = "cells.parquet"


class CellFile:
    """Metrics of the cells that lie in a Parquet file, a column a metric."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def column(self, metric: str) -> Floats:
        """One metric of every cell."""
        found: Floats = pq.read_table(self.path, columns=[metric])[metric].to_numpy()
        return found

    def rows(self, first: int, last: int) -> Floats:
        """All metrics of cells `first` to `last`, which is not among them."""
        groups = list(range(first // FRAME, -(-last // FRAME)))
        if not groups:
            return np.empty((0, len(METRICS)))
        with pq.ParquetFile(self.path) as file:
            table = file.read_row_groups(groups, columns=list(METRICS))
        found = table.slice(first - groups[0] * FRAME, last - first)
        return np.stack([found[metric].to_numpy() for metric in METRICS], axis=1)


def write_cells(found: SweepResult, path: Path) -> None:
    """The table of a sweep as `path`, whole or not at all; memory holds one piece of it at a time."""
    temp = path.with_name(f"{path.name}.part")
    try:
        with temp.open("wb") as out:
            schema = _schema(found)
            with pq.ParquetWriter(out, schema, compression="zstd") as writer:
                for frame in found.frames():
                    writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), FRAME)
            out.flush()
            os.fsync(out.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def _schema(found: SweepResult) -> pa.Schema:
    """The types of the table, those of the settings as all values of their axis together need them."""
    schema = pa.Schema.from_pandas(found.frame(0, 1), preserve_index=False)
    for path, axis in found.grid.items():
        kind = pa.Array.from_pandas(pd.Series(axis)).type
        schema = schema.set(schema.get_field_index(path), pa.field(path, kind))
    return schema
