"""Looking at a market before trusting it: candles with volume, what is wrong with them on the chart and in a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.data.frames import iso
from flea_lab.data.ledger import FACTS, candle_ledger, seconds_of, worst_of
from flea_lab.view.theme import BLUE, FAINT, GREY, ORANGE, PURPLE, VERMILLION, styled
from flea_lab.view.thin import coarser

MARKED = 50
"""Holes, spells and faults that are marked, of each the longest."""
UNRESOLVED = "not"
SHOWN = 40
"""Rows of a ledger that a table shows, the worst."""


def candles_figure(candles: pd.DataFrame, name: str, quality: Mapping[str, Any] | None = None) -> go.Figure:
    """Candles and volume of a canonical frame, as coarse as a page can show; with `Quality.to_dict` its holes, spells
    and faults are shaded, each in a colour of its own."""
    shown, step = coarser(candles)
    ts = candles["ts"].to_numpy(np.int64)
    volume = candles["volume"].groupby(ts // step * step).sum()
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.04)
    prices = {field: shown[field].to_numpy(np.float64) for field in ("open", "high", "low", "close")}
    look = dict(increasing=dict(line=dict(color=BLUE, width=1)), decreasing=dict(line=dict(color=ORANGE, width=1)))
    drawn = go.Candlestick(x=shown["ts"].to_numpy(np.float64), name=name, showlegend=False, **prices, **look)
    figure.add_trace(drawn, row=1, col=1)
    heights = dict(x=volume.index.to_numpy(np.float64), y=volume.to_numpy(np.float64), marker_color=FAINT)
    figure.add_trace(go.Bar(name="volume", showlegend=False, **heights), row=2, col=1)
    marked = _mark(figure, candle_ledger(quality, "", name, candles)) if quality else False
    styled(figure, height=460, legend=marked)
    figure.update_yaxes(title=dict(text=name, standoff=6), row=1, col=1)
    figure.update_yaxes(title=dict(text="volume", standoff=6), row=2, col=1)
    return figure.update_xaxes(type="date", rangeslider_visible=False, hoverformat="%d %b %Y %H:%M UTC")


def _mark(figure: go.Figure, ledger: pd.DataFrame) -> bool:
    """Shades the stretches of `ledger` on both charts; whether there were any."""
    spells = ledger["kind"].isin(FACTS)
    kinds = {
        "holes": (ledger["kind"] == "hole", VERMILLION),
        "no volume, no movement": (spells, GREY),
        "faults": (~spells & (ledger["kind"] != "hole"), PURPLE),
    }
    for words, (mine, color) in kinds.items():
        for number, row in enumerate(worst_of(ledger[mine].reset_index(drop=True), MARKED).itertuples()):
            ends = dict(x0=row.ts_from.value / 1e6, x1=row.ts_to.value / 1e6)
            for chart in (1, 2):
                named = dict(name=words, showlegend=True) if (number, chart) == (0, 1) else {}
                figure.add_vrect(**ends, **named, fillcolor=color, opacity=0.25, line_width=0, row=chart, col=1)
    return len(ledger) > 0


def ledger_table(ledger: pd.DataFrame, most: int = SHOWN) -> pd.DataFrame:
    """A ledger of data to read: at most `most` rows, the worst, by time, in words and UTC."""
    shown = worst_of(ledger, most)
    lasted = seconds_of(shown)
    whole = (shown["ts_from"].dt.nanosecond + shown["ts_from"].dt.microsecond).eq(0).all()
    form = "%Y-%m-%d %H:%M:%S" if whole else "%Y-%m-%d %H:%M:%S.%f"
    until = shown["ts_to"].dt.strftime(form)
    return pd.DataFrame(
        {
            "venue": shown["venue"],
            "channel": shown["channel"],
            "symbol": shown["symbol"],
            "from (UTC)": shown["ts_from"].dt.strftime(form).str.slice(0, 19 if whole else 23),
            "to": until.str.slice(0, 19 if whole else 23).where(shown["ts_to"].notna(), "lasts"),
            "lasted": [lasting(seconds) for seconds in lasted],
            "what": shown["kind"].str.replace("_", " "),
            "times": shown["count"],
            "detail": shown["detail"],
            "how resolved": shown["resolved"].where(shown["resolved"] != "", UNRESOLVED),
        }
    )


def lasting(seconds: float) -> str:
    """A span in the unit that suits it; NaN is one that lasts.

    >>> lasting(0.0), lasting(0.25), lasting(90.0), lasting(86_400.0)
    ('at once', '0.25 s', '90 s', '24 h')
    """
    if seconds != seconds:
        return "lasts"
    if seconds < 0.001:
        return "at once"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


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
