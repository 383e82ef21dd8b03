"""The sweep board: choose parameters and their values, watch the cells fill in, click one, see its backtest.

The sweep runs on a thread of its own and its folds without the interpreter's lock, so that the notebook goes on. Cells
are painted as their chunks land, at most twice a second, the latest picture only. All metrics of what has landed are
held: another metric, another slice, neighbourhoods instead of cells are other pictures of the same sweep. A click that
comes while another cell is being replayed wins over it. Two figure widgets are made once and live as long as the board.
Callbacks may come on any thread.
"""

import math
import shlex
import threading
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from flea_lab.backtest.grid import current
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.sweep import Plan, SweepResult, common_start, plan, sweep
from flea_lab.clock import Stopwatch
from flea_lab.config import RunConfig, with_values
from flea_lab.errors import ConfigError, FleaError
from flea_lab.signal.kernel import Floats
from flea_lab.view.sweep_board_axes import MOST, NAMES, Axis, axis_paths, grid_of, parse_values
from flea_lab.view.sweep_board_cell import curves_of, keep_config
from flea_lab.view.sweep_board_cells import COLOURS, Landed, require_points
from flea_lab.view.sweep_board_figures import curve_figure, draw_curves, heat_figure, paint_heat
from flea_lab.view.sweep_board_latest import Latest
from flea_lab.view.sweep_board_text import ended_text, error_html, point_text, progress_text, where_text
from flea_lab.wiring import Loaded, load_market

__all__ = ["SweepBoard", "axis_paths", "parse_values"]

PERIOD_S = 0.5
"""Between two paints: a browser falls behind a figure that is sent more often."""
CHUNK_WORK = 10_000_000
"""Bars x symbols x cells of a chunk: a fraction of a second, that a first picture comes soon."""
MEDIAN = "median over all"


