"""Somebody's candle or funding file in canonical form, with a statement of what was recognised in it."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from flea_lab.data.dataset import Dataset, check_name
from flea_lab.data.frames import (
    MINUTE_MS,
    Int64s,
    canonical,
    canonical_funding,
    check_candles,
    check_funding,
    spacing_ms,
    span,
)
from flea_lab.data.sources.dump import Dump
from flea_lab.data.sources.lean import read_lean
from flea_lab.data.sources.prints import is_prints, read_prints
from flea_lab.data.sources.recognise import Guess, guess, mapping, symbol_of, times_ms, venue_of_folders
from flea_lab.data.sources.table import read_bytes, read_table, stem
from flea_lab.errors import DataError
from flea_lab.model.market import INTERVAL_MS

VENUES = {
    "binance_um": ("Binance", "perp"),
    "binance_cm": ("Binance", "coin-margined perp"),
    "binance_spot": ("Binance", "spot"),
    "bybit_linear": ("Bybit", "perp"),
    "hyperliquid": ("Hyperliquid", "perp"),
    "bitstamp": ("Bitstamp", "spot"),
}
"""How reports name a venue: its name and its kind of market."""


@dataclass(frozen=True)
class Imported:
    """One candle file: its canonical `frame` and what was recognised.

    `columns` maps canonical names to the file's; `time_unit` is "s", "ms", "us", "ns" or "datetime"; `interval_from`
    is "flag", "name" or "spacing"; `sha256` is of the file's bytes.
    """

    file: str
    sha256: str
    dataset: Dataset
    frame: pd.DataFrame
    columns: dict[str, str]
    time_unit: str
    interval_from: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImportedFunding:
    """One funding file: a funding frame per symbol, and what was recognised. `venue` is None where nothing tells."""

    file: str
    sha256: str
    venue: str | None
    frames: dict[str, pd.DataFrame]
    columns: dict[str, str]
    time_unit: str
    notes: tuple[str, ...]


def source_label(dataset: Dataset, symbols: tuple[str, ...] = ()) -> str:
    """How reports name recorded bars.

    >>> source_label(Dataset("binance_um", "BTCUSDT", "1m"))
    'Binance BTCUSDT perp 1m'
    """
    name, market = VENUES.get(dataset.venue, (dataset.venue, ""))
    return " ".join(part for part in (name, ", ".join(symbols or (dataset.symbol,)), market, dataset.interval) if part)


def read_candle_file(
    path: Path, *, interval: str | None = None, symbol: str | None = None, venue: str | None = None
) -> Imported:
    """`recognise_candle_file`, with its bars checked: refuses what is not as `frames` draws it, naming the row."""
    found = recognise_candle_file(path, interval=interval, symbol=symbol, venue=venue)
    check_candles(found.frame, found.dataset.interval, found.file)
    return found


def recognise_candle_file(
    path: Path, *, interval: str | None = None, symbol: str | None = None, venue: str | None = None
) -> Imported:
    """The candles in `path`, faulty or not, and what was recognised; what is given wins over name and content.

    Refuses a file that cannot be read, and a column, time, venue, symbol or interval that cannot be told.
    """
    path = Path(path)
    read = _read_candles(path)
    columns = mapping(read.table, ("ts", "open", "high", "low", "close", "volume"), ("buy_volume",), path.name)
    if read.table.empty:
        raise DataError(f"{path.name}: no bars")
    ts, unit, time_notes = times_ms(read.table[columns["ts"]], path.name)
    named = _named(read.table, read.named, path.name)
    known, source = _interval(interval, named.interval, ts, path.name)
    dataset = Dataset(
        _told(venue, named.venue, "venue", path.name), _told(symbol, named.symbol, "symbol", path.name), known
    )
    raw = pd.DataFrame({"ts": ts} | {name: read.table[column] for name, column in columns.items() if name != "ts"})
    return Imported(
        file=path.name,
        sha256=read.sha256,
        dataset=dataset,
        frame=canonical(raw, path.name),
        columns=columns,
        time_unit=unit,
        interval_from=source,
        notes=(*read.notes, *time_notes),
    )


class _Read(NamedTuple):
    """A candle file as a table, the digest of its bytes, what was assumed, and what its name says."""

    table: pd.DataFrame
    sha256: str
    notes: tuple[str, ...]
    named: Guess


def _read_candles(path: Path) -> _Read:
    if is_prints(path):
        dump, sha256 = read_prints(path)
        return _Read(dump.table, sha256, dump.notes, dump.named._replace(venue=venue_of_folders(path)))
    content = read_bytes(path)
    sha256 = hashlib.sha256(content).hexdigest()
    lean = _lean(path, content)
    if lean is not None:
        return _Read(lean.table, sha256, lean.notes, lean.named)
    table, _, notes = read_table(path)
    name = stem(path)
    if name.endswith(("-mark", "-index")):
        raise DataError(f"{path.name}: prices of mark or index, not of trades: they are no candles to trade on")
    named = guess(name)
    return _Read(table, sha256, notes, named._replace(venue=named.venue or venue_of_folders(path)))


def _lean(path: Path, content: bytes) -> Dump | None:
    if path.suffix != ".zip":
        return None
    try:
        return read_lean(path, content)
    except (pa.ArrowException, zipfile.BadZipFile):
        return None  # whatever it is, it is not LEAN's; the reader of tables says what is wrong with it


def read_funding(path: Path, *, venue: str | None = None, symbol: str | None = None) -> ImportedFunding:
    """The funding rates in `path`, by symbol; times are rounded to the minute.

    A file of several venues needs `venue`; a file without a symbol column needs `symbol` or a name that tells it.
    """
    path = Path(path)
    table, content, notes = read_table(path)
    table, told = _funding_table(table, path)
    notes = (*notes, *told)
    columns = mapping(table, ("ts", "funding_rate"), (), path.name)
    if "venue" in table.columns:
        table, venue = _one_venue(table, venue, path.name)
    if table.empty:
        raise DataError(f"{path.name}: no funding rates")
    ts, unit, time_notes = times_ms(table[columns["ts"]], path.name)
    named = guess(stem(path))
    if "symbol" in table.columns:
        symbols = table["symbol"].astype(str).map(symbol_of).to_numpy()
    else:
        symbols = np.full(len(table), _told(symbol, named.symbol, "symbol", path.name))
    rounded = (ts + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
    raw = pd.DataFrame({"ts": rounded, "funding_rate": table[columns["funding_rate"]].to_numpy()})
    frames = {}
    for one in dict.fromkeys(symbols):
        check_name(one, "symbol")
        if symbol is None or one == symbol:
            place = f"{path.name} {one}"
            frames[one] = canonical_funding(raw[symbols == one], place)
            check_funding(frames[one], place)
    if not frames:
        raise DataError(f"{path.name}: no symbol {symbol!r}, it holds {', '.join(dict.fromkeys(symbols))}")
    return ImportedFunding(
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        venue=venue or _funding_venue(path),
        frames=frames,
        columns=columns,
        time_unit=unit,
        notes=(*notes, *time_notes),
    )


def read_funding_file(path: Path, *, venue: str | None = None) -> dict[str, pd.DataFrame]:
    """The funding frame of each symbol in `path`."""
    return read_funding(path, venue=venue).frames


def holds_funding(path: Path) -> bool:
    """Whether the columns of `path`, or its name, say funding rather than candles."""
    path = Path(path)
    if is_prints(path) or (path.suffix == ".zip" and _lean(path, read_bytes(path)) is not None):
        return False
    table, _, _ = read_table(path)
    table, _ = _funding_table(table, path)
    return "funding_rate" in mapping(table, (), ("funding_rate",), path.name)


def _funding_table(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`table` with its rate under the name of one: freqtrade writes it as `open`."""
    if stem(path).endswith("-funding_rate") and "open" in table.columns and "funding_rate" not in table.columns:
        return table.rename(columns={"open": "funding_rate"}), ("freqtrade's funding: the rate is in open",)
    return table, ()


