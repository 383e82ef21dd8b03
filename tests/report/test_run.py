"""A report is stored whole, names what it is made of, and opens without a network; a failed one says why."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import plotly
import pytest

from flea_lab import runs
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.errors import ConfigError, DataError, FleaError, WorkspaceError
from flea_lab.report.record import NOTEBOOK, record_of
from flea_lab.report.run import check_notebook, run_report
from flea_lab.report.verify import verify
from flea_lab.wiring import run_backtest
from flea_lab.workspace import workspace

SECTIONS = (
    "Equity and drawdown", "Metrics", "Returns", "Trades on price", "Exposure", "What each signal contributed",
    "What the guards refused", "Costs", "Data quality", "Parameters", "How to reproduce",
)  # fmt: skip
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def config(**changes: object) -> RunConfig:
    signals = [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion"}]
    return from_dict({"name": "small", "symbols": ["BTCUSDT"], "interval": "1m", "signals": signals, **changes})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with two days of the synthetic market in its store."""
    home = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(home))
        candles, funding, label = synthetic_market("BTCUSDT", n_bars=2_880)
        store = CandleStore(workspace().ready().store)
        store.write(Dataset("synthetic", "BTCUSDT", "1m"), candles, Origin(source=label, synthetic=True))
        store.write_funding("synthetic", "BTCUSDT", funding)
        yield home


class Made(NamedTuple):
    """A report's folder, and the code that it was made by, as it stood before and after."""

    folder: Path
    code: runs.CodeState


@pytest.fixture(scope="module")
def made(desk: Path) -> Made:
    """One report, executed once for all tests of this file; again where somebody edited or committed meanwhile, so that
    there is one code that it was made by."""
    for _ in range(8):
        before = runs.code_state(config(), NOTEBOOK)
        folder = run_report(config(), progress=False)
        if runs.code_state(config(), NOTEBOOK) == before:
            return Made(folder, before)
    pytest.fail("the checkout does not stand still for the length of one report")


@pytest.fixture(scope="module")
def run(made: Made) -> Path:
    return made.folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_run_folder_is_whole_and_the_manifest_written_last(run: Path) -> None:
    done = runs.read_manifest(run)
    others = [path for path in run.iterdir() if path.name != "manifest.json"]
    assert done.outputs == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}
    frames = {f"{name}.parquet" for name in ("equity", "decisions", "fills", "trades")}
    assert set(done.outputs) == {"backtest.ipynb", "config.toml", "report.html", *frames}
    last = (run / "manifest.json").stat().st_mtime_ns
    assert all(path.stat().st_mtime_ns <= last for path in run.iterdir())
    assert [path.name for path in run.parent.iterdir() if path.name.startswith((".", "failed-"))] == []


def test_a_notebook_executed_for_a_run_holds_nothing_hidden(run: Path, page: str) -> None:
    assert runs.read_manifest(run).hidden == []
    assert "hidden state" not in page


def test_the_manifest_says_what_the_result_is_made_of(made: Made) -> None:
    run, code = made
    done = runs.read_manifest(run)
    assert (done.kind, done.name, done.config_id) == ("backtest", "small", config().id)
    assert (done.source, done.synthetic, done.seed) == ("synthetic market (seed 7)", True, 7)
    assert [(one["symbol"], one["rows"], len(one["partitions"])) for one in done.data] == [("BTCUSDT", 2_880, 1)]
    assert done.code == code and done.started <= done.finished
    assert from_dict(tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))) == config()
    assert done.reproduce == f"flea report {run}/config.toml"


def test_the_result_of_the_notebook_is_that_of_this_process(run: Path) -> None:
    here = run_backtest(config())
    done, record = runs.read_manifest(run), record_of(here, runs.code_state(config(), NOTEBOOK))
    assert (done.decisions_digest, done.result_digest) == (here.digest, record.result_digest)
    assert done.metrics == runs.defined(here.metrics)
    pd.testing.assert_frame_equal(pd.read_parquet(run / "fills.parquet"), here.fills, check_dtype=False)


