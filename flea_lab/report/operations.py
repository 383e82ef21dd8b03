"""A day of operations as the pieces of its report: what ten seconds must tell first, then everything behind it."""

import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML

from flea_lab.report import operations_facts
from flea_lab.report.data_ledger import counted, ledger
from flea_lab.report.look import section_css
from flea_lab.report.operations_facts import AccountDay, Operations
from flea_lab.report.pieces import badge, code_badge, commit_of, digests, note, spaced, tile
from flea_lab.report.record import store
from flea_lab.report.wording import UNDEFINED, minute, number, percent, plural, table, tag, text, usd
from flea_lab.view.day_figures import day_figure, jobs_figure

SHOWN = 60
"""Rows of a log that are shown, the gravest and last; frames beside the page hold all."""
GRAVITY = {"critical": 0, "warning": 1, "info": 2}


def verdict(found: Operations) -> HTML:
    """Whether anything needs a person, in plain sentences, over the badges that say why."""
    line = f"{found.day} UTC · {plural(len(found.accounts), 'account')}"
    title = tag("div", tag("span", "Operations", "flea-name") + tag("span", text(line), "flea-span"), "flea-title")
    said = tag("p", _headline(found), "flea-verdict") + tag("p", " ".join(_sentences(found)), "flea-more")
    return HTML(f"<style>{section_css()}</style>" + tag("section", title + said + _badges(found), "flea-top"))


def headline(found: Operations) -> HTML:
    """Six numbers of the day."""
    day = operations_facts.metrics(found)
    begin = sum(one.begin_usd for one in found.accounts)
    paid = day["fees_usd"] + day["slippage_usd"] + day["funding_usd"]
    bad, jobs = int(day["jobs_not_done"]), int(day["jobs"])
    unequal, accounts = int(day["replays_different"]), len(found.accounts)
    tiles = [
        tile("Profit", usd(day["pnl_usd"]), f"{percent(day['pnl_usd'] / begin) if begin else UNDEFINED} of the equity"),
        tile("Costs", usd(paid), f"{usd(day['fees_usd'])} fees, {usd(day['slippage_usd'])} slippage"),
        tile("Fills", number(day["fills"], 0), f"{number(day['refused'], 0)} intents refused"),
        tile("Replayed", f"{accounts - unequal} of {accounts}", "explained decision by decision"),
        tile("Critical alerts", number(day["critical_alerts"], 0), f"{number(day['data_faults'], 0)} data faults"),
        tile("Scheduled jobs", f"{jobs - bad} of {jobs}", "did what was planned" if jobs else "no schedule ran"),
    ]
    return HTML(tag("div", "".join(tiles), "flea-tiles"))


def sessions(found: Operations) -> HTML:
    """A row an account: state, equity, what it did, whether it could be done again."""
    rows = [
        (
            text(one.session.account),
            text(one.session.name),
            text(one.session.how if one.session.state != "running" else "running"),
            number(one.begin_usd),
            number(one.end_usd),
            percent(one.end_usd / one.begin_usd - 1.0) if one.begin_usd > 0 else UNDEFINED,
            f"{one.night.bars:,}",
            f"{len(one.orders):,}",
            f"{len(one.fills):,}",
            _latches(one),
            "equal" if one.night.same else "explained" if one.night.equal else "<strong>different</strong>",
        )
        for one in found.accounts
    ]
    head = (
        "account",
        "configuration",
        "",
        "began USD",
        "ended USD",
        "",
        "bars",
        "orders",
        "fills",
        "latched",
        "replay",
    )
    if not rows:
        return HTML(note("No account has traded in this workspace."))
    return HTML(table(head, rows, left=3) + note("A bar belongs to the UTC day on which it closed."))


def equity(found: Operations) -> go.Figure | HTML:
    """Every account's equity over the day, against what it began with."""
    curves = {one.session.account: one.equity for one in found.accounts if len(one.equity)}
    if not curves:
        return HTML(note("No bar of the day was decided on."))
    return day_figure(curves, {one.session.account: one.begin_usd for one in found.accounts})


def replays(found: Operations) -> HTML:
    """Every account's day, done again from its journal, its tape and its market."""
    shown = "".join(
        tag("h3", text(one.session.account)) + tag("pre", tag("code", text(one.night.text())), "flea-command flea-said")
        for one in found.accounts
    )
    return HTML(shown or note("Nothing to replay."))


