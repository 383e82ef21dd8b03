"""One UTC day of everything that traded: sessions, their replays, risk, data, costs, and what the schedule did.

Bars, fills and findings belong to the day by the venue's time; alerts and scheduled jobs by this machine's. Where the
venue plays a recorded market, whose time is not that of day, all alerts of the session are its.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from flea_lab import runs
from flea_lab.clock import WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import account_folder, known_accounts
from flea_lab.live.journal import read_meta
from flea_lab.live.session import LiveSession, read_session
from flea_lab.live.store import FILE
from flea_lab.overdue import ledger_file
from flea_lab.report.record import Record
from flea_lab.report.session_facts import find_journal
from flea_lab.research.nightly import Night, last_day, look_again, read_day, yesterday
from flea_lab.schedule.ledger import history
from flea_lab.settings import Settings, load_settings
from flea_lab.workspace import workspace

DAY_MS = 86_400_000
JOBS = 500
"""Jobs of a day that are shown, the last."""
BAD_JOBS = ("failed", "timeout", "killed", "missed", "skipped_overlap")


class Asked(Settings, frozen=True, kw_only=True):
    """What is reported on: a UTC day (YYYY-MM-DD, yesterday, or last: the last that was traded), and which accounts;
    none named are all that have traded."""

    day: str = "yesterday"
    accounts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its run is called."""
        return "operations"

    @property
    def signals(self) -> tuple[Any, ...]:
        """None: it trades nothing."""
        return ()

    @property
    def id(self) -> str:
        """SHA-256 of the question."""
        return runs.json_digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The question as plain values."""
        return {"day": self.day, "accounts": list(self.accounts)}


@dataclass(frozen=True)
class AccountDay:
    """One account on the day: its session, the look again at it, and the day's part of its frames. `begin_usd` is the
    equity that the day began with."""

    session: LiveSession
    night: Night
    equity: pd.DataFrame
    begin_usd: float
    fills: pd.DataFrame
    decisions: pd.DataFrame
    orders: pd.DataFrame
    funding: pd.DataFrame
    findings: pd.DataFrame
    alerts: pd.DataFrame
    reconciles: pd.DataFrame

    @property
    def end_usd(self) -> float:
        """The equity that the day ended with."""
        return float(self.equity["equity_usd"].iloc[-1]) if len(self.equity) else self.begin_usd

    @property
    def costs_usd(self) -> dict[str, float]:
        """What was paid: fees, slippage against the decisions' prices, funding."""
        return {
            "fees": float(self.fills["fee_usd"].sum()),
            "slippage": float(self.fills["slippage_usd"].sum()),
            "funding": float(self.funding["paid_usd"].sum()),
        }

    @property
    def refused(self) -> dict[str, int]:
        """How many intents each check refused."""
        found = self.decisions.loc[self.decisions["code"] != 0, "check"].value_counts(sort=False)
        return {str(name): int(n) for name, n in found.items()}


@dataclass(frozen=True)
class Operations:
    """The day. `jobs` has a row a planned run of the schedule: job, planned, status, took_s, attempt, note."""

    asked: Asked
    day: date
    accounts: tuple[AccountDay, ...]
    jobs: pd.DataFrame
    code: runs.CodeState

    @property
    def unequal(self) -> tuple[AccountDay, ...]:
        """Accounts of whose day something is unexplained."""
        return tuple(one for one in self.accounts if not one.night.equal)

    @property
    def bad_jobs(self) -> pd.DataFrame:
        """Planned runs that did not do what was planned."""
        return self.jobs[self.jobs["status"].isin(BAD_JOBS)]


def settled(asked: Asked) -> Asked:
    """`asked` with its day and its accounts named, so that the same question is the same tomorrow.

    `WorkspaceError` for the last day that was traded where nothing was.
    """
    named = asked.accounts or tuple(name for name in known_accounts() if has_traded(name))
    if asked.day == "yesterday":
        return Asked(day=str(yesterday(WallClock().now_ns())), accounts=named)
    if asked.day == "last":
        if not named:
            raise WorkspaceError("no account has traded in this workspace")
        return Asked(day=str(max(last_day(read_session(find_journal(name))) for name in named)), accounts=named)
    return Asked(day=str(read_day(asked.day)), accounts=named)


def load_asked(parameters: Mapping[str, Any]) -> Asked:
    """The question that a report's parameters state."""
    return load_settings(dict(parameters), Asked, "the operations report's parameters")


def has_traded(account: str) -> bool:
    """Whether a session has begun on `account`."""
    file = account_folder(account) / FILE
    return file.is_file() and "config" in read_meta(file)


def look(parameters: Mapping[str, Any]) -> Operations:
    """The day that `parameters` ask for, every account looked at again."""
    asked = settled(load_asked(parameters))
    day = read_day(asked.day)
    found = tuple(_account(read_session(find_journal(name)), day) for name in asked.accounts)
    notebook = runs.OPERATIONS_NOTEBOOK
    code = runs.code_state(asked, notebook if notebook.is_file() else None)
    return Operations(asked, day, found, jobs_of(day), code)


