"""How a large order was worked, or would be: its schedule, what was given and filled, its share of the volume."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.execution.slicing import Slicing, plan
from flea_lab.research.slicing_lab import Worked


def plan_figure(lots: int, slicing: Slicing, day_lots: float = 0.0) -> go.Figure:
    """The schedule of an order of `lots`: one bar a slice, over minutes from its start. `day_lots` is what trades in a
    day, 0 where that is not known."""
    slices = plan(lots, 0, slicing, day_lots)
    figure = go.Figure(go.Bar(x=[one.ts_event / 60e9 for one in slices], y=[one.lots for one in slices], name="slice"))
    title = f"{slicing.style} of {lots:,} lots: {len(slices)} slices of at most {slices[0].lots:,}"
    figure.update_layout(title=title, xaxis_title="minutes", yaxis_title="lots")
    return figure


def worked_figure(worked: Worked, title: str = "") -> go.Figure:
    """What was planned, given and filled, and below it the share of each bar's volume."""
    bars = worked.bars
    at = bars["ts"].to_numpy().astype("datetime64[ms]")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.06)
    for name in ("planned", "given", "filled"):
        figure.add_trace(go.Scatter(x=at, y=bars[name], name=name, mode="lines", line_shape="hv"), row=1, col=1)
    figure.add_trace(go.Bar(x=at, y=100 * bars["participation"], name="% of the bar's volume"), row=2, col=1)
    figure.update_yaxes(title_text="lots", row=1, col=1)
    figure.update_yaxes(title_text="% of volume", row=2, col=1)
    told = f"{title} {worked.filled:,} of {worked.lots:,} lots, {worked.slippage_bps:+.1f} bps beyond the arrival price"
    figure.update_layout(title=told.strip())
    return figure


def cost_figure(costs: Mapping[str, list[float]]) -> go.Figure:
    """What each way of working cost beyond the price on arrival, bps: one box a way, a point a run, its mean dashed."""
    figure = go.Figure()
    for name, bps in costs.items():
        label = f"{name}<br>mean {np.mean(bps):+.1f}"
        figure.add_trace(go.Box(y=bps, name=label, boxmean=True, boxpoints="all", jitter=0.4))
    figure.update_layout(title="Cost beyond the price on arrival", yaxis_title="bps", showlegend=False)
    return figure
