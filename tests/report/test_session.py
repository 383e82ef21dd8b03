"""The report of a session says what it did, under which name, and whether it is what research would have done."""

import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
from msgspec.structs import replace as with_changed
from typer.testing import CliRunner

from flea_lab import runs
from flea_lab.cli.report import app
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, FleaError, WorkspaceError
from flea_lab.live.account import ready_folder
from flea_lab.live.lock import lock_account
from flea_lab.model.trading import NewOrder
from flea_lab.report import session as sections
from flea_lab.report import session_facts, session_log, session_run
from flea_lab.report.run import check_notebook
from flea_lab.report.session_facts import Lived, find_journal, look
from flea_lab.report.session_run import run_session_report
from flea_lab.research.promote import promote_run
from flea_lab.view.live_figures import slippage_figure
from flea_lab.workspace import workspace
from tests.rehearsed import copied, doctor, execute, rehearsed, row_of

SECTIONS = (
    "Equity, live and replayed", "Fills on price", "Slippage", "Latency", "What the guards refused", "Reconciliations",
    "Data", "Alerts", "Orders", "Runs", "Parameters", "How to reproduce",
)  # fmt: skip


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A session on account main of a workspace, rehearsed once for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("desk")))
        yield rehearsed(ready_folder("main"))


@pytest.fixture(scope="module")
def lived(journal: Path) -> Lived:
    return look({"account": "main"})


@pytest.fixture(scope="module")
def run(journal: Path) -> Path:
    """The folder of one report, made while a runner holds the account."""
    with lock_account(journal.parent, WallClock()):
        return run_session_report("main", progress=False)


@pytest.fixture
def mine(journal: Path, tmp_path: Path) -> Path:
    return copied(journal, tmp_path / "mine")


def plain(piece: Any) -> str:
    """The words of a piece, without its style and tags."""
    bare = re.sub(r"<style>.*?</style>", "", piece.data, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).replace("\u00a0", " ").replace("\u2212", "-").split())


def test_the_verdict_says_result_end_and_both_replays(lived: Lived) -> None:
    said = plain(sections.verdict(lived))
    total = session_facts.metrics(lived)["total_return"]
    assert total == pytest.approx(lived.equity["equity_usd"].iloc[-1] / 100_000.0 - 1.0)
    assert f"{'Made' if total > 0 else 'Lost'} {abs(100 * total):.1f} % in {len(lived.session.fills)} fills" in said
    assert "it ended: the recorded market is over." in said and "account rehearsal" in said
    assert "Played back, the journal gives the same commands to the byte." in said
    assert "gives the same decisions and the same equity." in said


def test_the_badges_name_promotion_venue_replays_and_code(lived: Lived) -> None:
    said = plain(sections.verdict(lived))
    for words in (
        "! UNPROMOTED", "sandbox, fills at the next open", "✓ play-back equal", "✓ replay equal",
        "✓ account equals the venue's", f"config {lived.session.config.id[:10]}",
    ):  # fmt: skip
        assert words in said
    paper = replace(lived, session=replace(lived.session, promoted=True, venue="paper", code="0" * 64))
    said = plain(sections.verdict(paper))
    assert "✓ promoted" in said and "paper, fills at the next open" in said and "! ran on other code than this" in said
    assert "other code" in plain(sections.replays(paper)) and "other code" not in plain(sections.replays(lived))
    same = replace(lived, code=with_changed(lived.code, commit="ab12cd34ef", dirty=True))
    assert "! code changed since ab12cd34ef" in plain(sections.verdict(same))


def test_a_doctored_journal_is_said_to_be_one(mine: Path) -> None:
    seq = row_of(mine, NewOrder, 2)
    doctor(mine, seq, lambda order: with_changed(order, lots=order.lots + 1))  # type: ignore[type-var]
    found = look({"folder": str(mine.parent)})
    said = plain(sections.verdict(found))
    assert "! play-back differs" in said and f"the journal parts from the core in row {seq}." in said
    assert f"play-back: row {seq}: the journal has NewOrder" in plain(sections.replays(found))
    assert f"play-back  row {seq}: the journal has NewOrder" in session_facts.summary(found)


