"""What a live session did, read from its journal: frames that a report shows. The journal is opened read-only.

Everything is as of one row, so that it may be read while the session runs. Times are ms UTC, money in USD, quantities
in base units; slippage is against the decision's price and positive where it was worse.

::

    runs        n, started, ended (NaN: not ended), how, pid, code
    equity      ts, equity_usd, cash_usd, gross_usd, drawdown, latches                  a row a bar, history included
    decisions   ts, symbol, side, size_usd, qty, price, conviction, code, check
    fills       ts, symbol, side, qty, price, decision_price, reference, slippage_usd, slippage_bps, fee_usd,
                client_order_id
    orders      client_order_id, ts, symbol, side, type, qty, filled, status
    latency     client_order_id, ts, decide_ms (bar received to decided), answer_ms (decided to answered), total_ms
    reconciles  at, ts, equal, difference
    alerts      ts, severity, text, held
    funding     ts, symbol, rate, paid_usd
    faults      seq, at, kind, what                                                events that the core refused
    ledger      see `live.heard.Heard.ledger`
    findings    see `data.findings.findings_frame`: all that was found wrong with the data, holes and late candles too
"""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from flea_lab.config import RunConfig, from_dict
from flea_lab.decision import Decisions, Recorder, digest
from flea_lab.errors import WorkspaceError
from flea_lab.journal import COMMAND, EVENT, FAULT
from flea_lab.live.account import ALERTS
from flea_lab.live.heard import Heard
from flea_lab.live.journal import entries
from flea_lab.live.lock import holder
from flea_lab.live.session_findings import session_findings
from flea_lab.live.session_frames import (
    read_alerts,
    read_decisions,
    read_equity,
    read_faults,
    read_fills,
    read_findings,
    read_funding,
    read_latency,
    read_orders,
    read_reconciles,
    read_runs,
)
from flea_lab.live.store import FILE, open_read_only

LINK_DOWN = "the connection is down"


@dataclass(frozen=True)
class LiveSession:
    """One journal up to row `rows`: who traded what, and the frames of the module docstring.

    `state` is running, ended or died (its last run ended without a word); `how` the words of its end. `prefix`,
    `cash_uusd` and `limit_ttl_ns` are what its core was built with; `digest` is over every row.
    """

    journal: Path
    config: RunConfig
    account: str
    name: str
    venue: str
    promoted: bool
    code: str
    prefix: str
    cash_uusd: int
    limit_ttl_ns: int | None
    rows: int
    digest: str
    state: str
    how: str
    heard: Heard
    stream: Decisions
    runs: pd.DataFrame
    equity: pd.DataFrame
    decisions: pd.DataFrame
    fills: pd.DataFrame
    orders: pd.DataFrame
    latency: pd.DataFrame
    reconciles: pd.DataFrame
    alerts: pd.DataFrame
    funding: pd.DataFrame
    faults: pd.DataFrame
    ledger: pd.DataFrame
    findings: pd.DataFrame

    @property
    def matching(self) -> str:
        """How its venue fills: only where orders rest do they expire."""
        return "next_open" if self.limit_ttl_ns is None else "book"

    @property
    def decisions_digest(self) -> str:
        """SHA-256 of its decision stream."""
        return digest(self.stream, self.config.symbols)

    @property
    def vetoes(self) -> dict[str, int]:
        """How many intents each check refused; only those that refused any."""
        refused = self.decisions.loc[self.decisions["code"] != 0, "check"]
        return {str(name): int(n) for name, n in refused.value_counts(sort=False).items()}

    @property
    def link_downs(self) -> int:
        """How often the connection was lost, as far as the alerts say."""
        return int((1 + self.alerts.loc[self.alerts["text"].str.contains(LINK_DOWN, regex=False), "held"]).sum())


def read_session(journal: Path) -> LiveSession:
    """The session in `journal` as it stands. `WorkspaceError` where there is none, or a row is damaged."""
    db = open_read_only(journal)
    try:
        db.execute("BEGIN")
        return _read(journal, db)
    except sqlite3.Error as error:
        raise WorkspaceError(f"journal {journal}: {error}") from None
    finally:
        db.close()


def _read(journal: Path, db: sqlite3.Connection) -> LiveSession:
    meta = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM meta")}
    if "config" not in meta:
        raise WorkspaceError(f"journal {journal}: no session has begun in it")
    config = from_dict(json.loads(meta["config"]), f"journal {journal}")
    last = db.execute("SELECT max(seq) FROM entries").fetchone()[0]
    rows = -1 if last is None else int(last)
    heard, recorder, faults = Heard(config.symbols, config.interval_ms), Recorder(config.symbols), []
    for seq, kind, entry in entries(journal, rows):
        if kind == EVENT:
            heard.on(entry)
        elif kind == COMMAND:
            recorder.on([entry])  # type: ignore[list-item]  # a row of this kind is a command
        elif kind == FAULT:
            faults.append((seq, type(entry).__name__, _short(entry)))
    stream, runs = recorder.decisions(), read_runs(db)
    state, how = _state(journal, runs)
    ttl_ns = int(meta.get("limit_ttl_ns", "0"))
    return LiveSession(
        journal=journal,
        config=config,
        account=meta["account"],
        name=meta["config_name"],
        venue=meta["venue"],
        promoted=meta["promoted"] == "true",
        code=meta["code"],
        prefix=meta["prefix"],
        cash_uusd=int(meta["cash_uusd"]),
        limit_ttl_ns=ttl_ns or None,
        rows=rows,
        digest=_digest(db),
        state=state,
        how=how,
        heard=heard,
        stream=stream,
        runs=runs,
        equity=read_equity(db),
        decisions=read_decisions(config, stream),
        fills=read_fills(db, config),
        orders=read_orders(db, config),
        latency=read_latency(db),
        reconciles=read_reconciles(db),
        alerts=read_alerts(journal.parent / ALERTS, runs, state),
        funding=read_funding(db),
        faults=read_faults(db, faults),
        ledger=heard.ledger(),
        findings=session_findings(read_findings(db, meta["venue"]), heard, meta["venue"]),
    )


def _state(journal: Path, runs: pd.DataFrame) -> tuple[str, str]:
    if journal.name == FILE and holder(journal.parent) is not None:
        return "running", "still running"
    last = runs.iloc[-1] if len(runs) else None
    if last is None or pd.isna(last["ended"]):
        return "died", "its process ended without a word"
    return "ended", str(last["how"])


def _digest(db: sqlite3.Connection) -> str:
    hasher = hashlib.sha256()
    for row in db.execute("SELECT seq, kind, crc FROM entries ORDER BY seq"):
        hasher.update(f"{row}\n".encode())
    return hasher.hexdigest()


def _short(entry: Any) -> str:
    what = getattr(entry, "client_order_id", "") or getattr(entry, "symbol", "") or getattr(entry, "reason", "")
    return f"{what} at {entry.ts_event}"
