"""The axes of a sweep board: which settings it offers, and their values as a person types them."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from flea_lab.backtest.sweep import load_grid
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError

RANGE = re.compile(r"^\s*(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s*$")
SETTINGS = (
    "combination.min_confidence",
    "combination.min_conviction",
    "sizing.base_fraction",
    "risk.max_daily_loss",
    "risk.max_drawdown",
    "risk.max_concentration",
    "costs.fee_bps",
    "costs.slippage_bps",
)
MOST = 4
"""Parameters of one sweep on a board."""
NAMES = ("across", "up", "and", "and")


def axis_paths(config: RunConfig) -> list[str]:
    """The numeric settings of `config` that a board offers as an axis."""
    own = [
        f"{alpha.kernel}.{name}"
        for alpha in config.signals
        for name, value in {**alpha.params, "weight": alpha.weight}.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return [*own, *SETTINGS]


def parse_values(path: str, text: str) -> list[Any]:
    """The values of an axis, ascending, from "5, 9, 14" or "5 to 30 step 5"; `ConfigError` names what is no number."""
    found = RANGE.match(text)
    parts = found.groups() if found else tuple(part.strip() for part in text.split(",") if part.strip())
    numbers = [_number(path, part) for part in parts]
    if found:
        return load_grid({path: dict(zip(("start", "stop", "step"), numbers, strict=True))}, "the board")[path]
    return sorted(load_grid({path: numbers}, "the board")[path])


def _number(path: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f'{path}: {text!r} is not a number; write "5, 9, 14" or "5 to 30 step 5"') from None


class Axis:
    """One row of controls: a setting, its values, and for a third or fourth a button that takes the row away."""

    def __init__(self, paths: Sequence[str], path: str, text: str, remove: "Callable[[Axis], None] | None") -> None:
        wide = widgets.Layout(width="240px", flex="0 1 240px")
        self.path = widgets.Dropdown(options=list(paths), value=path, layout=wide)
        self.values = widgets.Text(value=text, placeholder="5, 9, 14 or 5 to 30 step 5", layout=wide)
        self.values.continuous_update = False
        self.name = widgets.HTML(layout=widgets.Layout(width="52px"))
        parts = [self.name, self.path, self.values]
        if remove is not None:
            gone = widgets.Button(description="remove", layout=widgets.Layout(width="80px"))
            gone.on_click(lambda _: remove(self))
            parts.append(gone)
        self.row = widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap", align_items="center"))

    def close(self) -> None:
        for part in (*self.row.children, self.row):
            part.close()


def grid_of(axes: Sequence[Axis]) -> dict[str, list[Any]]:
    """The grid that rows of controls state, the one that goes up first; `ConfigError` where they state none."""
    paths = [axis.path.value for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"two axes are {path}: choose different settings")
    grid = {axis.path.value: parse_values(axis.path.value, axis.values.value) for axis in axes}
    across, up, *more = paths
    return load_grid({path: grid[path] for path in (up, across, *more)}, "the board")
