"""Long series made short enough to draw, without losing a peak, a trough or an end."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

POINTS = 1_200
"""Points that one line of a report has at most: more than a page has pixels for."""
CANDLES = 400
"""Candles of one figure at most: as many as are still told apart."""
MINUTE_MS = 60_000
STEPS_MS = tuple(
    MINUTE_MS * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1_440, 2_880, 10_080, 40_320)
)

Ints = npt.NDArray[np.int64]


def thinned(values: npt.ArrayLike, limit: int = POINTS) -> Ints:
    """Positions of at most `limit` of `values`, in order: the ends, and lowest and highest of equal stretches.

    NaN is neither low nor high; a stretch of nothing else keeps its first.

    >>> thinned([0, 1, 9, 1, 0, 0, -5, 0, 0, 0], limit=6).tolist()
    [0, 2, 4, 6, 9]
    """
    y = np.asarray(values, dtype=np.float64)
    if len(y) <= limit:
        return np.arange(len(y))
    edges = np.linspace(0, len(y), (limit - 2) // 2 + 1).astype(np.int64)
    kept = {0, len(y) - 1}
    for low, high in pairwise(edges.tolist()):
        part = y[low:high]
        if np.isnan(part).all():
            kept.add(int(low))
        else:
            kept.update((int(low + np.nanargmin(part)), int(low + np.nanargmax(part))))
    return np.array(sorted(kept), dtype=np.int64)


def coarser(candles: pd.DataFrame, limit: int = CANDLES) -> tuple[pd.DataFrame, int]:
    """`candles` (canonical) in steps so long that at most `limit` remain, and that step in ms.

    Open, high, low, close of every step that has a bar; a step without one stays a hole.
    """
    ts = candles["ts"].to_numpy(np.int64)
    own = int(np.diff(ts).min()) if len(ts) > 1 else STEPS_MS[0]
    step = next((s for s in STEPS_MS if s >= own and ts[-1] // s - ts[0] // s < limit), STEPS_MS[-1])
    grouped = candles.groupby(ts // step * step, sort=True)
    found = grouped.agg(open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"))
    return found.rename_axis("ts").reset_index(), step


def by_step(fills: pd.DataFrame, step: int) -> pd.DataFrame:
    """`fills` of one symbol merged within steps of `step` ms, buys and sells apart: ts, side, qty, mean price, n."""
    rows: dict[str, Any] = {"ts": [], "side": [], "qty": [], "price": [], "n": []}
    for (ts, side), part in fills.groupby([fills["ts"] // step * step, "side"], sort=True):
        qty = part["qty"].sum()
        values = (int(ts), side, qty, (part["qty"] * part["price"]).sum() / qty, len(part))
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    return pd.DataFrame(rows)
