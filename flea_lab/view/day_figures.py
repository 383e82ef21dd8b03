"""One day as figures: every account's equity, and the scheduled jobs on a line of time."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from flea_lab.view.theme import BLUE, GREY, INK, ORANGE, SERIES, VERMILLION, styled
from flea_lab.view.thin import POINTS, thinned

COLORS = {"ok": BLUE, "caught_up": BLUE, "running": GREY, "retrying": ORANGE}


def day_figure(curves: Mapping[str, pd.DataFrame], begin_usd: Mapping[str, float]) -> go.Figure:
    """A line an account: equity (frames of ts, equity_usd) in percent of what the day began with."""
    figure = go.Figure()
    colors = [*SERIES, INK, GREY]
    for n, (name, frame) in enumerate(curves.items()):
        share = 100.0 * (frame["equity_usd"].to_numpy(np.float64) / begin_usd[name] - 1.0)
        kept = thinned(share, POINTS)
        line = go.Scatter(
            x=frame["ts"].to_numpy(np.float64)[kept],
            y=share[kept],
            name=name,
            mode="lines",
            line=dict(color=colors[n % len(colors)], width=1.8),
            hovertemplate="%{y:.3f} %",
        )
        figure.add_trace(line)
    styled(figure, height=340, y="% since the day began", legend=len(curves) > 1)
    figure.update_yaxes(ticksuffix=" %")
    return figure.update_xaxes(type="date", hoverformat="%d %b %Y %H:%M UTC")


def jobs_figure(jobs: pd.DataFrame) -> go.Figure:
    """A row a job: a bar from its planned time as long as it took, in red where it did not do what was planned."""
    names = list(dict.fromkeys(jobs["job"]))
    figure = go.Figure()
    for status, part in jobs.groupby("status", sort=False):
        took = part["took_s"].fillna(0.0).to_numpy(np.float64) * 1000.0
        bar = go.Bar(
            base=part["planned"].to_numpy(np.float64),
            x=np.maximum(took, 60_000.0),
            y=part["job"].tolist(),
            orientation="h",
            name=str(status).replace("_", " "),
            marker_color=COLORS.get(str(status), VERMILLION),
            customdata=part["took_s"].to_numpy(np.float64),
            hovertemplate="%{y}, took %{customdata:.1f} s",
        )
        figure.add_trace(bar)
    styled(figure, height=90 + 30 * max(len(names), 2))
    figure.update_layout(barmode="overlay", hovermode="closest")
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], showgrid=False)
    return figure.update_xaxes(type="date")
