"""The two figure widgets of a sweep board, made once for life: what a paint changes is data, never the figure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from flea_lab.view.figures import heatmap
from flea_lab.view.sweep_board_cell import Curves
from flea_lab.view.sweep_board_cells import BETTER, COLOURS, Colour, Landed
from flea_lab.view.theme import BLUE, ORANGE, styled
from flea_lab.view.thin import thinned

_COPIED = ("x", "y", "z", "colorscale", "zmin", "zmax", "texttemplate", "hovertemplate")
_TICKS = 24
"""Labels of an axis that are written out; of more values, every so many."""


def heat_figure() -> go.FigureWidget:
    """An empty heat map with a mark for the peak and one for the plateau."""
    marks = [
        go.Scatter(
            x=[],
            y=[],
            name=name,
            mode="markers",
            hoverinfo="skip",  # the cell below it is what is pointed at and clicked
            marker=dict(symbol=symbol, size=size, color="#ffffff", line=dict(width=2, color="#111111")),
        )
        for name, symbol, size in (("plateau", "circle", 21), ("peak", "x", 11))  # where they meet, both are seen
    ]
    bar = dict(thickness=12, outlinewidth=0, title=dict(text="", side="top", font=dict(size=12)))
    figure = styled(go.Figure([go.Heatmap(z=[[np.nan]], colorbar=bar, hoverongaps=False), *marks]), height=460)
    figure.update_layout(hovermode="closest", hoverlabel=dict(bgcolor="#1c2128", font_color="#ffffff"))
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return go.FigureWidget(figure)


def curve_figure() -> go.FigureWidget:
    """An empty chart for the two curves of a cell."""
    lines = (("sweep", dict(color=BLUE, width=3)), ("replay", dict(color=ORANGE, width=1.5, dash="dot")))
    empty = [go.Scatter(x=[], y=[], name=name, line=line, hovertemplate="%{y:,.2f}") for name, line in lines]
    figure = styled(go.Figure(empty), height=340, y="USD")
    figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M UTC")
    return go.FigureWidget(figure)


def paint_heat(figure: go.FigureWidget, landed: Landed, metric: str, colour: Colour, cut: Mapping[str, Any]) -> None:
    """Shows the cells that have landed: `metric`, coloured by itself or by each cell's neighbourhood."""
    colour = colour if metric in BETTER else "each cell"
    cells = landed.picture(landed.scores(metric, colour), cut)
    up, across = landed.axes[landed.up], landed.axes[landed.across]
    how = COLOURS[colour]
    name = metric if how is None else f"{how} around, {metric}"
    table = pd.DataFrame({landed.up: np.repeat(up, len(across)), landed.across: np.tile(across, len(up))})
    drawn = heatmap(table.assign(**{name: cells.reshape(-1)}), landed.across, landed.up, name)
    source, target = drawn.data[0], figure.data[0]
    with figure.batch_update():
        for part in _COPIED:
            setattr(target, part, getattr(source, part))
        target.colorbar.title.text = _title(metric, colour, landed, cut)
        sides = (figure.layout.xaxis, landed.across, source.x), (figure.layout.yaxis, landed.up, source.y)
        for axis, path, labels in sides:
            shown = list(labels[:: -(-len(labels) // _TICKS)])
            axis.update(tickmode="array", tickvals=shown, ticktext=shown)
            axis.title.text = path  # leaf by leaf: plotly.js does not take a title as a whole in an update
        _mark(figure, landed, metric, colour, cut)


def draw_curves(figure: go.FigureWidget, curves: Curves) -> None:
    """Shows both curves of one cell, at most as many points as a page can show."""
    keep = thinned(curves.replay_usd)
    dates = curves.ts[keep].astype("datetime64[ms]")
    with figure.batch_update():
        for line, usd in zip(figure.data, (curves.fold_usd, curves.replay_usd), strict=True):
            line.x, line.y = dates, usd[keep]


def _title(metric: str, colour: Colour, landed: Landed, cut: Mapping[str, Any]) -> str:
    lines = [metric.replace("_", " ")]
    if COLOURS[colour] is not None:
        lines.append(f"{COLOURS[colour]} of<br>neighbours")
    if any(cut.get(path) is None for path in landed.rest):
        lines.append("median of<br>the rest")
    return "<br>".join(lines)


def _mark(figure: go.FigureWidget, landed: Landed, metric: str, colour: Colour, cut: Mapping[str, Any]) -> None:
    """Marks the peak and the plateau where the picture goes through them; nothing while single cells are coloured."""
    found: list[Mapping[str, Any] | None] = [None, None]
    if COLOURS[colour] is not None:
        wide, peak = landed.widest(metric, colour), landed.peak(metric)
        found = [wide and wide[0], peak and peak[0]]
    for trace, values in zip(figure.data[1:], found, strict=True):
        there = values is not None and all(cut.get(path) in (None, values[path]) for path in landed.rest)
        at = values if values is not None and there else None
        trace.x = [f"{at[landed.across]:g}"] if at else []
        trace.y = [f"{at[landed.up]:g}"] if at else []
        trace.visible = COLOURS[colour] is not None
