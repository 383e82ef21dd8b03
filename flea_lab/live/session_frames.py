"""The frames of a session, each from one table of its journal: `live.session` draws them."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from flea_lab.config import RunConfig, from_dict
from flea_lab.decision import Decisions
from flea_lab.execution.order import Order
from flea_lab.journal import FAULT
from flea_lab.live.journal import read_meta
from flea_lab.live.reconcile import differences
from flea_lab.live.store import open_read_only
from flea_lab.model.finding import Finding
from flea_lab.model.market import MS_NS
from flea_lab.money import CENT, USD
from flea_lab.risk.checks import NAMES

AROUND_MS = 60_000
"""How long before its first run and after its last an alert still belongs to a session."""
_MORE = re.compile(r"(\d+) more, the last: ")


def _ms(column: pd.Series) -> pd.Series:
    return column // MS_NS


def curve_of(journal: Path) -> pd.DataFrame:
    """`read_equity` of the journal at a path; it never holds a runner up."""
    with closing(open_read_only(journal)) as db:
        return read_equity(db)


def fills_of(journal: Path) -> pd.DataFrame:
    """`read_fills` of the journal at a path; it never holds a runner up."""
    config = from_dict(json.loads(read_meta(journal)["config"]), f"journal {journal}")
    with closing(open_read_only(journal)) as db:
        return read_fills(db, config)


def read_runs(db: sqlite3.Connection) -> pd.DataFrame:
    """Every process that ran it."""
    frame = pd.read_sql_query("SELECT n, started, ended, how, pid, code FROM runs ORDER BY n", db)
    ended = pd.to_numeric(frame["ended"]).astype("float64")
    return frame.assign(started=_ms(frame["started"]), ended=ended / MS_NS, how=frame["how"].fillna(""))


def read_equity(db: sqlite3.Connection) -> pd.DataFrame:
    """The account at every decided bar."""
    frame = pd.read_sql_query("SELECT ts, equity, cash, gross, latches FROM curve ORDER BY ts", db)
    equity = frame["equity"] / USD
    return pd.DataFrame(
        {
            "ts": _ms(frame["ts"]),
            "equity_usd": equity,
            "cash_usd": frame["cash"] / USD,
            "gross_usd": frame["gross"] / USD,
            "drawdown": equity / equity.cummax() - 1.0,
            "latches": frame["latches"],
        }
    )


def read_decisions(config: RunConfig, stream: Decisions) -> pd.DataFrame:
    """A decision stream as a frame."""
    grids = [config.instruments[symbol] for symbol in config.symbols]
    rows = stream["symbol"].tolist()
    return pd.DataFrame(
        {
            "ts": stream["ts_ns"] // MS_NS,
            "symbol": [config.symbols[s] for s in rows],
            "side": ["buy" if side > 0 else "sell" for side in stream["side"].tolist()],
            "size_usd": stream["size_cents"] * CENT / USD,
            "qty": [grids[s].qty(n) for s, n in zip(rows, stream["lots"].tolist(), strict=True)],
            "price": [grids[s].price(t) for s, t in zip(rows, stream["price_ticks"].tolist(), strict=True)],
            "conviction": stream["conviction"],
            "code": stream["code"],
            "check": [NAMES[code] for code in stream["code"].tolist()],
        }
    )


def read_fills(db: sqlite3.Connection, config: RunConfig) -> pd.DataFrame:
    """The executions that counted."""
    frame = pd.read_sql_query("SELECT * FROM fills ORDER BY seq", db)
    rows = []
    for row in frame.itertuples():
        grid = config.instruments[row.symbol]
        moved = (row.price_ticks - row.decision_ticks) * (1 if row.side == "buy" else -1)
        rows.append(
            (
                row.ts // MS_NS,
                row.symbol,
                row.side,
                grid.qty(row.lots),
                *(grid.price(ticks) for ticks in (row.price_ticks, row.decision_ticks, row.reference_ticks)),
                row.lots * moved * grid.unit_num / grid.unit_den / USD,
                1e4 * moved / row.decision_ticks,
                row.fee_uusd / USD,
                row.client_order_id,
            )
        )
    names = ["ts", "symbol", "side", "qty", "price", "decision_price", "reference", "slippage_usd", "slippage_bps"]
    return pd.DataFrame(rows, columns=[*names, "fee_usd", "client_order_id"])


def read_orders(db: sqlite3.Connection, config: RunConfig) -> pd.DataFrame:
    """Every order as it stands."""
    decoder, rows = msgspec.msgpack.Decoder(Order), []
    for (body,) in db.execute("SELECT body FROM orders"):
        order = decoder.decode(body)
        asked, grid = order.command, config.instruments[order.command.symbol]
        rows.append(
            (
                asked.client_order_id,
                asked.ts_event // MS_NS,
                asked.symbol,
                asked.side,
                asked.order_type,
                grid.qty(asked.lots),
                grid.qty(order.filled_lots),
                order.status.value,
            )
        )
    names = ["client_order_id", "ts", "symbol", "side", "type", "qty", "filled", "status"]
    return pd.DataFrame(sorted(rows, key=lambda row: row[1]), columns=names)


def read_latency(db: sqlite3.Connection) -> pd.DataFrame:
    """How long every order's way out took."""
    frame = pd.read_sql_query(
        "SELECT client_order_id, received, decided, answered FROM timings ORDER BY received, rowid", db
    )
    return pd.DataFrame(
        {
            "client_order_id": frame["client_order_id"],
            "ts": _ms(frame["received"]),
            "decide_ms": (frame["decided"] - frame["received"]) / MS_NS,
            "answer_ms": (frame["answered"] - frame["decided"]) / MS_NS,
            "total_ms": (frame["answered"] - frame["received"]) / MS_NS,
        }
    )