def test_a_difference_with_the_venue_and_a_death_are_said(mine: Path) -> None:
    execute(mine, 'UPDATE reconciles SET equal=0, theirs=replace(theirs, \'"BTCUSDT":\', \'"OTHER":5,"BTCUSDT":\')')
    execute(mine, "UPDATE runs SET ended=NULL, how=NULL")
    found = look({"folder": str(mine)})
    said = plain(sections.verdict(found))
    assert "it died: its process ended without a word." in said and "! died" in said
    assert "The account differs from the venue's." in said and "! account differs from the venue's" in said
    assert "OTHER is held there and not traded here" in plain(session_log.reconciles(found))
    assert "died" in plain(session_log.processes(found))
    asked = len(found.session.reconciles)  # more on a slow machine: one is due every so many seconds
    assert asked >= 2 and f"{asked} comparisons, {asked} different, the last different" in session_facts.summary(found)


def test_numbers_of_the_headline_are_those_of_the_frames(lived: Lived) -> None:
    said = plain(sections.headline(lived))
    fills = lived.session.fills
    assert f"Fills {len(fills)} {len(fills)} orders" in said and "none different" in said
    assert f"{fills['fee_usd'].sum():,.0f} USD fees, {fills['slippage_usd'].sum():,.0f} USD slippage" in said
    assert re.search(r"Bar to answer, p95 [\d.]+ ms half within [\d.]+ ms", said)


def test_figures_are_made_of_the_session(lived: Lived) -> None:
    live, again = sections.equity(lived).data
    assert (live.name, again.name) == ("live", "replay of what it heard")
    assert list(live.y) == list(again.y) and len(live.y) == len(lived.equity)
    drawn = sections.fills(lived, "ETHUSDT")
    bought, sold = drawn.data[1:]
    assert len(bought.x) + len(sold.x) == (lived.session.fills["symbol"] == "ETHUSDT").sum()
    counts = [len(trace.x) for trace in sections.slippage(lived).data]
    assert sum(counts) == len(lived.session.fills)
    assert sum(sections.vetoes(lived).data[0].x) == sum(lived.session.vetoes.values())


def test_slippage_that_is_all_equal_is_still_drawn() -> None:
    one = pd.DataFrame({"side": ["buy"], "slippage_bps": [0.0]})
    bins = slippage_figure(one).data[0].xbins
    assert bins.start <= 0.0 < bins.end and bins.size > 0


def test_tables_say_what_was_slow_refused_and_heard(lived: Lived) -> None:
    found = session_facts.latencies(lived.session)
    assert (found["p50"] <= found["p95"]).all() and (found["p95"] <= found["max"]).all()
    assert "bar received to decided" in plain(sections.latency(lived))
    assert plain(sections.slippage_table(lived)).startswith("fills USD traded mean bp")
    guards = plain(sections.guards(lived))
    assert "daily loss 0.2 %" in guards and "VPIN 0.75 0 – not applied" in guards
    assert f"of {len(lived.session.decisions)} intents refused." in guards
    assert "BTCUSDT 2025-01-01 00:01 UTC" in plain(session_log.data(lived))
    assert "The connection was lost 0 times." in plain(session_log.data(lived))
    assert "halted by daily_loss" in plain(session_log.alerts(lived))
    assert "comparisons, none different." in plain(session_log.reconciles(lived))
    assert plain(session_log.processes(lived)).endswith("No restart.")
    assert "signal ema_momentum" in plain(session_log.parameters(lived))
    for words in (lived.session.digest, lived.session.decisions_digest, "flea session rehearsal"):
        assert words in plain(sections.reproduce(lived))


