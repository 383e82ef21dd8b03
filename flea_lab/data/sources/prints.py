"""Binance's dumps of trades and aggregated trades as bars of a minute, read in blocks: they may be larger than memory.

Volumes are summed in hundred-millionths of a coin, as whole numbers, so that they are the venue's own to the last
digit. A minute without prints is a hole.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from flea_lab.data.sources.dump import Dump
from flea_lab.data.sources.recognise import UNITS, Guess, symbol_of
from flea_lab.errors import DataError

NAMED = re.compile(r"(?P<symbol>[A-Za-z0-9_]+)-(?P<what>trades|aggTrades)(?:-.*)?\.(?:zip|csv)")
TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match")
AGG_TRADES = ("id", "price", "qty", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match")
RENAMED = {
    "agg_trade_id": "id",
    "quantity": "qty",
    "first_trade_id": "first_id",
    "last_trade_id": "last_id",
    "transact_time": "time",
    "quoteqty": "quote_qty",
    "isbuyermaker": "is_buyer_maker",
}
KEPT = ("id", "price", "qty", "time", "is_buyer_maker")
COIN = 10**8
BLOCK = 1 << 24
MINUTE_MS = 60_000

Ints = npt.NDArray[np.int64]


def is_prints(path: Path) -> bool:
    """Whether the name is that of a dump of trades."""
    return NAMED.fullmatch(path.name) is not None


def read_prints(path: Path) -> tuple[Dump, str]:
    """The 1m bars of a dump of trades, and the SHA-256 of the file. `DataError` names the row that cannot be."""
    match = NAMED.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path.name}: not named as a dump of trades (SYMBOL-trades-DATE.zip, SYMBOL-aggTrades-DATE.zip)"
        )
    bars = _Bars(path.name)
    try:
        with _opened(path) as file:
            for block in _blocks(file, match["what"] == "aggTrades"):
                bars.add(block)
        digest = _digest(path)
    except (pa.ArrowException, OSError, zipfile.BadZipFile, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path.name}: not a readable dump of trades ({reason[:200]})") from None
    return Dump(bars.table(), bars.notes(match["what"]), Guess(None, symbol_of(match["symbol"]), "1m")), digest


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix == ".csv":
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise ValueError(f"it must hold one csv file, it holds {len(names)}")
        with archive.open(names[0]) as member:
            yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]


def _blocks(file: BinaryIO, aggregated: bool) -> Iterator[pd.DataFrame]:
    """The rows block by block; a first line of words is the header, without one the columns are Binance's own."""
    first = file.readline()
    cells = [cell.strip().lower() for cell in first.decode("utf-8-sig").strip().split(",")]
    head = io.BytesIO()
    if cells[0][:1].isdigit():
        names = list((AGG_TRADES if aggregated else TRADES)[: len(cells)])
        if len(cells) not in (len(names), len(names) - 1) or len(cells) < len(TRADES) - 1:
            raise ValueError(f"no header, and {len(cells)} columns are not Binance's")
        head = io.BytesIO(first)
    else:
        names = [RENAMED.get(cell, cell) for cell in cells]
    missing = [name for name in KEPT if name not in names]
    if missing:
        raise ValueError(f"no column {missing[0]}, found {', '.join(names)}")
    reader = pa.csv.open_csv(
        pa.PythonFile(_Joined(head, file), mode="r"),
        read_options=pa.csv.ReadOptions(column_names=names, block_size=BLOCK),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(KEPT),
            column_types={"id": pa.int64(), "price": pa.float64(), "qty": pa.float64(), "time": pa.int64(),
                          "is_buyer_maker": pa.bool_()},
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
        ),
    )  # fmt: skip
    for batch in reader:
        if batch.num_rows:
            yield batch.to_pandas()


class _Joined(io.RawIOBase):
    """One stream after the other."""

    def __init__(self, *files: BinaryIO) -> None:
        self._files = list(files)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while self._files:
            block = self._files[0].read(size)
            if block:
                return block
            self._files.pop(0)
        return b""


