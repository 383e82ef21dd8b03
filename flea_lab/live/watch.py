"""What a session has done, for whoever looks again and again: of the journal only what is new is read, and never more
than a page can show."""

import sqlite3
import zlib
from collections import deque
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from flea_lab.errors import WorkspaceError
from flea_lab.journal import EVENT, Entry
from flea_lab.live.account import JOURNAL, LOG
from flea_lab.live.control_client import Declined, NoRunner, Unanswered
from flea_lab.live.launcher import Session
from flea_lab.live.process import last_line
from flea_lab.live.store import open_read_only
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, Candle
from flea_lab.money import USD
from flea_lab.settings import load_settings

BARS = 2_000
"""Bars that are kept, of the account and of each symbol."""
FILLS = 500
BACK = 20_000
"""Rows of the journal that a first look goes back."""

Floats = npt.NDArray[np.float64]


class Filled(NamedTuple):
    """One execution: `ts` ms UTC, quantity in base units, fee in USD."""

    ts: float
    symbol: str
    side: str
    qty: float
    price: float
    fee_usd: float


class Seen(NamedTuple):
    """A session as it was seen.

    `status` is what its runner said, {} where there is none or it is silent; `note` says then what is known instead.
    `equity` and every price are pairs of arrays: ts in ms UTC, and USD. `fills` are the last ones, oldest first,
    `filled` is how many there are.
    """

    alive: bool
    status: dict[str, Any]
    note: str
    equity: tuple[Floats, Floats]
    prices: dict[str, tuple[Floats, Floats]]
    fills: tuple[Filled, ...]
    filled: int


class Watch:
    """Looks at the session of one account. `look` may be called from any thread, by one at a time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._decode = msgspec.msgpack.Decoder(Entry).decode
        self._journal: tuple[int, int] | None = None
        self._forget()

    def look(self) -> Seen:
        """The session now. What cannot be read at the moment is left as it was, and `note` says so."""
        alive, status, note = self._status()
        try:
            self._read()
        except (sqlite3.Error, WorkspaceError) as error:  # one that is being made has no tables yet
            note = note or ("" if self._journal is None else f"the journal cannot be read: {error}")
        return Seen(
            alive,
            status,
            note,
            _arrays(self._equity),
            {symbol: _arrays(line) for symbol, line in self._prices.items()},
            tuple(self._fills),
            self._filled,
        )

    def _status(self) -> tuple[bool, dict[str, Any], str]:
        try:
            return True, self.session.status(), ""
        except NoRunner:
            log = self.session.folder / LOG
            return False, {}, last_line(log).removeprefix("stopped  ") if log.is_file() else "nothing has run on it"
        except (Unanswered, Declined) as error:
            return True, {}, str(error)

    def _forget(self) -> None:
        self._seq = self._fill_seq = -1
        self._ts = self._filled = 0
        self._equity: deque[tuple[float, float]] = deque(maxlen=BARS)
        self._prices: dict[str, deque[tuple[float, float]]] = {}
        self._fills: deque[Filled] = deque(maxlen=FILLS)
        self._grids: dict[str, Instrument] = {}

    def _read(self) -> None:
        file = self.session.folder / JOURNAL
        if not file.is_file():
            return
        found = file.stat()
        if self._journal != (found.st_dev, found.st_ino):  # put aside since, for a new one
            self._forget()
            self._journal = (found.st_dev, found.st_ino)
        db = open_read_only(file)
        try:
            self._read_curve(db)
            self._read_prices(db)
            self._read_fills(db, str(file))
        finally:
            db.close()

    def _read_curve(self, db: sqlite3.Connection) -> None:
        query = "SELECT ts, equity FROM curve WHERE ts > ? ORDER BY ts DESC LIMIT ?"
        for ts, equity in reversed(db.execute(query, (self._ts, BARS)).fetchall()):
            self._equity.append((ts / MS_NS, equity / USD))
            self._ts = ts

    def _read_prices(self, db: sqlite3.Connection) -> None:
        last = db.execute("SELECT coalesce(max(seq), -1) FROM entries").fetchone()[0]
        query = "SELECT seq, body, crc FROM entries WHERE seq > ? AND seq <= ? AND kind = ? ORDER BY seq"
        for seq, body, crc in db.execute(query, (max(self._seq, last - BACK), last, EVENT)):
            if zlib.crc32(body) != crc:
                raise WorkspaceError(f"row {seq} is damaged")
            entry = self._decode(body)
            if isinstance(entry, Candle) and entry.complete:
                line = self._prices.setdefault(entry.symbol, deque(maxlen=BARS))
                line.append((entry.ts_event / MS_NS, entry.close))
        self._seq = last

    def _read_fills(self, db: sqlite3.Connection, place: str) -> None:
        query = (
            "SELECT seq, ts, symbol, side, lots, price_ticks, fee_uusd FROM fills WHERE seq > ? "
            "ORDER BY seq DESC LIMIT ?"
        )
        rows = db.execute(query, (self._fill_seq, FILLS)).fetchall()
        if not rows:
            return
        if not self._grids:
            config = msgspec.json.decode(db.execute("SELECT value FROM meta WHERE key = 'config'").fetchone()[0])
            self._grids = {name: load_settings(grid, Instrument, place) for name, grid in config["instruments"].items()}
        for seq, ts, symbol, side, lots, ticks, fee in reversed(rows):
            grid = self._grids[symbol]
            self._fills.append(Filled(ts / MS_NS, symbol, side, grid.qty(lots), grid.price(ticks), fee / USD))
            self._fill_seq = seq
        self._filled = db.execute("SELECT count(*) FROM fills").fetchone()[0]


def _arrays(points: "deque[tuple[float, float]]") -> tuple[Floats, Floats]:
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
