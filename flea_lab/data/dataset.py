"""What names a stored dataset and what is written down about it: `dataset.json` as frozen structs."""

import hashlib
import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from flea_lab.data.features import FeatureSettings
from flea_lab.errors import DataError
from flea_lab.model.market import INTERVAL_MS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
FILE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9a-f]{12}\.parquet")
Count = Annotated[int, Meta(ge=0)]
Kind = TypeVar("Kind", "Stored", "StoredFunding", "StoredFeatures")
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


def check_name(name: str, what: str) -> None:
    """Nothing if `name` may be part of a path in the store, else a `DataError`."""
    if not NAME.fullmatch(name):
        raise DataError(
            f"{what} {name[:80]!r} may hold only letters, digits, _ . - (64 at most) and starts with a letter or digit"
        )


class Dataset(Struct, frozen=True, order=True):
    """The key of stored candles, say ``Dataset("binance_um", "BTCUSDT", "1m")``. Its parts are path-safe."""

    venue: str
    symbol: str
    interval: str

    def __post_init__(self) -> None:
        check_name(self.venue, "venue")
        check_name(self.symbol, "symbol")
        if self.interval not in INTERVAL_MS:
            raise DataError(f"interval {self.interval[:80]!r} is unknown, known are {', '.join(INTERVAL_MS)}")

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol} {self.interval}"


class Origin(Struct, frozen=True, kw_only=True):
    """Where bars came from. `source` is the label in reports; `file` (a bare name) and `sha256` of its bytes."""

    source: str
    synthetic: bool
    file: str | None = None
    sha256: Digest | None = None


class Partition(Struct, frozen=True, kw_only=True):
    """One calendar month (UTC) of one dataset. `first_ms` and `last_ms` are bar opens, `digest` is `content_digest`."""

    month: str
    file: str
    rows: Count
    first_ms: int
    last_ms: int
    digest: Digest

    def __post_init__(self) -> None:
        if not FILE.fullmatch(self.file):
            raise ValueError(f"file {self.file!r} is not a partition's name")


class Stored(Struct, frozen=True, kw_only=True):
    """One dataset as the store holds it; the content of its `dataset.json`. Partitions are in order of time."""

    dataset: Dataset
    source: str
    synthetic: bool
    origins: tuple[Origin, ...]
    partitions: tuple[Partition, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.partitions)

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the parts, in order of time."""
        return hashlib.sha256("\n".join(part.digest for part in self.partitions).encode()).hexdigest()

    @property
    def first_ms(self) -> int:
        return self.partitions[0].first_ms

    @property
    def last_ms(self) -> int:
        return self.partitions[-1].last_ms


class StoredFunding(Struct, frozen=True, kw_only=True):
    """The settled funding of one symbol as the store holds it."""

    venue: str
    symbol: str
    rows: Count
    first_ms: int
    last_ms: int
    digest: Digest


class StoredFeatures(Struct, frozen=True, kw_only=True):
    """The features of one dataset's bars as the store holds them: what they were measured from, and how."""

    dataset: Dataset
    source: str
    settings: FeatureSettings
    partitions: tuple[Partition, ...]


def decode(text: bytes, kind: type[Kind], place: str) -> Kind:
    """The struct that `text` (JSON) holds, or a `DataError` naming `place`."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{place}: not readable ({error})") from None