def _told(given: str | None, guessed: str | None, what: str, place: str) -> str:
    told = given or guessed
    if not told:
        raise DataError(f"{place}: the {what} cannot be told from its name or content, pass --{what}")
    return told


def _named(table: pd.DataFrame, named: Guess, place: str) -> Guess:
    """What the name says, the symbol from the file's own column where it has one."""
    if "symbol" not in table.columns:
        return named
    symbols = table["symbol"].astype(str).unique()
    if len(symbols) > 1:
        raise DataError(f"{place}: {len(symbols)} symbols ({', '.join(symbols[:5])}) where a candle file has one")
    return named._replace(symbol=symbol_of(symbols[0]))


def _interval(given: str | None, named: str | None, ts: Int64s, place: str) -> tuple[str, str]:
    """The interval and whether the flag, the name or the spacing told it."""
    told = given or named
    if told:
        if told not in INTERVAL_MS:
            raise DataError(f"{place}: unknown interval {told!r}, known are {', '.join(INTERVAL_MS)}")
        return told, "flag" if given else "name"
    spacing = spacing_ms(ts)
    if spacing is None:
        raise DataError(f"{place}: the interval cannot be told from a single time, pass --interval")
    if span(spacing) not in INTERVAL_MS:
        raise DataError(f"{place}: bars are {span(spacing)} apart, which is none of {', '.join(INTERVAL_MS)}")
    return span(spacing), "spacing"


def _one_venue(table: pd.DataFrame, venue: str | None, place: str) -> tuple[pd.DataFrame, str]:
    venues = [str(one) for one in table["venue"].unique()]
    wanted = venue or (venues[0] if len(venues) == 1 else None)
    if wanted is None:
        raise DataError(f"{place}: {len(venues)} venues in one file ({', '.join(venues)}), pass --venue")
    if wanted not in venues:
        raise DataError(f"{place}: no venue {wanted!r}, it holds {', '.join(venues)}")
    return table[table["venue"] == wanted].reset_index(drop=True), wanted


def _funding_venue(path: Path) -> str | None:
    """The venue in a name such as binance_um_funding_8h_2025.parquet."""
    before, found, _ = stem(path).partition("_funding")
    return before if found and before and "-" not in before else venue_of_folders(path)
