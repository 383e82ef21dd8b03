"""A live session as the pieces of its report: HTML and figures that a notebook shows one by one."""

import math
from typing import Any

import plotly.graph_objects as go
from IPython.display import HTML

from flea_lab import runs
from flea_lab.model.market import MS_NS
from flea_lab.report import pieces, session_facts
from flea_lab.report.data_ledger import counted
from flea_lab.report.look import section_css
from flea_lab.report.pieces import badge, code_badge, commit_of, digests, length, made, note, tile
from flea_lab.report.record import store
from flea_lab.report.session_facts import Lived
from flea_lab.report.wording import UNDEFINED, minute, number, percent, plural, table, tag, text, usd
from flea_lab.risk.gate import guards as all_guards
from flea_lab.view import figures
from flea_lab.view.live_figures import slippage_figure

DAY_MS = 86_400_000
SUMMARY = "summary.txt"
FRAMES = ("equity", "decisions", "fills", "orders", "latency", "reconciles", "alerts", "findings")


def verdict(lived: Lived) -> HTML:
    """What happened in plain sentences, over the badges that say how far it can be believed."""
    session, config = lived.session, lived.session.config
    line = f"{', '.join(config.symbols)} · {config.interval} bars · account {session.account} · {_span(lived)}"
    title = tag(
        "div", tag("span", text(session.name), "flea-name") + tag("span", text(line), "flea-span"), "flea-title"
    )
    said = tag("p", _headline(lived), "flea-verdict") + tag("p", " ".join(_sentences(lived)), "flea-more")
    return HTML(f"<style>{section_css()}</style>" + tag("section", title + said + _badges(lived), "flea-top"))


def headline(lived: Lived) -> HTML:
    """Six numbers: what it made, what it paid, how fast it was, whether the account is the venue's."""
    session, found = lived.session, session_facts.metrics(lived)
    paid = found["fees_usd"] + found["slippage_usd"] + found["funding_usd"]
    answer = session_facts.latencies(session).iloc[-1]
    unequal = int(found["reconciles_unequal"])
    end = float(lived.equity["equity_usd"].iloc[-1]) if len(lived.equity) else lived.cash_usd
    tiles = [
        tile("Return", percent(found["total_return"]), f"{usd(lived.cash_usd)} became {usd(end)}"),
        tile("Deepest drawdown", percent(found["max_drawdown"]), "below the highest close"),
        tile("Costs", usd(paid), f"{usd(found['fees_usd'])} fees, {usd(found['slippage_usd'])} slippage"),
        tile(
            "Fills", number(found["fills"], 0), f"{plural(found['orders'], 'order')}, {found['refused']:,.0f} refused"
        ),
        tile("Bar to answer, p95", _milliseconds(answer["p95"]), f"half within {_milliseconds(answer['p50'])}"),
        tile(
            "Reconciliations", number(found["reconciles"], 0), f"{unequal} different" if unequal else "none different"
        ),
    ]
    return HTML(tag("div", "".join(tiles), "flea-tiles"))


def equity(lived: Lived) -> go.Figure:
    """Equity live, beside that of the replay of the session's own market."""
    return figures.two_curves_figure(lived.equity, lived.replay, ("live", "replay of what it heard"))


def replays(lived: Lived) -> HTML:
    """What the two replays say: the journal's events through a fresh core, its market through the research replay."""
    played, replayed = lived.played, lived.replayed
    again = "replay: the market it heard through a backtest, fills at the next open"
    rows = [
        (
            "play-back: the journal's events through a fresh core",
            *(f"{count:,}" for count in played.commands),
            "commands",
            _equal(played.equal),
        ),
        (again, *(f"{count:,}" for count in replayed.decisions), "decisions", _equal(replayed.equal)),
    ]
    shown = table(("", "session", "again", "", ""), rows, css="flea-replays")
    for one, name in ((played, "play-back"), (replayed, "replay")):
        if not one.equal:
            shown += tag("pre", tag("code", text(f"{name}: {one.text()}")), "flea-command flea-said")
    if not lived.same_code:
        shown += note("The session ran on other code than this: what differs may be the code and not the session.")
    return HTML(shown)


