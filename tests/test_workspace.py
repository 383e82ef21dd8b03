"""Where a researcher's files live."""

import os
from pathlib import Path

import pytest

from flea_lab.errors import WorkspaceError
from flea_lab.workspace import FOLDERS, Workspace, workspace


def test_the_environment_names_it_and_the_path_is_absolute(home: Path) -> None:
    assert workspace().root == home
    assert not home.exists(), "naming a workspace makes nothing"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_name_it_is_dot_flea_below_the_working_folder(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEA_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("FLEA_HOME", value)
    assert workspace().root == tmp_path / ".flea"


def test_ready_makes_every_folder_for_its_owner_alone(home: Path) -> None:
    made = workspace().ready()
    assert sorted(path.name for path in home.iterdir()) == sorted(FOLDERS)
    assert all(path.stat().st_mode & 0o077 == 0 for path in home.iterdir())
    assert made.ready() == made, "twice is once"
    assert (made.store, made.runs, made.signals) == (home / "store", home / "runs", home / "signals")


def test_a_workspace_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WorkspaceError, match=r"workspace .*/file cannot be made: .* \(set FLEA_HOME\)"):
        Workspace(file).ready()
    with pytest.raises(WorkspaceError, match=r"workspace .*/file/below cannot be made: Not a directory"):
        Workspace(file / "below").ready()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    Workspace(folder).ready()
    folder.chmod(0o500)
    with pytest.raises(WorkspaceError, match=r"workspace .*/locked is not writable \(set FLEA_HOME\)"):
        Workspace(folder).ready()
