"""What `flea data check` and a report say about a frame's quality; made for faulty frames too."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from flea_lab.data.frames import Bools, Int64s, canonical, fault_masks, first_fault, interval_ms, iso

FLAT_BARS = 3
"""Bars without any price movement that make a flat spell."""


class Quality(Struct, frozen=True, kw_only=True):
    """Counts over one candle frame. Times are bar opens in ms UTC.

    `holes` are (first missing bar, missing bars); `zero_volume` and `flat` are (first bar, bars). `missing` is the sum
    of the holes; holes and spells are facts of a market, everything after `flat` is a fault.
    """

    interval: str
    bars: int
    first_ms: int | None
    last_ms: int | None
    expected: int
    missing: int
    holes: list[tuple[int, int]]
    zero_volume: list[tuple[int, int]]
    flat: list[tuple[int, int]]
    duplicates: int
    unordered: int
    off_grid: int
    not_finite: int
    ohlc_faults: int
    volume_faults: int
    first_fault: str | None

    @property
    def sound(self) -> bool:
        """Whether `check_candles` would find no bad row."""
        return self.bars > 0 and self.first_fault is None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def quality(frame: pd.DataFrame, interval: str) -> Quality:
    """The quality of `frame` (candle columns, any order of rows, any values) on the grid of `interval`.

    A row that repeats the time of any other, neighbour or not, is a duplicate. NaN volume is not zero volume.
    """
    step = interval_ms(interval, "quality")
    frame = canonical(frame)
    ts = frame["ts"].to_numpy()
    masks = fault_masks(frame, step)
    fault = first_fault(frame, step)
    holes = _holes(ts, step)
    times = np.unique(ts)
    flat = (frame["high"] == frame["low"]).to_numpy() & (frame["open"] == frame["close"]).to_numpy()
    return Quality(
        interval=interval,
        bars=len(frame),
        first_ms=int(times[0]) if len(times) else None,
        last_ms=int(times[-1]) if len(times) else None,
        expected=int((times[-1] - times[0]) // step + 1) if len(times) else 0,
        missing=sum(bars for _, bars in holes),
        holes=holes,
        zero_volume=_spells(ts, step, (frame["volume"] == 0).to_numpy(), 1),
        flat=_spells(ts, step, flat, FLAT_BARS, frame["close"].to_numpy()),
        duplicates=len(ts) - len(times),
        unordered=int(masks["unordered"].sum()),
        off_grid=int(masks["off_grid"].sum()),
        not_finite=int(masks["not_finite"].sum()),
        ohlc_faults=int((masks["price"] | masks["high"] | masks["low"]).sum()),
        volume_faults=int((masks["volume"] | masks["buy_volume"]).sum()),
        first_fault=f"row {fault[0]} ({iso(int(ts[fault[0]]))}): {fault[1]}" if fault else None,
    )


def _holes(ts: Int64s, step: int) -> list[tuple[int, int]]:
    """Over the bars that lie on the grid: (first missing bar, missing bars)."""
    grid = np.unique(ts[ts % step == 0])
    steps = np.diff(grid) // step
    return [(int(grid[at]) + step, int(steps[at]) - 1) for at in np.flatnonzero(steps > 1)]


def _spells(ts: Int64s, step: int, mask: Bools, shortest: int, level: Any = None) -> list[tuple[int, int]]:
    """Runs of true rows at least `shortest` long, as (first ts, rows); a hole ends a run, and so does, with `level`,
    another value of it."""
    if not mask.any():
        return []
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    starts |= mask & np.concatenate([[True], np.diff(ts) > step])
    if level is not None:
        starts |= mask & np.concatenate([[True], level[1:] != level[:-1]])
    run = np.cumsum(starts)[mask]
    first = np.flatnonzero(starts)
    lengths = np.bincount(run)[1:]
    return [(int(ts[at]), int(bars)) for at, bars in zip(first, lengths, strict=True) if bars >= shortest]
