"""Looking at a market before trusting it: candles with volume and holes, and a table of what is wrong with them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.data.frames import iso
from flea_lab.view.theme import BLUE, FAINT, ORANGE, VERMILLION, styled
from flea_lab.view.thin import coarser

HOLES = 50
"""Holes that are marked, the longest."""


def candles_figure(candles: pd.DataFrame, name: str, quality: Mapping[str, Any] | None = None) -> go.Figure:
    """Candles and volume of a canonical frame, as coarse as a page can show; holes marked from `Quality.to_dict`."""
    shown, step = coarser(candles)
    ts = candles["ts"].to_numpy(np.int64)
    volume = candles["volume"].groupby(ts // step * step).sum()
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.04)
    prices = {field: shown[field].to_numpy(np.float64) for field in ("open", "high", "low", "close")}
    look = dict(increasing=dict(line=dict(color=BLUE, width=1)), decreasing=dict(line=dict(color=ORANGE, width=1)))
    figure.add_trace(go.Candlestick(x=shown["ts"].to_numpy(np.float64), name=name, **prices, **look), row=1, col=1)
    bars = go.Bar(x=volume.index.to_numpy(np.float64), y=volume.to_numpy(np.float64), name="volume", marker_color=FAINT)
    figure.add_trace(bars, row=2, col=1)
    for first, missing in sorted(quality["holes"] if quality else [], key=lambda hole: -hole[1])[:HOLES]:
        width = missing * int(np.diff(ts).min())
        figure.add_vrect(x0=float(first), x1=float(first + width), fillcolor=VERMILLION, opacity=0.25, line_width=0)
    styled(figure, height=460, legend=False)
    figure.update_yaxes(title=dict(text=name, standoff=6), row=1, col=1)
    figure.update_yaxes(title=dict(text="volume", standoff=6), row=2, col=1)
    return figure.update_xaxes(type="date", rangeslider_visible=False, hoverformat="%d %b %Y %H:%M UTC")


def quality_table(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One column a market: what was expected, what is there, every kind of fault, from `Quality.to_dict` of each."""
    return pd.DataFrame({name: _column(one) for name, one in found.items()})


def _column(one: Mapping[str, Any]) -> dict[str, Any]:
    longest = max(one["holes"], key=lambda hole: hole[1], default=None)
    return {
        "interval": one["interval"],
        "first bar (UTC)": iso(one["first_ms"]) if one["first_ms"] is not None else "none",
        "last bar (UTC)": iso(one["last_ms"]) if one["last_ms"] is not None else "none",
        "bars": one["bars"],
        "bars missing": one["missing"],
        "holes": len(one["holes"]),
        "longest hole": f"{longest[1]} bars from {iso(longest[0])}" if longest else "none",
        "spells without volume": len(one["zero_volume"]),
        "spells without movement": len(one["flat"]),
        "duplicate bars": one["duplicates"],
        "bars out of order": one["unordered"],
        "bars off the grid": one["off_grid"],
        "bars with a value that is no number": one["not_finite"],
        "bars with impossible prices": one["ohlc_faults"],
        "bars with impossible volume": one["volume_faults"],
        "first fault": one["first_fault"] or "none",
    }
