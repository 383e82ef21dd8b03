"""`flea promote` binds a real run after a real parity check; `flea promoted` says what may trade."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flea_lab import runs
from flea_lab.cli import app
from flea_lab.config import load
from flea_lab.errors import PromotionError
from flea_lab.promotion import read_promoted
from flea_lab.runs import CodeState
from flea_lab.workspace import workspace
from tests.stored import finished_backtest, store_market

CODE = CodeState(digest="c0de" * 16, commit="ab" * 20, dirty=False)
CONFIG = 'symbols = ["BTCUSDT"]\ninterval = "1m"\n[[signals]]\nkernel = "ema_momentum"\n'


def flea(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a day of the synthetic market, a configuration, and code that stays the same."""
    home = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(home))
        patch.setattr(runs, "code_state", lambda *_: CODE)
        store_market(1_440)
        (home / "small.toml").write_text(CONFIG, encoding="utf-8")
        yield home


@pytest.fixture(scope="module")
def run(desk: Path) -> Path:
    """The folder of a finished backtest."""
    return finished_backtest(load(desk / "small.toml"), CODE)


def test_a_run_is_promoted_by_its_folder_and_says_what_it_is_bound_to(run: Path) -> None:
    said = flea("promote", run, "--name", "by-folder")
    assert said.exit_code == 0, said.output
    manifest = runs.read_manifest(run)
    lines = [" ".join(line.split()) for line in said.output.splitlines()]
    decisions = read_promoted("by-folder", workspace()).bound.parity.decisions
    assert decisions > 0
    assert lines == [
        f"promoted by-folder, on synthetic data: {manifest.source}",
        f"config {manifest.config_id}",
        f"run {run.name}",
        "data synthetic BTCUSDT 1m, 1,440 bars, 1 partitions",
        "code c0dec0dec0dec0de, commit ababababab",
        f"parity {decisions:,} decisions, {str(manifest.decisions_digest)[:16]} in sweep and replay",
        "result beefbeefbeefbeef",
        str(workspace().promoted / "by-folder.toml"),
    ]


def test_a_run_is_promoted_by_its_name_or_its_config_under_the_configs_name(run: Path, desk: Path) -> None:
    assert flea("promote", run.name).exit_code == 0
    assert read_promoted("small", workspace()).bound.run == run.name
    refused = flea("promote", desk / "small.toml").exception
    assert isinstance(refused, PromotionError) and "the name is taken, by config" in str(refused)
    said = flea("promote", desk / "small.toml", "--replace").output
    assert f"  replaces   config {runs.read_manifest(run).config_id[:10]} of run {run.name}, promoted 20" in said


def test_what_is_no_run_is_one_line(run: Path, desk: Path, tmp_path: Path) -> None:
    found = flea("promote", "never-ran").exception
    assert isinstance(found, PromotionError)
    assert str(found) == f"run never-ran: neither a folder, nor a run in {desk / 'runs'}, nor a config file"
    other = tmp_path / "other.toml"
    other.write_text(CONFIG + "weight = 2.0\n", encoding="utf-8")
    found = flea("promote", other).exception
    assert isinstance(found, PromotionError)
    assert str(found).startswith(f"config {other}: no finished backtest of {load(other).id[:10]} in ")


def test_dirty_code_needs_a_word_and_is_listed_as_dirty(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "code_state", lambda *_: CodeState(digest=CODE.digest, commit="ab" * 20, dirty=True))
    found = flea("promote", run, "--name", "dirty").exception
    assert isinstance(found, PromotionError) and "commit it, or allow dirty code" in str(found)
    assert ", commit ababababab, dirty" in flea("promote", run, "--name", "dirty", "--allow-dirty").output
    assert "c0dec0dec0 dirty  20" in flea("promoted").output


def test_what_is_promoted_is_listed_and_what_no_longer_holds_says_why(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flea("promote", run, "--name", "listed").exit_code == 0
    rows = {line.split()[0]: line.split() for line in flea("promoted").output.splitlines()}
    assert rows["name"] == ["name", "config", "code", "promoted", "state", "run"]
    assert rows["listed"][1:3] == [runs.read_manifest(run).config_id[:10], "c0dec0dec0"]
    assert rows["listed"][4:] == ["ok", run.name]
    monkeypatch.setattr(runs, "code_state", lambda *_: CodeState(digest="4e4" * 20, commit=None, dirty=None))
    said = flea("promoted").output
    assert "code changed  " in said
    assert "promoted listed: code changed since promotion, digest 4e44e44e44, promoted was c0dec0dec0" in said


def test_nothing_promoted_is_said(home: Path) -> None:
    assert flea("promoted").output == f"nothing is promoted in {home / 'promoted'}\n"


def test_data_that_changed_since_the_run_is_refused(run: Path) -> None:
    store_market(1_500, replace=True)
    found = flea("promote", run, "--name", "late").exception
    assert isinstance(found, PromotionError)
    assert str(found) == f"run {run.name}: the stored data has changed since it finished: run flea report again"
