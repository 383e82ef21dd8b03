"""Which column is which, what unit the times are in, and what a file's name says."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flea_lab.data.frames import Int64s
from flea_lab.errors import DataError
from flea_lab.model.market import INTERVAL_MS

TIME_NAMES = (
    "ts",
    "ts_utc_ms",
    "ts_ms",
    "open_time",
    "opentime",
    "calc_time",
    "timestamp",
    "timestamp_ms",
    "time",
    "datetime",
    "date",
    "unix",
    "t",
    "index",
)
ALIASES = {
    "ts": TIME_NAMES,
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "v", "vol", "base_volume"),
    "buy_volume": (
        "buy_volume",
        "taker_buy_base",
        "taker_buy_volume",
        "taker_buy_base_volume",
        "taker_buy_base_asset_volume",
        "taker_base_vol",
    ),
    "funding_rate": ("funding_rate", "fundingrate", "last_funding_rate"),
}
"""Names that files use, by canonical column; the first that is present is taken."""

UNITS = (
    ("s", 1e8, 1e11, 1_000, 1),
    ("ms", 1e11, 1e14, 1, 1),
    ("us", 1e14, 1e17, 1, 1_000),
    ("ns", 1e17, 1e20, 1, 1_000_000),
)
"""Unit of an epoch, its range of values (1973 to 5138 for seconds), and the factor and divisor to milliseconds."""


def mapping(frame: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...], place: str) -> dict[str, str]:
    """For each canonical column the file's own name of it; a `DataError` names the first required one not found."""
    found: dict[str, str] = {}
    for column in (*required, *optional):
        name = next((alias for alias in ALIASES[column] if alias in frame.columns), None)
        if name is not None:
            found[column] = name
        elif column in required:
            columns = ", ".join(map(str, frame.columns))
            raise DataError(f"{place}: no {column} column (known names: {', '.join(ALIASES[column])}); found {columns}")
    return found


def times_ms(column: "pd.Series[int]", place: str) -> tuple[Int64s, str, tuple[str, ...]]:
    """The times of `column` in ms UTC, their unit ("s", "ms", "us", "ns" or "datetime"), and notes.

    The unit is told by magnitude and must be one and the same in all rows. Text must be ISO 8601; other dates are
    ambiguous (01/02/2017) and refused. A time without a zone is taken as UTC, and the note says so.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _datetimes(column, place)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return _epochs(column, place)
    numbers = pd.to_numeric(column, errors="coerce")
    if len(column) and not pd.isna(numbers.iloc[0]):
        text = np.flatnonzero(numbers.isna() & column.notna())
        if len(text):
            raise DataError(
                f"{place}: row {text[0]}: time {str(column.iloc[text[0]])[:40]!r} is not a number as row 0 is"
            )
        return _epochs(numbers, place)
    parsed = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    bad = np.flatnonzero(parsed.isna())
    if len(bad):
        value = "missing" if pd.isna(column.iloc[bad[0]]) else repr(str(column.iloc[bad[0]])[:40])
        raise DataError(f"{place}: row {bad[0]}: time {value} is neither ISO 8601 (2024-01-31T09:30Z) nor an epoch")
    zoned = column.astype(str).str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True)
    ms, unit, _ = _datetimes(parsed, place)
    if not zoned.any():
        return ms, unit, ("times carry no zone: taken as UTC",)
    if not zoned.all():
        raise DataError(f"{place}: row {int((~zoned).argmax())}: a time without a zone among times with one")
    return ms, unit, ()


def _datetimes(column: "pd.Series[int]", place: str) -> tuple[Int64s, str, tuple[str, ...]]:
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise DataError(f"{place}: row {missing[0]}: the time is missing")
    notes: tuple[str, ...] = ()
    if column.dt.tz is None:
        notes = ("times carry no zone: taken as UTC",)
    else:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    exact = column.to_numpy()
    ms = exact.astype("datetime64[ms]")
    off = np.flatnonzero(ms != exact)
    if len(off):
        raise DataError(f"{place}: row {off[0]}: time {exact[off[0]]} is not on a whole millisecond")
    return ms.astype(np.int64), "datetime", notes


def _epochs(column: "pd.Series[int]", place: str) -> tuple[Int64s, str, tuple[str, ...]]:
    missing = np.flatnonzero(~np.isfinite(column.to_numpy(np.float64, na_value=np.nan)))
    if len(missing):
        raise DataError(f"{place}: row {missing[0]}: the time is missing")
    values = column.to_numpy()
    unit, low, high, factor, divisor = _unit(values, place)
    odd = np.flatnonzero(~((values >= low) & (values < high)))
    if len(odd):
        raise DataError(f"{place}: row {odd[0]}: time {values[odd[0]]} is not in {unit} as row 0 ({values[0]}) is")
    if np.issubdtype(values.dtype, np.integer):
        whole, rest = values.astype(np.int64) * factor // divisor, values.astype(np.int64) * factor % divisor
    else:
        scaled = values * factor / divisor
        whole, rest = scaled.astype(np.int64), scaled - np.floor(scaled)
    off = np.flatnonzero(rest)
    if len(off):
        raise DataError(f"{place}: row {off[0]}: time {values[off[0]]} {unit} is not on a whole millisecond")
    return whole, unit, ()


def _unit(values: npt.NDArray[np.int64 | np.float64], place: str) -> tuple[str, float, float, int, int]:
    if not len(values):
        raise DataError(f"{place}: no rows")
    for known in UNITS:
        if known[1] <= values[0] < known[2]:
            return known
    raise DataError(f"{place}: row 0: time {values[0]} is no epoch in s, ms, us or ns after 1973")


class Guess(NamedTuple):
    """What a file's name says; None where it says nothing."""

    venue: str | None = None
    symbol: str | None = None
    interval: str | None = None


