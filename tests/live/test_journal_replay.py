"""A journal folded again gives the commands and the state of the session that wrote it, every time and everywhere.

The long one is a day in twenty folds, six of them in processes of their own; it is marked slow.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli.commands import app
from flea_lab.errors import WorkspaceError
from flea_lab.journal import MARK
from flea_lab.live.account import ready_folder
from flea_lab.live.journal import open_journal, read_meta
from flea_lab.live.journal_check import check_journal
from flea_lab.live.store import FILE, read_rows
from flea_lab.model.trading import NewOrder
from flea_lab.research.journal_replay import Replayed, replay_journal
from tests.live.test_book_session import play
from tests.rehearsed import HISTORY, copied, execute, rehearsed, row_of

DAY = 1_440


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rehearsed(tmp_path_factory.mktemp("replay"), bars=HISTORY + 120)


def flea(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def of_its_own(journal: Path, hash_seed: int) -> str:
    """What `flea journal check --replay` prints in a process whose dicts and sets are seeded otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "flea_lab", "journal", "check", str(journal), "--replay"],
        capture_output=True, text=True, check=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )  # fmt: skip
    return done.stdout


def said(found: Replayed) -> list[str]:
    """What the command prints of it."""
    return [
        "replay    equal",
        f"commands  {found.commands:,}, digest {found.commands_digest}",
        f"state     {found.state_hash}, {found.marks:,} marks on the way",
    ]


def test_a_session_folds_to_its_own_commands_and_to_the_state_it_ended_with(journal: Path) -> None:
    found = replay_journal(journal)
    assert found.equal and found.state_hash == found.marked and found.marks >= 1
    assert found.commands > 30 and replay_journal(journal) == found
    status, text = flea("journal", "check", str(journal), "--replay")
    assert status == 0 and all(line in text for line in said(found)), text


@pytest.mark.slow
def test_a_sandbox_day_folds_to_the_same_commands_and_state_twenty_of_twenty(tmp_path: Path) -> None:
    day = rehearsed(tmp_path / "day", bars=HISTORY + DAY)
    first = replay_journal(day)
    assert first.equal and first.state_hash == first.marked and first.commands > 300
    assert [replay_journal(day) for _ in range(13)] == [first] * 13
    for hash_seed in range(6):
        text = of_its_own(day, hash_seed)
        assert all(line in text for line in said(first)), text


def rested(home: Path, bars: int) -> Path:
    """The journal of a session against depth, most of whose orders are limits, many of which rest."""
    found = play(home / "journals" / "book", bars)
    assert found["limits"] > bars / 3 and found["rested"] > 0 and found["cancelled"] > 0, found
    return home / "journals" / "book" / FILE


def test_a_session_of_limit_orders_against_depth_folds_to_the_same_twice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    journal = rested(home, 40)
    first = replay_journal(journal)
    assert first.equal and first.state_hash == first.marked and first.commands > 30
    assert replay_journal(journal) == first


@pytest.mark.slow
def test_a_day_of_limit_orders_against_depth_folds_to_the_same_twenty_of_twenty(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    journal = rested(home, DAY)
    first = replay_journal(journal)
    assert first.equal and first.state_hash == first.marked and first.commands > 1_000
    assert [replay_journal(journal) for _ in range(13)] == [first] * 13
    for hash_seed in range(6):
        text = of_its_own(journal, hash_seed)
        assert all(line in text for line in said(first)), text


def test_a_check_tells_who_wrote_it_and_what_is_wrong(journal: Path, tmp_path: Path) -> None:
    found = check_journal(journal)
    assert found.sound and found.snapshot == next(
        row.seq for row in reversed(list(read_rows(journal))) if row.kind == MARK
    )
    assert (found.runs, found.seed, len(found.config_id)) == (1, "none", 64)
    mine = copied(journal, tmp_path / "mine")
    execute(mine, "UPDATE entries SET kind=2 WHERE seq=?", row_of(mine, NewOrder))
    status, text = flea("journal", "check", str(mine))
    assert status == 1 and "is damaged, rows after it are not: no start goes on" in text
    execute(mine, "DELETE FROM entries WHERE seq>30")
    execute(mine, "UPDATE entries SET body=x'00' WHERE seq=30")
    status, text = flea("journal", "check", str(mine))
    assert status == 1 and "row 30 is damaged: a start cuts it off and halts" in text
    assert open_journal(mine.parent).repaired.startswith("row 30 is damaged")
    assert check_journal(mine).sound


def test_an_account_is_checked_by_its_name_and_what_is_no_journal_is_one_line(home: Path, tmp_path: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    open_journal(ready_folder("main")).close()
    status, text = flea("journal", "check", "main")
    assert status == 0 and "whole" in text and "none is closed" in text
    with pytest.raises(WorkspaceError, match="no session has begun in it"):
        replay_journal(ready_folder("main") / FILE)
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(WorkspaceError, match="file is not a database"):
        check_journal(tmp_path / FILE)
    with pytest.raises(WorkspaceError, match="file is not a database"):
        read_meta(tmp_path / FILE)
    for read in (check_journal, read_meta):
        execute(ready_folder("main") / FILE, "PRAGMA user_version=3")
        with pytest.raises(WorkspaceError, match="is of format 3, this code knows up to 2: run newer code"):
            read(ready_folder("main") / FILE)
    execute(ready_folder("main") / FILE, "PRAGMA user_version=1")
    with pytest.raises(WorkspaceError, match=r"is of format 1, not 2: a start upgrades an older one"):
        check_journal(ready_folder("main") / FILE)