def fills(lived: Lived, symbol: str) -> go.Figure | HTML:
    """What was bought and sold of `symbol`, on its price."""
    candles = lived.session.heard.candles()[symbol]
    begin = int(lived.equity["ts"].iloc[0]) if len(lived.equity) else 0
    shown = candles[candles["ts"] >= begin]
    if shown.empty:
        return HTML(note(f"No bar of {text(symbol)} to draw on."))
    return figures.trades_figure(shown, lived.session.fills, symbol)


def slippage(lived: Lived) -> go.Figure | HTML:
    """How much worse than the decision's price the fills were."""
    if lived.session.fills.empty:
        return HTML(note("Nothing was filled."))
    return slippage_figure(lived.session.fills)


def slippage_table(lived: Lived) -> HTML:
    """The same by symbol and side, with what it cost."""
    found = session_facts.slippage(lived.session)
    rows = [
        (
            text(row.of),
            f"{row.fills:,}",
            number(row.notional_usd, 0),
            number(row.mean_bps),
            number(row.median_bps),
            number(row.worst_bps),
            number(row.slippage_usd),
            number(row.fee_usd),
        )
        for row in found.itertuples()
    ]
    head = ("", "fills", "USD traded", "mean bp", "median bp", "worst bp", "slippage USD", "fees USD")
    assumed = number(lived.session.config.costs.slippage_bps, 1)
    said = note(f"Against the close that was decided on; positive is worse. The configuration assumes {assumed} bp.")
    return HTML((table(head, rows) if rows else "") + said)


def latency(lived: Lived) -> HTML:
    """How long an order's way out took, leg by leg."""
    found = session_facts.latencies(lived.session)
    rows = [
        (text(row.leg), *(number(ms, 3) for ms in (row.p50, row.p95, row.max)), f"{row.orders:,}")
        for row in found.itertuples()
    ]
    words = "Milliseconds by this machine's clock. The second leg includes making the order durable before it is sent."
    return HTML(table(("", "p50", "p95", "max", "orders"), rows) + note(words))


def vetoes(lived: Lived) -> go.Figure:
    """How many intents each check refused: the five guards always."""
    counts = lived.session.vetoes
    return figures.vetoes_figure({**{guard["guard"]: 0 for guard in _guards(lived)}, **counts})


def guards(lived: Lived) -> HTML:
    """Each guard: its limit, its input, whether it was applied, what it refused and when first."""
    decisions = lived.session.decisions
    refused = decisions[decisions["code"] != 0]
    first = {str(name): int(ts) for name, ts in refused.groupby("check")["ts"].min().items()}
    return HTML(pieces.guards(_guards(lived), lived.session.vetoes, first, len(decisions)))


def _guards(lived: Lived) -> list[dict[str, Any]]:
    config = lived.session.config
    return all_guards(config.risk, config.interval_ms * MS_NS)


def reproduce(lived: Lived) -> HTML:
    """The command that makes this report again, and every digest it depends on."""
    session, code = lived.session, lived.code
    rows = [
        ("configuration id", session.config.id),
        (f"journal, rows 0 to {session.rows:,}", session.digest),
        ("decisions", session.decisions_digest),
        ("commands", lived.played.digests[0]),
        ("code that traded last", session.code),
        ("code that reports", code.digest),
    ]
    rows += [("commit", commit_of(code))] if code.commit else []
    versions = ", ".join(f"{name} {version}" for name, version in runs.versions().items())
    command = tag("pre", tag("code", text(f"flea session {session.account}")), "flea-command")
    how = (
        "<p>With the same <code>FLEA_HOME</code>. A journal only grows: the rows that this page is made of stay as "
        "they are, and their digest says so.</p>"
    )
    return HTML(command + how + digests(rows) + note(f"Made with {text(versions)}."))


def keep(lived: Lived) -> HTML:
    """Stores the session's frames in the folder of the run that executes this notebook, if one does."""
    frames = {name: getattr(lived.session, name) for name in FRAMES}
    frames["replay"] = lived.replay
    summary = {SUMMARY: session_facts.summary(lived) + "\n"}
    return store(session_facts.record_of(lived), frames, "flea session ACCOUNT", summary)


def _headline(lived: Lived) -> str:
    session, found = lived.session, session_facts.metrics(lived)
    if not len(session.fills):
        done = "<strong>It never traded</strong>"
    else:
        done = f"<strong>{made(found['total_return']).capitalize()}</strong> in {plural(found['fills'], 'fill')}"
    state = "it is still running" if session.state == "running" else f"it {text(session.state)}: {text(session.how)}"
    return f"{done}; {state}."


