"""Candles, features and funding on disk: parquet by venue, symbol, interval and month, parts with their content digest.

::

    root/candles/<venue>/<symbol>/<interval>/<YYYY-MM>-<digest>.parquet    one per calendar month
    root/candles/<venue>/<symbol>/<interval>/dataset.json                  source, origins, parts with rows and digest
    root/features/<venue>/<symbol>/<interval>/                             the same two, for the features of bars
    root/funding/<venue>/<symbol>.parquet                                  its digest inside, as metadata

A part is named by its content, so that a write never touches a part that is in use: new parts first, then
`dataset.json` is replaced in one step, then parts that nobody names go. A process that dies between two steps leaves
the dataset as it was.
"""

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from flea_lab.data import feature_store
from flea_lab.data.dataset import Dataset, Origin, Partition, Stored, StoredFeatures, StoredFunding, check_name, decode
from flea_lab.data.disk import AGAIN, encode, locked, os_errors, read_parquet
from flea_lab.data.features import Featured
from flea_lab.data.frames import (
    canonical,
    canonical_funding,
    check_candles,
    check_funding,
    content_digest,
    empty_funding,
    iso,
)
from flea_lab.data.merge import merged
from flea_lab.data.parts import by_month, sweep_parts, write_part
from flea_lab.errors import DataError
from flea_lab.workspace import write_whole

NOTE = b"flea_lab"