class SweepBoard:
    """Widgets over one config and one market. `widget` is what a notebook shows; `run`, `select` and `keep` do what the
    buttons and a click do, wait, and raise what goes wrong.

    `x` goes across, `y` up, each a setting and its values; `more` are up to two further ones.
    """

    def __init__(
        self,
        config: RunConfig,
        loaded: Loaded | None,
        x: tuple[str, str],
        y: tuple[str, str],
        more: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.config = config
        self.loaded = load_market(config) if loaded is None else loaded
        self.result: SweepResult | None = None
        self.selected: dict[str, Any] | None = None
        self.slices: dict[str, widgets.Dropdown] = {}
        self._landed: Landed | None = None
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None
        self._lock, self._painting, self._sweeping = threading.Lock(), threading.Lock(), threading.Lock()
        self._wanted: dict[str, Any] | None = None
        self._watch = Stopwatch()
        self._first_s: float | None = None
        self._painter = Latest(lambda: self._shown(self._paint), PERIOD_S, "board painter")
        self._replayer = Latest(lambda: self._shown(self._replay_wanted), 0.0, "board replay")
        self._build([x, y, *more])

    # ---- what the buttons do

    def grid(self) -> dict[str, list[Any]]:
        """The grid that the controls state; `ConfigError` where they state none."""
        return grid_of(self.axes)

    def run(self) -> SweepResult:
        """Sweeps what the controls state and waits for it."""
        return self._sweep()

    def stop(self) -> None:
        """Cancels the sweep that is under way; what has landed stays."""
        self._stop.set()

    def settled(self, timeout_s: float = 60.0) -> bool:
        """Whether everything that was asked for is done and drawn; waits for it."""
        if self._worker is not None:
            self._worker.join(timeout_s)
            if self._worker.is_alive():
                return False
        return self._replayer.settled(timeout_s) and self._painter.settled(timeout_s)

    def add_parameter(self, path: str | None = None, text: str = "") -> None:
        """One more parameter, the third or fourth: `path`, by default the first that is not yet an axis."""
        if not len(self.axes) < MOST:
            raise ConfigError(f"a board sweeps {MOST} parameters at most")
        paths = axis_paths(self.config)
        chosen = {axis.path.value for axis in self.axes}
        free = next(name for name in paths if name not in chosen)
        path = path or free
        text = text or f"{current(self.config, path):g}"
        self.axes.append(Axis(paths, path, text, self._remove if len(self.axes) >= 2 else None))
        self._show_axes()

    def select(self, values: dict[str, Any]) -> tuple[bool, str]:
        """Replays one cell through the core and draws it beside the sweep's own curve.

        Returns whether the two curves are equal to the last micro-dollar, and the config id of the cell.
        """
        with self._lock:
            self._wanted = values
        return self._replay(values)

    def _replay(self, values: dict[str, Any]) -> tuple[bool, str]:
        landed = self._landed
        if landed is None:
            raise ConfigError("no cell can be selected before a sweep has run")
        config = with_values(self.config, values, "grid cell")
        curves = curves_of(config, self.loaded, landed.start)
        with self._lock:
            if self._wanted != values:
                return curves.equal, config.id
            self.selected = dict(values)
        draw_curves(self.curve, curves)
        same = "equal to the micro-dollar" if curves.equal else "they differ: run flea parity"
        self._say(f"{point_text(values)}: sweep and replay are {same}; last {curves.replay_usd[-1]:,.2f} USD")
        self.keep_button.disabled = False
        return curves.equal, config.id

    def keep(self) -> Path:
        """The file with the whole config of the cell that is selected, for `flea report`."""
        if self.selected is None:
            raise ConfigError("no cell is selected: click one first")
        path = keep_config(with_values(self.config, self.selected, "grid cell"))
        command = escape(f"flea report {shlex.quote(str(path))}")
        self._say(f"{point_text(self.selected)}: its config is written; for its report: <code>{command}</code>")
        return path

    # ---- widgets

    def _build(self, given: Sequence[tuple[str, str]]) -> None:
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.metric = widgets.Dropdown(options=list(METRICS), value="sharpe", layout=widgets.Layout(width="240px"))
        self.colour = widgets.ToggleButtons(options=list(COLOURS), style={"button_width": "auto"})
        self.start = widgets.Button(description="sweep", button_style="primary")
        self.cancel = widgets.Button(description="cancel", disabled=True)
        self.add = widgets.Button(description="add parameter")
        self.keep_button = widgets.Button(
            description="make this the report's parameters", disabled=True, layout=widgets.Layout(width="280px")
        )
        self.progress = widgets.IntProgress(value=0, max=1, layout=widgets.Layout(width="240px"))
        self.status, self.where, self.message = (widgets.HTML() for _ in range(3))
        self._parameters = widgets.VBox()
        self._cuts = widgets.HBox(layout=row)
        self.heat, self.curve = heat_figure(), curve_figure()
        self.axes: list[Axis] = []
        for path, text in given:
            self.add_parameter(path, text)
        narrow = widgets.Layout(width="52px")
        colour = widgets.HBox([widgets.HTML("<b>colour</b>", layout=narrow), self.metric, self.colour], layout=row)
        buttons = widgets.HBox([self.start, self.cancel, self.add, self.progress], layout=row)
        above = [self._parameters, buttons, self.status, colour, self._cuts, self.where]
        self.widget = widgets.VBox([*above, self.heat, self.message, self.curve, self.keep_button])
        self.widget.add_class("flea-sweep-board")
        for part, name in ((self.status, "status"), (self.where, "where"), (self.message, "message")):
            part.add_class(f"flea-{name}")
        self.heat.add_class("flea-heat")
        self.curve.add_class("flea-curve")
        self._listen()

    def _listen(self) -> None:
        self.start.on_click(lambda _: self._begin())
        self.cancel.on_click(lambda _: self.stop())
        self.add.on_click(lambda _: self._shown(self.add_parameter))
        self.keep_button.on_click(lambda _: self._shown(self.keep))
        self.metric.observe(lambda _: self._painter.ask(), "value")
        self.colour.observe(lambda _: self._painter.ask(), "value")
        self.heat.data[0].on_click(self._clicked)

    def _show_axes(self) -> None:
        for name, axis in zip(NAMES, self.axes, strict=False):
            axis.name.value = f"<b>{name}</b>"
        self._parameters.children = [axis.row for axis in self.axes]
        self.add.disabled = len(self.axes) >= MOST

    def _remove(self, axis: Axis) -> None:
        if axis in self.axes:
            self.axes.remove(axis)
            self._show_axes()
            axis.close()

    def _show_slices(self, landed: Landed) -> None:
        """A choice of value for every axis that the picture does not show, the median over all of them at first."""
        before = list(self._cuts.children)
        self.slices = {
            path: widgets.Dropdown(
                options=[(MEDIAN, MEDIAN), *((f"{value:g}", value) for value in landed.axes[path])],
                value=MEDIAN,
                layout=widgets.Layout(width="160px"),
            )
            for path in landed.rest
        }
        for chosen in self.slices.values():
            chosen.observe(lambda _: self._painter.ask(), "value")
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        named = [
            widgets.HBox([widgets.HTML(f"<b>{path}</b>&nbsp;"), cut], layout=row) for path, cut in self.slices.items()
        ]
        self._cuts.children = named
        for old in before:
            for part in (*old.children, old):
                part.close()

    def _cut(self) -> dict[str, Any]:
        """The value at which the picture cuts every other axis, None where it is the median."""
        return {path: None if cut.value == MEDIAN else cut.value for path, cut in self.slices.items()}

    # ---- the sweep

    def _begin(self) -> None:
        with self._lock:
            if self._worker is not None and self._worker.is_alive():
                return self._fail("a sweep is under way: cancel it first")
            self._worker = threading.Thread(target=self._shown, args=(self._sweep,), daemon=True, name="board sweep")
            self._worker.start()

    def _sweep(self) -> SweepResult:
        if not self._sweeping.acquire(blocking=False):
            raise ConfigError("a sweep is under way: cancel it first")
        try:
            return self._swept(self.grid())
        finally:
            self._sweeping.release()

    def _swept(self, grid: dict[str, list[Any]]) -> SweepResult:
        self._stop.clear()
        self.start.disabled, self.cancel.disabled = True, False
        self._watch, self._first_s = Stopwatch(), None
        try:
            require_points(math.prod(len(values) for values in grid.values()))
            cells = plan(self.config, grid)
            landed = Landed(cells, common_start(cells.configs, self.loaded.market))
            with self._painting:
                self._landed = landed
                self._show_slices(landed)
            self._say("")
            self.progress.max, self.progress.value = cells.n, 0
            self.status.value = progress_text(0, cells.n, landed.refused, 0.0)
            self.result = sweep(
                self._cut_small(cells),
                grid,
                self.loaded.market,
                on_chunk=lambda chunk, found: self._take(landed, chunk, found),
                cancelled=self._stop.is_set,
                cells=cells,
            )
            seconds = self._watch.elapsed_s()
        finally:
            self.start.disabled, self.cancel.disabled = False, True
        self._paint()
        self.status.value = ended_text(landed.done, cells.n, landed.refused, seconds, self._first_s)
        return self.result

    def _cut_small(self, cells: Plan) -> RunConfig:
        """The config, its chunks small, so that cells keep landing and a cancel is heard; no number depends on it."""
        if self.config.deployment.chunk is not None:
            return self.config
        market, threads = self.loaded.market, self.config.deployment.threads
        chunk = min(CHUNK_WORK // (market.n * len(market.symbols)), -(-cells.n // (2 * threads)))
        return with_values(self.config, {"deployment.chunk": min(max(chunk, 1), 100_000)})

    def _take(self, landed: Landed, chunk: list[int], found: Floats) -> None:
        """Takes in a chunk; the painter shows it with whatever else has landed by then."""
        landed.put(chunk[0], chunk[-1] + 1, found)
        self._painter.ask()

    def _paint(self) -> None:
        with self._painting:
            landed = self._landed
            if landed is None:
                return
            seconds, done = self._watch.elapsed_s(), landed.done
            cut = self._cut()
            paint_heat(self.heat, landed, self.metric.value, self.colour.value, cut)
            self.where.value = where_text(landed, self.metric.value, self.colour.value)
            self.progress.value = done
            if done and self._first_s is None:
                self._first_s = self._watch.elapsed_s()
            if self.start.disabled:
                self.status.value = progress_text(done, landed.plan.n, landed.refused, seconds)

    # ---- a cell

    def _clicked(self, _: Any, points: Any, __: Any) -> None:
        landed = self._landed
        if landed is None or not points.point_inds:
            return
        row, column = points.point_inds[0]
        cut = self._cut()
        try:
            values = landed.point(row, column, self.metric.value, cut)
        except FleaError as error:
            self._fail(str(error))
            return
        with self._lock:
            self._wanted = values
        median = any(cut.get(path) is None for path in landed.rest)
        self._say(f"replaying {point_text(values)}{', nearest to the median' if median else ''} ...")
        self._replayer.ask()

    def _replay_wanted(self) -> None:
        with self._lock:
            values = self._wanted
        if values is not None:
            self._replay(values)

    # ---- what is said

    def _say(self, text: str) -> None:
        self.message.value = text

    def _fail(self, text: str) -> None:
        self.message.value = error_html(text)

    def _shown(self, work: Callable[[], Any]) -> None:
        """Does the work; what goes wrong is one line on the board."""
        try:
            work()
        except FleaError as error:
            self._fail(str(error))
        except Exception as error:  # shown: a thread or a button has nobody else to tell
            self._fail(f"{type(error).__name__}: {error}")
