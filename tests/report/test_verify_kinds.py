"""Runs that are no `flea report` are verified too: executed again in a clean process they are equal, and where the data
are others the same command names them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli.commands import app
from flea_lab.live.account import ready_folder
from flea_lab.report.by_hand import save
from flea_lab.report.operations_facts import Asked
from flea_lab.report.operations_run import run_operations_report
from flea_lab.report.walk_run import run_walk_report
from flea_lab.report.walkforward import Walk
from flea_lab.runs import list_runs
from flea_lab.wiring import run_backtest
from flea_lab.workspace import workspace
from tests.rehearsed import rehearsed
from tests.report.conftest import small_config
from tests.stored import store_market

pytestmark = pytest.mark.slow  # each is a notebook, executed twice
BARS = 2_000


def walked() -> None:
    config = small_config("BTCUSDT", data={"venue": "synthetic"})
    grid = {"rsi_reversion.period": [7, 14]}
    walk = Walk(config=config.to_dict(), grid=grid, train_days=0.5, test_days=0.25)
    run_walk_report(config, walk, progress=False)


def operated() -> None:
    rehearsed(ready_folder("main"), bars=300)
    run_operations_report(Asked(day="last", accounts=("main",)), progress=False)


def saved() -> None:
    save(run_backtest(small_config("BTCUSDT", data={"venue": "synthetic"})))


@pytest.fixture(scope="module", params=[walked, operated, saved], ids=lambda one: one.__name__)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    make: Callable[[], None] = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("desk")))
        store_market(BARS)
        make()
        [one] = list_runs(workspace())
        yield one.folder


def test_it_is_equal_in_a_clean_process(run: Path) -> None:
    before = sorted(workspace().runs.iterdir())
    said = CliRunner().invoke(app, ["verify", run.name])
    assert said.exit_code == 0, said.output
    assert said.output.startswith(f"{run.name}: equal (executed again: ")
    assert len(said.output.splitlines()) == 1
    assert sorted(workspace().runs.iterdir()) == before, "to verify leaves nothing behind"


def test_without_its_data_it_cannot_be_verified_and_the_line_says_which(run: Path) -> None:
    """The last of the module: it takes the data away."""
    for folder in (workspace().store, workspace().root / "journals"):
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}-gone"))
    said = CliRunner().invoke(app, ["verify", run.name])
    assert said.exit_code == 2, said.output
    assert said.output.startswith(f"{run.name}: cannot be verified: ")
    assert "synthetic BTCUSDT 1m" in said.output or "journal.sqlite: no such file" in said.output
