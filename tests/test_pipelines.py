"""The scheduled work: what it makes lies in the workspace, what fails is a line and a status that cron sees."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from flea_lab import runs
from flea_lab.config import load
from flea_lab.research.promote import promote_run
from flea_lab.runs import ROOT, CodeState
from tests.stored import finished_backtest, store_market

PIPELINES = ROOT / "pipelines"
CODE = CodeState(digest="c0de" * 16, commit="ab" * 20, dirty=False)
CONFIG = """
name = "small"
symbols = ["BTCUSDT"]
interval = "1m"
signals = [{ kernel = "rsi_reversion" }]
"""
GRID = "[rsi_reversion]\nperiod = [7, 14]\n"


def pipeline(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pipeline_{name}", PIPELINES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def desk(home: Path, tmp_path: Path) -> Path:
    """A folder of parameters, with half a day of the synthetic market in the store."""
    store_market(720)
    folder = tmp_path / "params"
    folder.mkdir()
    (folder / "small.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "grid.toml").write_text(GRID, encoding="utf-8")
    return folder


def test_a_promoted_config_is_reported_on_and_one_that_no_longer_holds_is_a_line(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load(desk / "small.toml")
    monkeypatch.setattr(runs, "code_state", lambda *_: CODE)
    first = finished_backtest(config, CODE)
    promote_run(first.name, "good")
    file = promote_run(first.name, "worse")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("max_order_usd = 50000.0", "max_order_usd = 9.0"), encoding="utf-8")
    nightly = pipeline("nightly_report")
    assert nightly.main() == 1
    said = capsys.readouterr()
    [folder] = [Path(line) for line in said.out.splitlines()]
    assert runs.read_manifest(folder).decisions_digest == runs.read_manifest(first).decisions_digest
    [line] = said.err.splitlines()
    assert line.startswith("nightly_report: worse: promoted worse: its config was changed since promotion")


def test_nothing_promoted_is_nothing_to_do_and_a_name_that_is_not_there_is_a_line(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nightly = pipeline("nightly_report")
    assert nightly.main() == 0
    (desk / "mine.toml").write_text('promoted = ["gone"]', encoding="utf-8")
    assert nightly.main(desk / "mine.toml") == 1
    assert "nightly_report: gone: promoted gone: no such promotion in" in capsys.readouterr().err
    (desk / "mine.toml").write_text('promotd = ["gone"]', encoding="utf-8")
    assert nightly.main(desk / "mine.toml") == 1
    line = "nightly_report: promotd: unknown field, did you mean 'promoted'? (in mine.toml)\n"
    assert capsys.readouterr().err == line


def test_every_sweep_is_run_and_each_that_fails_is_a_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weekly = pipeline("weekly_sweep")
    one = '[[sweeps]]\nconfig = "small.toml"\ngrid = "{grid}"\nmetric = "{metric}"\n'
    names = [("gone.toml", "sharpe"), ("grid.toml", "beauty"), ("grid.toml", "total_return")]
    text = "".join(one.format(grid=grid, metric=metric) for grid, metric in names)
    (desk / "mine.toml").write_text(text, encoding="utf-8")
    assert weekly.main(desk / "mine.toml") == 1
    said = capsys.readouterr()
    [folder] = [Path(line) for line in said.out.splitlines()]
    assert runs.read_manifest(folder).grid == {"rsi_reversion.period": [7, 14]}
    first, second = said.err.splitlines()
    assert first == f"weekly_sweep: small.toml: grid {desk / 'gone.toml'}: no such file"
    assert second.startswith("weekly_sweep: small.toml: metric 'beauty' is unknown, known are ")
    (desk / "mine.toml").write_text(text.replace("gone", "grid").replace("beauty", "sharpe"), encoding="utf-8")
    assert weekly.main(desk / "mine.toml") == 0


def test_as_a_script_it_ends_with_the_status_that_cron_sees(desk: Path) -> None:
    for name in ("weekly_sweep", "nightly_report"):
        command = [sys.executable, str(PIPELINES / f"{name}.py"), str(desk / "gone.toml")]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{name}: params {desk / 'gone.toml'}: no such file\n"


def test_the_committed_parameters_are_read(desk: Path) -> None:
    for name in ("weekly_sweep", "nightly_report"):
        module = pipeline(name)
        assert module.load_settings(module.read_toml(module.PARAMS, "params"), module.Params, name)
    sweep = pipeline("weekly_sweep")
    [one] = sweep.load_settings(sweep.read_toml(sweep.PARAMS, "params"), sweep.Params, "params").sweeps
    assert (sweep.PARAMS.parent / one.config).is_file() and (sweep.PARAMS.parent / one.grid).is_file()
