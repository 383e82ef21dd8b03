"""What a sweep board says in words: how far it is, where the peak and the plateau are, what went wrong. Plain HTML."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from flea_lab.backtest.metrics import UNITS
from flea_lab.view.sweep_board_cells import BETTER, COLOURS, Colour, Landed, around
from flea_lab.view.theme import VERMILLION


def point_text(values: Mapping[str, Any]) -> str:
    """The values of a point, by the last part of their paths where that says which.

    >>> point_text({"ema_momentum.slow": 30, "ema_momentum.fast": 5})
    'slow 30, fast 5'
    """
    short = [path.rpartition(".")[2] for path in values]
    names = [path if short.count(last) > 1 else last for path, last in zip(values, short, strict=True)]
    return ", ".join(f"{name} {value:g}" for name, value in zip(names, values.values(), strict=True))


def progress_text(done: int, cells: int, refused: int, seconds: float) -> str:
    """How far a sweep is: cells, rate, and what is left of it."""
    said = [f"{done:,} of {cells:,} cells"]
    if done and seconds > 0.0:
        rate = done / seconds
        said += [f"{rate:,.0f} cells/s", f"{time_text((cells - done) / rate)} left"]
    else:
        said.append("starting")
    return " · ".join([*said, *_refused(refused)])


def ended_text(done: int, cells: int, refused: int, seconds: float, first_s: float | None) -> str:
    """What a sweep came to."""
    said = (
        f"{cells:,} cells in {time_text(seconds)}" if done == cells else f"cancelled after {done:,} of {cells:,} cells"
    )
    rate = [f"{done / seconds:,.0f} cells/s"] if done and seconds > 0.0 else []
    first = [] if first_s is None else [f"first picture after {time_text(first_s)}"]
    return " · ".join([said, *rate, *first, *_refused(refused)])


def where_text(landed: Landed, metric: str, colour: Colour) -> str:
    """The peak and the plateau of a metric in words, for what has landed."""
    if metric not in BETTER:
        return f"more {_plain(metric)} is not better: no peak is named, the colours are those of each cell"
    peak = landed.peak(metric)
    if peak is None:
        return f"no cell has a {_plain(metric)} yet"
    unit = f" ({UNITS[metric]})" if metric in UNITS else ""
    said = f"<b>peak</b>: {_plain(metric)} {peak[1]:.4g}{unit} at {point_text(peak[0])}"
    found = landed.widest(metric, colour)
    if found is None:
        return f"{said}<br><b>plateau</b>: no cell has enough neighbours to judge one by"
    values, score, own = found
    how = "worst" if COLOURS[colour] == "worst" else "mean"
    where = "the same cell" if values == peak[0] else point_text(values)
    said += f"<br><b>plateau</b>: {where}; {how} of it and its neighbours {score:.4g}, itself {own:.4g}"
    beside = float(landed.scores(metric, around(colour))[_at(landed, peak[0])])
    if values != peak[0] and not math.isnan(beside):
        said += f"; around the peak it is {beside:.4g}"
    return said


def time_text(seconds: float) -> str:
    """A stretch of time as people say it.

    >>> time_text(0.25), time_text(42.0), time_text(600.0)
    ('0.25 s', '42 s', '10 min')
    """
    if not seconds < 120.0:
        return f"{seconds / 60.0:,.0f} min"
    return f"{seconds:.2f} s" if seconds < 1.0 else f"{seconds:.1f} s" if seconds < 10.0 else f"{seconds:.0f} s"


def error_html(text: str) -> str:
    """An error in one line."""
    return f"<span style='color:{VERMILLION}'>{escape(' '.join(text.split()), quote=False)}</span>"


def _at(landed: Landed, values: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(axis.index(values[path]) for path, axis in landed.axes.items())


def _refused(refused: int) -> list[str]:
    return [f"{refused:,} points cannot be"] if refused else []


def _plain(metric: str) -> str:
    return metric.replace("_", " ")
