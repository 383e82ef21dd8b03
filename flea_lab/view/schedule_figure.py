"""What a schedule did: a line a job over time, a bar a run, a mark where there was none."""

import pandas as pd
import plotly.graph_objects as go

from flea_lab.view.theme import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, styled

LEAST_SHARE = 0.004
"""The share of the figure's width that a run has at least: one of a second would not be seen in a day."""

RAN = {
    "ok": ("ended well", GREEN),
    "caught_up": ("made up for", SKY),
    "running": ("running", BLUE),
    "retrying": ("tried again later", ORANGE),
    "failed": ("failed", VERMILLION),
    "timeout": ("took too long", PURPLE),
    "killed": ("killed", GREY),
}
ABSENT = {"missed": ("missed", "x", VERMILLION), "skipped_overlap": ("skipped, still at work", "line-ns-open", ORANGE)}


def timeline_figure(runs: pd.DataFrame, until: pd.Timestamp | None = None) -> go.Figure:
    """The runs of `schedule.table.history_frame`: from beginning to end by status, with what was missed or skipped
    marked at its planned time. What has not ended is drawn to `until`, by default the last time there is."""
    figure = go.Figure()
    jobs = list(dict.fromkeys(runs["job"]))[::-1]
    times = pd.concat([runs[name] for name in ("planned", "started", "ended")]).dropna()
    end = until if until is not None else times.max() if len(times) else None
    width_ms = (end - times.min()).total_seconds() * 1e3 if end is not None and len(times) else 0.0
    for status, (name, color) in RAN.items():
        chosen = runs[(runs["status"] == status) & runs["started"].notna()]
        if chosen.empty:
            continue
        ended = chosen["ended"].fillna(end).where(chosen["status"] != "running", end)
        took_ms = (ended - chosen["started"]).dt.total_seconds() * 1e3
        said = chosen["note"].where(chosen["note"] != "", chosen["report"])
        figure.add_trace(
            go.Bar(
                base=chosen["started"],
                x=took_ms.clip(lower=max(LEAST_SHARE * width_ms, 1.0)),
                y=chosen["job"],
                orientation="h",
                name=name,
                marker=dict(color=color, line=dict(width=0)),
                customdata=list(zip(chosen["planned"].astype(str), took_ms / 1e3, said, strict=True)),
                hovertemplate="planned %{customdata[0]}<br>%{customdata[1]:.1f} s<br>%{customdata[2]}",
            )
        )
    for status, (name, symbol, color) in ABSENT.items():
        chosen = runs[runs["status"] == status]
        if chosen.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=chosen["planned"],
                y=chosen["job"],
                mode="markers",
                name=name,
                marker=dict(symbol=symbol, size=10, color=color, line=dict(width=2, color=color)),
                customdata=chosen["note"],
                hovertemplate="planned %{x}<br>%{customdata}",
            )
        )
    styled(figure, height=max(180, 90 + 34 * len(jobs)))
    figure.update_layout(barmode="overlay", bargap=0.35, hovermode="closest")
    figure.update_xaxes(type="date")
    return figure.update_yaxes(type="category", categoryorder="array", categoryarray=jobs)
