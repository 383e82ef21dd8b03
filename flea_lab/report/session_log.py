"""What went on around a session's trading, as pieces of its report: venue, data, alerts, orders, processes."""

import math

import pandas as pd
from IPython.display import HTML

from flea_lab.report import pieces, session_facts
from flea_lab.report.data_ledger import ledger
from flea_lab.report.pieces import length, note
from flea_lab.report.session_facts import Lived
from flea_lab.report.wording import UNDEFINED, minute, plural, table, tag, text

DAY_MS = 86_400_000
SHOWN = 40
"""Rows of a log that are shown, the last; frames beside the page hold all."""


def reconciles(lived: Lived) -> HTML:
    """How often the account was compared with the venue's, when last, and every difference."""
    found = lived.session.reconciles
    said = f"The account beside the venue's: {session_facts.reconciled_words(lived.session)}."
    if len(found):
        said += f" The last was at {minute(int(found['ts'].iloc[-1]))} of the venue's clock."
    unequal = found[~found["equal"].astype(bool)]
    rows = [(minute(int(row.at)), minute(int(row.ts)), text(row.difference)) for row in unequal.itertuples()]
    shown = table(("at", "venue's clock", "difference"), rows, left=3) if rows else ""
    exact = " Cash, fees and funding to the micro-dollar, positions to the lot." if not rows else ""
    return HTML(shown + note(said + exact))


def data(lived: Lived) -> HTML:
    """What was heard by symbol: history, live bars, late and repeated candles, holes; how often the link broke; and
    the ledger of everything that was found wrong with it."""
    head = ("symbol", "first close", "last close", "history", "live", "stale", "unused", "holes", "missing bars")
    rows, longest = [], []
    for row in lived.session.ledger.itertuples():
        ends = [UNDEFINED if ms is None or math.isnan(ms) else minute(int(ms)) for ms in (row.first_ms, row.last_ms)]
        counts = (row.history, row.live, row.stale, row.unused, row.holes, row.missing)
        rows.append((text(row.symbol), *ends, *(f"{count:,}" for count in counts)))
        longest += [f"{text(row.symbol)} {plural(bars, 'bar')} after {minute(ms)}" for ms, bars in row.longest[:3]]
    words = (
        "History only warms up. Stale: came too late to be decided on. Unused: came late or twice. "
        f"Holes: between live candles. The connection was lost {plural(lived.session.link_downs, 'time')}."
    )
    shown = table(head, rows, left=3) + note(words + (f" Longest: {'; '.join(longest)}." if longest else ""))
    return HTML(shown + ledger(lived.session.findings))


def alerts(lived: Lived) -> HTML:
    """What a person was told, and the events that the core refused."""
    found, faults = lived.session.alerts, lived.session.faults
    counts = found["severity"].value_counts() if len(found) else pd.Series(dtype=int)
    said = ", ".join(f"{counts.get(name, 0):,} {name}" for name in ("critical", "warning", "info"))
    rows = [
        (_second(int(row.ts)), text(row.severity), text(row.text) + _more(row.text, row.held))
        for row in found.tail(SHOWN).itertuples()
    ]
    shown = table(("at (UTC)", "", "alert"), rows, left=3, css="flea-log") if rows else ""
    cut = f" Shown are the last {SHOWN}." if len(found) > SHOWN else ""
    shown += note(f"{plural(len(found), 'line')}: {said}.{cut} One kind of alert is said once a minute.")
    if len(faults):
        refused = [
            (f"{row.seq:,}", _second(int(row.at)), text(row.kind), text(row.what)) for row in faults.itertuples()
        ]
        shown += tag("h3", "Events that the core refused") + table(("row", "at (UTC)", "event", ""), refused, left=4)
    return HTML(shown)


def orders(lived: Lived) -> HTML:
    """How many orders of every symbol stand in which state."""
    found = lived.session.orders
    states = list(dict.fromkeys(found["status"]))
    rows = []
    for symbol in lived.session.config.symbols:
        mine = found[found["symbol"] == symbol]
        partly = int(((mine["filled"] > 0) & (mine["filled"] < mine["qty"])).sum())
        counts = [int((mine["status"] == state).sum()) for state in states]
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in mine["type"].value_counts(sort=False).items()) or UNDEFINED
        rows.append((text(symbol), kinds, *(f"{count:,}" for count in counts), f"{partly:,}"))
    return HTML(table(("symbol", "sent", *(text(state) for state in states), "partly filled"), rows, left=2))


def processes(lived: Lived) -> HTML:
    """Every process that ran it: when, how long, how it ended, on which code."""
    found, rows = lived.session.runs, []
    for row in found.itertuples():
        ended = not pd.isna(row.ended)
        last = row.n == found["n"].iloc[-1]
        how = row.how if ended else "still running" if last and lived.session.state == "running" else "died"
        took = length((row.ended - row.started) / DAY_MS) if ended else UNDEFINED
        until = _second(int(row.ended)) if ended else UNDEFINED
        rows.append((f"{row.n}", _second(int(row.started)), until, took, text(how), tag("code", text(row.code[:10]))))
    restarts = max(len(found) - 1, 0)
    said = "No restart." if not restarts else f"{plural(restarts, 'restart')}."
    return HTML(table(("run", "from (UTC)", "to", "", "how it ended", "code"), rows, left=6) + note(said))


def parameters(lived: Lived) -> HTML:
    """Every setting of the config, defaults written out, in groups."""
    return HTML(pieces.settings(lived.session.config))


def _second(ms: int) -> str:
    return f"{pd.Timestamp(ms, unit='ms'):%Y-%m-%d %H:%M:%S}"


def _more(said: str, held: int) -> str:
    """How many more there were of a kind, where the line does not say it itself."""
    return f" (and {held:,} more)" if held and "more, the last:" not in said else ""