def _sentences(lived: Lived) -> list[str]:
    session, found = lived.session, session_facts.metrics(lived)
    said = []
    if len(session.fills):
        said.append(
            f"Fees were {usd(found['fees_usd'])}, slippage against the decisions' prices {usd(found['slippage_usd'])}, "
            f"funding {usd(found['funding_usd'])}."
        )
    said.append(
        "Played back, the journal gives the same commands to the byte."
        if lived.played.equal
        else f"<strong>Played back, the journal parts from the core in row {lived.played.row}.</strong>"
    )
    if lived.replayed.equal:
        said.append("Replayed as a backtest, the market it heard gives the same decisions and the same equity.")
    elif lived.replayed.why:
        said.append(f"There is nothing to replay: {text(lived.replayed.why)}.")
    elif session.matching == "book":
        said.append("Replayed as a backtest it goes another way: the venue matched in its book, not at the next open.")
    elif lived.replayed.unfilled:
        left = plural(sum(lived.replayed.unfilled.values()), "order")
        said.append(
            f"Replayed as a backtest it goes another way: {left} of it did not fill whole, there each one does."
        )
    else:
        said.append("<strong>Replayed as a backtest, the market it heard gives something else.</strong>")
    if len(session.reconciles) and not session.reconciles["equal"].iloc[-1]:
        said.append("<strong>The account differs from the venue's.</strong>")
    if len(session.findings):
        said.append(f"Its data had {plural(len(session.findings), 'fault')}: {text(counted(session.findings))}.")
    if len(session.faults):
        said.append(f"{plural(len(session.faults), 'event')} could not be explained and halted it.")
    return said


def _badges(lived: Lived) -> str:
    session = lived.session
    badges = [
        badge("promoted", "good", "its backtest was promoted")
        if session.promoted
        else badge("UNPROMOTED", "warn", "nobody promoted this configuration"),
        badge(f"{session.venue}, fills {_matching(session.matching)}", "plain", "where the orders went: no real money"),
    ]
    if lived.synthetic:
        badges.append(badge("synthetic data", "warn", lived.source))
    if session.state != "ended":
        badges.append(badge(session.state, "plain" if session.state == "running" else "warn", session.how))
    for name, one in (("play-back", lived.played), ("replay", lived.replayed)):
        kind = "good" if one.equal else "plain" if _expected(lived, name) else "warn"
        badges.append(badge(f"{name} {'equal' if one.equal else 'differs'}", kind, one.text().split("\n")[0]))
    if len(session.reconciles):
        same = bool(session.reconciles["equal"].iloc[-1])
        words = "account equals the venue's" if same else "account differs from the venue's"
        badges.append(badge(words, "good" if same else "warn", session_facts.reconciled_words(session)))
    else:
        badges.append(badge("never reconciled", "warn", "the account was never compared with the venue's"))
    if len(session.findings):
        words = plural(len(session.findings), "data fault")
        badges.append(badge(words, "warn", f"see the data: {counted(session.findings)}"))
    other = ("ran on other code than this", "warn", session.code)
    badges.append(badge(*(code_badge(lived.code) if lived.same_code else other)))
    badges.append(badge(f"config {session.config.id[:10]}", "plain", session.config.id))
    return tag("div", "".join(badges), "flea-badges")


def _expected(lived: Lived, name: str) -> bool:
    """Whether a replay may differ: the venue matched in its book, orders were taken back, nothing was heard."""
    replayed = lived.replayed
    return name == "replay" and (replayed.matching == "book" or bool(replayed.why) or bool(replayed.unfilled))


def _matching(matching: str) -> str:
    return "at the next open" if matching == "next_open" else "in its book"


def _equal(equal: bool) -> str:
    return "equal" if equal else "<strong>different</strong>"


def _span(lived: Lived) -> str:
    if not len(lived.equity):
        return "no bar decided yet"
    first, last = int(lived.equity["ts"].iloc[0]), int(lived.equity["ts"].iloc[-1])
    return f"{minute(first)} to {minute(last)} · {length((last - first) / DAY_MS)}"


def _milliseconds(ms: float) -> str:
    return UNDEFINED if math.isnan(ms) else f"{number(ms, 2 if ms < 100 else 0)}\u00a0ms"
