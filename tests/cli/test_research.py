"""The research commands as a person types them: what they print, how they end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flea_lab.cli import app, main
from flea_lab.cli.research import describe
from flea_lab.config import load
from flea_lab.settings import Bars
from flea_lab.wiring import demo_config

PARAMS = Path(__file__).parents[2] / "pipelines" / "params"
SMALL = """
symbols = ["BTCUSDT"]
interval = "1m"
signals = [{ kernel = "rsi_reversion" }]
data = { venue = "synthetic", end = "2025-01-02" }
"""


def flea(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """Runs `main` as the console script does; asserts exit status 2 and returns the one line on stderr."""
    monkeypatch.setattr(sys, "argv", ["flea", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("flea: ")
    assert "\n" not in said
    return said


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration on one synthetic day, stored."""
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    demo_config(("BTCUSDT",))
    file = home / "small.toml"
    file.write_text(SMALL)
    return file


@pytest.mark.usefixtures("home")
def test_the_committed_configuration_is_valid_and_is_the_briefs() -> None:
    config = load(PARAMS / "seed.toml")
    assert [alpha.kernel for alpha in config.signals] == ["ema_momentum", "rsi_reversion"]
    assert config.signals[0].params["fast"] == 9
    assert config.risk.max_daily_loss == 0.03
    assert config.risk.vpin.limit == 0.75


@pytest.mark.usefixtures("home")
def test_config_prints_every_default_and_the_id() -> None:
    said = flea("config", str(PARAMS / "seed.toml"))
    assert said.exit_code == 0
    assert '"max_order_usd": 50000.0' in said.stdout
    assert f"id {load(PARAMS / 'seed.toml').id}" in said.stdout


@pytest.mark.usefixtures("home")
def test_signals_lists_parameters_with_their_ranges() -> None:
    said = flea("signals").stdout
    for name in ("ema_momentum", "rsi_reversion", "vpin", "tick_imbalance"):
        assert f"{name}  (" in said
    assert "warm-up 70 bars" in said
    assert "one of 'simple', 'wilder'" in said


def test_a_range_is_described_with_its_unit() -> None:
    assert describe(Bars) == "from 1 to 5000 bars"


def test_parity_of_a_stored_market_is_equal(small: Path) -> None:
    said = flea("parity", str(small))
    assert said.exit_code == 0, said.output
    assert "equal, decision by decision" in said.stdout


def test_sweep_makes_a_run_folder_with_table_and_heat_map(small: Path, home: Path) -> None:
    grid = home / "grid.toml"
    grid.write_text("[rsi_reversion]\nperiod = [7, 14]\noverbought = [60.0, 70.0]\n")
    said = flea("sweep", str(small), "--grid", str(grid), "--metric", "total_return")
    assert said.exit_code == 0, said.output
    assert "4 cells" in said.stdout
    folders = [p for p in (home / "runs").iterdir() if p.name.startswith("small-")]
    assert len(folders) == 1
    names = {p.name for p in folders[0].iterdir()}
    assert {"sweep.html", "manifest.json", "config.toml", "grid.toml", "cells.parquet"} <= names
    again = flea("sweep", str(folders[0] / "config.toml"), "--grid", str(folders[0] / "grid.toml"))
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("", "grid is empty"),
        ("[rsi_reversion]\nperod = [7]\n", "grid axis rsi_reversion.perod: no such parameter of rsi_reversion"),
        ("[rsi_reversion]\nperiod = []\n", "rsi_reversion.period = \\[\\]: an axis needs at least one value"),
        ("[rsi_reversion]\nperiod = [0]\n", "no cell of the grid can be: .*period = 0"),
        ("[rsi_reversion]\nperiod = {start = 9, stop = 3}\n", "the range never arrives at stop"),
        ("[risk]\nmax_x = [0.1]\n", "grid axis risk.max_x: no such setting"),
        ("[rsi_reversion\n", "grid .*grid.toml: not TOML"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(
    small: Path,
    home: Path,
    grid: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = home / "grid.toml"
    file.write_text(grid)
    said = fails(capsys, monkeypatch, "sweep", str(small), "--grid", str(file))
    assert re.search(message, said), said
    assert not list((home / "runs").glob("small-*"))


def test_an_unknown_metric_is_refused_before_anything_runs(
    small: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = home / "grid.toml"
    grid.write_text("[rsi_reversion]\nperiod = [7]\n")
    said = fails(capsys, monkeypatch, "sweep", str(small), "--grid", str(grid), "--metric", "sharp")
    assert "metric 'sharp' is unknown, known are total_return" in said


def test_a_missing_file_and_a_missing_market_are_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "config nowhere.toml: no such file" in fails(capsys, monkeypatch, "parity", "nowhere.toml")
    file = home / "small.toml"
    home.mkdir(exist_ok=True)
    file.write_text(SMALL)
    said = fails(capsys, monkeypatch, "parity", str(file))
    assert "synthetic BTCUSDT 1m is not in the store" in said


def test_a_range_without_bars_says_what_there_is(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write_text(SMALL.replace('end = "2025-01-02"', 'start = "2031-01-01"'))
    said = fails(capsys, monkeypatch, "parity", str(small))
    assert "asks for 2031-01-01 to the last, stored are 2025-01-01" in said


def test_too_few_bars_say_how_many_are_needed(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write_text(SMALL.replace("2025-01-02", "2025-01-01T00:10"))
    assert "10 bars are too few: the signals of config 'small' need 16" in fails(
        capsys, monkeypatch, "parity", str(small)
    )


def test_the_help_opens_without_the_heavy_packages() -> None:
    code = "import sys; from flea_lab.cli import app; print(sorted({'vectorbt', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("frob",), "no such command 'frob' (see flea --help)"),
        (("data", "frob"), "no such command 'frob' (see flea data --help)"),
        (("config",), "missing argument 'CONFIG' (see flea config --help)"),
        (("runs", "--all"), "no such option: --all (see flea runs --help)"),
        (("sweep", "x.toml"), "missing option '--grid' (see flea sweep --help)"),
    ],
)
def test_a_mistyped_command_line_is_one_line_too(
    words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fails(capsys, monkeypatch, *words) == f"flea: {line}"


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["flea"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and "Usage: flea" in said.out + said.err
    assert (said.out + said.err).count("Usage: flea") == 1


@pytest.mark.usefixtures("home")
def test_an_exit_status_of_a_command_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    faulty = tmp_path / "v_BTCUSDT_1m.csv"
    faulty.write_text("ts,open,high,low,close,volume\n1735689600000,2,1,1,2,1\n1735689660000,1,1,1,1,1\n")
    for words, status in ((["data", "check", str(faulty)], 1), (["data", "list"], 0), (["--help"], 0)):
        monkeypatch.setattr(sys, "argv", ["flea", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
