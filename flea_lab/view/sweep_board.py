"""The sweep board: choose two parameters and their values, watch the cells fill in, click one, see its backtest.

The sweep runs on a thread of its own; a click that comes while another cell is being replayed wins over it. Two figure
widgets are made once and live as long as the board. Callbacks may come on any thread.
"""

import re
import threading
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from flea_lab.backtest.metrics import BASIC, UNITS
from flea_lab.backtest.sweep import SweepResult, load_grid, plan, sweep
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, FleaError
from flea_lab.money import USD
from flea_lab.view.figures import heatmap
from flea_lab.view.theme import BLUE, ORANGE, styled
from flea_lab.view.thin import thinned
from flea_lab.wiring import Loaded, load_market, run_backtest, run_fold

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
    """The values of an axis from "5, 9, 14" or "5 to 30 step 5"; `ConfigError` names what is not a number."""
    found = RANGE.match(text)
    parts = found.groups() if found else tuple(part.strip() for part in text.split(",") if part.strip())
    numbers = [_number(path, part) for part in parts]
    if found:
        return load_grid({path: dict(zip(("start", "stop", "step"), numbers, strict=True))}, "the board")[path]
    return load_grid({path: numbers}, "the board")[path]


def _number(path: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f'{path}: {text!r} is not a number; write "5, 9, 14" or "5 to 30 step 5"') from None


