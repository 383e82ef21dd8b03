"""A file's bytes as a table: parquet, feather, csv, csv.gz, and a zip that holds one csv."""

import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from flea_lab.errors import DataError

SUFFIXES = (".parquet", ".feather", ".csv", ".csv.gz", ".csv.zip", ".zip")

KLINE = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
    "ignore",
)
"""The twelve columns of Binance's kline dumps, which carry no header before 2025."""

LEAN_MOMENT = re.compile(r"\d{8} \d\d:\d\d:\d\d")


def stem(path: Path) -> str:
    """The name of `path` without its known suffix.

    >>> stem(Path("BTCUSDT-1m-2024-01.csv.gz"))
    'BTCUSDT-1m-2024-01'
    """
    return path.name[: -len(_suffix(path))]


def _suffix(path: Path) -> str:
    found = [suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    if not found:
        raise DataError(f"{path.name}: unknown kind of file, known are {', '.join(SUFFIXES)}")
    return max(found, key=len)


def read_table(path: Path) -> tuple[pd.DataFrame, bytes, tuple[str, ...]]:
    """The table in `path` as it is written there, the file's bytes, and notes on what had to be assumed.

    Column names are lower case with _ for spaces and dashes; csv numbers are parsed exactly, a csv column
    with a cell that is not a number stays text. A csv without a header must have the 12 columns of Binance's klines or
    the first 6.
    """
    suffix = _suffix(path)
    content = read_bytes(path)
    try:
        frame, notes = _parse(content, suffix)
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index(names=frame.index.name or "index")
    except (pa.ArrowException, OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path.name}: not a readable {suffix} file ({reason[:200]})") from None
    names = [str(name).strip().lower().replace(" ", "_").replace("-", "_") for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path.name}: column {twice[0]!r} occurs {names.count(twice[0])} times")
    return frame.set_axis(names, axis=1), content, notes


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; `DataError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _parse(content: bytes, suffix: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if suffix == ".parquet":
        return pa.parquet.read_table(io.BytesIO(content)).to_pandas(), ()
    if suffix == ".feather":
        return pa.feather.read_table(io.BytesIO(content)).to_pandas(), ()
    if suffix == ".csv.gz":
        content = gzip.decompress(content)
    elif suffix.endswith(".zip"):
        content = _only_member(content)
    return _parse_csv(content.decode("utf-8-sig"))


def _only_member(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1 or not names[0].lower().endswith(".csv"):
            raise ValueError(f"it must hold one csv file, it holds {len(names)}: {', '.join(names)[:120]}")
        return archive.read(names[0])


def _parse_csv(text: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    first = text.lstrip().partition("\n")[0].strip()
    cells = [cell.strip().strip('"') for cell in first.split(",")]
    if first and all(_is_number(cell) for cell in cells):
        if len(cells) not in (6, len(KLINE)):
            raise ValueError(f"no header, and {len(cells)} columns are neither 6 (candles) nor {len(KLINE)} (klines)")
        names = list(KLINE[: len(cells)])
        shown = ", ".join(names[:6]) + (" ..." if len(cells) > 6 else "")
        note = f"no header: the {len(cells)} columns are taken as {shown}"
        return _csv_frame(text, names), (note,)
    if len(cells) == 2 and LEAN_MOMENT.fullmatch(cells[0]) and _is_number(cells[1]):
        return _csv_frame(text, ["time", "funding_rate"]), ("no header: taken as LEAN's margin interest",)
    return _csv_frame(text, None), ()


def _csv_frame(text: str, names: list[str] | None) -> pd.DataFrame:
    # Arrow's reader: every float is the nearest one in any version of pandas, and a ragged row is an error.
    options = pa.csv.ReadOptions(column_names=names)
    return pa.csv.read_csv(io.BytesIO(text.encode()), read_options=options).to_pandas(date_as_object=False)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
