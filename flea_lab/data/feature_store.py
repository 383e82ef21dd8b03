"""Features of bars on disk, beside the candles: parts by month with their digests, and how they were measured."""

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from flea_lab.data.dataset import Dataset, Partition, StoredFeatures, decode
from flea_lab.data.disk import AGAIN, locked, os_errors, read_parquet
from flea_lab.data.features import Featured, feature_frame
from flea_lab.data.frames import Int64s, canonical_columns, content_digest, interval_ms, iso
from flea_lab.data.merge import merged
from flea_lab.data.parts import by_month, sweep_parts, write_part
from flea_lab.errors import DataError
from flea_lab.signal.kernel import FEATURES
from flea_lab.workspace import write_whole


def write(root: Path, key: Dataset, features: Featured, source: str, *, replace: bool) -> StoredFeatures:
    """What is stored after `features` were added; see `CandleStore.write_features`."""
    place, folder = f"features of {key}", _folder(root, key)
    frame = canonical_features(features.frame, place)
    check_features(frame, key.interval, place)
    with os_errors(folder), locked(folder):
        old = _manifest(folder, key)
        if old is not None and not (replace and old.settings != features.settings):
            _check_settings(old, features, place)
            frame = merged(_load(folder, old.partitions), frame, place, replace=replace)
        try:
            stored = StoredFeatures(
                dataset=key,
                source=source,
                settings=features.settings,
                partitions=tuple(write_part(folder, month, rows) for month, rows in by_month(frame)),
            )
            write_whole(folder / "dataset.json", msgspec.json.format(msgspec.json.encode(stored)))
        finally:
            current = _manifest(folder, key)  # asked of the disk: an interrupt may land right after the rename
            sweep_parts(folder, current.partitions if current else ())
    return stored


def read(root: Path, key: Dataset, start_ms: int | None, end_ms: int | None) -> Featured:
    """The features of the bars that open in [start_ms, end_ms), their digests checked."""
    folder = _folder(root, key)
    with os_errors(folder):
        stored = _manifest(folder, key)
        if stored is None:
            raise DataError(f"features of {key} are not in the store {root}")
        low = stored.partitions[0].first_ms if start_ms is None else start_ms
        high = stored.partitions[-1].last_ms + 1 if end_ms is None else end_ms
        inside = tuple(part for part in stored.partitions if part.last_ms >= low and part.first_ms < high)
        frame = _load(folder, inside)
    kept = (frame["ts"] >= low) & (frame["ts"] < high)
    return Featured(frame[kept].reset_index(drop=True), stored.settings)


def info(root: Path, key: Dataset) -> StoredFeatures | None:
    """What `dataset.json` says of the features of `key`; None where none are stored."""
    folder = _folder(root, key)
    with os_errors(folder):
        return _manifest(folder, key)


def _folder(root: Path, key: Dataset) -> Path:
    return root / "features" / key.venue / key.symbol / key.interval


def _manifest(folder: Path, key: Dataset) -> StoredFeatures | None:
    file = folder / "dataset.json"
    if not file.exists():
        return None
    stored = decode(file.read_bytes(), StoredFeatures, str(file))
    if stored.dataset != key or not stored.partitions:
        raise DataError(f"{file}: describes {stored.dataset} with {len(stored.partitions)} parts, not {key}")
    return stored


def _check_settings(old: StoredFeatures, new: Featured, place: str) -> None:
    before, now = msgspec.structs.asdict(old.settings), msgspec.structs.asdict(new.settings)
    for name, value in before.items():
        if now[name] != value:
            raise DataError(
                f"{place} are stored as measured with {name} = {value}, the new ones with {now[name]}; "
                "pass replace to take all anew"
            )


def _load(folder: Path, parts: tuple[Partition, ...]) -> pd.DataFrame:
    frames = []
    for part in parts:
        file = folder / part.file
        frame = canonical_features(read_parquet(file).to_pandas(), str(file))
        if content_digest(frame) != part.digest:
            raise DataError(f"{file}: its content has changed since it was stored; {AGAIN}")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else feature_frame([])


def canonical_features(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    """A copy of `frame` with the columns drawn in `features`; a feature that it lacks is NaN throughout."""
    found = canonical_columns(frame, ("ts",), ("ts", *FEATURES), place)
    return found.reindex(columns=["ts", *FEATURES])


RANGES = {
    "imbalance": (-1.0, 1.0),
    "spread_bps": (0.0, 20_000.0),
    "trades": (0.0, 1e12),
    "trade_imbalance": (-1.0, 1.0),
    "vpin": (0.0, 1.0),
    "current_rate": (-1.0, 1.0),
    "predicted_rate": (-1.0, 1.0),
    "hours_to_funding": (0.0, 24.0),
}
"""Between what a feature lies."""


def check_features(frame: pd.DataFrame, interval: str, place: str) -> None:
    """Nothing if `frame` (canonical) is sound, else a `DataError` naming the first bad row: times rise on the grid of
    `interval`, and every feature is NaN or within its range."""
    step = interval_ms(interval, place)
    if frame.empty:
        raise DataError(f"{place}: no bars")
    ts: Int64s = frame["ts"].to_numpy()
    for bad, what in ((np.diff(ts, prepend=ts[0] - 1) <= 0, "does not rise"), (ts % step != 0, "is off the grid")):
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{place}: row {row} ({iso(int(ts[row]))}): ts {what}")
    for name, (low, high) in RANGES.items():
        values = frame[name].to_numpy()
        bad = ~np.isnan(values) & ~((values >= low) & (values <= high))
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{place}: row {row} ({iso(int(ts[row]))}): {name} {values[row]} is outside {low:g} to {high:g}"
            )