def test_a_session_that_has_only_begun_draws_every_piece(mine: Path) -> None:
    for name in ("entries", "orders", "fills", "funding", "curve", "timings", "reconciles"):
        execute(mine, f"DELETE FROM {name}")
    (mine.parent / "alerts.jsonl").unlink()
    found = look({"folder": str(mine.parent)})
    assert "It never traded ; it ended" in plain(sections.verdict(found))
    assert "There is nothing to replay: no candle of BTCUSDT, ETHUSDT was heard." in plain(sections.verdict(found))
    assert "never reconciled" in plain(sections.verdict(found)) and "Return –" in plain(sections.headline(found))
    assert isinstance(sections.equity(found), go.Figure)
    assert plain(sections.fills(found, "BTCUSDT")) == "No bar of BTCUSDT to draw on."
    assert plain(sections.slippage(found)) == "Nothing was filled."
    for piece in (sections.replays, sections.slippage_table, sections.latency, sections.guards, sections.reproduce):
        assert piece(found).data
    for piece in (session_log.reconciles, session_log.data, session_log.alerts, session_log.orders):
        assert piece(found).data
    assert session_facts.record_of(found).metrics["total_return"] is None
    assert "never compared" in session_facts.summary(found)


def test_faults_of_the_data_are_on_the_page_with_their_ends(mine: Path, lived: Lived) -> None:
    assert lived.session.findings.empty and "Nothing was found wrong" in plain(session_log.data(lived))
    first = int(lived.session.equity["ts"].iloc[-1]) * 1_000_000
    told = (
        (first, None, "book", "BTCUSDT", "gap", "41 after <b>2</b>", ""),
        (first, first + 2_500_000_000, "book", "BTCUSDT", "gap", "41 after <b>2</b>", "snapshot"),
        (first + 7, first + 7, "trades", "ETHUSDT", "duplicate", "print 3 was told before", "told"),
        (first + 9, None, "book", "ETHUSDT", "crossed", "", ""),
    )
    for row in told:
        execute(mine, "INSERT INTO findings VALUES (5,?,?,?,?,?,?,?)", *row)
    found = look({"folder": str(mine)})
    said = plain(session_log.data(found))
    assert "book gap 1 1 2.5 s" in said and "snapshot 41 after <b>2</b>" in said
    assert "book crossed 1 1 lasts" in said and re.search(r"book ETHUSDT crossed \S+ \S+ lasts not", said)
    assert "<b>2</b>" not in session_log.data(found).data
    assert "! 3 data faults" in plain(sections.verdict(found)) and "Its data had 3 faults: " in plain(
        sections.verdict(found)
    )
    assert "data       book crossed 1, trades duplicate 1, book gap 1" in session_facts.summary(found)
    assert session_facts.metrics(found)["data_faults"] == 3.0


def test_a_journal_from_before_there_were_findings_is_read(mine: Path) -> None:
    execute(mine, "DROP TABLE findings")
    assert look({"folder": str(mine)}).session.findings.empty


def test_what_comes_from_outside_is_escaped(mine: Path) -> None:
    evil = {"ts": 0, "severity": "info", "key": "k", "text": "<script>alert(1)</script>"}
    execute(mine, "UPDATE runs SET how='<script>alert(2)</script>'")
    evil["ts"] = int(look({"folder": str(mine)}).session.runs["started"].iloc[0]) * 1_000_000
    (mine.parent / "alerts.jsonl").write_text(json.dumps(evil), encoding="utf-8")
    found = look({"folder": str(mine)})
    for piece in (sections.verdict(found), session_log.alerts(found), session_log.processes(found)):
        assert "<script>" not in piece.data and "&lt;script&gt;" in piece.data


def test_the_run_folder_holds_page_frames_and_summary(run: Path, lived: Lived) -> None:
    done = runs.read_manifest(run)
    frames = {f"{name}.parquet" for name in (*sections.FRAMES, "replay")}
    assert set(done.outputs) == {"session.ipynb", "config.toml", "report.html", "summary.txt", *frames}
    assert all(hashlib.sha256((run / n).read_bytes()).hexdigest() == digest for n, digest in done.outputs.items())
    assert (done.kind, done.name, done.config_id) == ("session", "small", lived.session.config.id)
    assert done.decisions_digest == lived.session.decisions_digest and done.reproduce == "flea session main"
    assert done.data[0]["digest"] == lived.session.digest and done.data[0]["rows"] == lived.session.rows + 1
    assert done.metrics["played_back_equal"] == 1.0 and done.metrics["replayed_equal"] == 1.0
    assert len(pd.read_parquet(run / "fills.parquet")) == len(lived.session.fills)