class CandleStore:
    """The store below `root`, which need not exist before the first write. Every read is checked against its digest."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def write(self, key: Dataset, frame: pd.DataFrame, origin: Origin, *, replace: bool = False) -> Stored:
        """The dataset after `frame` was added to what is stored.

        Bars that are stored already must be equal; where they are not, the first differing one is refused, or, with
        `replace`, the new one taken. Synthetic and recorded bars never mix; of a synthetic market, `replace` takes all
        bars anew. Nothing changes when anything fails.
        """
        frame = canonical(frame, str(key))
        check_candles(frame, key.interval, str(key))
        folder = self._folder(key)
        with os_errors(folder), locked(folder):
            old = self._manifest(key)
            if old is not None:
                frame = _joined(old, self._load(key, old.partitions), frame, origin, replace)
                check_candles(frame, key.interval, str(key))
            try:
                parts = tuple(write_part(folder, month, rows) for month, rows in by_month(frame))
                stored = Stored(
                    dataset=key,
                    source=origin.source,
                    synthetic=origin.synthetic,
                    origins=_origins(old, origin),
                    partitions=parts,
                )
                write_whole(folder / "dataset.json", _json(stored))
            finally:
                # Asked of the disk: an interrupt may land between the rename and our next line.
                current = self._manifest(key)
                sweep_parts(folder, current.partitions if current else ())
        return stored

    def read(self, key: Dataset, start_ms: int | None = None, end_ms: int | None = None) -> pd.DataFrame:
        """The bars that open in [start_ms, end_ms), canonical; None means from the first, to the last.

        Refuses a dataset that is not stored, a range without bars (saying what there is) and a changed part.
        """
        if start_ms is not None and end_ms is not None and not start_ms < end_ms:
            raise DataError(f"{key}: start {iso(start_ms)} must be before end {iso(end_ms)}")
        stored = self.info(key)
        try:
            return self._read(stored, start_ms, end_ms)
        except DataError:
            current = self.info(key)
            if current == stored:
                raise
            return self._read(current, start_ms, end_ms)  # a writer replaced the parts between our two looks

    def info(self, key: Dataset) -> Stored:
        """What `dataset.json` says of `key`; a `DataError` that lists what there is where it is not stored."""
        with os_errors(self._folder(key)):
            stored = self._manifest(key)
        if stored is None:
            known = ", ".join(str(one.dataset) for one in self.list()) or "nothing"
            raise DataError(f"{key} is not in the store {self.root}; stored: {known}")
        return stored

    def partitions(self, key: Dataset) -> tuple[Partition, ...]:
        """The parts of `key`, in order of time."""
        return self.info(key).partitions

    def write_funding(self, venue: str, symbol: str, frame: pd.DataFrame, *, replace: bool = False) -> StoredFunding:
        """The settled funding of `symbol` after `frame` was added; overlaps as in `write`."""
        file = self._funding_file(venue, symbol)
        frame = canonical_funding(frame, f"funding of {venue} {symbol}")
        check_funding(frame, f"funding of {venue} {symbol}")
        with os_errors(file), locked(file.parent):
            frame = merged(self.read_funding(venue, symbol), frame, f"funding of {venue} {symbol}", replace=replace)
            stored = StoredFunding(
                venue=venue,
                symbol=symbol,
                rows=len(frame),
                first_ms=int(frame["ts"].iloc[0]),
                last_ms=int(frame["ts"].iloc[-1]),
                digest=content_digest(frame),
            )
            write_whole(file, encode(frame, {NOTE: _json(stored)}))
        return stored

    def read_funding(
        self, venue: str, symbol: str, start_ms: int | None = None, end_ms: int | None = None
    ) -> pd.DataFrame:
        """The settlements in [start_ms, end_ms); an empty frame where none is stored."""
        file = self._funding_file(venue, symbol)
        with os_errors(file):
            if not file.exists():
                return empty_funding()
            table = read_parquet(file)
        frame = canonical_funding(table.to_pandas(), str(file))
        note = (table.schema.metadata or {}).get(NOTE)
        if note is None or content_digest(frame) != decode(note, StoredFunding, str(file)).digest:
            raise DataError(f"{file}: its content has changed since it was stored; remove the file and import again")
        inside = frame["ts"] >= (frame["ts"].min() if start_ms is None else start_ms)
        if end_ms is not None:
            inside &= frame["ts"] < end_ms
        return frame[inside].reset_index(drop=True)

    def write_features(self, key: Dataset, features: Featured, source: str, *, replace: bool = False) -> StoredFeatures:
        """The features of `key`'s bars after `features` were added; overlaps as in `write`. `source` says what they
        were measured from. `DataError` where those stored were measured otherwise, unless `replace` takes all anew."""
        return feature_store.write(self.root, key, features, source, replace=replace)

    def read_features(self, key: Dataset, start_ms: int | None = None, end_ms: int | None = None) -> Featured:
        """The features of the bars that open in [start_ms, end_ms); `DataError` where none are stored."""
        return feature_store.read(self.root, key, start_ms, end_ms)

    def features_info(self, key: Dataset) -> StoredFeatures | None:
        """What is stored of the features of `key`'s bars; None where nothing is."""
        return feature_store.info(self.root, key)

    def list(self) -> tuple[Stored, ...]:
        """Every stored dataset, in order of venue, symbol and interval."""
        with os_errors(self.root):
            files = sorted((self.root / "candles").glob("*/*/*/dataset.json"))
            keys = sorted(Dataset(*file.parent.parts[-3:]) for file in files)
            found = [self._manifest(key) for key in keys]
        return tuple(stored for stored in found if stored is not None)

    def _read(self, stored: Stored, start_ms: int | None, end_ms: int | None) -> pd.DataFrame:
        low = stored.first_ms if start_ms is None else start_ms
        high = stored.last_ms + 1 if end_ms is None else end_ms
        inside = tuple(part for part in stored.partitions if part.last_ms >= low and part.first_ms < high)
        frame = self._load(stored.dataset, inside)
        frame = frame[(frame["ts"] >= low) & (frame["ts"] < high)].reset_index(drop=True)
        if frame.empty:
            raise DataError(
                f"{stored.dataset}: no bars from {iso(low)} to {iso(high)}, "
                f"stored are {iso(stored.first_ms)} to {iso(stored.last_ms)}"
            )
        return frame

    def _folder(self, key: Dataset) -> Path:
        return self.root / "candles" / key.venue / key.symbol / key.interval

    def _funding_file(self, venue: str, symbol: str) -> Path:
        check_name(venue, "venue")
        check_name(symbol, "symbol")
        return self.root / "funding" / venue / f"{symbol}.parquet"

    def _manifest(self, key: Dataset) -> Stored | None:
        file = self._folder(key) / "dataset.json"
        if not file.exists():
            return None
        stored = decode(file.read_bytes(), Stored, str(file))
        if stored.dataset != key or not stored.partitions:
            raise DataError(f"{file}: describes {stored.dataset} with {len(stored.partitions)} parts, not {key}")
        return stored

    def _load(self, key: Dataset, parts: tuple[Partition, ...]) -> pd.DataFrame:
        frames = []
        for part in parts:
            file = self._folder(key) / part.file
            with os_errors(file):
                frame = canonical(read_parquet(file).to_pandas(), str(file))
            if content_digest(frame) != part.digest:
                raise DataError(f"{file}: its content has changed since it was stored; {AGAIN}")
            frames.append(frame)
        if not frames:
            return pd.DataFrame({"ts": np.empty(0, np.int64)})
        return pd.concat(frames, ignore_index=True)


def _joined(old: Stored, stored: pd.DataFrame, new: pd.DataFrame, origin: Origin, replace: bool) -> pd.DataFrame:
    """The rows that a dataset holds after `new` came to what is stored."""
    if old.synthetic != origin.synthetic:
        kinds = ("recorded", "synthetic")
        raise DataError(f"{old.dataset} holds {kinds[old.synthetic]} bars, {kinds[origin.synthetic]} ones cannot join")
    if not origin.synthetic:
        return merged(stored, new, str(old.dataset), replace=replace)
    if not replace and content_digest(stored) != content_digest(new):
        raise DataError(
            f"{old.dataset} holds another {old.source}, {iso(old.first_ms)} to {iso(old.last_ms)}: "
            f"pass --replace, or another --venue name"
        )
    return new


def _origins(old: Stored | None, origin: Origin) -> tuple[Origin, ...]:
    if old is None or origin.synthetic:
        return (origin,)
    return old.origins if origin in old.origins else (*old.origins, origin)


def _json(note: Stored | StoredFunding) -> bytes:
    return msgspec.json.format(msgspec.json.encode(note))