def metrics(found: Operations) -> dict[str, float]:
    """The day in numbers: USD and counts over all accounts."""
    accounts = found.accounts
    costs = [one.costs_usd for one in accounts]
    severe = [int((one.alerts["severity"] == "critical").sum()) for one in accounts]
    return {
        "accounts": float(len(accounts)),
        "pnl_usd": math.fsum(one.end_usd - one.begin_usd for one in accounts),
        **{f"{name}_usd": math.fsum(cost[name] for cost in costs) for name in ("fees", "slippage", "funding")},
        "fills": float(sum(len(one.fills) for one in accounts)),
        "refused": float(sum(sum(one.refused.values()) for one in accounts)),
        "critical_alerts": float(sum(severe)),
        "data_faults": float(sum(len(one.findings) for one in accounts)),
        "replays_different": float(len(found.unequal)),
        "jobs": float(len(found.jobs)),
        "jobs_not_done": float(len(found.bad_jobs)),
    }


def record_of(found: Operations) -> Record:
    """The record of the day."""
    numbers = metrics(found)
    curve = pd.concat([one.equity[["ts", "equity_usd"]] for one in found.accounts] or [_no_equity()])
    digest = runs.json_digest([one.night.digests[0] for one in found.accounts])
    sessions = [
        {
            "account": one.session.account,
            "rows": one.session.rows + 1,
            "digest": one.session.digest,
            "decisions": one.night.digests[0],
        }
        for one in found.accounts
    ]
    return Record(
        config_id=found.asked.id,
        source=", ".join(dict.fromkeys(f"{one.session.venue}, {one.session.account}" for one in found.accounts))
        or "no account",
        synthetic=any(one.session.config.data.venue == "synthetic" for one in found.accounts),
        seed=None,
        data=sessions,
        code=found.code,
        metrics=runs.defined(numbers),
        decisions_digest=digest,
        result_digest=runs.result_digest({k: v for k, v in numbers.items() if "jobs" not in k}, digest, curve),
    )


def jobs_of(day: date) -> pd.DataFrame:
    """What the schedule planned for `day` by this machine's time, and what became of it; empty without a schedule."""
    names = ["job", "planned", "status", "took_s", "attempt", "note"]
    file = ledger_file(workspace())
    if not file.is_file():
        return pd.DataFrame(columns=names)
    begin = _begin_ms(day) * 1_000_000
    rows = []
    for run in history(file, last=JOBS, since_ns=begin):
        if run.planned_ns >= begin + DAY_MS * 1_000_000:
            continue
        whole = run.started_ns is not None and run.ended_ns is not None
        took = (run.ended_ns - run.started_ns) / 1e9 if whole else math.nan  # type: ignore[operator]
        rows.append((run.job, run.planned_ns // 1_000_000, run.status, took, run.attempt, run.note))
    return pd.DataFrame(rows, columns=names)


def _account(session: LiveSession, day: date) -> AccountDay:
    begin = _begin_ms(day)
    before = session.equity[session.equity["ts"] <= begin]
    return AccountDay(
        session=session,
        night=look_again(session, day),
        equity=_within(session.equity, begin),
        begin_usd=float(before["equity_usd"].iloc[-1]) if len(before) else session.cash_uusd / 1e6,
        fills=_within(session.fills, begin),
        decisions=_within(session.decisions, begin),
        orders=_within(session.orders, begin),
        funding=_within(session.funding, begin),
        findings=_findings(session.findings, begin),
        alerts=session.alerts if _plays_a_recording(session) else _within(session.alerts, begin),
        reconciles=_within(session.reconciles, begin),
    )


def _begin_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _within(frame: pd.DataFrame, begin: int) -> pd.DataFrame:
    """The rows of `frame` of the day; one stamped at midnight is the day's before."""
    return frame[(frame["ts"] > begin) & (frame["ts"] <= begin + DAY_MS)].reset_index(drop=True)


def _findings(frame: pd.DataFrame, begin: int) -> pd.DataFrame:
    low, high = (pd.Timestamp(ms, unit="ms", tz=frame["ts_from"].dt.tz) for ms in (begin, begin + DAY_MS))
    return frame[(frame["ts_from"] > low) & (frame["ts_from"] <= high)].reset_index(drop=True)


def _plays_a_recording(session: LiveSession) -> bool:
    """Whether the venue's time is another than this machine's."""
    if session.equity.empty or session.runs.empty:
        return False
    return abs(int(session.equity["ts"].iloc[-1]) - int(session.runs["started"].iloc[-1])) > 2 * DAY_MS


def _no_equity() -> pd.DataFrame:
    return pd.DataFrame({"ts": pd.Series(dtype="int64"), "equity_usd": pd.Series(dtype="float64")})