class SweepBoard:
    """Widgets over one config and one market. `widget` is what a notebook shows; `run` and `select` do what the button
    and a click do, and wait."""

    def __init__(self, config: RunConfig, loaded: Loaded | None, x: tuple[str, str], y: tuple[str, str]) -> None:
        self.config = config
        self.loaded = load_market(config) if loaded is None else loaded
        self.result: SweepResult | None = None
        self.selected: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()
        self._wanted: dict[str, Any] | None = None
        self._build(x, y)

    def _build(self, x: tuple[str, str], y: tuple[str, str]) -> None:
        paths = axis_paths(self.config)
        wide = widgets.Layout(width="280px")
        self.x, self.y = (widgets.Dropdown(options=paths, value=path, layout=wide) for path, _ in (x, y))
        self.x_values, self.y_values = (
            widgets.Text(value=text, continuous_update=False, layout=wide) for _, text in (x, y)
        )
        self.metric = widgets.Dropdown(options=list(BASIC), value="sharpe", layout=wide)
        self.start = widgets.Button(description="sweep", button_style="primary")
        self.cancel = widgets.Button(description="cancel", disabled=True)
        self.progress = widgets.IntProgress(value=0, max=1, layout=widgets.Layout(width="280px"))
        self.status = widgets.HTML()
        self.heat = go.FigureWidget(styled(go.Figure(go.Heatmap(z=[[np.nan]])), height=420, legend=False))
        self.heat.update_layout(hovermode="closest", hoverlabel=dict(bgcolor="#1c2128", font_color="#ffffff"))
        empty = [go.Scatter(name=name, line=line) for name, line in _LINES]
        self.curve = go.FigureWidget(styled(go.Figure(empty), height=340, y="USD"))
        self.start.on_click(lambda _: self._begin())
        self.cancel.on_click(lambda _: self._stop.set())
        self.metric.observe(lambda _: self._paint(), "value")
        self.heat.data[0].on_click(self._clicked)
        narrow = widgets.Layout(width="60px")
        labelled = [widgets.HTML(f"<b>{name}</b>", layout=narrow) for name in ("across", "up", "colour")]
        controls = widgets.VBox(
            [
                widgets.HBox([labelled[0], self.x, self.x_values]),
                widgets.HBox([labelled[1], self.y, self.y_values]),
                widgets.HBox([labelled[2], self.metric]),
                widgets.HBox([self.start, self.cancel, self.progress]),
                self.status,
            ]
        )
        self.widget = widgets.VBox([controls, self.heat, self.curve])

    def grid(self) -> dict[str, list[Any]]:
        """The grid that the controls state; `ConfigError` where they state none."""
        if self.x.value == self.y.value:
            raise ConfigError(f"both axes are {self.x.value}: choose two different settings")
        return {
            self.y.value: parse_values(self.y.value, self.y_values.value),
            self.x.value: parse_values(self.x.value, self.x_values.value),
        }

    def run(self) -> SweepResult:
        """Sweeps what the controls state and waits for it; errors are raised."""
        return self._sweep(self.grid())

    def select(self, values: dict[str, Any]) -> tuple[bool, str]:
        """Replays one cell through the core and draws it beside the sweep's own curve.

        Returns whether the two curves are equal to the last micro-dollar, and the config id of the cell.
        """
        if self.result is None:
            raise ConfigError("no cell can be selected before a sweep has run")
        config, start = self.result.cell_config(values), self.result.start
        folded = run_fold(config, self.loaded.market, start, curves=True).sink.equity[start:]
        replayed = run_backtest(config, self.loaded, start=start).equity
        with self._lock:
            if self._wanted is not None and self._wanted != values:
                return False, config.id
        ts, fold_usd, replay_usd = replayed["ts"].to_numpy(), folded / USD, replayed["equity_usd"].to_numpy()
        self._draw(ts, fold_usd, replay_usd, values)
        self.selected = values
        return bool(np.array_equal(fold_usd, replay_usd)), config.id

    def _draw(self, ts: Any, fold_usd: Any, replay_usd: Any, values: dict[str, Any]) -> None:
        keep = thinned(replay_usd)
        dates = ts[keep].astype("datetime64[ms]")
        same = "equal to the micro-dollar" if np.array_equal(fold_usd, replay_usd) else "they differ: run flea parity"
        with self.curve.batch_update():
            for line, usd in zip(self.curve.data, (fold_usd, replay_usd), strict=True):
                line.x, line.y = dates, usd[keep]
        point = ", ".join(f"{name} {value}" for name, value in values.items())
        self.status.value = f"{point}: sweep and replay are {same}; last {replay_usd[-1]:,.2f} USD"

    def _begin(self) -> None:
        try:
            grid = self.grid()
            plan(self.config, grid)
        except FleaError as error:
            self.status.value = f"<span style='color:#d55e00'>{_escaped(str(error))}</span>"
            return
        if self._worker is not None and self._worker.is_alive():
            self.status.value = "a sweep is under way: cancel it first"
            return
        self._worker = threading.Thread(target=self._in_background, args=(grid,), daemon=True)
        self._worker.start()

    def _in_background(self, grid: dict[str, list[Any]]) -> None:
        try:
            self._sweep(grid)
        except FleaError as error:
            self.status.value = f"<span style='color:#d55e00'>{_escaped(str(error))}</span>"

    def _sweep(self, grid: dict[str, list[Any]]) -> SweepResult:
        cells = plan(self.config, grid)
        self._stop.clear()
        self.start.disabled, self.cancel.disabled = True, False
        self.progress.max, self.progress.value = len(cells.configs), 0
        self.status.value = f"{len(cells.configs)} cells" + (f", {len(cells.refused)} refused" if cells.refused else "")
        try:
            self.result = sweep(
                self.config, grid, self.loaded.market, on_chunk=self._landed, cancelled=self._stop.is_set
            )
        finally:
            self.start.disabled, self.cancel.disabled = False, True
        self._paint()
        return self.result

    def _landed(self, chunk: list[int], _: Any) -> None:
        self.progress.value += len(chunk)

    def _paint(self) -> None:
        if self.result is None:
            return
        drawn = heatmap(self.result.table, self.x.value, self.y.value, self.metric.value)
        source, target = drawn.data[0], self.heat.data[0]
        with self.heat.batch_update():
            for name in ("x", "y", "z", "colorscale", "zmin", "zmax", "texttemplate", "hovertemplate", "colorbar"):
                setattr(target, name, getattr(source, name))
            target.xgap = target.ygap = 1
            self.heat.layout.xaxis.update(type="category", title=dict(text=self.x.value, font_size=12))
            self.heat.layout.yaxis.update(type="category", title=dict(text=self.y.value, font_size=12))
        best = self.result.table[self.metric.value].max()
        unit = UNITS.get(self.metric.value, "")
        self.status.value = f"{len(self.result.table)} cells, highest {self.metric.value} {best:.4g} ({unit})"

    def _clicked(self, _: Any, points: Any, __: Any) -> None:
        if self.result is None or not points.point_inds:
            return
        row, column = points.point_inds[0]
        grid = self.result.grid
        values = {self.y.value: sorted(grid[self.y.value])[row], self.x.value: sorted(grid[self.x.value])[column]}
        with self._lock:
            self._wanted = values
        self.status.value = "replaying the cell ..."
        threading.Thread(target=self._select_in_background, args=(values,), daemon=True).start()

    def _select_in_background(self, values: dict[str, Any]) -> None:
        try:
            self.select(values)
        except FleaError as error:
            self.status.value = f"<span style='color:#d55e00'>{_escaped(str(error))}</span>"


_LINES = (
    ("sweep", dict(color=BLUE, width=3)),
    ("replay", dict(color=ORANGE, width=1.5, dash="dot")),
)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
