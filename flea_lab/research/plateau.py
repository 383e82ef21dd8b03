"""Where a grid is good around a cell and not only on it: a peak without neighbours is most often luck."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from flea_lab.errors import ConfigError

How = Literal["mean", "worst"]
Values = npt.NDArray[np.float64]


def plateau(
    table: pd.DataFrame, grid: Mapping[str, Sequence[Any]], metric: str, *, reach: int = 1, how: How = "mean"
) -> pd.Series:
    """The mean, or the worst, of `metric` over each cell and its neighbours, by the index of `table`.

    Neighbours are at most `reach` steps away along every axis of `grid` in the order of its values. NaN for a cell
    without the metric, and where less than half of the neighbourhood is known: at a corner of the grid, or beside
    refused points, nobody knows what lies around. Higher is better.
    """
    if metric not in table:
        raise ConfigError(f"metric {metric!r} is in no column of the table")
    if not reach >= 1:
        raise ConfigError(f"reach = {reach}: a neighbourhood has at least 1 step")
    lengths = [len(values) for values in grid.values()]
    at = _positions(table, grid)
    cells = np.full(lengths, math.nan)
    cells[at] = table[metric].to_numpy(np.float64)
    scores, known = _around(cells, reach, how)
    whole = math.prod(min(2 * reach + 1, length) for length in lengths)
    scores = np.where(np.isnan(cells) | (2 * known < whole), math.nan, scores)
    return pd.Series(scores[at], index=table.index, name=f"plateau of {metric}")


def widest(
    table: pd.DataFrame, grid: Mapping[str, Sequence[Any]], metric: str, *, reach: int = 1, how: How = "mean"
) -> dict[str, Any]:
    """Grid values of the cell with the best `plateau`; `ConfigError` where no cell has one."""
    scores = plateau(table, grid, metric, reach=reach, how=how)
    if scores.isna().all():
        raise ConfigError(f"no cell of {len(table)} has enough neighbours with a {metric} to judge a plateau by")
    row = table.loc[scores.idxmax()]
    return {name: row[name] for name in grid}


def _positions(table: pd.DataFrame, grid: Mapping[str, Sequence[Any]]) -> tuple[npt.NDArray[np.intp], ...]:
    """Where every row of `table` stands in the grid, an array of positions an axis."""
    found = []
    for name, values in grid.items():
        order = {value: i for i, value in enumerate(sorted(values))}
        found.append(np.array([order[value] for value in table[name]], dtype=np.intp))
    return tuple(found)


def _around(cells: Values, reach: int, how: How) -> tuple[Values, npt.NDArray[np.int64]]:
    """The mean or minimum of what is known around every cell, and how many are."""
    padded = np.pad(cells, reach, constant_values=math.nan)
    total = np.zeros(cells.shape) if how == "mean" else np.full(cells.shape, math.inf)
    known = np.zeros(cells.shape, np.int64)
    for shift in itertools.product(range(2 * reach + 1), repeat=cells.ndim):
        part = padded[tuple(slice(s, s + n) for s, n in zip(shift, cells.shape, strict=True))]
        there = ~np.isnan(part)
        known += there
        total = total + np.where(there, part, 0.0) if how == "mean" else np.fmin(total, part)
    with np.errstate(invalid="ignore"):
        return (total / known if how == "mean" else total), known
