"""A run in a hundred points: its equity, or the spread of a sweep's cells, as SVG text. No script, no other file."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flea_lab.signal.kernel import Floats

WIDTH, HEIGHT = 240, 72
POINTS = 90
BARS = 24
OF_SWEEPS = "sharpe"


def thumbnail(folder: Path) -> str:
    """The picture of the run in `folder`; empty where it has neither equity nor cells, or they cannot be read."""
    for name, column, draw in (("equity", "equity_usd", line), ("cells", OF_SWEEPS, bars)):
        file = folder / f"{name}.parquet"
        if file.is_file():
            try:
                values = pd.read_parquet(file, columns=[column])[column].to_numpy(np.float64)
            except (OSError, ValueError, KeyError):
                return ""
            return draw(values)
    return ""


def line(values: Floats) -> str:
    """A curve over the line of its first value, coloured by where it ended; every dip and peak of it is in it."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return ""
    low, high = float(values.min()), float(values.max())
    kept = _extremes(values)
    xs = np.linspace(0.0, WIDTH, len(kept))
    ys = [_height(value, low, high) for value in kept]
    points = " ".join(f"{x:.0f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    first = _height(float(values[0]), low, high)
    base = f'<path class="base" d="M0 {first:.1f}H{WIDTH}"/>'
    side = "gain" if values[-1] >= values[0] else "loss"
    return _svg("equity", f'{base}<polyline class="{side}" points="{points}"/>')


def bars(values: Floats) -> str:
    """How many cells had which value: a histogram, those below zero in the colour of a loss."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return ""
    counts, edges = np.histogram(values, bins=BARS)
    step, most = WIDTH / BARS, max(int(counts.max()), 1)
    drawn = []
    for n, count in enumerate(counts):
        height = (HEIGHT - 4) * count / most
        side = "gain" if edges[n] >= 0.0 else "loss"
        if count:
            place = f'x="{n * step:.1f}" y="{HEIGHT - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}"'
            drawn.append(f'<rect class="{side}" {place}/>')
    return _svg("spread of the cells", "".join(drawn))


def _extremes(values: Floats) -> Sequence[float]:
    """At most `POINTS` values: the lowest and highest of each stretch, in the order in which they came."""
    if len(values) <= POINTS:
        return [float(value) for value in values]
    kept: list[float] = [float(values[0])]
    for part in np.array_split(values[1:-1], (POINTS - 2) // 2):
        first, second = sorted((int(part.argmin()), int(part.argmax())))
        kept += [float(part[first]), float(part[second])]
    return [*kept, float(values[-1])]


def _height(value: float, low: float, high: float) -> float:
    share = 0.5 if not high > low else (value - low) / (high - low)
    return 2.0 + (HEIGHT - 4.0) * (1.0 - share) if math.isfinite(share) else HEIGHT / 2.0


def _svg(label: str, inside: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">{inside}</svg>'
    )
