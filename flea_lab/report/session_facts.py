"""A live session as its report needs it: read, played back, replayed, and summed up in numbers."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flea_lab import runs
from flea_lab.backtest.curve import curve_metrics
from flea_lab.config import from_dict
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import account_folder, check_account
from flea_lab.live.session import LiveSession, read_session
from flea_lab.live.store import FILE
from flea_lab.money import USD
from flea_lab.report.data_ledger import counted
from flea_lab.report.record import Record
from flea_lab.research.session_replay import PlayBack, SessionReplay, play_back_session, replay_session
from flea_lab.wiring import market_from_frames, run_rehearsal

DEMO_BARS, DEMO_HISTORY = 1_200, 200
LATENCIES = {
    "decide_ms": "bar received to decided",
    "answer_ms": "decided to the venue's answer",
    "total_ms": "bar received to the venue's answer",
}


@dataclass(frozen=True)
class Lived:
    """One session with both its replays. `equity` is the live curve from the last bar of warm-up on, `replay` the curve
    of its own replay there; `code` the code that reports, `source` where it traded."""

    session: LiveSession
    played: PlayBack
    replayed: SessionReplay
    equity: pd.DataFrame
    replay: pd.DataFrame
    code: runs.CodeState
    source: str
    synthetic: bool

    @property
    def cash_usd(self) -> float:
        """What the account began with."""
        return self.session.cash_uusd / USD

    @property
    def same_code(self) -> bool:
        """Whether the code that reports is the code that traded last."""
        return runs.code_state(self.session.config).digest == self.session.code


def look(parameters: Mapping[str, Any]) -> Lived:
    """The session that the parameters name: `account`, or `folder` of a journal; with none, a rehearsed demo's."""
    if not parameters:
        with tempfile.TemporaryDirectory(prefix="flea-session-") as folder:
            return _lived(_rehearsed(Path(folder)), "synthetic market, rehearsed in this process", synthetic=True)
    unknown = sorted(set(parameters) - {"account", "folder"})
    if unknown or len(parameters) != 1:
        raise ConfigError(f"session = {dict(parameters)}: one of account and folder, no other key")
    named = parameters.get("account")
    journal = find_journal(named if named is not None else Path(parameters["folder"]))
    return _lived(journal, "", synthetic=False)


def find_journal(account_or_folder: str | Path) -> Path:
    """The journal of an account by its name, or of a folder or file by its path. `WorkspaceError` where none is."""
    if isinstance(account_or_folder, str):
        file = account_folder(check_account(account_or_folder)) / FILE
        if not file.is_file():
            raise WorkspaceError(f"account {account_or_folder!r} has no journal: nothing has run on it ({file})")
        return file
    file = account_or_folder / FILE if account_or_folder.is_dir() else account_or_folder
    if not file.is_file():
        raise WorkspaceError(f"journal {file}: no such file, so nothing has run there")
    return file


def metrics(lived: Lived) -> dict[str, float]:
    """What the session comes to: shares of 1, USD, counts, milliseconds. NaN where it is not defined."""
    session, config = lived.session, lived.session.config
    per_year = 365.0 * 86_400_000 / config.interval_ms
    curve = lived.equity["equity_usd"].to_numpy()
    found = curve_metrics(curve, lived.cash_usd, per_year) if len(curve) else {}
    return {
        **{name: found.get(name, math.nan) for name in ("total_return", "sharpe", "max_drawdown")},
        "orders": float(len(session.orders)),
        "fills": float(len(session.fills)),
        "refused": float(sum(session.vetoes.values())),
        "fees_usd": float(session.fills["fee_usd"].sum()),
        "slippage_usd": float(session.fills["slippage_usd"].sum()),
        "funding_usd": float(session.funding["paid_usd"].sum()),
        "answer_p95_ms": float(session.latency["answer_ms"].quantile(0.95)) if len(session.latency) else math.nan,
        "reconciles": float(len(session.reconciles)),
        "reconciles_unequal": float((~session.reconciles["equal"].astype(bool)).sum()),
        "faults": float(len(session.faults)),
        "data_faults": float(len(session.findings)),
        "played_back_equal": float(lived.played.equal),
        "replayed_equal": float(lived.replayed.equal),
    }


def latencies(session: LiveSession) -> pd.DataFrame:
    """A row a leg of the way out: leg, p50, p95, max in ms, and of how many orders."""
    rows = []
    for name, leg in LATENCIES.items():
        values = session.latency[name].to_numpy(dtype=np.float64)
        p50, p95, most = np.quantile(values, (0.5, 0.95, 1.0)) if len(values) else (math.nan,) * 3
        rows.append((leg, float(p50), float(p95), float(most), len(values)))
    return pd.DataFrame(rows, columns=["leg", "p50", "p95", "max", "orders"])


