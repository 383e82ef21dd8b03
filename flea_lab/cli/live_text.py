"""A runner's status, for a person."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def running_line(status: Mapping[str, Any]) -> str:
    """One line of a runner: account, state, what it trades, and what keeps it from trading."""
    if "pid" not in status:
        return f"{status.get('account', '?')}: {status.get('error') or status.get('state', '?')}"
    latches = [str(latch) for latch in status.get("latches", ())]
    held = f", latched: {', '.join(latches)}" if latches else ""
    return (
        f"{status.get('account', '?')}: {status.get('state', '?')} {status.get('config', '?')} "
        f"on {status.get('venue', '?')} (pid {status.get('pid', '?')}){held}"
    )


def status_text(status: Mapping[str, Any]) -> str:
    """The table of one runner. What the runner did not say is left out or a dash."""
    said = status.get
    promoted = "promoted" if said("promoted") else "not promoted"
    halted = "no open order at the exchange" if said("halt_verified") else "not verified"
    latches = ", ".join(str(latch) for latch in said("latches", ())) or "none"
    rows = [
        ("state", f"{said('state', '-')}{f' ({halted})' if said('state') == 'halted' else ''}"),
        ("account", f"{said('account', '-')} on {said('venue', '-')}, pid {said('pid', '-')}"),
        ("config", f"{said('config', '-')} ({str(said('config_id', ''))[:10]}, {promoted})"),
        ("since", moment(said("since_ns"))),
        ("venue time", f"{moment(said('venue_ns'))}, link {said('link', '-')}"),
        ("last bar", f"{moment(said('last_bar_ns'))}, {count(said('bars'))} bars"),
        ("equity", f"{usd(said('equity_usd'))}, cash {usd(said('cash_usd'))}"),
        ("positions", _positions(said("positions") or {})),
        ("orders", _orders(status)),
        ("latches", latches),
        ("reconciled", f"{'yes' if said('reconciled') else 'NO'}, {moment(said('last_reconcile_ns'))}"),
        ("alerts", count(said("alerts"))),
    ]
    if said("error"):
        rows.append(("error", str(said("error"))))
    return "\n".join(f"{name:<11}{value}" for name, value in rows)


def moment(ns: Any) -> str:
    """An instant in ns UTC, to the second; a dash where there is none yet.

    >>> moment(1_735_689_600_000_000_000)
    '2025-01-01 00:00:00 UTC'
    """
    if not isinstance(ns, int) or ns <= 0:
        return "-"
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def usd(value: Any) -> str:
    """An amount to the cent; a dash where there is none yet."""
    return f"{value:,.2f} USD" if isinstance(value, int | float) else "-"


def count(value: Any) -> str:
    """A number of things; a dash where there is none yet."""
    return f"{value:,}" if isinstance(value, int) else "-"


def _positions(positions: Mapping[str, Any]) -> str:
    held = [f"{symbol} {qty:+g}" for symbol, qty in positions.items() if qty]
    return ", ".join(held) or "flat"


def _orders(status: Mapping[str, Any]) -> str:
    names = (("orders", "sent"), ("fills", "fills"), ("refused", "refused"), ("open_orders", "open"))
    parts = [f"{count(status.get(key))} {word}" for key, word in names]
    unknown = status.get("unknown_orders")
    return ", ".join([*parts, f"{unknown} of UNKNOWN fate"] if unknown else parts)
