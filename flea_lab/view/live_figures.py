"""Figures of a live session that a backtest has no use for."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from flea_lab.view.theme import BLUE, GREY, ORANGE, styled

BINS = 40
LEAST_BPS = 0.5
"""So far the axis reaches to both sides at least."""


def slippage_figure(fills: pd.DataFrame) -> go.Figure:
    """How many fills were how much worse than their decision's price, in basis points; buys and sells stacked."""
    bps = fills["slippage_bps"].to_numpy(dtype=np.float64)
    low, high = (float(bps.min()), float(bps.max())) if len(bps) else (0.0, 0.0)
    low, high = min(low, -LEAST_BPS), max(high, LEAST_BPS)
    width = _width((high - low) / BINS)
    figure = go.Figure()
    for side, color in (("buy", BLUE), ("sell", ORANGE)):
        figure.add_trace(
            go.Histogram(
                x=bps[(fills["side"] == side).to_numpy()],
                name="bought" if side == "buy" else "sold",
                xbins=dict(start=float(np.floor(low / width) * width), end=high + width, size=width),
                marker=dict(color=color, line=dict(width=0)),
                hovertemplate="%{y} fills, %{x} bp",
            )
        )
    styled(figure, height=320, y="fills")
    figure.update_layout(barmode="stack", bargap=0.06)
    figure.add_vline(x=0.0, line=dict(color=GREY, width=1.5))
    words = "worse than the decision's price, basis points"
    return figure.update_xaxes(title=dict(text=words, font=dict(size=12)), range=[low - width, high + width])


def _width(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least))
