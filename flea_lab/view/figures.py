"""Frames into plotly figures, in one look. Plain `Figure`s: a widget would carry all of plotly.js with it.

Frames are those of `backtest.result`; times are ms UTC and are drawn as such. A line has at most `thin.POINTS` points,
its peaks and troughs kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flea_lab.errors import DataError
from flea_lab.risk.checks import CHECKS
from flea_lab.view.theme import (
    BLUE,
    CLEAR,
    DIVERGING,
    FAINT,
    GREY,
    INK,
    ORANGE,
    SEQUENTIAL,
    SERIES,
    VERMILLION,
    styled,
)
from flea_lab.view.thin import POINTS, by_step, coarser, thinned

MARKS = 300
"""Fills of one symbol that are marked one by one at their price; more are merged and stand clear of the candles."""
MERGED_STEPS = 120
SIGNED = ("return", "sharpe", "sortino", "calmar", "pnl")
"""Metrics with a part of one of these names have a sign that matters, and a colour scale about zero."""
CELLS_WITH_TEXT = 150


def equity_figure(equity: pd.DataFrame, benchmark: pd.DataFrame) -> go.Figure:
    """Equity over buy and hold in USD, and below it how far equity is under its peak, in percent."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.05)
    figure.add_trace(_line(benchmark, "equity_usd", "buy and hold", GREY, width=1.3), row=1, col=1)
    figure.add_trace(_line(equity, "equity_usd", "strategy", BLUE, width=2.0), row=1, col=1)
    under = _line(equity, "drawdown", "drawdown", VERMILLION, width=1.0, scale=100.0, form="%{y:.2f} %")
    under.update(fill="tozeroy", fillcolor="rgba(213,94,0,0.22)")
    figure.add_trace(under, row=2, col=1)
    styled(figure, height=480)
    figure.update_yaxes(title_text="USD", tickformat="~s", row=1, col=1)
    figure.update_yaxes(title_text="% below peak", ticksuffix=" %", row=2, col=1)
    return _dated(figure)


def trades_figure(candles: pd.DataFrame, fills: pd.DataFrame, symbol: str) -> go.Figure:
    """Candles of `symbol`, as coarse as a page can show, with what was bought (up) and sold (down) on them."""
    shown, _ = coarser(candles)
    mine = fills[fills["symbol"] == symbol]
    figure = go.Figure(
        go.Candlestick(
            x=_ms(shown["ts"]),
            open=shown["open"].to_numpy(),
            high=shown["high"].to_numpy(),
            low=shown["low"].to_numpy(),
            close=shown["close"].to_numpy(),
            increasing=dict(line=dict(color=GREY, width=1), fillcolor=CLEAR),
            decreasing=dict(line=dict(color=GREY, width=1), fillcolor=GREY),
            name=symbol,
            showlegend=False,
        )
    )
    marks = _marks(candles, mine)
    largest = float(marks["qty"].max()) if len(marks) else 1.0
    for side, color, shape in (("buy", BLUE, "triangle-up"), ("sell", ORANGE, "triangle-down")):
        part = marks[marks["side"] == side]
        sizes = 5.0 + 6.0 * np.sqrt(part["qty"].to_numpy(dtype=np.float64) / largest)
        figure.add_trace(
            go.Scatter(
                x=_ms(part["ts"]),
                y=part["at"].to_numpy(dtype=np.float64),
                customdata=part[["qty", "price", "n"]].to_numpy(dtype=np.float64),
                mode="markers",
                name="bought" if side == "buy" else "sold",
                marker=dict(symbol=shape, size=sizes, color=color, opacity=0.9, line=dict(width=0)),
                hovertemplate="%{customdata[0]:.6~g} at %{customdata[1]:,.8~g} (fills: %{customdata[2]})",
            )
        )
    styled(figure, height=430, y=f"{symbol}, USD")
    figure.update_xaxes(rangeslider_visible=False)
    return _dated(figure)


