"""The live console's figure: equity above, the price of one symbol with its fills below. Made once, then only fed."""

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.basewidget import BaseFigureWidget
from plotly.subplots import make_subplots

from flea_lab.live.watch import Floats, Seen
from flea_lab.view.theme import BLUE, GREY, ORANGE, styled
from flea_lab.view.thin import thinned

HEIGHT = 460
POINTS = 1_000
CONTEXT = 30
"""Bars that are shown before the account first moves."""
SIDES = (("buy", "bought", BLUE, "triangle-up"), ("sell", "sold", ORANGE, "triangle-down"))


def live_figure() -> go.FigureWidget:
    """The figure without a point in it."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.45, 0.55], vertical_spacing=0.05)
    line = dict(mode="lines", x=[], y=[], hovertemplate="%{y:,.2f}")
    figure.add_trace(go.Scatter(name="equity", line=dict(color=BLUE, width=1.8), **line), row=1, col=1)
    figure.add_trace(go.Scatter(name="price", line=dict(color=GREY, width=1.2), **line), row=2, col=1)
    for _, name, color, shape in SIDES:
        marker = dict(symbol=shape, size=10, color=color, line=dict(width=0))
        form = f"{name} %{{customdata:,.8~g}} at %{{y:,.8~g}}<extra></extra>"
        marks = go.Scatter(mode="markers", x=[], y=[], name=name, marker=marker, hovertemplate=form)
        figure.add_trace(marks, row=2, col=1)
    styled(figure, height=HEIGHT, legend=True)
    figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M UTC")
    figure.update_yaxes(title_text="equity, USD", tickformat=",", row=1, col=1)
    figure.update_yaxes(title_text="price, USD", tickformat=",", row=2, col=1)
    made = go.FigureWidget(figure)
    # anywidget watches its script for edits and holds every figure by it, closed ones too
    BaseFigureWidget._esm.changed.disconnect()
    return made


def feed_figure(figure: go.FigureWidget, seen: Seen, symbol: str | None) -> None:
    """Puts what was seen into the figure, in one message. A trace keeps its name: a message that names one forgets the
    names of the others."""
    ts, equity_usd = seen.equity
    price_ts, price = seen.prices.get(symbol or "", (np.empty(0), np.empty(0)))
    if len(ts):  # what only warmed the signals is not worth the room: the account begins to move, and a little before
        moved = np.flatnonzero(equity_usd != equity_usd[0])
        first = max(int(moved[0]) if len(moved) else len(ts), CONTEXT) - CONTEXT
        ts, equity_usd = ts[first:], equity_usd[first:]
        shown = price_ts >= ts[0]
        price_ts, price = price_ts[shown], price[shown]
    fills = [fill for fill in seen.fills if fill.symbol == symbol and (not len(ts) or fill.ts >= ts[0])]
    equity, line, *marks = figure.data
    with figure.batch_update():
        equity.x, equity.y = _drawn(ts, equity_usd)
        line.x, line.y = _drawn(price_ts, price)
        for trace, (side, *_) in zip(marks, SIDES, strict=True):
            mine = [fill for fill in fills if fill.side == side]
            trace.x = _dates(np.array([fill.ts for fill in mine], dtype=np.float64))
            trace.y = np.array([fill.price for fill in mine], dtype=np.float64)
            trace.customdata = np.array([fill.qty for fill in mine], dtype=np.float64)
        title = f"{symbol}, USD" if symbol else "price, USD"
        if figure.layout.yaxis2.title.text != title:
            figure.layout.yaxis2.title.text = title


def _drawn(ts: Floats, values: Floats) -> tuple[npt.NDArray[np.datetime64], Floats]:
    """A line with as few points as show it."""
    kept = thinned(values, POINTS)
    return _dates(ts[kept]), values[kept]


def _dates(ts: Floats) -> npt.NDArray[np.datetime64]:
    """Times that plotly.js takes for dates by themselves: with every new `x` it forgets the type of the axis."""
    return ts.astype("datetime64[ms]")
