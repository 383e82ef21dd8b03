"""The canonical frames of candles and funding, their checks and their digest.

A candle frame is a `pandas.DataFrame` with a plain 0..n-1 index, one row per bar, in this order of columns::

    ts             open     high     low      close    volume   buy_volume
    int64          float64  float64  float64  float64  float64  float64 (optional column)
    1746372780000  95505.4  95505.5  95502.7  95502.7  16.536   9.020
    1746372840000  95502.8  95502.8  95478.0  95478.1  28.313   3.114
    1746372960000  ...                                                     (a hole: 15:35 is missing, and stays so)

``ts`` is the bar's **open** in ms UTC, a multiple of the interval, rising without repeats; a bar is usable from its
close, ``ts + interval``. Prices are in quote currency and positive, ``low <= open, close <= high``. ``volume`` is in
base currency and not negative; ``buy_volume`` is the part that takers bought, ``0 <= buy_volume <= volume``. No NaN
anywhere. Holes are allowed and visible: a missing bar is a missing row, never an invented one.

A funding frame has ``ts`` (int64, ms UTC of the settlement, on the minute, rising) and ``funding_rate`` (float64,
fraction of the notional per funding interval, 0.0001 is 1 bp, positive when longs pay).

A row named in an error is counted from 0, as in the frame.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flea_lab.errors import DataError
from flea_lab.model.market import INTERVAL_MS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
BUY_VOLUME = "buy_volume"
FUNDING_COLUMNS = ("ts", "funding_rate")
PRICES = ("open", "high", "low", "close")
MINUTE_MS = 60_000
MAX_FUNDING_RATE = 1.0

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def iso(ts_ms: int) -> str:
    """The time `ts_ms` (ms UTC) as ISO 8601; milliseconds only where there are any.

    >>> iso(1_746_372_780_000)
    '2025-05-04T15:33:00Z'
    """
    return str(np.datetime_as_string(np.datetime64(int(ts_ms), "ms"), unit="ms" if ts_ms % 1000 else "s")) + "Z"


def span(ms: int) -> str:
    """A duration as an interval name where there is one, else in the largest whole unit.

    >>> span(300_000), span(180_000), span(1_500)
    ('5m', '3m', '1500ms')
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", MINUTE_MS), ("s", 1_000)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def interval_ms(interval: str, place: str) -> int:
    """The length of `interval` in ms, or a `DataError` that lists the known ones."""
    if interval not in INTERVAL_MS:
        raise DataError(f"{place}: unknown interval {interval!r}, known are {', '.join(INTERVAL_MS)}")
    return INTERVAL_MS[interval]


def canonical(frame: "pd.DataFrame", place: str = "candles") -> "pd.DataFrame":
    """A copy of `frame` with the canonical columns, types and index, in the order of its rows; others are dropped.

    Normalises form only: whether the values can be is `check_candles`' question. Refuses a missing column, text that is
    not a number, and a time that is not a whole number.
    """
    return canonical_columns(frame, COLUMNS, (*COLUMNS, BUY_VOLUME), place)


def canonical_funding(frame: "pd.DataFrame", place: str = "funding") -> "pd.DataFrame":
    """`canonical`, for a funding frame."""
    return canonical_columns(frame, FUNDING_COLUMNS, FUNDING_COLUMNS, place)


def empty_funding() -> "pd.DataFrame":
    """A funding frame without rows."""
    import pandas as pd

    return pd.DataFrame({"ts": np.empty(0, np.int64), "funding_rate": np.empty(0, np.float64)})


def canonical_columns(
    frame: "pd.DataFrame", required: tuple[str, ...], known: tuple[str, ...], place: str
) -> "pd.DataFrame":
    """`canonical`, for a frame of `known` columns, of which those `required` must be there."""
    import pandas as pd

    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise DataError(f"{place}: no column {missing[0]!r}, found {', '.join(map(str, frame.columns)) or 'none'}")
    columns = {}
    for name in known:
        if name in frame.columns:
            values = _numbers(frame[name], name, place)
            columns[name] = _whole(values, place) if name == "ts" else np.asarray(values, np.float64) + 0.0
    return pd.DataFrame(columns)


def _numbers(column: "pd.Series[float]", name: str, place: str) -> npt.NDArray[np.int64 | np.float64]:
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise DataError(f"{place}: {name} holds {column.dtype}, not numbers")
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return np.asarray(column.to_numpy(np.int64))
    numbers = pd.to_numeric(column, errors="coerce")
    values = np.asarray(numbers.to_numpy(np.float64, na_value=np.nan))
    bad = np.flatnonzero(np.isnan(values) & column.notna().to_numpy())
    if len(bad):
        raise DataError(f"{place}: row {bad[0]}: {name} {str(column.iloc[bad[0]])[:40]!r} is not a number")
    return values


def _whole(values: npt.NDArray[np.int64 | np.float64], place: str) -> Int64s:
    if values.dtype == np.int64:
        return values.astype(np.int64)
    bad = np.flatnonzero(~(np.abs(values) < 2.0**53) | (values != np.floor(values)))
    if len(bad):
        raise DataError(f"{place}: row {bad[0]}: ts {values[bad[0]]} is not a whole number of milliseconds")
    return values.astype(np.int64)


