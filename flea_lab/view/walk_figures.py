"""A walk-forward as figures: the joined curve, promise against result, and what was chosen when."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.view.figures import two_curves_figure
from flea_lab.view.theme import BLUE, FAINT, GREY, ORANGE, styled


def walk_figure(equity: pd.DataFrame, windows: pd.DataFrame) -> go.Figure:
    """What was chosen beside the config's own values, in USD, with a line where a new choice took over."""
    first, second = (equity[["ts", name]].rename(columns={name: "equity_usd"}) for name in ("walked_usd", "own_usd"))
    figure = two_curves_figure(first, second, ("chosen on the window before", "the config's own values"))
    for ts in windows["test_from"].iloc[1:]:
        figure.add_vline(x=float(ts), line=dict(color=FAINT, width=1, dash="dot"))
    return figure


def promised_figure(windows: pd.DataFrame, metric: str) -> go.Figure:
    """Two bars a window: `metric` on the bars it was chosen on, and on those it was traded on."""
    days = _days(windows)
    bars = [
        go.Bar(x=days, y=windows[column].to_numpy(np.float64), name=name, marker_color=color)
        for column, name, color in (
            ("in_sample", "before, where it was chosen", GREY),
            ("out_of_sample", "after, where it was traded", BLUE),
        )
    ]
    figure = styled(go.Figure(bars), height=320, y=metric.replace("_", " "))
    figure.update_layout(barmode="group", bargap=0.3)
    return figure.update_xaxes(type="category", showgrid=False)


def choices_figure(windows: pd.DataFrame, grid: Mapping[str, Sequence[Any]]) -> go.Figure:
    """A row a parameter: the value that was chosen in every window, among all that could be."""
    names = list(grid)
    figure = make_subplots(rows=len(names), cols=1, shared_xaxes=True, vertical_spacing=0.12 / len(names))
    days = _days(windows)
    for row, name in enumerate(names, start=1):
        values = [str(value) for value in sorted(grid[name])]
        chosen = [str(value) if there else None for value, there in zip(windows[name], windows["chosen"], strict=True)]
        line = go.Scatter(
            x=days,
            y=[_same(value, values) for value in chosen],
            mode="lines+markers",
            line=dict(color=ORANGE, width=1.5, shape="hv"),
            marker=dict(size=7),
            name=name,
        )
        figure.add_trace(line, row=row, col=1)
        axis = dict(type="category", categoryorder="array", categoryarray=values, range=[-0.5, len(values) - 0.5])
        figure.update_yaxes(**axis, title=dict(text=name, font_size=12), row=row, col=1)
    styled(figure, height=90 + 130 * len(names), legend=False)
    return figure.update_xaxes(type="category", showgrid=False)


def _days(windows: pd.DataFrame) -> list[str]:
    """The day on which every window began to be traded, with the hour where two share a day."""
    moments = pd.to_datetime(windows["test_from"], unit="ms")
    form = "%d %b %Y" if moments.dt.date.is_unique else "%d %b %H:%M"
    return [str(text) for text in moments.dt.strftime(form)]


def _same(value: str | None, values: list[str]) -> str | None:
    """`value` as it is written among `values`: 5.0 where a whole number came back as a float."""
    if value is None or value in values:
        return value
    return next((one for one in values if float(one) == float(value)), value)