def test_a_running_session_is_reported_as_still_running(run: Path) -> None:
    body = (run / "report.html").read_text(encoding="utf-8")
    assert "it is still running" in body and runs.read_manifest(run).data[0]["state"] == "running"
    assert (run / "summary.txt").read_text(encoding="utf-8").startswith("state      still running\n")


def test_the_page_has_every_section_and_asks_for_nothing_from_elsewhere(run: Path, journal: Path) -> None:
    body = (run / "report.html").read_text(encoding="utf-8")
    for section in SECTIONS:
        assert f">{section}<" in body
    assert body.count('class="page-figure"') == 5 and "flea-verdict" in body
    assert 'class="page-stream page-error"' not in body
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", body)
    text = (run / "session.ipynb").read_text(encoding="utf-8")
    assert str(journal.parent.parent.parent) not in text and str(runs.ROOT) not in text
    assert nbformat.reads(text, as_version=4).metadata.papermill.exception is None


def test_a_session_cannot_be_promoted(run: Path) -> None:
    with pytest.raises(FleaError, match="is a session, promoted is a backtest"):
        promote_run(run.name)


def test_the_committed_notebook_has_one_parameter() -> None:
    check_notebook(runs.SESSION_NOTEBOOK, session_run.PARAMETER)
    with pytest.raises(ConfigError, match=r"session.ipynb: its parameters are session, must be config$"):
        check_notebook(runs.SESSION_NOTEBOOK)


def test_what_is_not_there_is_said_before_there_is_a_folder(journal: Path, tmp_path: Path) -> None:
    before = sorted(workspace().runs.iterdir())
    with pytest.raises(WorkspaceError, match=r"^account 'other' has no journal: nothing has run on it"):
        run_session_report("other")
    with pytest.raises(WorkspaceError, match=r"^journal .*journal.sqlite: no such file, so nothing has run there$"):
        run_session_report(tmp_path / "journal.sqlite")
    with pytest.raises(ConfigError, match=r"^account = 'Other'"):
        run_session_report("Other")
    with pytest.raises(ConfigError, match=r"^session = .*: one of account and folder, no other key$"):
        look({"acount": "main"})
    assert sorted(workspace().runs.iterdir()) == before
    assert find_journal("main") == find_journal(journal.parent) == journal


def test_the_command_prints_the_summary_and_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(session_run, "run_session_report", lambda named, **_: asked.append(named) or run)
    for words in (["session"], ["session", "main"], ["session", "some/folder"]):
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, said.output
    assert asked == ["main", "main", Path("some/folder")]
    lines = {line[:11].strip(): line[11:] for line in said.output.splitlines()}
    assert list(lines) == ["state", "config", "equity", "fills", "reconciles", "play-back", "replay", "page"]
    assert lines["play-back"].startswith("equal: ") and lines["replay"].startswith("equal: ")
    assert lines["page"] == str(run / "report.html")


@pytest.mark.usefixtures("journal")
def test_which_account_is_meant_is_asked_where_it_is_not_clear() -> None:
    ready_folder("second")
    found = CliRunner().invoke(app, ["session"]).exception
    assert isinstance(found, ConfigError) and str(found) == "which account: main, second; flea session ACCOUNT"
    (workspace().root / "journals" / "second").rmdir()


@pytest.mark.usefixtures("home")
def test_a_workspace_in_which_nothing_traded_is_said_to_be_one() -> None:
    found = CliRunner().invoke(app, ["session"]).exception
    assert str(found) == "no account has traded in this workspace; flea session ACCOUNT"
