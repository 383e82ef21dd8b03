"""What a sweep board knows of its cells while they land: metrics by point of the grid, cut into pictures.

Nothing here is a widget. A picture is two axes of the grid; along every other one it is cut at a value, or it is the
median over all values.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.plan import Plan
from flea_lab.errors import ConfigError
from flea_lab.research.plateau import How, plateau
from flea_lab.signal.kernel import Floats

MOST_POINTS = 250_000
"""Points of a board's grid: all metrics of all of them are held, so that another metric is another picture at once."""

BETTER = (
    *("total_return", "annual_return", "sharpe", "sortino", "calmar"),
    *("max_drawdown", "win_rate", "final_equity_usd"),
)
"""Metrics of which more is better: only these have a peak or a plateau that anybody would want."""

Colour = Literal["each cell", "mean of neighbours", "worst of neighbours"]
COLOURS: dict[Colour, How | None] = {
    "each cell": None,
    "mean of neighbours": "mean",
    "worst of neighbours": "worst",
}


class Landed:
    """The metrics of a plan's cells as they land. `start` is the bar from which all trade, `done` counts the cells."""

    def __init__(self, plan: Plan, start: int) -> None:
        """Nothing has landed. The axes of the plan ascend, the first goes up and the second across."""
        self.plan, self.start, self.done = plan, start, 0
        self.axes = plan.space.axes
        self.up, self.across, *self.rest = self.axes
        self._metrics = np.full((len(METRICS), plan.space.n), np.nan)
        self._scores: dict[tuple[str, str], tuple[int, Floats]] = {}

    @property
    def refused(self) -> int:
        """How many points of the grid cannot be."""
        return self.plan.space.n - self.plan.n

    def put(self, first: int, last: int, found: Floats) -> None:
        """Takes in the metrics of cells `first` to `last`, which is not among them."""
        self._metrics[:, self.plan.numbers(first, last)] = found.T
        self.done += last - first

    def cube(self, metric: str) -> Floats:
        """One metric on the whole grid, an axis each; NaN where nothing has landed or can be."""
        return self._metrics[METRICS.index(metric)].reshape(self.plan.space.shape)

    def scores(self, metric: str, colour: Colour) -> Floats:
        """What the cells are coloured by, on the whole grid."""
        how = COLOURS[colour]
        if how is None:
            return self.cube(metric)
        done, scores = self._scores.get((metric, how), (-1, self.cube(metric)))
        if done != self.done:
            done, table = self.done, self.table(metric)
            scores = np.full(self.plan.space.shape, np.nan)
            if len(table):
                scores.reshape(-1)[table.index] = plateau(table, self.axes, metric, how=how)
            self._scores[metric, how] = done, scores
        return scores

    def table(self, metric: str) -> pd.DataFrame:
        """A row for every cell with the metric: its point, its metric; the index is the number of the point."""
        values = self.cube(metric).reshape(-1)
        known = np.flatnonzero(~np.isnan(values))
        at = np.unravel_index(known, self.plan.space.shape)
        points = {path: np.array(axis)[i] for (path, axis), i in zip(self.axes.items(), at, strict=True)}
        return pd.DataFrame({**points, metric: values[known]}, index=known)

    def picture(self, cube: Floats, cut: Mapping[str, Any]) -> Floats:
        """`cube` as rows going up and columns going across: at the value that `cut` names for an axis of the rest, or
        the median along it."""
        for a, path in reversed(list(enumerate(self.axes))):
            if cut.get(path) is not None:
                cube = np.take(cube, self.axes[path].index(cut[path]), axis=a)
        if cube.ndim > 2:
            cube = _median(cube.reshape(*cube.shape[:2], -1))
        return cube

    def point(self, row: int, column: int, metric: str, cut: Mapping[str, Any]) -> dict[str, Any]:
        """The point behind a cell of the picture; where that is a median, the one whose metric is nearest to it."""
        cube = self.cube(metric)[row, column]
        for a, path in enumerate(self.rest):
            if cut.get(path) is not None:
                here = self.axes[path].index(cut[path])
                others = np.arange(cube.shape[a]) != here
                cube = np.where(others.reshape([-1 if i == a else 1 for i in range(cube.ndim)]), np.nan, cube)
        if np.isnan(cube).all():
            raise ConfigError("this cell has not landed yet, or cannot be")
        away = np.abs(cube - np.nanmedian(cube))
        at = np.unravel_index(int(np.nanargmin(away)), cube.shape)
        rest = {path: self.axes[path][int(i)] for path, i in zip(self.rest, at, strict=True)}
        return {self.up: self.axes[self.up][row], self.across: self.axes[self.across][column], **rest}

    def peak(self, metric: str) -> tuple[dict[str, Any], float] | None:
        """The cell with the highest metric, and that; None while there is none."""
        cube = self.cube(metric)
        if np.isnan(cube).all():
            return None
        at = np.unravel_index(int(np.nanargmax(cube)), cube.shape)
        return self._values(at), float(cube[at])

    def widest(self, metric: str, colour: Colour) -> tuple[dict[str, Any], float, float] | None:
        """The cell with the best neighbourhood, that of the neighbourhood, and its own; None while none has one."""
        scores = self.scores(metric, around(colour))
        if np.isnan(scores).all():
            return None
        at = np.unravel_index(int(np.nanargmax(scores)), scores.shape)
        return self._values(at), float(scores[at]), float(self.cube(metric)[at])

    def _values(self, at: Sequence[Any]) -> dict[str, Any]:
        return {path: axis[int(i)] for (path, axis), i in zip(self.axes.items(), at, strict=True)}


def around(colour: Colour) -> Colour:
    """The neighbourhoods that are judged beside these colours: their own, or their mean where cells stand alone."""
    return "mean of neighbours" if COLOURS[colour] is None else colour


def require_points(points: int) -> None:
    """`ConfigError` for more points than a board holds."""
    if not points <= MOST_POINTS:
        raise ConfigError(f"the grid has {points:,} points, a board holds {MOST_POINTS:,}: flea sweep takes more")


def _median(cells: Floats) -> Floats:
    """The median along the last axis of what is known; NaN where nothing is."""
    out = np.full(cells.shape[:-1], np.nan)
    known = ~np.isnan(cells).all(axis=-1)
    out[known] = np.nanmedian(cells[known], axis=-1)
    return out
