"""A walk-forward's report says what was chosen before and traded after; what cannot be walked leaves nothing behind."""

import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from flea_lab import runs
from flea_lab.cli import app
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, FleaError
from flea_lab.report import walkforward as sections
from flea_lab.report.record import FOLDER_VARIABLE, take_record
from flea_lab.report.run import check_notebook
from flea_lab.report.walk_run import PARAMETER, run_walk_report
from flea_lab.report.walkforward import Walk, Walked, run_values
from flea_lab.workspace import workspace
from tests.report.conftest import small_config
from tests.stored import store_market

GRID = {"rsi_reversion.period": [7, 14], "ema_momentum.fast": [5, 9]}
HOW: dict[str, Any] = {"grid": GRID, "train_days": 0.5, "test_days": 0.25}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return small_config("BTCUSDT", data={"venue": "synthetic"})


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, config: RunConfig) -> Walked:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("home")))
        store_market(3_000)
        return sections.look({**HOW, "config": config.to_dict()})


def test_every_piece_says_what_the_walk_found(walked: Walked) -> None:
    found = walked.found
    head = sections.verdict(walked).data + sections.headline(walked).data
    assert f"over {len(found.windows)} windows" in head
    assert f"{found.evaluated:,}" in head and "synthetic data" in head
    table = sections.windows(walked).data
    assert table.count("<tr>") == len(found.windows) + 1
    assert all(name in table for name in GRID)
    assert found.digest in sections.reproduce(walked).data
    assert "chosen most" in sections.stability(walked).data


def test_the_figures_draw_every_window(walked: Walked) -> None:
    windows = walked.found.windows
    before, after = sections.promised(walked).data
    assert list(before.y) == windows["in_sample"].tolist() and list(after.y) == windows["out_of_sample"].tolist()
    chosen = sections.choices(walked)
    assert [len(line.y) for line in chosen.data] == [len(windows)] * len(GRID)
    for line, (name, values) in zip(chosen.data, walked.found.grid.items(), strict=True):
        assert [float(y) for y in line.y] == windows[name].tolist()
        assert set(line.y) <= {str(value) for value in values}  # else the axis has a category of its own
    assert isinstance(sections.equity(walked), go.Figure)
    assert len(sections.equity(walked).layout.shapes) == len(windows) - 1


def test_what_is_stored_is_what_was_found(walked: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    sections.keep(walked)
    record = take_record(tmp_path)
    assert record.decisions_digest == walked.found.digest
    assert record.metrics["windows"] == len(walked.found.windows)
    assert {path.name for path in tmp_path.iterdir()} == {"windows.parquet", "equity.parquet", "grid.toml"}


def test_a_second_walk_gives_the_same_digests(
    walked: Walked, config: RunConfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_market(3_000)
    again = sections.look(run_values(config, Walk(config=config.to_dict(), **HOW)))
    assert sections.record_of(again).result_digest == sections.record_of(walked).result_digest
    assert again.found.digest == walked.found.digest


def test_the_command_of_a_run_holds_all_that_was_asked() -> None:
    walk = Walk(config={}, grid=GRID, train_days=3.5, test_days=1, anchored=True, metric="calmar", choose="plateau")
    assert walk.command == (
        "flea walkforward config.toml --grid grid.toml --train-days 3.5 --test-days 1 --metric calmar "
        "--choose plateau --anchored"
    )


def test_the_committed_notebook_has_one_parameter() -> None:
    check_notebook(runs.WALK_NOTEBOOK, PARAMETER)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "sharp"}, "metric 'sharp' is unknown"),
        ({"grid": {}}, "grid is empty"),
    ],
)
def test_what_cannot_be_is_said_before_there_is_a_folder(
    config: RunConfig, home: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run_walk_report(config, Walk(config=config.to_dict(), **{**HOW, **change}))
    assert not list(workspace().root.glob("runs/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train-days", "0"], r"train_days = 0\.0"),
        (["--choose", "luck"], "choose = 'luck'"),
        (["--test-days", "nan"], "test_days"),
    ],
)
def test_the_command_line_refuses_what_cannot_be(home: Path, tmp_path: Path, words: list[str], said: str) -> None:
    config, grid = tmp_path / "c.toml", tmp_path / "g.toml"
    config.write_text('symbols = ["BTCUSDT"]\ninterval = "1m"\n[[signals]]\nkernel = "rsi_reversion"\n')
    grid.write_text('"rsi_reversion.period" = [7, 14]\n')
    found = CliRunner().invoke(app, ["walkforward", str(config), "--grid", str(grid), *words])
    assert isinstance(found.exception, FleaError)
    assert re.search(said, str(found.exception)), found.exception
