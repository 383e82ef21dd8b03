"""Every evaluation is counted by itself, once, on the data it was made on."""

from pathlib import Path

import pytest

from flea_lab.backtest.market import tried_on
from flea_lab.config import with_values
from flea_lab.errors import WorkspaceError
from flea_lab.trials import RECORDS, Tried, count_trials, note_trials
from flea_lab.wiring import market_from_frames, run_backtest
from flea_lab.workspace import Workspace, workspace
from tests.backtest.tiny import config, frame

MAY = Tried("binance_um", ("BTCUSDT", "ETHUSDT"), 1_000, 2_000)
IDS = [f"{i:016x}{i:048x}" for i in range(1, 9)]


def test_the_same_config_counts_once_however_often_it_is_tried(tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    for ids in (IDS[:5], IDS[3:], IDS):
        note_trials(home, MAY, ids)
    assert count_trials(home, MAY) == 8


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (MAY._replace(first_ms=2_000, last_ms=3_000), True),
        (MAY._replace(first_ms=2_001, last_ms=3_000), False),
        (MAY._replace(symbols=("ETHUSDT", "XRPUSDT")), True),
        (MAY._replace(symbols=("XRPUSDT",)), False),
        (MAY._replace(venue="synthetic"), False),
    ],
)
def test_a_trial_counts_on_data_that_share_bars(tmp_path: Path, other: Tried, counts: bool) -> None:
    home = Workspace(tmp_path)
    note_trials(home, MAY, IDS)
    assert count_trials(home, other) == (8 if counts else 0)


def test_a_record_cut_off_by_a_full_disk_does_not_shift_those_after_it(tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    note_trials(home, MAY, IDS[:3])
    [file] = tmp_path.rglob(RECORDS)
    file.write_bytes(file.read_bytes()[:-5])
    assert count_trials(home, MAY) == 2
    note_trials(home, MAY, IDS[3:5])
    assert count_trials(home, MAY) == 4


def test_without_a_workspace_nothing_is_kept(tmp_path: Path) -> None:
    home = Workspace(tmp_path / "none")
    note_trials(home, MAY, IDS)
    assert count_trials(home, MAY) == 0 and not home.root.exists()


def test_a_single_backtest_is_a_trial(home: Path) -> None:
    asked = config()
    loaded = market_from_frames(asked, {"X": frame([(i, 100.0 + i, 100.0 + i, 0.5) for i in range(20)])})
    data = tried_on(asked, loaded.market)
    run_backtest(asked, loaded)
    assert not home.exists()
    workspace().ready()
    for size in (0.5, 0.5, 0.25):
        run_backtest(with_values(asked, {"sizing.base_fraction": size}), loaded)
    assert count_trials(workspace(), data) == 2


def test_a_count_that_cannot_be_known_is_not_given(tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    note_trials(home, MAY, IDS)
    [about] = tmp_path.rglob("data.json")
    about.write_text("{}")
    with pytest.raises(WorkspaceError, match="what was tried there is not known"):
        count_trials(home, MAY)
