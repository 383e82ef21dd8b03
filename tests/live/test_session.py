"""What a session did is in its journal, whole: fills, orders, refusals, latency, reconciles, alerts, processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.journal import FAULT
from flea_lab.live.journal import open_journal
from flea_lab.live.lock import lock_account
from flea_lab.live.session import LiveSession, read_session
from flea_lab.live.session_frames import curve_of, fills_of
from flea_lab.live.store import FILE
from flea_lab.model.trading import NewOrder
from flea_lab.research.live_parity import decisions_of
from flea_lab.research.session_replay import play_back_session
from tests.rehearsed import BARS, HISTORY, copied, execute, rehearsed, row_of, small

MIDWAY: list[tuple[int, bool, str]] = []


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("session")

    def look(done: int, _: int) -> None:
        if done > 0 and (folder / FILE).is_file():
            now = read_session(folder / FILE)
            MIDWAY.append((now.rows, play_back_session(now).equal, now.state))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(folder / "home"))
        yield rehearsed(folder, look)


@pytest.fixture(scope="module")
def session(journal: Path) -> LiveSession:
    return read_session(journal)


def test_who_traded_what_is_said(session: LiveSession) -> None:
    assert (session.account, session.venue, session.name) == ("rehearsal", "sandbox", "small")
    assert (session.promoted, session.state, session.how) == (False, "ended", "the recorded market is over")
    assert session.config.id == small().id and session.matching == "next_open"
    assert session.cash_uusd == 100_000_000_000 and session.prefix.startswith(session.config.id[:6])


def test_a_journal_at_a_path_reads_as_the_session_does(session: LiveSession, journal: Path) -> None:
    pd.testing.assert_frame_equal(session.equity, curve_of(journal))
    pd.testing.assert_frame_equal(session.fills, fills_of(journal))
    assert len(session.equity) == BARS and len(session.fills) > 10
    assert session.stream.tobytes() == decisions_of(journal, session.config).tobytes()


def test_slippage_is_measured_against_the_price_that_was_decided_on(session: LiveSession) -> None:
    for fill in session.fills.itertuples():
        worse = (fill.price - fill.decision_price) * (1 if fill.side == "buy" else -1)
        assert fill.slippage_usd == pytest.approx(worse * fill.qty, abs=1e-6)
        assert fill.slippage_bps == pytest.approx(1e4 * worse / fill.decision_price, abs=1e-6)
    assert (session.fills["reference"] != session.fills["price"]).any()


def test_orders_refusals_and_times_are_complete(session: LiveSession) -> None:
    assert set(session.orders["status"]) == {"filled"}
    assert list(session.orders["client_order_id"]) == [f"{session.prefix}-{n + 1}" for n in range(len(session.orders))]
    assert set(session.latency["client_order_id"]) == set(session.orders["client_order_id"])
    assert (session.latency[["decide_ms", "answer_ms"]] > 0).all(axis=None)
    assert session.latency["total_ms"].sum() == pytest.approx(
        session.latency["decide_ms"].sum() + session.latency["answer_ms"].sum()
    )
    assert session.vetoes["daily_loss"] > 0
    assert sum(session.vetoes.values()) + len(session.orders) == len(session.decisions)


def test_data_reconciles_alerts_and_runs_are_counted(session: LiveSession) -> None:
    for row in session.ledger.to_dict("records"):
        assert (row["history"], row["live"]) == (HISTORY, BARS - HISTORY)
        assert (row["stale"], row["unused"], row["holes"], row["missing"]) == (0, 0, 0, 0)
    assert session.reconciles["equal"].all() and not session.reconciles["difference"].any()
    assert session.alerts["text"].str.contains("halted by daily_loss").any() and session.link_downs == 0
    assert session.faults.empty and len(session.runs) == 1
    assert len(session.funding) == 0 or set(session.funding["symbol"]) == set(session.config.symbols)


def test_a_session_is_read_while_it_runs(session: LiveSession, journal: Path, tmp_path: Path) -> None:
    assert MIDWAY and all(equal for _, equal, _ in MIDWAY)
    assert all(rows <= session.rows for rows, _, _ in MIDWAY)
    mine = copied(journal, tmp_path / "mine")
    with lock_account(mine.parent, WallClock()):
        assert (read_session(mine).state, read_session(mine).how) == ("running", "still running")
    assert read_session(mine).state == "ended"


def test_reading_changes_nothing(journal: Path, tmp_path: Path) -> None:
    mine = copied(journal, tmp_path / "mine")
    before = mine.read_bytes()
    play_back_session(read_session(mine))
    assert mine.read_bytes() == before


def test_a_process_that_died_without_a_word_is_said_to_have(journal: Path, tmp_path: Path) -> None:
    mine = copied(journal, tmp_path / "mine")
    execute(mine, "UPDATE runs SET ended=NULL, how=NULL")
    found = read_session(mine)
    assert (found.state, found.how) == ("died", "its process ended without a word")
    assert found.runs["ended"].isna().all()


def test_differences_faults_and_held_alerts_are_listed(journal: Path, tmp_path: Path) -> None:
    mine = copied(journal, tmp_path / "mine")
    execute(mine, "UPDATE reconciles SET equal=0, ours=replace(ours, '\"BTCUSDT\":0', '\"BTCUSDT\":7') WHERE rowid=1")
    execute(mine, "UPDATE entries SET kind=? WHERE seq=?", FAULT, row_of(mine, NewOrder))
    at = int(read_session(mine).runs["started"].iloc[0]) * 1_000_000
    lines = [
        {"ts": at, "severity": "warning", "key": "k", "text": "the connection is down: gone", "held": 0},
        {"ts": at + 1, "severity": "warning", "key": "k", "text": "3 more, the last: the connection is down: gone"},
        {"ts": at - 10**15, "severity": "info", "key": "k", "text": "of another journal", "held": 0},
    ]
    torn = json.dumps(lines[0])[:20]
    (mine.parent / "alerts.jsonl").write_text("\n".join([*map(json.dumps, lines), torn]), encoding="utf-8")
    found = read_session(mine)
    assert found.link_downs == 4 and len(found.alerts) == 2
    assert found.reconciles["difference"].iloc[0] == "BTCUSDT 7 lots here, 0 there"
    assert list(found.faults["kind"]) == ["NewOrder"]


def test_what_is_no_journal_is_one_line(journal: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"^journal .*none\.sqlite: no such file, so nothing has run there$"):
        read_session(tmp_path / "none.sqlite")
    open_journal(tmp_path).close()
    with pytest.raises(WorkspaceError, match=rf"^journal .*{FILE}: no session has begun in it$"):
        read_session(tmp_path / FILE)
    torn = tmp_path / "torn.sqlite"
    torn.write_bytes(b"no database" * 100)
    with pytest.raises(WorkspaceError, match=r"^journal .*torn\.sqlite: file is not a database$"):
        read_session(torn)
    mine = copied(journal, tmp_path / "mine")
    execute(mine, "UPDATE entries SET crc=1 WHERE seq=17")
    with pytest.raises(WorkspaceError, match=r"row 17 is damaged$"):
        read_session(mine)