def exposure_figure(positions: pd.DataFrame, equity: pd.DataFrame, limit: float | None = None) -> go.Figure:
    """What every symbol's position was worth, in percent of equity, short below zero; `limit` is a share of equity."""
    figure = go.Figure()
    worth = pd.Series(equity["equity_usd"].to_numpy(), index=equity["ts"].to_numpy())
    for color, (symbol, part) in zip(_colors(), positions.groupby("symbol", sort=False), strict=False):
        share = 100.0 * part["notional_usd"].to_numpy() / worth.reindex(part["ts"].to_numpy()).to_numpy()
        line = _line(pd.DataFrame({"ts": part["ts"].to_numpy(), "y": share}), "y", str(symbol), color, width=1.2)
        line.update(line_shape="hv", hovertemplate="%{y:.1f} %")
        figure.add_trace(line)
    styled(figure, height=300, y="% of equity", legend=len(figure.data) > 1)
    for bound in (limit, -limit) if limit is not None and limit <= 1.0 else ():
        figure.add_hline(y=100.0 * bound, line=dict(color=VERMILLION, width=1, dash="dot"))
    figure.update_yaxes(ticksuffix=" %")
    return _dated(figure)


def signals_figure(curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Curves by signal (frames of ts, growth): what following each alone would have summed up to, in percent."""
    figure = go.Figure()
    for color, (name, frame) in zip(_colors(), curves.items(), strict=False):
        figure.add_trace(_line(frame, "growth", name, color, width=1.6, scale=100.0, form="%{y:.2f} %"))
    styled(figure, height=320, y="sum of returns, %")
    figure.update_yaxes(ticksuffix=" %")
    return _dated(figure)


def vetoes_figure(counts: Mapping[str, int]) -> go.Figure:
    """How many intents each check refused, in the order in which the checks are tried; none is a bar of length 0."""
    names = [name for name, _ in CHECKS.values() if name in counts]
    values = [int(counts[name]) for name in names]
    bars = go.Bar(
        x=values,
        y=["VPIN" if name == "vpin" else name.replace("_", " ") for name in names],
        orientation="h",
        marker=dict(color=VERMILLION),
        text=[f"{value:,}" for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertext=[dict(CHECKS.values())[name] for name in names],
        hovertemplate="%{x:,} refused: %{hovertext}<extra></extra>",
    )
    figure = styled(go.Figure(bars), height=60 + 34 * max(len(names), 1), legend=False)
    figure.update_layout(hovermode="closest", bargap=0.35)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(rangemode="tozero", range=[0, 1.1 * max([1, *values])])
    return figure


def costs_figure(gross_usd: float, fees_usd: float, slippage_usd: float, funding_usd: float) -> go.Figure:
    """From the profit before costs to the profit, in USD; costs are positive when paid."""
    steps = [gross_usd, -fees_usd, -slippage_usd, -funding_usd]
    values = [*steps, sum(steps)]
    bars = go.Waterfall(
        x=["before costs", "fees", "slippage", "funding", "result"],
        y=values,
        measure=["absolute", "relative", "relative", "relative", "total"],
        text=[f"{value:+,.0f}".replace("-", "\u2212") if abs(value) >= 0.5 else "0" for value in values],
        textposition="outside",
        cliponaxis=False,
        increasing=dict(marker=dict(color=BLUE)),
        decreasing=dict(marker=dict(color=VERMILLION)),
        totals=dict(marker=dict(color=GREY)),
        connector=dict(line=dict(color=FAINT, width=1)),
        hovertemplate="%{x}: %{text} USD<extra></extra>",
    )
    figure = styled(go.Figure(bars), height=340, y="USD", legend=False)
    figure.update_layout(hovermode="closest", margin=dict(l=8, r=8, t=28, b=8))
    levels = [0.0, *np.cumsum(steps).tolist()]
    room = 0.14 * ((max(levels) - min(levels)) or 1.0)  # for the numbers beyond the bars
    figure.update_yaxes(tickformat="~s", range=[min(levels) - room, max(levels) + room])
    return figure


def heatmap(table: pd.DataFrame, x: str, y: str, metric: str) -> go.Figure:
    """`metric` over the parameters `x` and `y`, one row of `table` a combination.

    Where `table` varies in more than the two, a cell is the median of its rows and says so. Blank is not defined or not
    there. `DataError` for a column that `table` has not.
    """
    for name in (x, y, metric):
        if name not in table.columns:
            raise DataError(f"heat map: no column {name!r}, there are {', '.join(map(str, table.columns))}")
    cells = table.pivot_table(index=y, columns=x, values=metric, aggfunc="median", dropna=False)
    values = cells.to_numpy(dtype=np.float64)
    deepest = int(table.groupby([y, x]).size().max()) if len(table) else 0
    signed = any(part in metric for part in SIGNED)
    reach = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    title = metric.replace("_", " ") + (f"<br>median of {deepest}" if deepest > 1 else "")
    drawn = go.Heatmap(
        x=[_label(value) for value in cells.columns],
        y=[_label(value) for value in cells.index],
        z=values,
        colorscale=[list(stop) for stop in DIVERGING] if signed else SEQUENTIAL,
        zmin=-reach if signed else None,
        zmax=reach if signed else None,
        texttemplate="%{z:.3~g}" if values.size <= CELLS_WITH_TEXT else None,
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorbar=dict(title=dict(text=title, side="top"), thickness=12, outlinewidth=0),
        hovertemplate=f"{x} %{{x}}<br>{y} %{{y}}<br>{metric} %{{z:.4~g}}<extra></extra>",
    )
    figure = styled(go.Figure(drawn), height=min(640, 150 + 30 * max(len(cells.index), 4)), y=y, legend=False)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="category", title=dict(text=x, font=dict(size=12)), showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def two_curves_figure(
    first: pd.DataFrame, second: pd.DataFrame, names: Sequence[str], column: str = "equity_usd"
) -> go.Figure:
    """Two curves on one chart, say live and backtest: frames with ts and `column`, in USD; `names` in their order."""
    figure = go.Figure()
    for frame, name, color, dash in zip((first, second), names, (BLUE, ORANGE), ("solid", "dash"), strict=True):
        line = _line(frame, column, name, color, width=1.8)
        line.update(line_dash=dash)
        figure.add_trace(line)
    styled(figure, height=380, y="USD")
    figure.update_yaxes(tickformat="~s")
    return _dated(figure)


def _marks(candles: pd.DataFrame, fills: pd.DataFrame) -> pd.DataFrame:
    """Where `fills` of one symbol are marked: `by_step` with the height `at`; merged ones below lows, above highs."""
    if len(fills) <= MARKS:
        return by_step(fills, 1).assign(at=lambda marks: marks["price"])
    steps, step = coarser(candles, MERGED_STEPS)
    marks = by_step(fills, step).merge(steps[["ts", "low", "high"]], on="ts", how="left")
    away = 0.015 * (candles["high"].max() - candles["low"].min())
    clear = np.where(marks["side"] == "buy", marks["low"] - away, marks["high"] + away)
    at = np.where(np.isnan(clear), marks["price"], clear)
    return marks.assign(ts=marks["ts"] + step // 2, at=at)


def _line(
    frame: pd.DataFrame,
    column: str,
    name: str,
    color: str,
    *,
    width: float,
    scale: float = 1.0,
    form: str = "%{y:,.2f}",
) -> go.Scatter:
    kept = thinned(frame[column].to_numpy(), POINTS)
    y = frame[column].to_numpy(dtype=np.float64)[kept] * scale
    line = dict(color=color, width=width)
    return go.Scatter(x=_ms(frame["ts"].to_numpy()[kept]), y=y, name=name, mode="lines", line=line, hovertemplate=form)


def _ms(ts: Any) -> npt.NDArray[np.float64]:
    """Times as numbers: plotly.js reads them as ms UTC on a date axis, in a third of the bytes of text."""
    return np.asarray(ts, dtype=np.float64)


def _dated(figure: go.Figure) -> go.Figure:
    return figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M UTC", tickfont=dict(size=12))


def _colors() -> list[str]:
    return [*SERIES, INK, GREY]


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)
