"""A stored run that a test may spoil: the run's folder, the workspace with its data and signals, and a copy of the
checkout that made it. The result is a real one; notebook and page stand in for those that cost seconds."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from flea_lab import runs
from flea_lab.backtest.sweep import load_grid
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from flea_lab.report import record
from flea_lab.report.sweep import run_sweep
from flea_lab.wiring import run_backtest
from flea_lab.workspace import workspace

BARS = 1_440
OWN_SIGNAL = '''"""With the last move."""

from math import nan
from typing import NamedTuple

from flea_lab.settings import Settings
from flea_lab.signal.kernel import kernel

SCALE = 2000.0


class Params(Settings, frozen=True, kw_only=True):
    pass


class State(NamedTuple):
    n: float = 0.0
    close: float = 0.0
    direction: float = nan
    confidence: float = nan


@kernel(Params, State, inputs=("close",), warmup=lambda p: 2)
def mine(s, bar, p, memory):
    """With the last move, the surer the larger it was."""
    if s.n < 1.0:
        return State(1.0, bar.close)
    move = bar.close / s.close - 1.0
    direction = 1.0 if move > 0.0 else -1.0
    return State(s.n + 1.0, bar.close, direction, min(abs(move) * SCALE, 1.0))
'''


@dataclass(frozen=True)
class Scene:
    """`home` is the workspace, `run` the folder of one stored run in it, `checkout` what holds the package."""

    home: Path
    run: Path
    checkout: Path


def config() -> RunConfig:
    """The config of the run: a built-in signal and one of the workspace."""
    signals = [{"kernel": "ema_momentum"}, {"kernel": "mine", "weight": 0.5}]
    data = {"venue": "synthetic"}
    return from_dict({"name": "small", "symbols": ["BTCUSDT"], "interval": "1m", "signals": signals, "data": data})


def stored_market(home: Path) -> None:
    """A day of the synthetic market in the store of `home`, and a signal of its own."""
    candles, funding, label = synthetic_market("BTCUSDT", n_bars=BARS)
    desk = workspace().ready()
    assert desk.root == home
    held = CandleStore(desk.store)
    held.write(Dataset("synthetic", "BTCUSDT", "1m"), candles, Origin(source=label, synthetic=True))
    held.write_funding("synthetic", "BTCUSDT", funding)
    (desk.signals / "mine.py").write_text(OWN_SIGNAL, encoding="utf-8")


def stored_backtest(patch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished backtest, as its notebook leaves one."""
    from flea_lab.report.run import Job, manifest_of

    given = config()
    partial = runs.begin(workspace(), given.name, given.id)
    runs.save_text(partial, "config.toml", runs.to_toml(given.to_dict()))
    runs.save_text(partial, "backtest.ipynb", executed(given))
    runs.save_text(partial, "report.html", "<!doctype html><p>made 1.23 %</p>")
    result = run_backtest(given)
    with patch.context() as inside:
        inside.setenv(record.FOLDER_VARIABLE, str(partial))
        record.keep(result, record.code_of(result))
    job = Job("backtest", given, record.NOTEBOOK, "config", given.to_dict(), "a report")
    return runs.finish(partial, manifest_of(job, record.take_record(partial), 0, 1))


def stored_sweep() -> Path:
    """The folder of a finished sweep of two cells, of the built-in signal alone: its fold need not be compiled anew."""
    values = config().to_dict()
    given = from_dict({**values, "signals": values["signals"][:1]})
    return run_sweep(given, load_grid({"ema_momentum.fast": [5, 9]}, "a test"), progress=False, with_page=False)[0]


def executed(given: RunConfig) -> str:
    """The committed notebook as papermill leaves it: parameters put in, one output a cell."""
    notebook = nbformat.read(record.NOTEBOOK, as_version=4)
    at = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    cell = nbformat.v4.new_code_cell(f"# Parameters\nconfig = {given.to_dict()!r}\n")
    cell.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(at + 1, cell)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, one in enumerate(code, 1):
        one.execution_count = number
        one.outputs = [nbformat.v4.new_output("display_data", {"text/html": f"<p>section {number}: 1.23 %</p>"})]
    notebook.metadata["papermill"] = {"parameters": {"config": given.to_dict()}}
    return nbformat.writes(notebook)


def copied(scene: Scene, to: Path, *, with_checkout: bool) -> Scene:
    """A copy of `scene` below `to` that may be spoilt; of its checkout too where that is asked for."""
    shutil.copytree(scene.home, to / "home", ignore=shutil.ignore_patterns("_assets"))
    run = to / "home" / scene.run.relative_to(scene.home)
    if not with_checkout:
        return Scene(to / "home", run, scene.checkout)
    copy_checkout(scene.checkout, to / "checkout")
    return Scene(to / "home", run, to / "checkout")


def copy_checkout(source: Path, to: Path) -> None:
    """What of the checkout at `source` a run is made of, copied."""
    shutil.copytree(source / "flea_lab", to / "flea_lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(source / "notebooks" / "reports", to / "notebooks" / "reports")
    shutil.copy(source / "requirements.lock", to / "requirements.lock")


def edit_manifest(run: Path, change: Callable[[dict[str, Any]], object], *, seal: bool) -> None:
    """Changes what the manifest says; with `seal`, so that it is whole again: the work of somebody who knows how."""
    file = run / "manifest.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    if seal:
        values["seal"] = seal_of(values)
    file.write_text(json.dumps(values, indent=2), encoding="utf-8")


def seal_of(values: dict[str, Any]) -> str:
    """What a manifest's `seal` must be: SHA-256 of the rest of it as compact JSON with sorted keys."""
    rest = {name: value for name, value in values.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_of_checkout(checkout: Path) -> str:
    """`digest_of_tree` of what `copy_checkout` copies."""
    lock = hashlib.sha256((checkout / "requirements.lock").read_bytes()).hexdigest()
    return digest_of_tree(checkout / "flea_lab") + digest_of_tree(checkout / "notebooks" / "reports") + lock


def digest_of_tree(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files below `folder`, but for what processes leave for themselves."""
    hasher = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not {"__pycache__", "_assets"} & set(file.parts):
            hasher.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return hasher.hexdigest()
