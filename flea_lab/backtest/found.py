"""What a sweep found: its cells and their metrics, read metric by metric or as frames, however many there are."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from flea_lab.backtest.chunks import Chunks
from flea_lab.backtest.market import Ints
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.plan import Plan
from flea_lab.config import RunConfig, with_values
from flea_lab.errors import ConfigError
from flea_lab.signal.kernel import Floats

FRAME = 65_536
"""Rows of a frame where a sweep is read in pieces."""


class Metrics(Protocol):
    """Where the metrics of cells are read."""

    def column(self, metric: str) -> Floats:
        """One metric of every cell."""

    def rows(self, first: int, last: int) -> Floats:
        """All metrics of cells `first` to `last`, which is not among them."""


class SweepResult:
    """What a sweep found.

    `n` counts its cells, `n_refused` the points that cannot be. `start` is the bar from which every cell traded, `kept`
    the folder of its chunks, if they were kept, `tried` how many different configs were ever tried on such data in this
    workspace, those of this sweep among them.
    """

    def __init__(self, config: RunConfig, plan: Plan, metrics: Metrics, start: int, tried: int) -> None:
        self.config, self.plan, self.metrics, self.start, self.tried = config, plan, metrics, start, tried

    @property
    def grid(self) -> dict[str, list[Any]]:
        """The values of each setting that varies."""
        return self.plan.space.axes

    def read_from(self, metrics: Metrics) -> "SweepResult":
        """The same, its metrics read elsewhere."""
        return SweepResult(self.config, self.plan, metrics, self.start, self.tried)

    @property
    def kept(self) -> Path | None:
        return self.metrics.folder if isinstance(self.metrics, Chunks) else None

    @property
    def n(self) -> int:
        return self.plan.n

    @property
    def n_refused(self) -> int:
        return self.plan.space.n - self.plan.n

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a cell: its grid values, its config id and the metrics. All of them at once: for a sweep of millions
        read `column`, `top` or `frames`."""
        return self.frame(0, self.n)

    @cached_property
    def refused(self) -> pd.DataFrame:
        """The points that cannot be, with the reason; all of them at once."""
        return pd.DataFrame(list(self.plan.refused))

    def column(self, metric: str) -> Floats:
        """One metric of every cell; `ConfigError` for one that is none."""
        require_metric(metric)
        return self.metrics.column(metric)

    def frame(self, first: int, last: int) -> pd.DataFrame:
        """Rows `first` to `last` of the table, which is not among them."""
        codes = self.plan.codes(first, last)
        values = {path: self._values(path, codes[:, a]) for a, path in enumerate(self.grid)}
        metrics = pd.DataFrame(self.metrics.rows(first, last), columns=list(METRICS))
        return pd.concat([pd.DataFrame({**values, "config_id": self.plan.ids(first, last)}), metrics], axis=1)

    def picture(self, *columns: str) -> pd.DataFrame:
        """Some columns of the table by name, settings and metrics, and nothing else of it."""
        codes = self.plan.codes(0, self.n)
        paths = {path: a for a, path in enumerate(self.grid)}
        return pd.DataFrame(
            {
                name: self._values(name, codes[:, paths[name]]) if name in paths else self.column(name)
                for name in columns
            }
        )

    def frames(self) -> Iterator[pd.DataFrame]:
        """The table in pieces."""
        for first in range(0, self.n, FRAME):
            yield self.frame(first, min(first + FRAME, self.n))

    def refused_frames(self) -> Iterator[pd.DataFrame]:
        """The refused points in pieces."""
        for first in range(0, self.n_refused, FRAME):
            yield pd.DataFrame(self.plan.refused[first : first + FRAME])

    def top(self, metric: str, rows: int) -> pd.DataFrame:
        """The `rows` rows of the table with the highest `metric`, the highest first; cells without it come last."""
        values = np.nan_to_num(self.column(metric), nan=-np.inf)
        best = np.argsort(-values, kind="stable")[:rows]
        return pd.concat([self.frame(int(i), int(i) + 1) for i in best], ignore_index=True)

    def best(self, metric: str = "sharpe") -> dict[str, Any]:
        """Grid values of the cell with the highest `metric`; `ConfigError` for a metric that is none or is nowhere
        known."""
        values = self.column(metric)
        if np.isnan(values).all():
            raise ConfigError(f"metric {metric!r} is not a number in any of {len(values)} cells")
        return self.plan.points[int(np.nanargmax(values))]

    def _values(self, path: str, codes: Ints) -> pd.Series:
        """The values of a setting at these positions of its axis, in the type that all of the axis need."""
        return pd.Series(self.grid[path]).take(codes).reset_index(drop=True)

    def cell_config(self, values: Mapping[str, Any]) -> RunConfig:
        """The config of one cell."""
        return with_values(self.config, values, "grid cell")


def require_metric(metric: str) -> None:
    """`ConfigError` for a metric that is none."""
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r} is unknown, known are {', '.join(METRICS)}")