def risk(found: Operations) -> HTML:
    """What the guards refused, and what a person was told, the gravest first."""
    names = list(dict.fromkeys(name for one in found.accounts for name in one.refused))
    rows = [
        (text(one.session.account), *(f"{one.refused.get(name, 0):,}" for name in names), f"{len(one.decisions):,}")
        for one in found.accounts
    ]
    head = ("account", *(spaced(name) for name in names), "of intents")
    shown = table(head, rows) if names else note("No guard refused anything.")
    told = _alerts(found)
    lines = [
        (_second(int(row.ts)), text(row.account), text(row.severity), text(row.text))
        for row in told.head(SHOWN).itertuples()
    ]
    cut = note(f"Shown are {SHOWN} of {plural(len(told), 'alert')}.") if len(told) > SHOWN else ""
    log = table(("at (UTC)", "account", "", "alert"), lines, left=4, css="flea-log") if lines else ""
    return HTML(shown + tag("h3", "Alerts") + (log or note("Nobody had to be told anything.")) + cut)


def reconciles(found: Operations) -> HTML:
    """How often each account was compared with the venue's, and every difference."""
    counts, rows = [], []
    for one in found.accounts:
        unequal = one.reconciles[~one.reconciles["equal"].astype(bool)]
        counts.append((text(one.session.account), f"{len(one.reconciles):,}", f"{len(unequal):,}"))
        rows += [(text(one.session.account), minute(int(row.ts)), text(row.difference)) for row in unequal.itertuples()]
    shown = table(("account", "compared", "different"), counts) if counts else ""
    more = table(("account", "venue's clock", "difference"), rows[:SHOWN], left=3) if rows else ""
    return HTML(shown + more)


def data(found: Operations) -> HTML:
    """The ledger of everything that was found wrong with the day's data."""
    frames = [one.findings for one in found.accounts if len(one.findings)]
    whole = pd.concat(frames, ignore_index=True) if frames else _none(found)
    return HTML(ledger(whole) if whole is not None else note("No data."))


def costs(found: Operations) -> HTML:
    """What trading cost, by account."""
    rows = []
    for one in found.accounts:
        paid = one.costs_usd
        traded = float((one.fills["qty"] * one.fills["price"]).sum())
        whole = sum(paid.values())
        rows.append(
            (
                text(one.session.account),
                number(traded, 0),
                *(number(paid[name]) for name in ("fees", "slippage", "funding")),
                number(whole),
                number(1e4 * whole / traded) if traded else UNDEFINED,
            )
        )
    head = ("account", "USD traded", "fees", "slippage", "funding", "together", "bp of traded")
    said = "Slippage is against the price at the decision; positive was paid. Funding received is negative."
    return HTML((table(head, rows) if rows else "") + note(said))


def schedule(found: Operations) -> HTML:
    """What the schedule did: what went wrong first."""
    jobs = found.jobs
    if jobs.empty:
        return HTML(note("No job was planned for this day, or no schedule has run in this workspace."))
    bad = jobs["status"].isin(operations_facts.BAD_JOBS)
    ordered = pd.concat([jobs[bad], jobs[~bad]])
    rows = [
        (
            text(row.job),
            _second(int(row.planned)),
            f"<strong>{text(row.status)}</strong>" if row.status in operations_facts.BAD_JOBS else text(row.status),
            number(row.took_s, 1),
            f"{row.attempt}",
            text(row.note),
        )
        for row in ordered.head(SHOWN).itertuples()
    ]
    head = ("job", "planned (UTC)", "", "took s", "attempt", "note")
    cut = note(f"Shown are {SHOWN} of {plural(len(jobs), 'run')}.") if len(jobs) > SHOWN else ""
    return HTML(table(head, rows, left=3) + cut)


def schedule_figure(found: Operations) -> go.Figure | HTML:
    """The day's jobs on a line of time."""
    return jobs_figure(found.jobs) if len(found.jobs) else HTML("")


