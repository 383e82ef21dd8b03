"""Which points a sweep asks for: a grid of values by setting, or a list of points; by number, never all at once."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flea_lab.backtest.market import Ints
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError

MAX_CELLS = 5_000_000
Grid = Mapping[str, Sequence[Any]]
OF_THE_MARKET = ("symbols", "interval", "instruments", "data", "costs.funding")
"""Settings that say what the market is, which every cell folds: none of them can be an axis."""


@dataclass(frozen=True)
class Space:
    """Points by number: every combination of `axes`, the last fastest, or, with `listed` `(n, n_axes)`, those whose
    positions on the axes are its rows."""

    axes: dict[str, list[Any]]
    listed: Ints | None = None

    @property
    def n(self) -> int:
        """How many points."""
        return math.prod(self.shape) if self.listed is None else len(self.listed)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes.values())

    def codes(self, points: Ints) -> Ints:
        """Positions on the axes, shape `(len(points), n_axes)`."""
        if self.listed is not None:
            return self.listed[points]
        return np.stack(np.unravel_index(points, self.shape), axis=1).reshape(len(points), -1)

    def point(self, number: int) -> dict[str, Any]:
        """The values of one point."""
        [codes] = self.codes(np.array([number]))
        return {path: axis[at] for (path, axis), at in zip(self.axes.items(), codes.tolist(), strict=True)}


def listed(points: Sequence[Mapping[str, Any]]) -> Space:
    """The space of exactly these points, which all name the same settings.

    >>> listed([{"a": 3, "b": 1}, {"a": 3, "b": 2}]).axes
    {'a': [3], 'b': [1, 2]}
    """
    axes: dict[str, list[Any]] = {path: [] for path in points[0]}
    at: dict[str, dict[str, int]] = {path: {} for path in axes}
    codes = np.empty((len(points), len(axes)), np.int64)
    for i, point in enumerate(points):
        for a, path in enumerate(axes):
            codes[i, a] = at[path].setdefault(repr(point[path]), len(axes[path]))
            if codes[i, a] == len(axes[path]):
                axes[path].append(point[path])
    return Space(axes, codes)


def load_grid(values: Mapping[str, Any], place: str) -> dict[str, list[Any]]:
    """A grid from plain values: a list of values a path, or {start, stop, step} with `stop` included.

    `ConfigError` for an empty axis, a range that never arrives, or more than 5 million cells.
    """
    if not values:
        raise ConfigError(f"grid is empty: name at least one setting with its values (in {place})")
    grid = {path: load_axis(path, axis, place) for path, axis in flat(values, {"start", "stop"})}
    cells = math.prod(len(axis) for axis in grid.values())
    if cells > MAX_CELLS:
        raise ConfigError(f"grid has {cells:,} cells, at most {MAX_CELLS:,} (in {place})")
    return grid


def points(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every point of the grid, the last axis fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def check_axes(config: RunConfig, paths: Sequence[str]) -> None:
    """`ConfigError` where a path is no setting of `config`, or one of the market that all cells share."""
    for name in paths:
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in OF_THE_MARKET):
            raise ConfigError(f"grid axis {name}: all cells share one market, it cannot differ between them")
        current(config, name)


def flat(values: Mapping[str, Any], *leaves: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and what stands there; a mapping with all names of one of `leaves` is a value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and not any(leaf <= set(value) for leaf in leaves):
            yield from flat(value, *leaves, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def load_axis(path: str, axis: Any, place: str) -> list[Any]:
    """The values of one axis of a grid."""
    if isinstance(axis, Mapping):
        unknown = set(axis) - {"start", "stop", "step"}
        if unknown:
            raise ConfigError(f"{path}: unknown {sorted(unknown)[0]!r}, a range has start, stop, step (in {place})")
        start, stop, step = axis["start"], axis["stop"], axis.get("step", 1)
        if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in (start, stop, step)):
            raise ConfigError(f"{path} = {dict(axis)}: start, stop and step must be numbers (in {place})")
        if not (step > 0 and start <= stop and (stop - start) / step < MAX_CELLS):
            raise ConfigError(f"{path} = {dict(axis)}: the range never arrives at stop (in {place})")
        count = int((stop - start) / step + 1e-9) + 1
        return [start + i * step if isinstance(step, int) else round(start + i * step, 12) for i in range(count)]
    values = list(axis) if isinstance(axis, (list, tuple, np.ndarray)) else [axis]
    if not values:
        raise ConfigError(f"{path} = []: an axis needs at least one value (in {place})")
    if len({repr(value) for value in values}) < len(values):
        raise ConfigError(f"{path} = {values}: each value once (in {place})")
    return values


def current(config: RunConfig, path: str) -> Any:
    """The value at a grid path; `ConfigError` where there is no such setting."""
    steps = path.split(".")
    for alpha in config.signals:
        if steps[0] == alpha.kernel:
            found = alpha.weight if steps[1:] == ["weight"] else alpha.params.get(".".join(steps[1:]))
            if found is None:
                known = ", ".join(["weight", *alpha.params])
                raise ConfigError(f"grid axis {path}: no such parameter of {alpha.kernel}, known are {known}")
            return found
    at: Any = config.to_dict()
    for step in steps:
        at = at[int(step)] if isinstance(at, list) and step.isdigit() and int(step) < len(at) else _child(at, step)
        if at is None:
            names = ", ".join(f"{alpha.kernel}.<parameter>" for alpha in config.signals)
            raise ConfigError(f"grid axis {path}: no such setting; use a field such as risk.max_drawdown, or {names}")
    return at


def _child(at: Any, step: str) -> Any:
    return at.get(step) if isinstance(at, dict) else None