def read_reconciles(db: sqlite3.Connection) -> pd.DataFrame:
    """Every comparison with the venue, what differed in words."""
    rows = [
        (at // MS_NS, ts // MS_NS, bool(equal), "; ".join(differences(json.loads(ours), json.loads(theirs))))
        for at, ts, equal, ours, theirs in db.execute("SELECT at, ts, equal, ours, theirs FROM reconciles ORDER BY at")
    ]
    return pd.DataFrame(rows, columns=["at", "ts", "equal", "difference"])


def read_funding(db: sqlite3.Connection) -> pd.DataFrame:
    """Settlements that the account felt."""
    frame = pd.read_sql_query("SELECT ts, symbol, rate, paid_uusd FROM funding ORDER BY seq", db)
    paid = frame.pop("paid_uusd") / USD
    return frame.assign(ts=_ms(frame["ts"]), paid_usd=paid)


def read_faults(db: sqlite3.Connection, faults: list[tuple[int, str, str]]) -> pd.DataFrame:
    """Events that the core refused: (seq, kind, what) with when they came."""
    at = dict(db.execute("SELECT seq, ts_recv FROM entries WHERE kind=?", (FAULT,)).fetchall())
    rows = [(seq, at[seq] // MS_NS, kind, what) for seq, kind, what in faults]
    return pd.DataFrame(rows, columns=["seq", "at", "kind", "what"])


def read_findings(db: sqlite3.Connection, venue: str) -> list[Finding]:
    """What was found wrong with the data, as it was told; none in a journal from before there were findings."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name='findings'").fetchone() is None:
        return []
    names = ("ts_from", "ts_to", "channel", "symbol", "kind", "detail", "resolved")
    rows = db.execute(f"SELECT {', '.join(names)} FROM findings ORDER BY rowid").fetchall()
    return [Finding(venue=venue, **dict(zip(names, row, strict=True))) for row in rows]


def read_alerts(file: Path, runs: pd.DataFrame, state: str) -> pd.DataFrame:
    """The lines of `file` that belong to the runs. A line that is torn is left out: it is being written."""
    begin = int(runs["started"].min()) - AROUND_MS if len(runs) else 0
    end = float(runs["ended"].max()) + AROUND_MS if state == "ended" else float("inf")
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if begin <= said["ts"] // MS_NS <= end:
            more = _MORE.match(said["text"])
            held = int(more.group(1)) - 1 if more else said.get("held", 0)
            rows.append((said["ts"] // MS_NS, said["severity"], said["text"], held))
    return pd.DataFrame(rows, columns=["ts", "severity", "text", "held"])
