"""The whole path on the demo's market: data, a sweep, a report on its best cell, promotion, a live session on the
sandbox, a report on that."""

import os
import sys

import pandas as pd

from flea_lab import runs
from flea_lab.backtest.sweep import load_grid
from flea_lab.clock import Stopwatch
from flea_lab.config import RunConfig, with_values
from flea_lab.errors import FleaError
from flea_lab.live.account import account_folder
from flea_lab.live.launcher import launch
from flea_lab.live.own_sandbox import end_own_sandbox, start_own_sandbox, unused
from flea_lab.live.session import read_session
from flea_lab.live.store import FILE
from flea_lab.promotion import load_promoted
from flea_lab.report.run import PAGE as REPORT
from flea_lab.report.run import run_report
from flea_lab.report.session import SUMMARY
from flea_lab.report.session_run import run_session_report
from flea_lab.report.sweep import PAGE as SWEEP
from flea_lab.report.sweep import run_sweep, table_text
from flea_lab.research.promote import promote_run
from flea_lab.research.session_replay import play_back_session, replay_session
from flea_lab.wiring import demo_config, load_market
from flea_lab.workspace import workspace, write_whole

GRID = {"ema_momentum.fast": [5, 9, 15, 30], "ema_momentum.slow": [21, 45, 90, 180], "rsi_reversion.period": [14, 28]}
NAME = "demo"
LIVE_DAYS = 2.0
LIVE_MOST_S = 120.0
SHOWN = 5
"""Fills that are printed."""


def run_demo() -> None:
    """Prints what it does and where the results are; `FleaError` where two legs disagree."""
    watch = Stopwatch()
    config = demo_config(online=True)
    loaded = load_market(config)
    kind = "synthetic" if loaded.synthetic else "recorded"
    _say(f"data     {loaded.source} ({kind}), {loaded.market.n:,} bars of {', '.join(config.symbols)}", watch)
    if loaded.synthetic:
        print("         set FLEA_DATA_DIR to a folder of recorded candles to run on those instead")
    folder, found = run_sweep(config, load_grid(GRID, "the demo's grid"), progress=sys.stderr.isatty())
    print(table_text(found, "sharpe", 5))
    _say(f"sweep    {folder / SWEEP}", watch)
    best = with_values(config, found.best("sharpe"))
    report = run_report(best)
    _say(f"report   {report / REPORT}", watch)
    promoted = promote_run(report, NAME, replace=True, allow_dirty=True)
    parity = load_promoted(NAME, workspace()).bound.parity
    _say(f"promoted {promoted.name}: sweep and replay take the same {parity.decisions:,} decisions", watch)
    account = _trade(best, watch)
    session = run_session_report(account)
    _say(f"session  {session / REPORT}", watch)
    print((session / SUMMARY).read_text(encoding="utf-8").rstrip())
    _require_equal(account)
    file = workspace().root / "demo.toml"
    write_whole(file, runs.to_toml(best.to_dict()).encode())
    print("\nopen the pages in a browser, or go on:")
    for words, what in (
        (f"session {account}", "the session report again"),
        (f"parity {file} --days 1", "sweep, replay and a live session, compared"),
        (f"sandbox {file}", "an exchange on this machine; then in another terminal"),
        (f"faucet --account try && {_flea()} run {NAME} --account try", "trade what was promoted on it"),
    ):
        print(f"  {_flea()} {words}    # {what}")
    print("  make lab    # the notebooks; live/runner launches, watches and halts a session")


def _trade(config: RunConfig, watch: Stopwatch) -> str:
    """The account on which the promoted config traded the last days, over REST and websocket, to their end."""
    account = unused(NAME)
    sandbox = start_own_sandbox(account, config, pace="acked", days=LIVE_DAYS)
    try:
        _say(f"sandbox  {sandbox.url} plays the last {LIVE_DAYS:g} days", watch)
        session = launch(NAME, account=account, url=sandbox.url)
        if not session.wait(LIVE_MOST_S):
            session.stop()
            raise FleaError(f"the live session did not end within {LIVE_MOST_S:g} s: {session.log(3)}")
    finally:
        end_own_sandbox(account)
    fills = session.fills()
    _say(f"traded   {len(fills):,} fills on account {account}, the last ones:", watch)
    print(_fills_text(fills.tail(SHOWN)))
    return account


def _fills_text(fills: pd.DataFrame) -> str:
    shown = fills[["symbol", "side", "qty", "price", "fee_usd"]]
    shown.insert(0, "time", pd.to_datetime(fills["ts"], unit="ms").dt.strftime("%Y-%m-%d %H:%M"))
    return shown.to_string(index=False)


def _require_equal(account: str) -> None:
    """Refuses a session that did not decide what its own replay decides."""
    session = read_session(account_folder(account) / FILE)
    for found in (play_back_session(session), replay_session(session)):
        if not found.equal:
            raise FleaError(f"the live session on {account}: {found.text()}")


def _say(line: str, watch: Stopwatch) -> None:
    print(f"{line}  [{watch.elapsed_s():.0f} s]", flush=True)


def _flea() -> str:
    return os.path.relpath(sys.argv[0]) if os.path.basename(sys.argv[0]) == "flea" else "flea"
