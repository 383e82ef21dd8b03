"""One small live session, rehearsed over real sockets, and journals changed on purpose."""

import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from flea_lab.config import RunConfig, from_dict
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.journal import COMMAND, Entry
from flea_lab.live.journal import entries
from flea_lab.live.rehearsal import Progress
from flea_lab.live.store import FILE
from flea_lab.wiring import market_from_frames, run_rehearsal

BARS, HISTORY = 420, 120


def small(**changes: object) -> RunConfig:
    """Two symbols whose daily loss limit trips, so that guards refuse and the gate halts."""
    signals = [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}]
    values = {"name": "small", "symbols": ["BTCUSDT", "ETHUSDT"], "interval": "1m", "signals": signals}
    return from_dict({**values, "risk": {"max_daily_loss": 0.002}, **changes})


def rehearsed(folder: Path, progress: Progress | None = None, bars: int = BARS) -> Path:
    """The journal, in `folder`, of `small` over the synthetic market."""
    config = small()
    made = {symbol: synthetic_market(symbol, n_bars=bars) for symbol in config.symbols}
    candles = {symbol: market[0] for symbol, market in made.items()}
    funding = {symbol: market[1] for symbol, market in made.items()}
    market = market_from_frames(config, candles, funding).market
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        return run_rehearsal(config, market, HISTORY, folder, console=nowhere, progress=progress)


def copied(journal: Path, folder: Path) -> Path:
    """The journal and its alerts, in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in journal.parent.iterdir():
        if file.is_file() and not file.name.endswith("tape"):
            shutil.copy(file, folder)
    return folder / FILE


def execute(journal: Path, statement: str, *values: Any) -> None:
    """Runs one statement on a journal, behind everybody's back."""
    db = sqlite3.connect(journal)
    try:
        db.execute(statement, values)
        db.commit()
    finally:
        db.close()


def doctor(journal: Path, seq: int, change: Callable[[Entry], Entry]) -> None:
    """Changes one row, its checksum with it."""
    before = next(entry for number, _, entry in entries(journal) if number == seq)
    body = msgspec.msgpack.encode(change(before))
    execute(journal, "UPDATE entries SET body=?, crc=? WHERE seq=?", body, zlib.crc32(body), seq)


def row_of(journal: Path, kind: type, n: int = 0, of: int = COMMAND) -> int:
    """Number of the `n`-th row that holds a `kind`."""
    found = [seq for seq, row, entry in entries(journal) if row == of and isinstance(entry, kind)]
    return found[n]