def reproduce(found: Operations) -> HTML:
    """The command that makes this report again, and every digest it depends on."""
    words = " ".join(["flea operations", *found.asked.accounts, f"--day {found.day}"])
    rows = [("question", found.asked.id), ("code", found.code.digest)]
    rows += [("commit", commit_of(found.code))] if found.code.commit else []
    for one in found.accounts:
        name = one.session.account
        rows += [(f"{name}: journal", one.session.digest), (f"{name}: decisions of the day", one.night.digests[0])]
    how = "<p>With the same <code>FLEA_HOME</code>. A journal only grows: what the day was stays as it is.</p>"
    return HTML(tag("pre", tag("code", text(words)), "flea-command") + how + digests(rows))


def keep(found: Operations) -> HTML:
    """Stores the day's frames in the folder of the run that executes this notebook, if one does."""
    equities = [one.equity.assign(account=one.session.account) for one in found.accounts]
    frames = {
        "equity": pd.concat(equities, ignore_index=True) if equities else pd.DataFrame(columns=["ts", "equity_usd"]),
        "alerts": _alerts(found),
        "jobs": found.jobs,
    }
    text_of_all = "\n".join(one.night.text() for one in found.accounts) + "\n"
    return store(operations_facts.record_of(found), frames, "flea operations", {"replays.txt": text_of_all})


def troubles(found: Operations) -> list[str]:
    """What needs a person, a line each; nothing where nothing does."""
    said = [one.night.line() for one in found.unequal]
    for one in found.accounts:
        grave = one.alerts[one.alerts["severity"] == "critical"]
        if len(grave):
            told = plural(len(grave), "critical alert")
            said.append(f"account {one.session.account}: {told}, the last: {grave['text'].iloc[-1]}")
        if one.session.state == "died":
            said.append(f"account {one.session.account}: {one.session.how}")
        if len(one.reconciles) and not one.reconciles["equal"].iloc[-1]:
            said.append(f"account {one.session.account} differs from the venue's")
    said += [
        f"job {row.job} planned for {_second(int(row.planned))}: {row.status.replace('_', ' ')}"
        for row in found.bad_jobs.itertuples()
    ]
    return said


def _headline(found: Operations) -> str:
    wrong = troubles(found)
    if not found.accounts and found.jobs.empty:
        return "<strong>Nothing traded and nothing was scheduled.</strong>"
    if not wrong:
        return "<strong>Nothing needs you.</strong> What was recorded of the day gives the same decisions again."
    return f"<strong>{plural(len(wrong), 'thing')} to look at</strong>: {text(wrong[0])}."


def _sentences(found: Operations) -> list[str]:
    said = [text(line) + "." for line in troubles(found)[1:4]]
    rest = len(troubles(found)) - 4
    said += [f"And {rest} more, below."] if rest > 0 else []
    faults = [one.findings for one in found.accounts if len(one.findings)]
    if faults:
        said.append(f"The data had {text(counted(pd.concat(faults, ignore_index=True)))}.")
    return said


def _badges(found: Operations) -> str:
    unequal, bad = len(found.unequal), len(found.bad_jobs)
    shown = [
        badge("replays explained", "good", "journal, tape and market give the same decisions")
        if not unequal
        else badge(f"{plural(unequal, 'replay')} different", "warn", found.unequal[0].night.line()),
        badge(f"{plural(bad, 'job')} not done", "warn", "see what the schedule did")
        if bad
        else badge("schedule kept" if len(found.jobs) else "no schedule", "good" if len(found.jobs) else "plain", ""),
        badge(*code_badge(found.code)),
    ]
    return tag("div", "".join(shown), "flea-badges")


def _latches(one: AccountDay) -> str:
    closed = [int(latches) for latches in one.equity["latches"] if latches] if len(one.equity) else []
    return f"{len(closed):,} bars" if closed else "never"


def _alerts(found: Operations) -> pd.DataFrame:
    """All alerts, the gravest first, of one gravity the last first."""
    frames = [one.alerts.assign(account=one.session.account) for one in found.accounts if len(one.alerts)]
    if not frames:
        return pd.DataFrame(columns=["ts", "severity", "text", "held", "account"])
    whole = pd.concat(frames, ignore_index=True)
    order = whole.assign(gravity=whole["severity"].map(GRAVITY), back=-whole["ts"])
    return order.sort_values(["gravity", "back"], kind="stable").drop(columns=["gravity", "back"])


def _none(found: Operations) -> pd.DataFrame | None:
    return found.accounts[0].findings if found.accounts else None


def _second(ms: int) -> str:
    return f"{pd.Timestamp(ms, unit='ms'):%Y-%m-%d %H:%M:%S}"
