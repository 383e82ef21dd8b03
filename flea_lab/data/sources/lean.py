"""LEAN's bar zips: one csv without a header, whose name and time column only mean something together.

Minutes and seconds are ms since the midnight of the date in the member's name; hours and days are written out. Prices
of crypto are plain, those of equities are ten-thousandths of a dollar in New York's time. Quote bars hold no trades.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from flea_lab.data.sources.dump import Dump
from flea_lab.data.sources.recognise import Guess
from flea_lab.errors import DataError

COLUMNS = ("time", "open", "high", "low", "close", "volume")
QUOTE_COLUMNS = 11
EQUITY_SCALE = 10_000.0
EQUITY_ZONE = "America/New_York"
LENGTHS = {"second": "1m", "minute": "1m", "hour": "1h", "daily": "1d"}
"""The interval that each of LEAN's resolutions is stored as."""

CLASSES = ("crypto", "cryptofuture", "equity")
FLAT = re.compile(
    rf"(?P<kind>{'|'.join(CLASSES)})_(?P<market>[a-z0-9]+)_(?P<length>{'|'.join(LENGTHS)})_(?P<symbol>[a-z0-9]+)"
    r"(?:_(?P<date>\d{8}))?_(?P<what>trade|quote)"
)
MEMBER = re.compile(
    r"(?:(?P<date>\d{8})_(?P<symbol>[a-z0-9]+)_(?P<length>second|minute)_(?P<what>trade|quote)(?:_perp)?"
    r"|(?P<long>[a-z0-9]+)(?:_(?P<of>trade|quote))?(?:_perp)?)\.csv"
)
LONG_TIME = re.compile(rb"\d{8} \d\d:\d\d,")


def read_lean(path: Path, content: bytes) -> Dump | None:
    """The bars in a zip of LEAN's; None where it is none of them."""
    member, text = _member(content)
    match = MEMBER.fullmatch(member)
    if match is None or not text or (match["date"] is None and not LONG_TIME.match(text)):
        return None
    kind, market, length = _place(path)
    columns = text.partition(b"\n")[0].count(b",") + 1
    if columns == QUOTE_COLUMNS:
        raise DataError(f"{path.name}: bars of bid and ask, not of trades: import LEAN's ..._trade.zip beside it")
    if columns != len(COLUMNS):
        raise DataError(f"{path.name}: {columns} columns, LEAN's bars of trades have {len(COLUMNS)}")
    frame = pa.csv.read_csv(io.BytesIO(text), read_options=pa.csv.ReadOptions(column_names=COLUMNS)).to_pandas()
    length = match["length"] or length or ("hour" if _hourly(frame) else "daily")
    ts = _times(frame["time"], match["date"], kind == "equity", path.name)
    table = frame.drop(columns="time").astype("float64")
    notes = [f"LEAN {kind or 'crypto'} {length} bars of trades"]
    if kind == "equity":
        table[["open", "high", "low", "close"]] /= EQUITY_SCALE
        notes.append("prices were ten-thousandths of a dollar, times New York's")
    table.insert(0, "ts", ts)
    if length == "second":
        notes.append(f"1m bars made of {len(table)} bars of a second")
        table = minutes_of(table)
    symbol = (match["symbol"] or match["long"]).upper()
    return Dump(table, tuple(notes), Guess(_venue(kind, market), symbol, LENGTHS[length]))


def minutes_of(table: pd.DataFrame) -> pd.DataFrame:
    """Bars of a minute out of shorter ones in order; a minute without any is a hole."""
    minute, first = np.unique(table["ts"].to_numpy() // 60_000 * 60_000, return_index=True)
    last = np.append(first[1:], len(table)) - 1
    values = {name: table[name].to_numpy() for name in COLUMNS[1:]}
    return pd.DataFrame(
        {
            "ts": minute,
            "open": values["open"][first],
            "high": np.maximum.reduceat(values["high"], first),
            "low": np.minimum.reduceat(values["low"], first),
            "close": values["close"][last],
            "volume": np.add.reduceat(values["volume"], first),
        }
    )


def _member(content: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        return ("", b"") if len(names) != 1 else (names[0], archive.read(names[0]))


def _place(path: Path) -> tuple[str, str, str]:
    """Asset class, market and resolution in the name, or in the folders of LEAN's own tree; "" where none says."""
    flat = FLAT.fullmatch(path.name.removesuffix(".zip"))
    if flat:
        return flat["kind"], flat["market"], flat["length"]
    parts = [part.lower() for part in path.absolute().parts]
    for at, part in enumerate(parts):
        if part in CLASSES and at + 2 < len(parts) and parts[at + 2] in LENGTHS:
            return part, parts[at + 1], parts[at + 2]
    return "", "", ""


def _venue(kind: str, market: str) -> str | None:
    """The venue as the store names it: a future of the same market is another one."""
    if not market:
        return None
    return {("cryptofuture", "binance"): "binance_um", ("crypto", "binance"): "binance_spot"}.get(
        (kind, market), f"{market}_perp" if kind == "cryptofuture" else market
    )


def _hourly(frame: pd.DataFrame) -> bool:
    return bool(frame["time"].astype(str).str.slice(9, 11).ne("00").any())


def _times(column: "pd.Series[int]", date: str | None, equity: bool, place: str) -> pd.Series:
    if date is None:
        moments = pd.to_datetime(column.astype(str), format="%Y%m%d %H:%M", errors="coerce")
    else:
        midnight = pd.to_datetime(date, format="%Y%m%d")
        moments = midnight + pd.to_timedelta(pd.to_numeric(column, errors="coerce"), unit="ms")
    bad = np.flatnonzero(moments.isna())
    if len(bad):
        raise DataError(f"{place}: row {bad[0]}: time {str(column.iloc[bad[0]])[:40]!r} is none of LEAN's")
    if equity:
        moments = moments.dt.tz_localize(EQUITY_ZONE).dt.tz_convert("UTC").dt.tz_localize(None)
    return moments.astype("datetime64[ms]").astype("int64")
