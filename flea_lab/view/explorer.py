"""The signal explorer: sliders over a kernel's parameters, price above, what the kernel says below.

The sliders come from the ranges that the parameters declare; a combination that they refuse is told beside the slider,
and the last good picture stays. One figure widget is made, for life. A callback draws what the sliders say when it
runs, so the latest wins, whichever thread it comes on.
"""

import html
import threading
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.basewidget import BaseFigureWidget
from plotly.subplots import make_subplots

from flea_lab.errors import ConfigError, DataError
from flea_lab.settings import Settings
from flea_lab.signal.kernel import FIELDS, Floats
from flea_lab.signal.ranges import Range, ranges
from flea_lab.signal.registry import find_kernel
from flea_lab.view.theme import BLUE, GREEN, INK, ORANGE, styled
from flea_lab.workspace import workspace

SHOWN = 1_500
"""Bars that are drawn, the last ones; the kernel is stepped over all."""
FINE = 60


class SignalExplorer:
    """Widgets over one kernel and one canonical candle frame. `widget` is what a notebook shows; `set` moves sliders.

    `table` holds the bars drawn from: ts, close, the kernel's outputs and what it shows, one row a bar of the frame.
    """

    def __init__(self, frame: pd.DataFrame, kernel_name: str, *, shown: int = SHOWN) -> None:
        self.kernel = find_kernel(kernel_name, workspace().signals, "the signal explorer")
        self._frame, self._shown, self._lock = frame, shown, threading.Lock()
        self._bars = _bars(frame, self.kernel.inputs, kernel_name)
        self.fields = (*self.kernel.outputs, *self.kernel.shown)
        self.sliders = {one.name: _slider(one) for one in ranges(self.kernel.params)}
        self.notes = {name: widgets.HTML() for name in self.sliders}
        self.params: Settings = self.kernel.load({}, kernel_name)
        self.table = self._computed(self.params)
        self.figure = go.FigureWidget(_empty(self.kernel.name, self.fields))
        # anywidget watches its script for edits and holds every figure by it, closed ones too
        BaseFigureWidget._esm.changed.disconnect()
        self._draw()
        for name, slider in self.sliders.items():
            slider.observe(lambda _, name=name: self._moved(name), names="value")
        rows = [widgets.HBox([slider, self.notes[name]]) for name, slider in self.sliders.items()]
        self.widget = widgets.VBox([widgets.HTML(f"<b>{html.escape(kernel_name)}</b>"), *rows, self.figure])

    def set(self, **values: Any) -> None:
        """Moves sliders, as a hand would. `ConfigError` for a parameter that the kernel has not."""
        for name, value in values.items():
            if name not in self.sliders:
                raise ConfigError(f"{name}: no parameter of {self.kernel.name}, it has {', '.join(self.sliders)}")
            slider = self.sliders[name]
            if value not in slider.options:
                slider.options = sorted([*slider.options, value], key=lambda one: (isinstance(one, str), one))
            slider.value = value

    def close(self) -> None:
        """Lets the widgets go, the figure's five megabytes with them."""
        rows = [row for row in self.widget.children if isinstance(row, widgets.HBox)]
        for one in (*(part for row in rows for part in row.children), *self.widget.children, self.widget):
            one.close()

    @property
    def note(self) -> str:
        """What is told beside the sliders at the moment, "" where all is well."""
        return " ".join(html.unescape(note.value) for note in self.notes.values() if note.value)

    def _moved(self, name: str) -> None:
        with self._lock:
            values = {other: slider.value for other, slider in self.sliders.items()}
            try:
                params = self.kernel.load(values, self.kernel.name)
            except ConfigError as error:
                self.notes[name].value = html.escape(str(error))
                return
            for note in self.notes.values():
                note.value = ""
            if params != self.params:
                self.params, self.table = params, self._computed(params)
                self._draw()

    def _computed(self, params: Settings) -> pd.DataFrame:
        said = self.kernel.fold(self.kernel.start(params), self._bars, params, self.fields)
        columns = dict(zip(self.fields, said.T, strict=True))
        return pd.DataFrame({"ts": self._frame["ts"].to_numpy(), "close": self._frame["close"].to_numpy(), **columns})

    def _draw(self) -> None:
        table = self.table.iloc[-self._shown :]
        x = table["ts"].to_numpy(np.float64)
        with self.figure.batch_update():
            for trace, name in zip(self.figure.data, ("close", *self.fields), strict=True):
                trace.x, trace.y = x, table[name].to_numpy(np.float64)


def steps(one: Range) -> tuple[Any, ...]:
    """The values that a slider of the parameter stops at, in order, its default among them.

    Choices as they are; whole numbers singly as far as a hand can tell them apart, then in steps of 5 %; other numbers
    in a hundred equal steps, or in steps of 5 % where the range reaches far beyond the default.
    """
    if one.choices:
        return one.choices
    if one.whole:
        found: set[float] = set(range(int(one.low), int(min(one.high, one.low + FINE)) + 1))
        while max(found) < one.high:
            found.add(min(round(max(found) * 1.05), int(one.high)))  # ints all of them
    elif one.low >= 0.0 and one.high > 20.0 * one.default > 0.0:
        powers = np.arange(np.log(one.default / 100.0), np.log(one.high), np.log(1.05))
        found = {float(f"{value:.3g}") for value in np.exp(powers) if value >= one.low} | {one.high}
    else:
        found = {float(f"{value:.12g}") for value in np.linspace(one.low, one.high, 101)}
        found = {value for value in found if one.low <= value <= one.high}
    return tuple(sorted(found | {one.default}))


def _slider(one: Range) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=steps(one),
        value=one.default,
        description=one.name,
        tooltip=str(one),
        continuous_update=False,
        style={"description_width": "110px"},
        layout={"width": "420px"},
    )


def _bars(frame: pd.DataFrame, inputs: tuple[str, ...], kernel_name: str) -> Floats:
    if len(frame) == 0:
        raise DataError("the signal explorer was given no candles")
    bars = np.full((len(frame), len(FIELDS)), np.nan)
    for column, name in enumerate(FIELDS):
        if name in frame:
            bars[:, column] = frame[name].to_numpy(np.float64)
        elif name in inputs:
            raise DataError(f"signal {kernel_name} needs {name}, which these candles do not have")
    return bars


def _empty(kernel_name: str, fields: tuple[str, ...]) -> go.Figure:
    """Price above; the outputs in the middle; below what the kernel shows, each on its own axis."""
    alpha = fields[:2] == ("direction", "confidence")
    own = [(kernel_name, list(fields[:2])), *((name, [name]) for name in fields[2:])]
    panels = [("price", ["close"]), *(own if alpha else [(name, [name]) for name in fields])]
    heights = [0.5, *[0.5 / (len(panels) - 1)] * (len(panels) - 1)]
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.04)
    looks = {"close": (INK, 1.2), "direction": (BLUE, 1.6), "confidence": (ORANGE, 1.2)}
    for row, (_, names) in enumerate(panels, 1):
        for name in names:
            color, width = looks.get(name, (GREEN, 1.2))
            line = go.Scatter(x=[], y=[], name=name, mode="lines", line=dict(color=color, width=width))
            figure.add_trace(line, row=row, col=1)
    styled(figure, height=260 + 110 * len(panels))
    for row, (title, _) in enumerate(panels, 1):
        figure.update_yaxes(title=dict(text=title, standoff=6), row=row, col=1)
    return figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M UTC")
