"""A day of operations: what needs a person comes first, and every number is that of the journal."""

import hashlib
import shutil
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from flea_lab import runs
from flea_lab.cli.commands import app
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.journal import EVENT
from flea_lab.live.account import ready_folder
from flea_lab.live.store import FILE, open_read_only
from flea_lab.model.market import Candle
from flea_lab.overdue import ledger_file
from flea_lab.report import operations as sections
from flea_lab.report import operations_facts as facts
from flea_lab.report import verify
from flea_lab.report.again import day_of
from flea_lab.report.operations_facts import Asked, Operations, settled
from flea_lab.report.operations_run import PARAMETER
from flea_lab.report.record import FOLDER_VARIABLE, take_record
from flea_lab.report.run import Job, check_notebook, manifest_of
from flea_lab.schedule.ledger import Ledger, Run
from flea_lab.workspace import Workspace, workspace
from tests.rehearsed import HISTORY, copied, doctor, execute, rehearsed, row_of
from tests.report.scenes import edit_manifest

BARS = 300
DAY = date(2025, 1, 1)
DAY_NS = 1_735_689_600_000_000_000
PIECES = ("verdict", "headline", "sessions", "equity", "replays", "risk", "reconciles", "costs", "data", "schedule")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("operations")))
        workspace().ready()
        yield rehearsed(ready_folder("first"), bars=BARS)


@pytest.fixture(scope="module")
def found(place: Path) -> Operations:
    with_jobs()
    return facts.look({"day": "last", "accounts": ["first"]})


def with_jobs() -> None:
    """A schedule that ran one job well and one badly on the day, and one the day after."""
    file = ledger_file(workspace())
    file.parent.mkdir(mode=0o700, exist_ok=True)
    ledger = Ledger(file, durable=False)
    for n, (job, hour, status) in enumerate((("report", 2, "ok"), ("sweep", 3, "failed"), ("report", 26, "ok"))):
        at = DAY_NS + hour * 3_600 * 10**9
        times = {"planned_ns": at, "due_ns": at, "started_ns": at, "ended_ns": at + 90 * 10**9}
        ledger.add([Run(id=f"r{n}", job=job, status=status, **times)])  # type: ignore[arg-type]
    ledger.close()


def said(found: Operations, name: str) -> str:
    """What a piece says, as text."""
    piece = getattr(sections, name)(found)
    return str(piece.data) if not isinstance(piece, go.Figure) else ""


def test_every_number_is_that_of_the_journal(found: Operations) -> None:
    (one,) = found.accounts
    assert found.day == DAY and len(one.equity) == BARS
    numbers = facts.metrics(found)
    assert numbers["pnl_usd"] == pytest.approx(one.session.equity["equity_usd"].iloc[-1] - 100_000.0)
    assert numbers["fills"] == len(one.session.fills) > 5
    assert numbers["fees_usd"] == pytest.approx(one.session.fills["fee_usd"].sum())
    assert one.night.equal and numbers["replays_different"] == 0
    assert one.night.bars == BARS - HISTORY
    assert sum(one.refused.values()) == numbers["refused"] > 0


def test_another_day_holds_nothing_of_this_one(place: Path) -> None:
    other = facts.look({"day": "2025-01-02", "accounts": ["first"]})
    (one,) = other.accounts
    assert (len(one.equity), len(one.fills), len(one.orders), one.night.bars) == (0, 0, 0, 0)
    assert one.begin_usd == one.end_usd == pytest.approx(one.session.equity["equity_usd"].iloc[-1])
    for name in PIECES:
        said(other, name)


def test_what_needs_a_person_comes_first(found: Operations) -> None:
    wrong = sections.troubles(found)
    assert "critical alert" in wrong[0] and "daily_loss" in wrong[0]  # its guard did halt it
    assert any("job sweep planned for 2025-01-01 03:00:00: failed" in line for line in wrong)
    assert f"{len(wrong)} things to look at" in said(found, "verdict")
    assert "1 job not done" in said(found, "verdict")


def test_every_piece_is_there(found: Operations) -> None:
    for name in PIECES:
        assert name in ("equity",) or said(found, name)
    assert isinstance(sections.equity(found), go.Figure) and isinstance(sections.schedule_figure(found), go.Figure)
    log = said(found, "schedule")
    assert log.index("failed") < log.index(">ok<") and log.count("<tr>") == 3  # the day after is not in it
    assert "equal again" in said(found, "replays")


def test_a_day_that_cannot_be_explained_says_so(place: Path) -> None:
    spoiled = copied(place, ready_folder("spoiled"))
    doctor(spoiled, row_of(spoiled, Candle, 300, EVENT), lambda one: type(one)(**{**fields(one), "close": 1.0}))
    bad = facts.look({"day": "last", "accounts": ["spoiled"]})
    assert not bad.accounts[0].night.equal
    assert "DIFFERENT again" in sections.troubles(bad)[0]
    assert "1 replay different" in said(bad, "verdict")
    (spoiled.parent / FILE).unlink()


def fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_what_is_stored_is_what_was_found(found: Operations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    sections.keep(found)
    record = take_record(tmp_path)
    assert record.config_id == found.asked.id and record.metrics["jobs_not_done"] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.parquet" for name in ("equity", "alerts", "jobs")),
        "replays.txt",
    }
    again = facts.record_of(facts.look(found.asked.to_dict()))
    assert again.result_digest == record.result_digest


@pytest.fixture(scope="module")
def run(found: Operations) -> Path:
    """The day as a finished run, without the page that costs seconds."""
    return stored(found)