def slippage(session: LiveSession) -> pd.DataFrame:
    """A row a symbol and side, and one of all: fills, notional_usd, mean (by notional), median and worst in basis
    points against the decision's price, slippage_usd, fee_usd."""
    fills = session.fills.assign(notional_usd=session.fills["qty"] * session.fills["decision_price"])
    parts = [(f"{symbol} {side}", part) for (symbol, side), part in fills.groupby(["symbol", "side"], sort=True)]
    rows = []
    for name, part in [*parts, ("all", fills)] if len(fills) else ():
        notional = float(part["notional_usd"].sum())
        rows.append(
            {
                "of": name,
                "fills": len(part),
                "notional_usd": notional,
                "mean_bps": 1e4 * float(part["slippage_usd"].sum()) / notional,
                "median_bps": float(part["slippage_bps"].median()),
                "worst_bps": float(part["slippage_bps"].max()),
                "slippage_usd": float(part["slippage_usd"].sum()),
                "fee_usd": float(part["fee_usd"].sum()),
            }
        )
    return pd.DataFrame(rows)


def state_words(session: LiveSession) -> str:
    """Its state as words: ``still running``, ``ended: stopped by a person``."""
    return session.how if session.state == "running" else f"{session.state}: {session.how}"


def reconciled_words(session: LiveSession) -> str:
    """How the comparisons with the venue went, in a few words."""
    found = session.reconciles
    if found.empty:
        return "never compared"
    unequal = int((~found["equal"].astype(bool)).sum())
    last = f", the last {'equal' if found['equal'].iloc[-1] else 'different'}" if unequal else ""
    return f"{len(found):,} comparisons, {f'{unequal:,} different{last}' if unequal else 'none different'}"


def summary(lived: Lived) -> str:
    """A few lines for a terminal."""
    session, found = lived.session, metrics(lived)
    end = float(lived.equity["equity_usd"].iloc[-1]) if len(lived.equity) else lived.cash_usd
    lines = [
        ("state", state_words(session)),
        ("config", f"{session.name} ({session.config.id[:10]}, {'promoted' if session.promoted else 'UNPROMOTED'})"),
        ("equity", f"{end:,.2f} USD, begun with {lived.cash_usd:,.2f}"),
        ("fills", f"{int(found['fills']):,} of {int(found['orders']):,} orders, {int(found['refused']):,} refused"),
        ("reconciles", reconciled_words(session)),
        ("play-back", lived.played.text()),
        ("replay", lived.replayed.text()),
    ]
    lines += [("faults", f"{len(session.faults):,}")] if len(session.faults) else []
    lines += [("data", counted(session.findings))] if len(session.findings) else []
    return "\n".join(f"{name:<11}{value}" for name, value in lines)


def record_of(lived: Lived) -> Record:
    """What a run folder keeps of it beside the frames. The data are the rows of the journal that were read."""
    session, found = lived.session, metrics(lived)
    data = {
        "account": session.account,
        "venue": session.venue,
        "matching": session.matching,
        "rows": session.rows + 1,
        "digest": session.digest,
        "code": session.code,
        "state": session.state,
    }
    curve = lived.equity[["ts", "equity_usd"]]
    return Record(
        config_id=session.config.id,
        source=lived.source,
        synthetic=lived.synthetic,
        seed=None,
        data=[data],
        code=lived.code,
        metrics=runs.defined(found),
        decisions_digest=session.decisions_digest,
        result_digest=runs.result_digest(found, session.decisions_digest, curve),
    )


def _lived(journal: Path, source: str, *, synthetic: bool) -> Lived:
    session = read_session(journal)
    replayed = replay_session(session)
    first = session.heard.first_live_ms()
    begin = session.config.interval_ms
    equity, replay = (
        frame[frame["ts"] >= first - begin].reset_index(drop=True) if first is not None else frame.iloc[:0]
        for frame in (session.equity, replayed.equity)
    )
    if len(equity):
        equity = equity.assign(drawdown=equity["equity_usd"] / equity["equity_usd"].cummax() - 1.0)
    notebook = runs.SESSION_NOTEBOOK
    return Lived(
        session=session,
        played=play_back_session(session),
        replayed=replayed,
        equity=equity,
        replay=replay,
        code=runs.code_state(session.config, notebook if notebook.is_file() else None),
        source=source or f"{session.venue}, account {session.account}",
        synthetic=synthetic or session.config.data.venue == "synthetic",
    )


def _rehearsed(folder: Path) -> Path:
    """The journal of a short session on the synthetic market: a real server, client and runner over loopback."""
    config = from_dict(
        {
            "name": "demo-session",
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            "data": {"venue": "synthetic"},
        },
        "the demo session's config",
    )
    made = {symbol: synthetic_market(symbol, n_bars=DEMO_BARS) for symbol in config.symbols}
    candles = {symbol: market[0] for symbol, market in made.items()}
    funding = {symbol: market[1] for symbol, market in made.items()}
    market = market_from_frames(config, candles, funding).market
    with open(folder / "console", "w", encoding="utf-8") as console:
        return run_rehearsal(config, market, DEMO_HISTORY, folder, console=console)
