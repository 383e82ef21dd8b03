"""What a monitor shows of an account: its runner's status by the control socket, else its journal; orders and alerts.

The journal is opened read-only for an instant each time: it is never locked, and the runner never waits.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from flea_lab.errors import WorkspaceError
from flea_lab.execution.order import Order
from flea_lab.live.account import ALERTS, account_folder
from flea_lab.live.alerts import Notice
from flea_lab.live.control_client import ControlClient, Declined, NoRunner, Unanswered
from flea_lab.live.store import FILE, open_read_only
from flea_lab.money import USD

ASK_S = 2.0
TAIL = 64 * 1024
OPEN = ("pending", "unknown", "working", "cancelling")


def state_of(account: str, last: int = 15) -> dict[str, Any]:
    """Plain values: `status` (None where no runner answers, `why` says it), `equity_usd`, `drawdown`, `orders` that may
    be open, the `last` alerts, newest first."""
    folder = account_folder(account)
    status, why = None, ""
    try:
        status = ControlClient(folder, timeout_s=ASK_S).status()
    except NoRunner:
        why = "not running"
    except (Unanswered, Declined) as error:
        why = f"silent: {error}"
    found: dict[str, Any] = {"account": account, "status": status, "why": why, "equity_usd": None, "drawdown": None}
    found["orders"] = []
    try:
        with closing(open_read_only(folder / FILE)) as db:
            found |= _journal(db)
    except (sqlite3.Error, WorkspaceError, msgspec.MsgspecError) as error:
        found["journal"] = str(error)
    found["alerts"] = [
        {"ts_ms": one.ts // 1_000_000, "severity": one.severity, "kind": one.kind, "text": one.text, "held": one.held}
        for one in last_alerts(folder, last)
    ]
    return found


def last_alerts(folder: Path, last: int) -> list[Notice]:
    """The `last` alerts of the account in `folder`, newest first; a line that is torn is left out."""
    try:
        with (folder / ALERTS).open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - TAIL))
            lines = opened.read().splitlines()
    except OSError:
        return []
    found = []
    for line in reversed(lines):
        try:
            found.append(msgspec.json.decode(line, type=Notice))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if len(found) == last:
            break
    return sorted(found, key=lambda one: one.ts, reverse=True)  # a critical one is written ahead of those in line


def _journal(db: sqlite3.Connection) -> dict[str, Any]:
    row = db.execute("SELECT equity, (SELECT max(equity) FROM curve) FROM curve ORDER BY ts DESC LIMIT 1").fetchone()
    found: dict[str, Any] = {}
    if row is not None:
        found = {"equity_usd": row[0] / USD, "drawdown": row[0] / row[1] - 1.0 if row[1] > 0 else None}
    decoder, orders = msgspec.msgpack.Decoder(Order), []
    marks, lots = ",".join("?" * len(OPEN)), _lot_sizes(db)
    for (body,) in db.execute(f"SELECT body FROM orders WHERE status IN ({marks}) LIMIT 200", OPEN):
        order = decoder.decode(body)
        asked = order.command
        lot = lots.get(asked.symbol, 1.0)
        orders.append(
            {
                "id": asked.client_order_id,
                "symbol": asked.symbol,
                "side": asked.side,
                "qty": asked.lots * lot,
                "filled": order.filled_lots * lot,
                "status": order.status.value,
            }
        )
    return {**found, "orders": orders}


def _lot_sizes(db: sqlite3.Connection) -> dict[str, float]:
    """By symbol, from the config that the journal names."""
    row = db.execute("SELECT value FROM meta WHERE key='config'").fetchone()
    if row is None:
        return {}
    grids = msgspec.json.decode(row[0], type=dict[str, Any]).get("instruments", {})
    return {symbol: float(grid["lot_size"]) for symbol, grid in grids.items()}
