"""A result says what its notebook's file does not tell, part by part; one executed from its file says nothing."""

import builtins
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel
from traitlets.config import Config

from flea_lab import runs
from flea_lab.backtest.result import BacktestResult
from flea_lab.clock import Stopwatch
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.report import facts, sections, wording
from flea_lab.report.record import take_record
from flea_lab.report.run import execute
from flea_lab.report.verify import verify
from flea_lab.runs import kernel
from flea_lab.runs.history import code_cells
from flea_lab.runs.kernel import watch_kernel
from flea_lab.runs.notebook import read_cells
from flea_lab.wiring import market_from_frames, run_backtest
from flea_lab.workspace import workspace
from tests.report.conftest import small_config
from tests.report.hidden_notebooks import ASK, CLEAN, CONFIG, GIVEN, HIDDEN, RUN, SETUP, Notebook
from tests.stored import store_market


class Desk:
    """A notebook's file, the front end that shows it, and a kernel in this process."""

    def __init__(self, notebook: Notebook, folder: Path, *, ids: bool) -> None:
        self.cells: dict[int, tuple[str, str]] = {at: (f"id{at}", text) for at, text in enumerate(notebook.cells)}
        self.order = list(self.cells)
        self.file = folder / "notebook.ipynb"
        self.ids = ids
        self.shell = self.start()

    def start(self) -> Any:
        InteractiveShell.clear_instance()
        without_history = Config()
        without_history.HistoryManager.enabled = False
        self.shell = InteractiveShell.instance(config=without_history)
        watch_kernel(self.shell, environment=dict(os.environ), random=kernel.random_state())
        return self.shell

    def save(self) -> None:
        shown = [self.cells[at] for at in self.order]
        cells = [
            {"cell_type": "code", "id": name, "metadata": {}, "outputs": [], "source": text} for name, text in shown
        ]
        if not self.ids:
            cells = [{key: value for key, value in cell.items() if key != "id"} for cell in cells]
        self.file.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))

    def do(self, action: str, *given: Any) -> None:
        if action == "run":
            self.save()
            name, text = self.cells[given[0]]
            self.shell.run_cell(text, store_history=True, cell_id=name if self.ids else None)
        elif action == "edit":
            self.cells[given[0]] = (self.cells[given[0]][0], given[1])
        elif action == "insert":
            self.cells[-1 - given[0]] = (f"new{given[0]}", given[1])
            self.order.insert(self.order.index(given[0]), -1 - given[0])
        elif action == "delete":
            self.order.remove(given[0])
        elif action == "unheard":
            self.shell.run_cell(given[0], store_history=False)
        elif action == "outside":
            given[0](self.shell)
        else:
            self.start()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace and a folder to start kernels in; afterwards the process is as it was."""
    monkeypatch.setenv("FLEA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "notebook.ipynb"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Stopwatch, "elapsed_s", Stopwatch.elapsed_s)  # all of it is put back as it is now
    kept = {module: dict(vars(module)) for module in (facts, sections, wording)}
    main, hook, random, names = sys.modules["__main__"], sys.excepthook, np.random.get_state(), set(vars(builtins))
    environment = dict(os.environ)
    for name in [name for name in sys.modules if name.startswith("flea_workspace_mine_")]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    GIVEN.clear()
    InteractiveShell.clear_instance()
    sys.modules["__main__"], sys.excepthook = main, hook
    np.random.set_state(random)
    for name in set(vars(builtins)) - names:
        delattr(builtins, name)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    for module, values in kept.items():
        vars(module).update(values)


def asked(notebook: Notebook, folder: Path, *, ids: bool = True) -> list[str]:
    desk = Desk(notebook, folder, ids=ids)
    for action, *given in notebook.steps:
        desk.do(action, *given)
    found: list[str] = desk.shell.user_ns["hidden"]
    return found


def parts(lines: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in lines}


SLOW = ("%%signal with another source",)  # the law checks two signals


def cases(notebooks: tuple[Notebook, ...]) -> list[Any]:
    return [pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.name in SLOW else []) for one in notebooks]


@pytest.mark.parametrize("notebook", cases(HIDDEN))
def test_what_the_file_does_not_tell_is_named(place: Path, notebook: Notebook) -> None:
    found = asked(notebook, place)
    assert any(line.startswith(f"{notebook.part}: ") and notebook.item in line for line in found), found
    assert parts(found) <= {notebook.part, *notebook.also}, found


@pytest.mark.parametrize("notebook", CLEAN, ids=lambda one: one.name)
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_what_a_second_execution_would_do_is_not_marked(place: Path, notebook: Notebook, ids: bool) -> None:
    assert asked(notebook, place, ids=ids) == []


def test_without_the_detector_nothing_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_cells", "replaced", "signal_versions", "other_environment", "stale"):
        monkeypatch.setattr(kernel, name, lambda *_: [])
    monkeypatch.setattr(kernel, "random_state", lambda: None)
    monkeypatch.setattr(kernel.KernelWatch, "_before", lambda *_: None)
    monkeypatch.setattr(kernel.KernelWatch, "_after", lambda *_: None)
    monkeypatch.setattr(kernel.KernelWatch, "_unbound", lambda *_: [])
    monkeypatch.setattr(kernel.os.path, "samefile", lambda *_: True)
    assert [one.name for one in HIDDEN if one.name not in SLOW and asked(one, place)] == []


def test_a_kernel_whose_notebook_is_not_known_is_marked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(CLEAN[0], place, ids=True)
    monkeypatch.delenv("JPY_SESSION_NAME")
    for action, *given in CLEAN[0].steps:
        desk.do(action, *given)
    assert parts(desk.shell.user_ns["hidden"]) == {"file unknown"}
    (place / "notebook.ipynb").write_text("{", encoding="utf-8")
    monkeypatch.setenv("JPY_SESSION_NAME", str(place / "notebook.ipynb"))
    assert parts(runs.hidden_state()) == {"file unknown"}


@pytest.mark.parametrize("notebook", [one for one in HIDDEN if one.part.startswith("cell")], ids=lambda one: one.name)
def test_cells_are_known_by_their_source_where_they_have_no_id(place: Path, notebook: Notebook) -> None:
    found = asked(notebook, place, ids=False)
    assert found, "an edit beyond recognition is a cell that is gone and one that was left out"
    assert parts(found) <= {"cell twice", "cell order", "cell gone", "cell edited", "cell left out", "cell failed"}


def code(count: int | None, source: str) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": count, "source": source}


def test_an_execution_from_first_to_last_is_its_own_proof() -> None:
    cells = [
        {"cell_type": "markdown", "source": "# A"},
        code(1, "a = 1"),
        code(None, " "),
        code(2, "a\n"),
        code(3, "b"),
    ]
    assert runs.not_as_written(cells, ["a = 1", "a"]) == []  # stored before the last cell
    assert parts(runs.not_as_written(cells, ["a = 1", "a"], written=False)) == {"cell edited"}
    assert parts(runs.not_as_written(cells, ["a = 1", "a = 2"])) == {"cell edited"}
    assert parts(runs.not_as_written(cells, [])) == {"cell edited"}
    assert parts(runs.not_as_written([code(2, "a = 1")], ["a = 1"])) == {"cell order"}


def test_a_process_without_a_notebook_has_no_cells_to_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    InteractiveShell.clear_instance()
    assert runs.hidden_state() == []
    assert runs.executed_cells() == []


@pytest.fixture
def result(place: Path) -> BacktestResult:
    config = small_config("BTCUSDT")
    candles, funding, label = synthetic_market("BTCUSDT", n_bars=600)
    return replace(
        run_backtest(config, market_from_frames(config, {"BTCUSDT": candles}, {"BTCUSDT": funding}, source=label)),
        synthetic=True,
    )


SAVE = "from flea_lab.report.by_hand import save\n\nsaved = save(result)"


@pytest.mark.parametrize("again", [False, True])
def test_a_result_saved_from_a_notebook_is_a_run_with_its_mark(
    place: Path, result: BacktestResult, again: bool
) -> None:
    first = "from tests.report.hidden_notebooks import GIVEN\n\nresult = GIVEN[0]"
    GIVEN[:] = [result]
    cells = (SETUP, first, "n = 0", SAVE)
    notebook = Notebook("saved", cells, (*((("run", at),) * (1 + (again and at == 2)) for at in range(4)),))
    desk = Desk(notebook, place, ids=True)
    for times in notebook.steps:
        for action, *given in times:
            desk.do(action, *given)
    [one] = runs.list_runs(workspace())
    assert one.manifest is not None
    page = (one.folder / "report.html").read_text(encoding="utf-8")
    gallery = (workspace().runs / "index.html").read_text(encoding="utf-8")
    assert runs.edited_outputs(one.folder, one.manifest) == []
    assert one.manifest.metrics == runs.defined(result.metrics)
    assert [cell.source for cell in code_cells(one.folder / "executed.ipynb")] == runs.executed_cells()
    if again:
        assert one.manifest.hidden == ["made in an interactive kernel: cell twice: In [3], In [4] are one cell: n = 0"]
    else:
        assert one.manifest.hidden == []
    for shown in (page, gallery, desk.shell.user_ns["saved"].data):
        assert ("In [3], In [4]" in shown) == again
    assert ("hidden state" in page) == again
    seen = verify(one.folder, workspace())
    assert seen.status == 2 and not seen.executed and seen.differences == []
    assert seen.why == (
        f"a backtest on a market that was not read from the store ({result.source}): nothing says what to execute it on"
    )


SWEEP = (
    "from flea_lab.report.sweep import run_sweep\n\n"
    'folder, found = run_sweep(config, {"ema_momentum.fast": [5, 9]}, progress=False)'
)


@pytest.mark.slow  # a sweep of its own is compiled; tests/report/test_sweep.py has the page with a mark
@pytest.mark.parametrize("again", [False, True])
def test_a_sweep_stored_from_a_notebook_says_on_its_page_what_its_kernel_holds(place: Path, again: bool) -> None:
    store_market(600)
    GIVEN[:] = [small_config("BTCUSDT", signals=[{"kernel": "ema_momentum"}], data={"venue": "synthetic"})]
    first = "from tests.report.hidden_notebooks import GIVEN\n\nconfig = GIVEN[0]"
    desk = Desk(Notebook("swept", (SETUP, first, "n = 0", SWEEP), ()), place, ids=True)
    for at in (0, 1, 2, *((2,) if again else ()), 3):
        desk.do("run", at)
    [one] = runs.list_runs(workspace())
    assert one.manifest is not None and one.manifest.kind == "sweep"
    assert one.manifest.hidden == (["cell twice: In [3], In [4] are one cell: n = 0"] if again else [])
    for shown in (one.folder / "sweep.html", workspace().runs / "index.html"):
        page = shown.read_text(encoding="utf-8")
        assert (("hidden state" in page), ("In [3], In [4] are one cell" in page)) == (again, again), shown.name


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["in order", "a cell twice"])
def test_a_kernel_of_its_own_says_the_same(place: Path, again: bool) -> None:
    cells = (SETUP, CONFIG, "n = 0", RUN, ASK, "print(hidden)")
    desk = Desk(Notebook("real", cells, ()), place, ids=True)
    desk.save()
    manager, client = start_new_kernel(cwd=str(place))
    try:
        said: list[str] = []
        for at in (0, 1, 2, *((2,) if again else ()), 3, 4, 5):
            answer = client.execute_interactive(
                cells[at], timeout=120, output_hook=lambda one: said.append(one["content"].get("text", ""))
            )
            assert answer["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "".join(said).strip() == str(["cell twice: In [3], In [4] are one cell: n = 0"] if again else [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["backtest", "walkforward", "session", "operations"])
def test_ours_are_never_marked(place: Path, kind: str) -> None:
    """Each of our report notebooks, executed five times in new kernels: twenty, and nothing hidden in any."""
    notebook = runs.ROOT / "notebooks" / "reports" / f"{kind}.ipynb"
    [cell] = [one for one in read_cells(notebook) if "parameters" in one["metadata"].get("tags", [])]
    parameter = "".join(cell["source"]).split(" = ")[0]
    for times in range(5):
        folder = place / f"{kind}{times}"
        folder.mkdir()
        executed = execute(notebook, folder, {parameter: {}}, progress=False)
        record = take_record(folder)
        written = runs.notebook_digest(notebook) == runs.notebook_digest(folder / notebook.name)
        assert [*record.hidden, *runs.not_as_written(executed.cells, record.cells, written)] == []