_FUNDING = re.compile(r"(?P<symbol>[A-Za-z0-9_]+)-fundingRate(?:-.*)?|(?:.*_)?margin_interest_(?P<lean>[a-z0-9]+)")
_DASHED = re.compile(r"(?P<pair>[A-Za-z0-9]+(?:_[A-Za-z0-9]+){0,2})-(?P<interval>\d+[mhdw])(?:-.*)?")


def guess(stem: str) -> Guess:
    """Venue, symbol and interval out of a file's name without suffix.

    >>> guess("binance_um_BTCUSDT_1m_20250504")
    Guess(venue='binance_um', symbol='BTCUSDT', interval='1m')
    >>> guess("BTC_USDT-1m"), guess("BTCUSDT-1m-2024-01").symbol
    (Guess(venue=None, symbol='BTCUSDT', interval='1m'), 'BTCUSDT')
    """
    funding = _FUNDING.fullmatch(stem)
    if funding:
        return Guess(None, (funding["symbol"] or funding["lean"]).upper(), None)
    dashed = _DASHED.fullmatch(stem)
    if dashed:
        parts = dashed["pair"].split("_")
        return Guess(None, "".join(parts[:2]).upper(), dashed["interval"])
    parts = stem.split("_")
    at = next((at for at, part in enumerate(parts) if part in INTERVAL_MS), None)
    if at is None:
        return Guess()
    venue = "_".join(parts[: at - 1]) if at > 1 else ""
    return Guess(venue or None, parts[at - 1].upper() if at else None, parts[at])


def symbol_of(written: str) -> str:
    """A symbol as the store names it: "BTC-USDT" and "BTC/USDT:USDT" are "BTCUSDT".

    >>> symbol_of("btc/usdt:usdt")
    'BTCUSDT'
    """
    return re.sub(r"[-/_ ]", "", written.partition(":")[0]).upper()


def venue_of_folders(path: Path) -> str | None:
    """The venue that the folders of Binance's public data tell; None elsewhere.

    >>> venue_of_folders(Path("data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"))
    'binance_um'
    """
    parts = path.parts
    if not {"daily", "monthly"} & set(parts):
        return None
    if "futures" in parts:
        return next((f"binance_{part}" for part in ("um", "cm") if part in parts), None)
    return "binance_spot" if "spot" in parts else None
