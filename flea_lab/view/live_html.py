"""What the live console says in words: its status line, its table of fills, its marks. Plain HTML that takes the
page's own colours, light or dark; everything that comes from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from flea_lab.data.frames import iso
from flea_lab.live.watch import Filled, Seen
from flea_lab.view.theme import BLUE, GREEN, GREY, ORANGE, VERMILLION

SHOWN = 10
"""Fills in the table, the last ones."""

HALTED = "halted: no open order at the exchange"
UNPROMOTED = "UNPROMOTED"

_STATES = {"trading": GREEN, "halted": VERMILLION, "stopping": ORANGE, "starting": ORANGE, "warming": ORANGE}
_INK = "var(--jp-ui-font-color1, inherit)"
_DIM = "var(--jp-ui-font-color2, #7b818a)"
_RULE = "var(--jp-border-color2, rgba(128,134,144,0.35))"
_NUMBERS = "font-variant-numeric:tabular-nums"


def status_html(seen: Seen, account: str) -> str:
    """The status line: state, equity, positions, latches, whether reconciled, link; what is known where nobody runs."""
    said = seen.status
    if not said:
        word, color = ("SILENT", VERMILLION) if seen.alive else ("NO RUNNER", GREY)
        return _line([_pill(word, color), _tile("account", account), _tile("last said", seen.note), *_last(seen)])
    state = str(said.get("state", "?"))
    link, reconciled = said.get("link"), said.get("reconciled")
    latches = [str(name) for name in said.get("latches", ())]
    tiles = [
        _pill(state.upper(), _STATES.get(state, GREY)),
        _tile("equity", _usd(said.get("equity_usd"))),
        _tile("positions", _positions(said.get("positions") or {})),
        _tile("latches", ", ".join(latches) or "none", bool(latches)),
        _tile("reconciled", "-" if reconciled is None else "yes" if reconciled else "NO", reconciled is False),
        _tile("link", str(link or "-"), link == "down"),
        _tile("orders", _orders(said), bool(said.get("unknown_orders"))),
        _tile("venue time", _moment(said.get("venue_ns"))),
    ]
    if said.get("error"):
        tiles.append(_tile("error", str(said["error"]), True))
    return _line(tiles)


def fills_html(fills: Sequence[Filled], count: int) -> str:
    """The last fills, newest first, as a table."""
    if not fills:
        return f"<div class='flea-fills' style='color:{_DIM};padding:4px 0'>no fill yet</div>"
    left, right = "text-align:left", "text-align:right"
    heads = [
        ("time, UTC", left),
        ("symbol", left),
        ("side", left),
        ("qty", right),
        ("price", right),
        ("fee, USD", right),
    ]
    cell = f"padding:2px 14px 2px 0;border-bottom:1px solid {_RULE};white-space:nowrap"
    top = "".join(f"<th style='{align};{cell};font-weight:500;color:{_DIM}'>{name}</th>" for name, align in heads)
    decimals: dict[str, int] = {}
    for fill in fills:  # as many as the symbol's grid has, so that they stand under each other
        shown = len(f"{fill.price:.10g}".partition(".")[2])
        decimals[fill.symbol] = max(decimals.get(fill.symbol, 0), shown)
    rows = []
    for fill in list(fills)[: -SHOWN - 1 : -1]:
        color = BLUE if fill.side == "buy" else ORANGE
        side = f"<span style='color:{color}'>{'▲' if fill.side == 'buy' else '▼'}</span> {escape(fill.side)}"
        numbers = [f"{fill.qty:,.10g}", f"{fill.price:,.{decimals[fill.symbol]}f}", f"{fill.fee_usd:,.4f}"]
        cells = [(iso(int(fill.ts)), left), (escape(fill.symbol), left), (side, left), *((n, right) for n in numbers)]
        row = "".join(f"<td style='{align};{cell}'>{text}</td>" for text, align in cells)
        rows.append(f"<tr class='flea-fill'>{row}</tr>")
    title = f"last {SHOWN} of {count:,} fills" if count > SHOWN else "1 fill" if count == 1 else f"{count} fills"
    return (
        f"<div class='flea-fills' style='color:{_INK};line-height:1.4'><div style='color:{_DIM};padding:2px 0'>{title}"
        f"</div><table style='border-collapse:collapse;{_NUMBERS}'><tr>{top}</tr>{''.join(rows)}</table></div>"
    )


def mark_html(promoted: bool, what: str) -> str:
    """What trades, or would: loud where it is not promoted."""
    if promoted:
        return f"<span style='color:{_DIM}'>promoted {escape(what)}</span>"
    return (
        f"<div class='flea-unpromoted' style='background:{VERMILLION};color:#fff;padding:5px 10px;border-radius:3px;"
        f"line-height:1.4'><b>{UNPROMOTED}</b> {escape(what)}: no backtest, no data and no code stand behind it</div>"
    )


def message_html(text: str, kind: str = "") -> str:
    """One line about what was asked for: `kind` is "good", "bad", or neither."""
    if not text:
        return ""
    color = {"good": GREEN, "bad": VERMILLION}.get(kind, "transparent")
    return (
        f"<div class='flea-message' style='border-left:4px solid {color};padding:1px 8px;color:{_INK};line-height:1.5'>"
        f"{escape(text)}</div>"
    )


def note_html(text: str) -> str:
    """A line in the page's own dim colour."""
    return f"<span style='color:{_DIM}'>{escape(text)}</span>"


def _line(tiles: Sequence[str]) -> str:
    style = f"display:flex;flex-wrap:wrap;gap:4px 22px;align-items:center;line-height:1.35;color:{_INK}"
    return f"<div class='flea-status' style='{style}'>{''.join(tiles)}</div>"


def _pill(word: str, color: str) -> str:
    style = f"background:{color};color:#fff;border-radius:3px;padding:3px 10px;font-weight:600;letter-spacing:0.04em"
    return f"<span class='flea-state' style='{style}'>{escape(word)}</span>"


def _tile(label: str, value: str, bad: bool = False) -> str:
    color = VERMILLION if bad else _INK
    return (
        f"<span><span style='color:{_DIM};font-size:11px;display:block'>{label}</span>"
        f"<span style='color:{color};{_NUMBERS}'>{escape(value)}</span></span>"
    )


def _last(seen: Seen) -> list[str]:
    equity = seen.equity[1]
    return [_tile("last equity", _usd(float(equity[-1])))] if len(equity) else []


def _usd(value: Any) -> str:
    return f"{value:,.2f} USD" if isinstance(value, int | float) else "-"


def _positions(positions: Mapping[str, Any]) -> str:
    return ", ".join(f"{symbol} {qty:+.10g}" for symbol, qty in positions.items() if qty) or "flat"


def _orders(said: Mapping[str, Any]) -> str:
    unknown = said.get("unknown_orders")
    parts = [f"{said.get('orders', 0):,} sent", f"{said.get('open_orders', 0):,} open"]
    return ", ".join([*parts, f"{unknown} of UNKNOWN fate"] if unknown else parts)


def _moment(ns: Any) -> str:
    return iso(ns // 1_000_000) if isinstance(ns, int) and ns > 0 else "-"
