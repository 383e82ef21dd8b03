"""A recorded day, with lost connections and a crash, is the same again; what is not is told at its first decision."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from flea_lab.cli.commands import app
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.tape import TapeWriter, read_tape
from flea_lab.errors import ConfigError
from flea_lab.journal import EVENT
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.keys import store_key
from flea_lab.live.session import read_session
from flea_lab.live.store import FILE
from flea_lab.model.market import Candle
from flea_lab.research.nightly import TAPE, Night, last_day, look_again, read_day, yesterday
from flea_lab.secret import Secret
from flea_lab.workspace import workspace
from tests.live.processes import config_file, start_runner, start_sandbox, status, until
from tests.live.test_kills import claimed, store_market
from tests.rehearsed import HISTORY, copied, doctor, rehearsed, row_of

ACCOUNT = "night"
DAY = date(2025, 1, 1)
BARS = 300
DAY_NS = 86_400_000_000_000


def trader(**changes: Any) -> RunConfig:
    """Two symbols, an order at most bars, all of them filled at the next open."""
    values = {
        "name": "nightly",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "interval": "1m",
        "signals": [{"kernel": "tick_imbalance", "params": {"window": 2, "threshold": 0.0, "full_scale": 0.3}}],
        "combination": {"min_confidence": 0.0, "min_conviction": 0.02},
        "sizing": {"base_fraction": 0.2, "mode": "target"},
        "risk": {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 1.0},
        "data": {"venue": "synthetic"},
        "live": {"history_bars": HISTORY, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.5},
    }
    return from_dict({**values, **changes})


def recorded(home: Path, bars: int, kill_after: int) -> Path:
    """The journal of a session over `bars` bars whose connection was lost three times and which was killed once."""
    store_market(bars + HISTORY)
    file, faults = config_file(trader(), home), home / "faults.toml"
    at = ", ".join(f"{60.0 * bars * share:.1f}" for share in (0.2, 0.5, 0.8))
    faults.write_text(f"[faults.reset]\nat_s = [{at}]\n")
    days = f"--days={bars / 1440}"
    sandbox, url = start_sandbox(file, home / "sandbox.log", days, "--leverage=100", f"--faults={faults}")
    try:
        store_key(ACCOUNT, Secret(claimed(url)))
        runner = start_runner(file, url, ACCOUNT)
        try:
            until(lambda: status(ACCOUNT).get("bars", 0) >= kill_after, 60.0, "bars before the crash")
        finally:
            runner.kill()
        runner = start_runner(file, url, ACCOUNT)
        try:
            assert runner.wait(120.0) == 0, runner.said()
        finally:
            if runner.ended is None:
                runner.kill()
    finally:
        sandbox.kill()
    return account_folder(ACCOUNT) / FILE


@pytest.fixture(scope="module")
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("nightly")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(folder))
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        patch.delenv("FLEA_API_KEY", raising=False)
        yield folder


@pytest.fixture(scope="module")
def journal(home_of_all: Path) -> Path:
    workspace().ready()
    return rehearsed(ready_folder(ACCOUNT), bars=BARS)


def again(journal: Path, day: date = DAY) -> Night:
    return look_again(read_session(journal), day)


def with_tape(journal: Path, folder: Path) -> Path:
    """A copy of the journal that has its tape beside it."""
    mine = copied(journal, folder)
    (mine.parent / TAPE).write_bytes((journal.parent / TAPE).read_bytes())
    return mine


def test_a_recorded_day_is_the_same_again(journal: Path) -> None:
    night = again(journal)
    assert night.equal and night.same, night.text()
    assert night.decisions[0] == night.decisions[1] > 30 and night.bars == BARS - HISTORY
    assert night.tape.same == 2 * night.bars and night.tape.by_history == 0
    assert night.line().endswith("equal again")


def test_a_bar_belongs_to_the_day_on_which_it_closed(journal: Path) -> None:
    other = again(journal, date(2025, 1, 2))
    assert other.decisions == (0, 0) and other.bars == 0 and other.equal
    assert last_day(read_session(journal)) == DAY
    assert yesterday(DAY_NS * 20_089 + 5) == date(2024, 12, 31)  # 20,089 days after 1970 begins 2025


def test_a_divergence_is_told_at_its_first_decision(journal: Path, tmp_path: Path) -> None:
    mine = with_tape(journal, tmp_path / "other")
    session = read_session(mine)
    at = len(session.stream) // 2
    close = int(session.stream["ts_ns"][at])
    symbol = session.config.symbols[int(session.stream["symbol"][at])]

    def moved(candle: Any) -> Any:
        return msgspec.structs.replace(candle, close=candle.close + 50.0, high=candle.high + 50.0)

    doctor(mine, row_of_candle(mine, symbol, close), moved)
    night = again(mine)
    assert not night.equal and not night.played.equal and not night.tape.equal
    assert f"decision {at} at " in night.first and f" {symbol} " in night.first
    assert "differs in" in night.first and "conviction" in night.first
    assert "close" in night.tape.first and symbol in night.tape.first
    assert "DIFFERENT again: row " in night.line() and "\n" not in night.line()


def row_of_candle(journal: Path, symbol: str, close: int) -> int:
    """The row of the event that brought a candle."""
    from flea_lab.live.journal import entries

    return next(
        seq
        for seq, kind, entry in entries(journal)
        if kind == EVENT and isinstance(entry, Candle) and (entry.symbol, entry.ts_event) == (symbol, close)
    )


def test_a_candle_that_is_another_on_the_tape_is_told(journal: Path, tmp_path: Path) -> None:
    mine = with_tape(journal, tmp_path / "tape")
    events = list(read_tape(mine.parent / TAPE))
    (mine.parent / TAPE).unlink()
    writer = TapeWriter(mine.parent / TAPE)
    for event in events:
        late = isinstance(event, Candle) and event.complete and event.ts_event > events[-1].ts_event - 20 * 60 * 10**9
        writer.append(msgspec.structs.replace(event, close=event.close + 0.1) if late else event)
    writer.close()
    night = again(mine)
    assert night.played.equal and night.same and not night.equal
    assert night.tape.other > 10 and "close" in night.tape.first and "on the tape" in night.tape.first


def test_without_a_tape_it_is_said_and_not_held_against_the_session(journal: Path, tmp_path: Path) -> None:
    night = again(copied(journal, tmp_path / "no-tape"))
    assert night.equal and night.tape.why == "there is no market.tape beside the journal"


def test_the_command_ends_with_one_where_anything_is_unexplained(journal: Path, home_of_all: Path) -> None:
    good = CliRunner().invoke(app, ["nightly", ACCOUNT, "--day", str(DAY)])
    assert good.exit_code == 0 and "equal again" in good.output, good.output
    assert CliRunner().invoke(app, ["nightly", "--day", "last"]).output == good.output
    bad = account_folder("bad")
    with_tape(journal, bad)
    doctor(bad / FILE, row_of(bad / FILE, Candle, 200, EVENT), lambda one: msgspec.structs.replace(one, close=1.0))
    said = CliRunner().invoke(app, ["nightly", "bad", "--day", "last"])
    assert said.exit_code == 1 and "DIFFERENT again" in said.stderr, said.output


def test_a_day_is_written_as_one(home: Path) -> None:
    with pytest.raises(ConfigError, match="day = '2025-1-1': a day is written as 2026-01-31"):
        read_day("2025-1-1")
    assert CliRunner().invoke(app, ["nightly"]).output == "no account has traded in this workspace\n"


@pytest.mark.slow
def test_a_day_with_three_lost_connections_and_a_crash_is_the_same_again_twenty_of_twenty(
    home_of_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEA_HOME", str(home_of_all / "whole"))
    (home_of_all / "whole").mkdir()
    journal = recorded(home_of_all / "whole", 1_440, 500)
    session = read_session(journal)
    assert len(session.runs) == 2 and session.link_downs >= 3  # it did crash, and it did lose its connection
    first = again(journal, last_day(session))
    assert first.equal and first.played.equal and first.tape.same > 0 and first.tape.other == 0, first.text()
    assert first.same or "did not fill whole" in first.expected  # what the crash kept from being sent fills there
    assert len(session.stream) > 500 and first.played.commands[0] > 500
    for seed in range(19):
        done = subprocess.run(
            [sys.executable, "-m", "flea_lab", "nightly", ACCOUNT, "--day", "last"],
            capture_output=True, text=True, check=True, timeout=300, env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )  # fmt: skip
        assert done.stdout == first.text() + "\n"