def spacing_ms(ts: Int64s) -> int | None:
    """The median positive distance between neighbouring times, in ms; None with fewer than two different times."""
    steps = np.diff(np.sort(ts))
    steps = steps[steps > 0]
    return int(np.sort(steps)[(len(steps) - 1) // 2]) if len(steps) else None


def check_candles(frame: "pd.DataFrame", interval: str, place: str) -> None:
    """Nothing if `frame` (canonical columns) is as drawn in this module, else a `DataError` naming the first bad row.

    The interval is wrong when neighbouring bars are typically closer than it, or when no two of at least three
    bars are one interval apart. Holes pass.
    """
    step = interval_ms(interval, place)
    frame = canonical(frame, place)
    if frame.empty:
        raise DataError(f"{place}: no bars")
    ts = frame["ts"].to_numpy()
    _check_spacing(ts, interval, step, place)
    fault = first_fault(frame, step)
    if fault is not None:
        row, reason = fault
        raise DataError(f"{place}: row {row} ({iso(int(ts[row]))}): {reason}")


def _check_spacing(ts: Int64s, interval: str, step: int, place: str) -> None:
    median = spacing_ms(ts)
    if median is None or median == step:
        return
    if median < step or (len(ts) >= 3 and not (np.diff(np.sort(ts)) == step).any()):
        raise DataError(f"{place}: bars are {span(median)} apart, not {interval} (first {iso(int(ts.min()))})")


def fault_masks(frame: "pd.DataFrame", step: int) -> dict[str, Bools]:
    """For each kind of fault, which rows of a canonical `frame` have it: boolean arrays of shape (n_bars,).

    A row that repeats an earlier neighbour's time is `duplicate`, one that goes back is `unordered`. A comparison with
    NaN counts as `not_finite` only.
    """
    ts = frame["ts"].to_numpy()
    before = np.concatenate([[np.iinfo(np.int64).min], ts[:-1]])
    floats = [name for name in frame.columns if name != "ts"]
    values = {name: frame[name].to_numpy() for name in floats}
    masks = {
        "duplicate": ts == before,
        "unordered": ts < before,
        "off_grid": ts % step != 0,
        "not_finite": ~np.isfinite(frame[floats].to_numpy()).all(axis=1),
        "price": np.any([values[name] <= 0 for name in PRICES], axis=0),
        "high": values["high"] < np.maximum(values["open"], values["close"]),
        "low": values["low"] > np.minimum(values["open"], values["close"]),
        "volume": values["volume"] < 0,
    }
    buys = values.get(BUY_VOLUME)
    masks[BUY_VOLUME] = np.zeros(len(ts), bool) if buys is None else (buys < 0) | (buys > values["volume"])
    return masks


def first_fault(frame: "pd.DataFrame", step: int) -> tuple[int, str] | None:
    """The first row of a canonical `frame` with a fault, and what is wrong with it; None for a sound frame."""
    masks = fault_masks(frame, step)
    rows = {kind: int(mask.argmax()) for kind, mask in masks.items() if mask.any()}
    if not rows:
        return None
    kind = min(rows, key=lambda name: rows[name])
    return rows[kind], _reason(frame, rows[kind], kind, step)


def _reason(frame: "pd.DataFrame", row: int, kind: str, step: int) -> str:
    bar = {name: float(frame[name].iloc[row]) for name in frame.columns if name != "ts"}
    if kind == "duplicate":
        return f"duplicate, the row before has the same time {iso(int(frame['ts'].iloc[row]))}"
    if kind == "unordered":
        return f"unordered, the row before is later ({iso(int(frame['ts'].iloc[row - 1]))})"
    if kind == "off_grid":
        return f"ts {int(frame['ts'].iloc[row])} is off the {span(step)} grid"
    if kind == "not_finite":
        name = next(name for name, value in bar.items() if not np.isfinite(value))
        return f"{name} is {bar[name]}"
    if kind == "price":
        name = next(name for name in PRICES if bar[name] <= 0)
        return f"{name} {bar[name]} must be above 0"
    if kind == "high":
        return f"high {bar['high']} is below max(open, close) {max(bar['open'], bar['close'])}"
    if kind == "low":
        return f"low {bar['low']} is above min(open, close) {min(bar['open'], bar['close'])}"
    if kind == "volume":
        return f"volume {bar['volume']} must not be negative"
    return f"buy_volume {bar[BUY_VOLUME]} is outside 0 to volume {bar['volume']}"


def check_funding(frame: "pd.DataFrame", place: str) -> None:
    """Nothing if `frame` is a funding frame as drawn above, else a `DataError` naming the first bad row."""
    frame = canonical_funding(frame, place)
    if frame.empty:
        raise DataError(f"{place}: no funding rates")
    ts, rate = frame["ts"].to_numpy(), frame["funding_rate"].to_numpy()
    before = np.concatenate([[np.iinfo(np.int64).min], ts[:-1]])
    faults = (
        (ts == before, "duplicate, the row before has the same time"),
        (ts < before, "unordered, the row before is later"),
        (ts % MINUTE_MS != 0, "the settlement time is not on the minute"),
        (~(np.abs(rate) <= MAX_FUNDING_RATE), f"funding_rate {{rate}} is not within +-{MAX_FUNDING_RATE:g}"),
    )
    found = [(int(mask.argmax()), reason) for mask, reason in faults if mask.any()]
    if found:
        row, reason = min(found, key=lambda fault: fault[0])
        raise DataError(f"{place}: row {row} ({iso(int(ts[row]))}): {reason.format(rate=rate[row])}")


def content_digest(frame: "pd.DataFrame") -> str:
    """SHA-256 (64 hex) of the frame's column names and values, in column order; blind to how a file encodes them.

    Integers enter as little-endian int64, everything else as little-endian float64 with one zero and one NaN.
    """
    digest = hashlib.sha256(f"{len(frame)} rows".encode())
    for name in frame.columns:
        column = frame[name].to_numpy()
        if np.issubdtype(column.dtype, np.integer):
            values, kind = column.astype("<i8"), "<i8"
        else:
            values, kind = np.where(np.isnan(column), np.nan, column + 0.0).astype("<f8"), "<f8"
        digest.update(f"\0{name}\0{kind}\0".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
