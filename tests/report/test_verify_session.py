"""A session's report is verified from its journal: played back and replayed in a clean process, row by row the same."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flea_lab.live.account import ready_folder
from flea_lab.report.session_run import run_session_report
from flea_lab.report.verify import verify
from flea_lab.workspace import Workspace, workspace
from tests.rehearsed import rehearsed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The report on a rehearsed session of account main."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("desk")))
        rehearsed(ready_folder("main"))
        yield run_session_report("main", progress=False)


def journal(home: Workspace, *statements: str) -> None:
    with closing(sqlite3.connect(home.root / "journals" / "main" / "journal.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.fixture
def home(run: Path, tmp_path: Path) -> Workspace:
    """A copy of the workspace that may be spoilt."""
    shutil.copytree(workspace().root, tmp_path / "desk")
    return Workspace(tmp_path / "desk")


def test_a_sessions_report_is_equal(run: Path) -> None:
    found = verify(run, workspace())
    assert (found.state, found.executed) == ("equal", True), found.text()


def test_a_row_of_the_journal_is_named(run: Path, home: Workspace) -> None:
    journal(home, "UPDATE entries SET crc = crc + 1 WHERE seq = 40")
    found = verify(home.runs / run.name, home)
    assert found.status == 1 and found.differences[0].component == "data partition", found.text()
    assert found.differences[0].what.startswith("journal of rehearsal, rows 0 to ")


def test_a_fee_in_the_journals_tables_is_found_by_playing_it_again(run: Path, home: Workspace) -> None:
    journal(home, "UPDATE fills SET fee_uusd = fee_uusd + 10000 WHERE seq = (SELECT min(seq) FROM fills)")
    found = verify(home.runs / run.name, home)
    assert found.status == 1 and found.same_result is False, found.text()


def test_a_journal_that_is_gone_cannot_be_verified(run: Path, home: Workspace) -> None:
    shutil.rmtree(home.root / "journals")
    found = verify(home.runs / run.name, home)
    assert found.status == 2 and "no such file" in found.why and found.differences[0].component == "data partition"
