"""`flea report` ends with a folder or one line."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flea_lab import runs
from flea_lab.cli import main
from flea_lab.cli import report as command
from flea_lab.cli.report import app
from flea_lab.errors import ConfigError, DataError
from flea_lab.runs import CodeState, Manifest
from flea_lab.workspace import workspace

ID = "ab12" * 16
CONFIG = 'symbols = ["BTCUSDT"]\ninterval = "1m"\n[[signals]]\nkernel = "ema_momentum"\n'


def flea(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def stored(*, dirty: bool | None, synthetic: bool = True, sharpe: float | None = 1.234) -> Path:
    done = Manifest(
        kind="backtest",
        name="small",
        config={},
        config_id=ID,
        source="synthetic market (seed 7)" if synthetic else "Binance BTCUSDT perp 1m",
        synthetic=synthetic,
        data=[],
        code=CodeState(digest="c0de", commit=None, dirty=dirty),
        versions={},
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
        metrics={"total_return": -0.0523, "sharpe": sharpe},
        result_digest="beef",
        decisions_digest="d1ce",
    )
    return runs.finish(runs.begin(workspace(), "small", ID), done)


@pytest.mark.usefixtures("home")
def test_a_typo_and_missing_data_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("intervl = '1m'\n" + CONFIG, encoding="utf-8")
    found = flea("report", file).exception
    assert (
        isinstance(found, ConfigError)
        and str(found) == "intervl: unknown field, did you mean 'interval'? (in mine.toml)"
    )
    assert not workspace().runs.exists(), "a typo stops before a folder is made"
    found = flea("report", tmp_path / "gone.toml").exception
    assert isinstance(found, ConfigError) and str(found).endswith("gone.toml: no such file")
    file.write_text(CONFIG, encoding="utf-8")
    found = flea("report", file).exception
    assert isinstance(found, DataError) and "synthetic BTCUSDT 1m is not in the store" in str(found)


@pytest.mark.usefixtures("home")
def test_a_report_says_what_it_ran_on_and_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(CONFIG, encoding="utf-8")
    folder = stored(dirty=False)
    opened: list[str] = []
    monkeypatch.setattr("flea_lab.report.run.run_report", lambda *_, **__: folder)
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    said = flea("report", file).output
    assert said.splitlines() == [
        "small on synthetic data: synthetic market (seed 7)",
        "  return -5.23 %, sharpe 1.23",
        "  decisions d1ce",
        f"  {folder / 'report.html'}",
    ]
    assert opened == [] and flea("report", file, "--open").exit_code == 0
    assert opened == [(folder / "report.html").as_uri()]


@pytest.mark.usefixtures("home")
def test_an_interrupt_is_one_line_and_exit_status_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(CONFIG, encoding="utf-8")

    def interrupted(config: object, standalone: bool) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("flea_lab.report.run.run_report", interrupted)
    monkeypatch.setattr(sys, "argv", ["flea", "report", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("flea: interrupted, nothing half-written") and said.count("\n") == 1