def test_the_page_opens_without_a_network(page: str) -> None:
    assert len(page) < 500_000
    shared = f"../_assets/plotly-{plotly.__version__}.min.js"
    assert re.findall(r"<script[^>]+src=[^>]+>", page) == [f'<script src="{shared}">']
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "@import" not in page and "url(" not in page
    assert re.search(r'<meta [^>]*content="width=device-width, initial-scale=1"[^>]*name="viewport"', page)


def test_the_page_has_every_section_in_order_and_no_error(page: str) -> None:
    assert tuple(re.findall(r"<h2[^>]*>([^<]+)<", page)) == SECTIONS
    body = page[page.rindex("</style>") :]
    assert body.index("flea-verdict") < body.index("flea-badges") < body.index("flea-tiles") < body.index("<h2")
    assert "synthetic data: synthetic market (seed 7)" in body and "page-error" not in body
    assert body.count('class="page-figure"') == 6


def test_the_stored_notebook_names_no_folder_and_no_widget(run: Path, desk: Path) -> None:
    text = (run / "backtest.ipynb").read_text(encoding="utf-8")
    assert str(desk) not in text and str(runs.ROOT) not in text
    assert "widget" not in text and "plotly.js" not in text
    done = nbformat.reads(text, as_version=4)
    assert done.metadata.papermill.exception is None and done.metadata.papermill.output_path == "backtest.ipynb"


def test_the_runs_are_listed_with_their_state(run: Path) -> None:
    [found] = [one for one in runs.list_runs(workspace()) if one.folder == run]
    assert found.state == "ok" and found.manifest is not None


def test_the_run_executed_again_in_a_clean_process_is_equal_and_on_the_page_of_runs(run: Path) -> None:
    before = sorted(run.parent.iterdir())
    found = verify(run, workspace())
    assert found.executed and found.state == "equal" and found.same_result, found.text()
    assert "executed again: 4 frames" in found.text() and sorted(run.parent.iterdir()) == before
    assert f'href="{run.name}/report.html"' in (run.parent / "index.html").read_text(encoding="utf-8")


def test_the_committed_notebook_has_one_parameter() -> None:
    check_notebook(NOTEBOOK)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert "".join(cells[1]["source"]).startswith("config = {}")


@pytest.mark.usefixtures("desk")
def test_missing_data_is_said_before_there_is_a_folder() -> None:
    before = runs.list_runs(workspace())
    with pytest.raises(DataError, match="binance_um BTCUSDT 1m is not in the store"):
        run_report(config(data={"venue": "binance_um"}), progress=False)
    assert runs.list_runs(workspace()) == before


@pytest.mark.usefixtures("desk")
def test_what_fails_in_the_notebook_is_one_line_of_its_own_kind_and_its_folder_keeps_the_notebook() -> None:
    short = config(data={"venue": "synthetic", "end": "2025-01-01T00:10"})
    with pytest.raises(DataError, match=r"10 bars are too few: .* \[kept: .*failed-small-") as raised:
        run_report(short, progress=False)
    assert "\n" not in str(raised.value)
    folder = Path(str(raised.value).split("[kept: ")[1].rstrip("]"))
    assert (folder / "error.txt").read_text(encoding="utf-8").startswith("10 bars are too few")
    assert (folder / "backtest.ipynb").exists() and not (folder / "manifest.json").exists()
    assert not (folder / "report.html").exists()
    [found] = [one for one in runs.list_runs(workspace()) if one.folder == folder]
    assert found.state == "failed" and found.why.startswith("10 bars are too few")


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if cells:
        cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.mark.usefixtures("desk")
