"""One look for every figure: colours that colour-blind eyes tell apart, legible on white and black, no fixed width."""

from typing import Any

import plotly.graph_objects as go

# Okabe and Ito, Color Universal Design (2008): blue lightened for dark pages, yellow left out for white ones.
BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE = "#2484c6", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
GREY = "#8b929c"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)
"""Colours of series in the order in which they are drawn."""

INK = "#7b818a"
"""Text where the page does not set its own: legible on white and on black."""
FAINT = "rgba(128,134,144,0.22)"
CLEAR = "rgba(0,0,0,0)"

DIVERGING = ((0.0, "#b35806"), (0.25, "#f1a340"), (0.5, "#f2f2f2"), (0.75, "#67a9cf"), (1.0, "#2166ac"))
"""Loss to gain: orange, grey, blue. Orange and blue stay apart for every kind of colour blindness."""
SEQUENTIAL = "Cividis"

UPLOAD = "sendChartToCloud"
"""plotly's button that uploads the chart to its maker's server: a strategy's results stay on this machine."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def styled(figure: go.Figure, *, height: int = 380, y: str = "", legend: bool = True) -> go.Figure:
    """`figure` in the house look. `height` in pixels; the width is the page's. `y` titles the vertical axis."""
    figure.update_layout(
        height=height,
        autosize=True,
        margin=dict(l=8, r=8, t=36 if legend else 12, b=8),
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font=dict(family=FONT, size=13, color=INK),
        colorway=list(SERIES),
        showlegend=legend,
        legend=dict(orientation="h", x=0, xanchor="left", y=1.0, yanchor="bottom", bgcolor=CLEAR),
        hovermode="x unified",
        hoverlabel=dict(font=dict(family=FONT, size=12)),
        modebar=dict(remove=[UPLOAD]),
    )
    figure.update_xaxes(**_axis(), showspikes=False)
    figure.update_yaxes(**_axis())
    if y:
        figure.update_yaxes(title_text=y)
    return figure


def _axis() -> dict[str, Any]:
    return dict(
        gridcolor=FAINT,
        zerolinecolor=GREY,
        zerolinewidth=1,
        linecolor=FAINT,
        automargin=True,
        title=dict(font=dict(size=12), standoff=6),
    )
