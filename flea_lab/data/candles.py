"""Longer candles out of shorter ones (pure)."""

import numpy as np
import pandas as pd

from flea_lab.data.frames import BUY_VOLUME, Int64s, canonical, check_candles, interval_ms
from flea_lab.errors import DataError


def resample(frame: pd.DataFrame, interval: str, to: str) -> pd.DataFrame:
    """The bars of `to` (say "1h") made of the bars of `interval` (say "5m"); a canonical frame.

    Open of the first, close of the last, highest, lowest; volumes summed in order. A bucket that misses any of its
    bars is left out, a visible hole (`incomplete` counts those). `to` must be a multiple of `interval`.
    """
    frame = canonical(frame)
    buckets, starts, counts, per_bucket = _buckets(frame, interval, to)
    first, last = starts, starts + counts - 1
    columns = {
        "ts": buckets,
        "open": frame["open"].to_numpy()[first],
        "high": np.maximum.reduceat(frame["high"].to_numpy(), starts),
        "low": np.minimum.reduceat(frame["low"].to_numpy(), starts),
        "close": frame["close"].to_numpy()[last],
    }
    for name in ("volume", BUY_VOLUME):
        if name in frame:
            columns[name] = np.add.reduceat(frame[name].to_numpy(), starts)
    whole = counts == per_bucket
    return canonical(pd.DataFrame({name: values[whole] for name, values in columns.items()}))


def incomplete(frame: pd.DataFrame, interval: str, to: str) -> list[tuple[int, int]]:
    """The buckets that `resample` leaves out: (open of the bucket in ms, bars it has), oldest first."""
    buckets, _, counts, per_bucket = _buckets(canonical(frame), interval, to)
    return [(int(ts), int(bars)) for ts, bars in zip(buckets, counts, strict=True) if bars != per_bucket]


def _buckets(frame: pd.DataFrame, interval: str, to: str) -> tuple[Int64s, Int64s, Int64s, int]:
    """Bucket opens, first row and number of rows of each, and how many rows a whole bucket has."""
    step, long = interval_ms(interval, "resample"), interval_ms(to, "resample")
    if long % step or long == step:
        raise DataError(f"resample: {to} is not a multiple of {interval}")
    check_candles(frame, interval, "resample")
    bucket = frame["ts"].to_numpy() // long * long
    buckets, starts, counts = np.unique(bucket, return_index=True, return_counts=True)
    return buckets, starts.astype(np.int64), counts.astype(np.int64), long // step
