"""Order flow drawn: the book over time, what was traded into it, what it cost, and the funding ahead.

Frames are those of `data.flow`. What was not known is blank; what the ledger of data says was wrong is shaded.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.data.flow import Flow
from flea_lab.data.ledger import seconds_of
from flea_lab.view.theme import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SEQUENTIAL, VERMILLION, styled
from flea_lab.view.thin import POINTS, thinned

COLUMNS_DRAWN = 480
"""Instants of a heat map, at most."""
PRINTS_DRAWN = 150
SHADED = 40
"""Stretches of the ledger that are shaded, the longest."""
LASTED_S = 1.0
"""A fault shorter than this is not shaded: the table has it."""


def book_figure(flow: Flow) -> go.Figure:
    """What stood in the book at which price over time, the touch, and the largest prints by who was the aggressor."""
    levels, seconds = flow.levels, flow.seconds
    every = max(1, -(-len(levels) // COLUMNS_DRAWN))
    drawn = levels.iloc[::every]
    values = drawn.to_numpy(np.float32).T
    top = float(np.nanquantile(values, 0.99)) if np.isfinite(values).any() else 1.0
    heat = go.Heatmap(
        x=drawn.index.to_numpy(np.float64),
        y=drawn.columns.to_numpy(np.float64),
        z=values,
        colorscale=SEQUENTIAL,
        zmin=0.0,
        zmax=top or 1.0,
        hoverongaps=False,
        colorbar=dict(
            orientation="h",
            y=-0.1,
            yanchor="top",
            len=0.6,
            thickness=8,
            outlinewidth=0,
            title=dict(text="base units in the book", side="bottom", font=dict(size=12)),
        ),
        hovertemplate="%{x|%H:%M:%S}<br>%{y:,.8~g}<br>%{z:,.4~g} in the book<extra></extra>",
        name="book",
    )
    figure = go.Figure(heat)
    figure.add_trace(_line(seconds, "mid", "mid", INK, width=1.6, form="mid %{y:,.8~g}"))
    for trace in _prints(flow):
        figure.add_trace(trace)
    styled(figure, height=470, y=f"{flow.symbol}, price")
    figure.update_layout(hovermode="closest")
    if len(levels.columns):
        half = (levels.columns[1] - levels.columns[0]) / 2 if len(levels.columns) > 1 else 0.5
        figure.update_yaxes(range=[float(levels.columns[0] - half), float(levels.columns[-1] + half)])
    ends = [float(levels.index[0]), float(levels.index[-1])] if len(levels) > 1 else None
    figure.update_xaxes(showgrid=False, range=ends)
    figure.update_yaxes(showgrid=False, tickformat=",")
    return _dated(_shaded(figure, flow))


def flow_figure(flow: Flow) -> go.Figure:
    """Spread, imbalance of the best levels, volume by aggressor (up bought, down sold), VPIN, one above the other."""
    seconds = flow.seconds
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[1, 1.2, 1.4, 1])
    figure.add_trace(_line(seconds, "spread_bps", "spread", BLUE, form="%{y:.4~g} bps"), row=1, col=1)
    figure.add_trace(_line(seconds, "imbalance", "imbalance", PURPLE, width=1.0, form="%{y:+.2f}"), row=2, col=1)
    for name, sign, color in (("buys", 1.0, BLUE), ("sells", -1.0, ORANGE)):
        bars = _bars(flow, name)
        figure.add_trace(
            go.Bar(
                x=bars.index.to_numpy(np.float64),
                y=sign * bars.to_numpy(np.float64),
                name="bought" if sign > 0 else "sold",
                marker=dict(color=color, line=dict(width=0)),
                customdata=bars.to_numpy(np.float64),
                hovertemplate="%{customdata:,.4~g}",
            ),
            row=3,
            col=1,
        )
    figure.add_trace(_line(seconds, "vpin", "VPIN", VERMILLION, form="%{y:.2f}"), row=4, col=1)
    styled(figure, height=680)
    figure.update_layout(barmode="relative", bargap=0.0)
    for row, title in enumerate(("spread, bps", "imbalance", "base units", "VPIN"), start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(range=[-1.05, 1.05], row=2, col=1)
    figure.update_yaxes(range=[0.0, 1.0], row=4, col=1)
    return _dated(_shaded(figure, flow))


def depth_figure(flow: Flow) -> go.Figure:
    """Base units within some distances of mid: bid above zero, offered below."""
    names = [str(name).removeprefix("bid_depth_") for name in flow.seconds if str(name).startswith("bid_depth_")]
    figure = go.Figure()
    for bps, color in zip(reversed(names), (GREY, GREEN, BLUE, PURPLE), strict=False):
        for side, sign in (("bid", 1.0), ("ask", -1.0)):
            line = _line(flow.seconds, f"{side}_depth_{bps}", f"within {bps} bps", color, form="%{customdata:,.4~g}")
            line.update(customdata=line.y, y=sign * np.asarray(line.y), legendgroup=bps, showlegend=side == "bid")
            figure.add_trace(line)
    styled(figure, height=320, y="offered | bid, base units")
    return _dated(_shaded(figure, flow))


def funding_figure(flow: Flow) -> go.Figure:
    """The rate that settles next and the one predicted after it, in basis points; a dotted line where one settled."""
    seconds, figure = flow.seconds, go.Figure()
    for name, words, color in (("current_rate", "current", BLUE), ("predicted_rate", "predicted", ORANGE)):
        if seconds[name].notna().any():
            line = _line(seconds, name, words, color, width=1.6, form="%{y:.4f} bps")
            figure.add_trace(line.update(y=1e4 * np.asarray(line.y), line_shape="hv"))
    styled(figure, height=280, y="bps per interval")
    left = seconds["hours_to_funding"].to_numpy(np.float64)
    for at in np.flatnonzero(np.diff(left) > 0.5):
        figure.add_vline(x=float(seconds["ts"].iloc[at]), line=dict(color=VERMILLION, width=1, dash="dot"))
    return _dated(figure)


def _prints(flow: Flow) -> list[go.Scatter]:
    """Markers of the largest prints, and of those that no order in the book made."""
    prints = flow.prints
    normal = prints[prints["kind"] == "normal"].nlargest(PRINTS_DRAWN, "qty").sort_values("ts")
    odd = prints[prints["kind"] != "normal"]
    low, high = (flow.levels.columns[0], flow.levels.columns[-1]) if len(flow.levels.columns) else (0.0, np.inf)
    largest = float(normal["qty"].max()) if len(normal) else 1.0
    parts = (
        ("bought", normal[normal["side"] == "buy"], BLUE, "circle"),
        ("sold", normal[normal["side"] == "sell"], ORANGE, "circle"),
        ("insurance, liquidation", odd, VERMILLION, "x"),
    )
    return [
        go.Scatter(
            x=part["ts"].to_numpy(np.float64),
            y=np.clip(part["price"].to_numpy(np.float64), low, high),
            customdata=part[["qty", "price"]].to_numpy(np.float64),
            mode="markers",
            name=name,
            marker=dict(
                symbol=shape,
                color=color,
                size=4.0 + 12.0 * np.sqrt(np.minimum(part["qty"].to_numpy(np.float64) / largest, 1.0)),
                opacity=0.85,
                line=dict(width=0.5, color="white"),
            ),
            hovertemplate="%{customdata[0]:,.6~g} at %{customdata[1]:,.8~g}",
        )
        for name, part, color, shape in parts
        if len(part)
    ]


def _bars(flow: Flow, name: str) -> "pd.Series[float]":
    """What was traded, in steps so long that a page has pixels for them."""
    seconds = flow.seconds
    step = flow.step_s * 1_000 * max(1, -(-len(seconds) // COLUMNS_DRAWN))
    return seconds[name].groupby(np.ceil(seconds["ts"] / step) * step - step / 2).sum()


def _line(
    frame: pd.DataFrame, column: str, name: str, color: str, *, width: float = 1.2, form: str = "%{y:,.4~g}"
) -> go.Scatter:
    values = frame[column].to_numpy(np.float64)
    kept = thinned(values, POINTS)
    return go.Scatter(
        x=frame["ts"].to_numpy(np.float64)[kept],
        y=values[kept],
        name=name,
        mode="lines",
        line=dict(color=color, width=width),
        hovertemplate=form,
    )


def _shaded(figure: go.Figure, flow: Flow) -> go.Figure:
    """`figure` with the longest stretches of the ledger marked; one that still lasts goes to the end."""
    if flow.seconds.empty:
        return figure
    last = float(flow.seconds["ts"].iloc[-1])
    mine = flow.ledger[(flow.ledger["symbol"] == flow.symbol) & (flow.ledger["kind"] != "start")]
    begin = mine["ts_from"].astype("int64") / 1e6
    until = begin + 1e3 * seconds_of(mine).to_numpy(np.float64)
    until = until.fillna(last)
    longest = (until - begin).nlargest(SHADED)
    for at in longest[longest >= 1e3 * LASTED_S].index:
        ends = dict(x0=float(begin[at]), x1=float(until[at]))
        figure.add_vrect(**ends, fillcolor=VERMILLION, opacity=0.18, line_width=0)
    return figure


def _dated(figure: go.Figure) -> go.Figure:
    look = dict(tickfont=dict(size=12), tickangle=0, nticks=6)  # few enough to lie flat on a phone
    return figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M:%S UTC", **look)