def test_a_notebook_that_breaks_dies_or_stores_nothing_is_one_line(tmp_path: Path) -> None:
    broken = write_notebook(tmp_path / "broken.ipynb", "config = {}", "1 / 0")
    with pytest.raises(FleaError, match=r"^the report's notebook failed: ZeroDivisionError: division by zero \[kept: "):
        run_report(config(), notebook=broken, progress=False)
    dead = write_notebook(tmp_path / "dead.ipynb", "config = {}", "import os\nos._exit(1)")
    with pytest.raises(FleaError, match=r"^the report's kernel failed: Kernel died \[kept: "):
        run_report(config(), notebook=dead, progress=False)
    silent = write_notebook(tmp_path / "silent.ipynb", "config = {}")
    with pytest.raises(WorkspaceError, match=r"^the notebook ended without storing its result in .* \[kept: "):
        run_report(config(), notebook=silent, progress=False)


@pytest.mark.usefixtures("desk")
def test_a_notebook_that_takes_other_parameters_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    before = sorted(workspace().runs.iterdir())
    with pytest.raises(
        ConfigError, match=r"^report notebook .*gone.ipynb: no such file; reports run from a checkout of flea_lab$"
    ):
        run_report(config(), notebook=tmp_path / "gone.ipynb")
    other = write_notebook(tmp_path / "other.ipynb", "confg = {}\nfast = 1")
    with pytest.raises(
        ConfigError, match=r"^report notebook other.ipynb: its parameters are confg, fast, must be config$"
    ):
        run_report(config(), notebook=other)
    none = write_notebook(tmp_path / "none.ipynb")
    with pytest.raises(ConfigError, match=r"none.ipynb: its parameters are none, must be config$"):
        run_report(config(), notebook=none)
    torn = tmp_path / "torn.ipynb"
    torn.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"torn.ipynb: cannot be read \("):
        run_report(config(), notebook=torn)
    assert sorted(workspace().runs.iterdir()) == before


def test_an_interrupted_report_is_a_failed_run_and_its_kernel_is_gone(desk: Path, tmp_path: Path) -> None:
    slow = write_notebook(
        tmp_path / "slow.ipynb",
        "config = {}",
        "import os, time\nfrom pathlib import Path\n"
        "Path(os.environ['FLEA_RUN_FOLDER'], 'pid').write_text(str(os.getpid()))\ntime.sleep(120)",
    )
    script = "\n".join(
        (
            "import sys",
            "from pathlib import Path",
            "from flea_lab.config import load",
            "from flea_lab.report.run import run_report",
            "try:",
            "    run_report(load(sys.argv[1]), notebook=Path(sys.argv[2]))",
            "except KeyboardInterrupt:",
            "    sys.exit(130)",
        )
    )
    (tmp_path / "slow.toml").write_text(runs.to_toml(config(name="slow").to_dict()), encoding="utf-8")
    words = [sys.executable, "-c", script, str(tmp_path / "slow.toml"), str(slow)]
    with subprocess.Popen(words, cwd=runs.ROOT, stderr=subprocess.PIPE, text=True) as process:
        pid = wait_for(desk / "runs")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "WARNING" not in said, said
    [folder] = [path for path in (desk / "runs").iterdir() if "slow" in path.name]
    assert (
        folder.name.startswith("failed-slow-") and (folder / "error.txt").read_text(encoding="utf-8") == "interrupted\n"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def wait_for(folder: Path) -> int:
    """The pid that the kernel wrote once it was at work."""
    for _ in range(2_400):
        found = [path.read_text(encoding="utf-8") for path in folder.glob(".partial-slow-*/pid")]
        if found and found[0]:
            return int(found[0])
        time.sleep(0.1)
    raise AssertionError("the kernel did not begin within 240 s")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: nothing can draw the page")
def test_a_browser_draws_every_figure_with_the_network_off(run: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    offline = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    words = [CHROMIUM, *offline, "--virtual-time-budget=20000", "--dump-dom", (run / "report.html").as_uri()]
    drawn = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert drawn.count('class="page-figure js-plotly-plot"') == 6