def stored(found: Operations) -> Path:
    partial = runs.begin(workspace(), found.asked.name, found.asked.id)
    runs.save_text(partial, "config.toml", runs.to_toml(found.asked.to_dict()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(partial))
        sections.keep(found)
    job = Job("operations", found.asked, runs.OPERATIONS_NOTEBOOK, PARAMETER, found.asked.to_dict(), "")
    return runs.finish(partial, manifest_of(job, take_record(partial), 0, 1))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Workspace:
    """A copy of the workspace that may be spoilt."""
    shutil.copytree(workspace().root, tmp_path / "desk")
    return Workspace(tmp_path / "desk")


def verified(run: Path, home: Workspace) -> verify.Verdict:
    """The verdict on `run` in `home`; the second execution is one of this process, of the same question, there."""

    def again(folder: Path, *_: object) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLEA_HOME", str(home.root))
            asked = day_of(runs.read_manifest(folder), folder.name)
            return stored(facts.look(asked.to_dict()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_again", again)
        return verify.verify(home.runs / run.name, home)


def test_a_day_looked_at_again_is_equal(run: Path, copy: Workspace) -> None:
    seen = verified(run, copy)
    assert (seen.state, seen.executed, seen.differences, seen.notes) == ("equal", True, [], []), seen.text()
    assert "executed again: 3 frames, 12 metrics" in seen.text()


def test_a_row_of_a_days_journal_and_a_journal_that_is_gone_are_named(run: Path, copy: Workspace) -> None:
    journal = copy.root / "journals" / "first" / FILE
    execute(journal, "UPDATE entries SET crc = crc + 1 WHERE seq = 40")
    seen = verify.verify(copy.runs / run.name, copy, quick=True)
    assert [(one.component, one.what[:28]) for one in seen.differences] == [
        ("data partition", "journal of rehearsal, rows 0")
    ]
    journal.unlink()
    seen = verified(run, copy)
    assert seen.status == 2 and seen.why.endswith("no such file"), seen.text()


@pytest.mark.parametrize("other", [False, True])
def test_a_day_is_verified_where_its_journal_went_on_unless_it_is_told_otherwise_now(
    run: Path, copy: Workspace, other: bool
) -> None:
    def as_of_before(done: dict[str, Any]) -> None:
        done["data"][0] |= {"rows": (rows := done["data"][0]["rows"] - 10), "digest": digest_to(rows)}
        done["metrics"]["fills"] -= other

    def digest_to(rows: int) -> str:
        with closing(open_read_only(copy.root / "journals" / "first" / FILE)) as db:
            found = db.execute("SELECT seq, kind, crc FROM entries WHERE seq < ? ORDER BY seq", (rows,))
            return hashlib.sha256("".join(f"{row}\n" for row in found).encode()).hexdigest()

    folder = copy.runs / run.name
    edit_manifest(folder, as_of_before, seal=True)
    before = folder.rename(copy.runs / runs.read_manifest(folder).stem)
    seen = verified(before, copy)
    assert any(note.endswith("as they were; the journal of rehearsal went on by 10 rows") for note in seen.notes)
    assert (seen.state, seen.differences) == ("cannot be verified" if other else "equal", []), seen.text()
    assert ("went on by 10 rows, and what is reported is another now: report it again" in seen.why) == other


def test_a_job_that_the_schedule_tells_otherwise_now_is_data(run: Path, copy: Workspace) -> None:
    execute(ledger_file(copy), "UPDATE runs SET status = 'ok' WHERE id = 'r1'")
    seen = verified(run, copy)
    assert [(one.component, one.what) for one in seen.differences] == [
        ("data partition", "jobs.parquet"),
        ("data partition", "metrics.jobs_not_done"),
    ], seen.text()


def test_a_day_of_no_account_is_not_verified_once_there_is_one(run: Path) -> None:
    done = msgspec.structs.replace(runs.read_manifest(run), config={"day": "2025-01-01", "accounts": []})
    with pytest.raises(WorkspaceError, match="run x: no account had traded, now first have: report it again"):
        day_of(done, "x")


def test_a_question_is_settled_before_it_is_stored(place: Path) -> None:
    asked = settled(Asked(day="last", accounts=("first",)))
    assert asked == Asked(day="2025-01-01", accounts=("first",)) and settled(asked).id == asked.id
    assert settled(Asked()).accounts == ("first",)
    check_notebook(runs.OPERATIONS_NOTEBOOK, PARAMETER)


def test_what_cannot_be_asked_is_said_and_leaves_nothing(home: Path) -> None:
    with pytest.raises(ConfigError, match="day = '2025-13-01': a day is written as 2026-01-31"):
        settled(Asked(day="2025-13-01"))
    with pytest.raises(WorkspaceError, match="no account has traded in this workspace"):
        settled(Asked(day="last"))
    with pytest.raises(WorkspaceError, match="account 'other' has no journal"):
        facts.look({"day": "2025-01-01", "accounts": ["other"]})
    bad = CliRunner().invoke(app, ["operations", "--day", "sometime"])
    assert isinstance(bad.exception, ConfigError)
    assert not list(workspace().root.glob("runs/*"))


def test_a_workspace_without_accounts_has_a_quiet_day(home: Path) -> None:
    quiet = facts.look({})
    assert "Nothing traded and nothing was scheduled" in said(quiet, "verdict")
    for name in PIECES:
        said(quiet, name)
    assert facts.record_of(quiet).source == "no account"