class _Bars:
    """The bars so far; the last of a block goes on in the next."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._parts: list[dict[str, npt.NDArray[np.float64 | np.int64]]] = []
        self._unit: tuple[str, float, float, int, int] | None = None
        self._last_id: int | None = None
        self._last_ms = 0
        self.rows = self.missing = 0

    def add(self, block: pd.DataFrame) -> None:
        price, qty = block["price"].to_numpy(np.float64), block["qty"].to_numpy(np.float64)
        self._check(price, "price")
        self._check(qty, "qty")
        ms = self._times(block["time"].to_numpy(np.int64))
        self._number(block["id"].to_numpy(np.int64))
        lots = np.rint(qty * COIN).astype(np.int64)
        minute, first = np.unique(ms // MINUTE_MS, return_index=True)
        self._parts.append(
            {
                "ts": minute * MINUTE_MS,
                "open": price[first],
                "high": np.maximum.reduceat(price, first),
                "low": np.minimum.reduceat(price, first),
                "close": price[np.append(first[1:], len(price)) - 1],
                "volume": np.add.reduceat(lots, first),
                "buy_volume": np.add.reduceat(np.where(block["is_buyer_maker"].to_numpy(), 0, lots), first),
            }
        )
        self.rows += len(block)

    def table(self) -> pd.DataFrame:
        """All bars; those of a minute that two blocks share are joined."""
        if not self._parts:
            raise DataError(f"{self._place}: no trades")
        columns = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        minute, first = np.unique(columns["ts"], return_index=True)
        return pd.DataFrame(
            {
                "ts": minute,
                "open": columns["open"][first],
                "high": np.maximum.reduceat(columns["high"], first),
                "low": np.minimum.reduceat(columns["low"], first),
                "close": columns["close"][np.append(first[1:], len(columns["ts"])) - 1],
                "volume": np.add.reduceat(columns["volume"], first) / COIN,
                "buy_volume": np.add.reduceat(columns["buy_volume"], first) / COIN,
            }
        )

    def notes(self, what: str) -> tuple[str, ...]:
        unit = self._unit[0] if self._unit else "ms"
        told = [f"1m bars made of {self.rows} {what}, times in {unit}"]
        return (*told, f"{self.missing} {what} are missing by their numbers") if self.missing else tuple(told)

    def _check(self, values: npt.NDArray[np.float64], name: str) -> None:
        bad = np.flatnonzero(~((values > 0) & (values < np.inf)))
        if len(bad):
            raise DataError(f"{self._place}: row {self.rows + bad[0]}: {name} {values[bad[0]]} must be above 0")

    def _number(self, ids: Ints) -> None:
        steps = np.diff(ids) if self._last_id is None else np.diff(ids, prepend=self._last_id)
        bad = np.flatnonzero(steps <= 0)
        if len(bad):
            row = self.rows + int(bad[0]) + (self._last_id is None)
            raise DataError(f"{self._place}: row {row}: its number is not above that of the row before")
        self.missing += int((steps - 1).sum())
        self._last_id = int(ids[-1])

    def _times(self, values: Ints) -> Ints:
        if self._unit is None:
            self._unit = next((unit for unit in UNITS if unit[1] <= values[0] < unit[2]), None)
            if self._unit is None:
                raise DataError(f"{self._place}: row 0: time {values[0]} is no epoch in s, ms, us or ns after 1973")
        unit, low, high, factor, divisor = self._unit
        ms = values * factor // divisor
        bad = np.flatnonzero(~((values >= low) & (values < high)))
        if len(bad):
            raise DataError(
                f"{self._place}: row {self.rows + bad[0]}: time {values[bad[0]]} is not in {unit} as row 0 is"
            )
        back = np.flatnonzero(np.diff(ms, prepend=self._last_ms) < 0)
        if len(back):
            raise DataError(
                f"{self._place}: row {self.rows + back[0]}: time {values[back[0]]} is before the row before"
            )
        self._last_ms = int(ms[-1])
        return ms


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
