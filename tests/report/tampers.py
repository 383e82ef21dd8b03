"""What may happen to a stored run behind its back, and the component that `flea verify` has to name for it.

Each is an edit of a copy: of the run's folder, of the workspace, or of the checkout. `component` is where the fault
lies, `item` a text that the line about it must hold; no component but it and `also` may be named. Those found `by`
digests need no second execution; the others pass every digest, because whoever edited knew how to renew them.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nbformat
import numpy as np
import pandas as pd

from flea_lab import runs
from flea_lab.config import from_dict
from flea_lab.data.dataset import Dataset, Origin
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.data.store import CandleStore
from tests.report.scenes import BARS, Scene, edit_manifest

Rng = np.random.Generator
KEY = Dataset("synthetic", "BTCUSDT", "1m")
TICK = 0.1


class Tamper(NamedTuple):
    """One edit. `kind` is the run that it is done to, `status` what the command must end with."""

    name: str
    component: str
    item: str
    edit: Callable[[Scene, Rng], Scene | None]
    by: Literal["digests", "execution"] = "digests"
    kind: Literal["backtest", "sweep"] = "backtest"
    also: tuple[str, ...] = ()
    status: int = 1

    @property
    def of_the_checkout(self) -> bool:
        """Whether the edit may be one of the package, the notebooks or the lock."""
        return self.component in (CODE, KERNEL, PACKAGE)


# --- data -----------------------------------------------------------------------------------------------------------


def _held(scene: Scene) -> CandleStore:
    return CandleStore(scene.home / "store")


def _candles(scene: Scene, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    held = _held(scene)
    stored = held.info(KEY)
    held.write(KEY, change(held.read(KEY)), Origin(source=stored.source, synthetic=True), replace=True)


def _up_a_tick(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    frame = frame.copy()
    frame.loc[row, "close"] = round(frame.loc[row, "close"] + TICK, 1)
    frame.loc[row, "high"] = max(frame.loc[row, "high"], frame.loc[row, "close"])
    return frame


def candle_by_a_tick(scene: Scene, rng: Rng) -> None:
    _candles(scene, lambda frame: _up_a_tick(frame, int(rng.integers(len(frame)))))


def candle_behind_the_store(scene: Scene, rng: Rng) -> None:
    [part] = _held(scene).partitions(KEY)
    file = scene.home / "store" / "candles" / "synthetic" / "BTCUSDT" / "1m" / part.file
    frame = pd.read_parquet(file)
    _up_a_tick(frame, int(rng.integers(len(frame)))).to_parquet(file, index=False)


def candle_removed(scene: Scene, rng: Rng) -> None:
    _candles(scene, lambda frame: frame.drop(index=int(rng.integers(1, len(frame) - 1))).reset_index(drop=True))


def partition_replaced(scene: Scene, rng: Rng) -> None:
    candles, _, label = synthetic_market("BTCUSDT", n_bars=BARS, seed=int(rng.integers(1_000, 2_000)))
    _held(scene).write(KEY, candles, Origin(source=label, synthetic=True), replace=True)


def partition_gone(scene: Scene, rng: Rng) -> None:
    for file in (scene.home / "store" / "candles").rglob("*.parquet"):
        file.unlink()


def dataset_gone(scene: Scene, rng: Rng) -> None:
    (scene.home / "store" / "candles" / "synthetic" / "BTCUSDT" / "1m" / "dataset.json").unlink()


def funding_changed(scene: Scene, rng: Rng) -> None:
    held = _held(scene)
    frame = held.read_funding("synthetic", "BTCUSDT")
    frame.loc[int(rng.integers(len(frame))), "funding_rate"] += 1e-6
    held.write_funding("synthetic", "BTCUSDT", frame, replace=True)


def funding_behind_the_store(scene: Scene, rng: Rng) -> None:
    file = scene.home / "store" / "funding" / "synthetic" / "BTCUSDT.parquet"
    frame = pd.read_parquet(file)
    frame.loc[int(rng.integers(len(frame))), "funding_rate"] += 1e-6
    frame.to_parquet(file, index=False)


# --- code and kernels -----------------------------------------------------------------------------------------------


def _text(file: Path, pattern: str, new: str) -> None:
    before = file.read_text(encoding="utf-8")
    after = re.sub(pattern, new, before, count=1, flags=re.MULTILINE)
    assert after != before, f"{file.name}: nothing matches {pattern}"
    file.write_text(after, encoding="utf-8")


def in_package(path: str, pattern: str, new: str) -> Callable[[Scene, Rng], None]:
    return lambda scene, _: _text(scene.checkout / "flea_lab" / path, pattern, new)


def comment_in_a_module(scene: Scene, rng: Rng) -> None:
    file = scene.checkout / "flea_lab" / "ledger.py"
    file.write_text(file.read_text(encoding="utf-8") + f"# {int(rng.integers(1_000))}\n", encoding="utf-8")


def own_kernel(scene: Scene, rng: Rng) -> None:
    _text(scene.home / "signals" / "mine.py", r"^SCALE = 2000.0$", f"SCALE = {int(rng.integers(100, 1_900))}.0")


def own_kernel_gone(scene: Scene, rng: Rng) -> None:
    (scene.home / "signals" / "mine.py").unlink()


def stale_kernel(scene: Scene, rng: Rng) -> None:
    """As if the process that made the run had loaded the signal before its file was edited."""
    old = hashlib.sha256(rng.bytes(8)).hexdigest()
    edit_manifest(scene.run, lambda done: done.setdefault("kernels", {}).update(ema_momentum=old), seal=True)


def template(scene: Scene, rng: Rng) -> None:
    file = scene.checkout / "notebooks" / "reports" / "backtest.ipynb"
    notebook = nbformat.read(file, as_version=4)
    notebook.cells[-1].source = notebook.cells[-1].source.replace("< 1e-9", "< 1e9")
    nbformat.write(notebook, file)


# --- packages -------------------------------------------------------------------------------------------------------


def other_version(name: str, version: str) -> Callable[[Scene, Rng], None]:
    return lambda scene, _: edit_manifest(scene.run, lambda done: done["versions"].update({name: version}), seal=True)


def other_flea_lab(scene: Scene, rng: Rng) -> None:
    edit_manifest(scene.run, lambda done: done.update(flea_version="0.0.9"), seal=True)


def other_lock(scene: Scene, rng: Rng) -> None:
    _text(scene.checkout / "requirements.lock", r"^numpy==.*$", "numpy==2.0.0")


# --- outputs --------------------------------------------------------------------------------------------------------


def _notebook(run: Path, change: Callable[[Any], None]) -> None:
    file = run / "backtest.ipynb"
    notebook = nbformat.read(file, as_version=4)
    change(notebook)
    nbformat.write(notebook, file)


def output_cell(scene: Scene, rng: Rng) -> None:
    def change(notebook: Any) -> None:
        cell = [one for one in notebook.cells if one.cell_type == "code" and one.outputs][4]
        data = cell.outputs[0]["data"]
        kind = next(iter(data))
        data[kind] = str(data[kind]).replace("1.23", "99.9") + " "

    _notebook(scene.run, change)


def code_cell(scene: Scene, rng: Rng) -> None:
    def change(notebook: Any) -> None:
        notebook.cells[-1].source = notebook.cells[-1].source.replace("assert ", "# assert ")

    _notebook(scene.run, change)


def page(scene: Scene, rng: Rng) -> None:
    file = scene.run / "report.html"
    file.write_text(file.read_text(encoding="utf-8") + f"<p>{int(rng.integers(99))} %</p>", encoding="utf-8")


def page_of_another_run(scene: Scene, rng: Rng) -> None:
    (scene.run / "report.html").write_text("<!doctype html><p>made 400 %</p>", encoding="utf-8")


def _frame(scene: Scene, name: str, change: Callable[[pd.DataFrame], None]) -> None:
    file = scene.run / f"{name}.parquet"
    frame = pd.read_parquet(file)
    change(frame)
    frame.to_parquet(file, index=False)


def _by(name: str, rng: Rng, step: float) -> Callable[[pd.DataFrame], None]:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[int(rng.integers(len(frame))), name] += step

    return change


def decisions_frame(scene: Scene, rng: Rng) -> None:
    _frame(scene, "decisions", _by("qty", rng, 0.001))


def equity_frame(scene: Scene, rng: Rng) -> None:
    _frame(scene, "equity", _by("equity_usd", rng, 0.01))


def fills_frame_renewed(scene: Scene, rng: Rng) -> None:
    """A fee less, and the manifest made to agree: only the same backtest again can tell."""
    _frame(scene, "fills", _by("fee_usd", rng, -0.01))
    _renew(scene, "fills.parquet")


def equity_frame_renewed(scene: Scene, rng: Rng) -> None:
    _frame(scene, "equity", _by("equity_usd", rng, 0.01))
    _renew(scene, "equity.parquet")


def _renew(scene: Scene, name: str) -> None:
    digest = hashlib.sha256((scene.run / name).read_bytes()).hexdigest()
    edit_manifest(scene.run, lambda done: done["outputs"].update({name: digest}), seal=True)


def missing_output(scene: Scene, rng: Rng) -> None:
    (scene.run / "trades.parquet").unlink()


def added_output(scene: Scene, rng: Rng) -> None:
    (scene.run / "audited.txt").write_text(f"approved {int(rng.integers(99))}", encoding="utf-8")


def cells_frame(scene: Scene, rng: Rng) -> None:
    _frame(scene, "cells", _by("sharpe", rng, 0.5))


# --- parameters -----------------------------------------------------------------------------------------------------


def _toml(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(runs.to_toml(values), encoding="utf-8")


def in_config(path: str, value: Any) -> Callable[[Scene, Rng], None]:
    *above, last = path.split(".")

    def change(values: dict[str, Any]) -> None:
        at = values
        for step in above:
            at = at[step]
        assert at[last] != value
        at[last] = value

    return lambda scene, _: _toml(scene.run / "config.toml", change)


def signal_parameter(scene: Scene, rng: Rng) -> None:
    period = int(rng.integers(10, 20))
    _toml(scene.run / "config.toml", lambda values: values["signals"][0]["params"].update(fast=period))


def grid_file(scene: Scene, rng: Rng) -> None:
    _text(scene.run / "grid.toml", r"\[5, 9\]", f"[5, {int(rng.integers(10, 20))}]")


def parameters_cell(scene: Scene, rng: Rng) -> None:
    def change(notebook: Any) -> None:
        [cell] = [one for one in notebook.cells if "injected-parameters" in one.metadata.get("tags", [])]
        before, count = cell.source, rng.integers(1_000_000, 2_000_000)
        cell.source = before.replace("100000.0", f"{count}.0")
        assert cell.source != before

    _notebook(scene.run, change)


def config_everywhere_but_in_the_notebook(scene: Scene, rng: Rng) -> Scene:
    """Cheaper costs in config and manifest, the id made anew, the folder named after it, everything sealed."""
    fee = float(rng.integers(0, 4))

    def change(done: dict[str, Any]) -> None:
        done["config"]["costs"]["fee_bps"] = fee
        done["config_id"] = from_dict(done["config"]).id
        (scene.run / "config.toml").write_text(runs.to_toml(done["config"]), encoding="utf-8")
        done["outputs"]["config.toml"] = hashlib.sha256((scene.run / "config.toml").read_bytes()).hexdigest()

    before = json.loads((scene.run / "manifest.json").read_text(encoding="utf-8"))["config_id"]
    edit_manifest(scene.run, change, seal=True)
    after = json.loads((scene.run / "manifest.json").read_text(encoding="utf-8"))["config_id"]
    return _moved(scene, scene.run.name.replace(before[:10], after[:10]))


# --- the manifest ---------------------------------------------------------------------------------------------------


def in_manifest(change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> Callable[[Scene, Rng], None]:
    return lambda scene, _: edit_manifest(scene.run, change, seal=seal)


def truncated(scene: Scene, rng: Rng) -> None:
    file = scene.run / "manifest.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: int(rng.integers(10, len(text) - 10))], encoding="utf-8")


def renamed(scene: Scene, rng: Rng) -> Scene:
    return _moved(scene, f"small-{hashlib.sha256(rng.bytes(4)).hexdigest()[:10]}-00000000")


def _moved(scene: Scene, name: str) -> Scene:
    to = scene.run.with_name(name)
    scene.run.rename(to)
    return Scene(scene.home, to, scene.checkout)


DATA, CODE, KERNEL, PACKAGE = "data partition", "code module", "kernel", "package version"
OUTPUT, PARAMETERS, MANIFEST = "edited output", "parameters", "manifest"
COMPONENTS = (PARAMETERS, DATA, CODE, KERNEL, PACKAGE, OUTPUT, MANIFEST)

TAMPERS = (
    Tamper("one candle by one tick", DATA, "2025-01", candle_by_a_tick),
    Tamper("one candle by one tick, behind the store", DATA, "2025-01", candle_behind_the_store),
    Tamper("one candle removed", DATA, "2025-01", candle_removed),
    Tamper("a partition replaced", DATA, "2025-01", partition_replaced),
    Tamper("a partition's file gone", DATA, "BTCUSDT", partition_gone, status=2),
    Tamper("a dataset gone", DATA, "synthetic BTCUSDT 1m", dataset_gone, status=2),
    Tamper("a funding rate", DATA, "funding", funding_changed),
    Tamper("a funding rate, behind the store", DATA, "funding", funding_behind_the_store),
    Tamper(
        "a helper module",
        CODE,
        "flea_lab/strategy/sizing.py",
        in_package("strategy/sizing.py", r"return 0$", "return 1"),
    ),
    Tamper(
        "a compiled function",
        CODE,
        "flea_lab/strategy/combine.py",
        in_package("strategy/combine.py", "confidence >= min_confidence", "confidence > min_confidence"),
    ),
    Tamper("a compiled constant", CODE, "flea_lab/money.py", in_package("money.py", r"^CENT = 10_000$", "CENT = 100")),
    Tamper(
        "a helper of the signals",
        CODE,
        "flea_lab/signal/rolling.py",
        in_package("signal/rolling.py", r"\A", "# moved\n"),
    ),
    Tamper("a comment in a module", CODE, "flea_lab/ledger.py", comment_in_a_module),
    Tamper("the notebook that reports", CODE, "notebooks/reports/backtest.ipynb", template),
    Tamper(
        "a built-in signal",
        KERNEL,
        "ema_momentum",
        in_package("signal/ema_momentum.py", r"^EPSILON = 1e-8$", "EPSILON = 1e-7"),
    ),
    Tamper("a signal of one's own", KERNEL, "mine", own_kernel),
    Tamper("a signal of one's own gone", KERNEL, "mine", own_kernel_gone, status=2),
    Tamper("a stale kernel", KERNEL, "ema_momentum", stale_kernel),
    Tamper("another numba", PACKAGE, "numba", other_version("numba", "0.60.0")),
    Tamper("another Python", PACKAGE, "python", other_version("python", "3.9.1")),
    Tamper("another flea_lab", PACKAGE, "flea_lab", other_flea_lab),
    Tamper("another lock", PACKAGE, "requirements.lock", other_lock),
    Tamper("an output cell", OUTPUT, "backtest.ipynb", output_cell),
    Tamper("a code cell of the stored notebook", OUTPUT, "backtest.ipynb", code_cell),
    Tamper("the page", OUTPUT, "report.html", page),
    Tamper("the page of another run", OUTPUT, "report.html", page_of_another_run),
    Tamper("a decision's quantity", OUTPUT, "decisions.parquet", decisions_frame),
    Tamper("a cent of equity", OUTPUT, "equity.parquet", equity_frame),
    Tamper("an output gone", OUTPUT, "trades.parquet", missing_output),
    Tamper("an output added", OUTPUT, "audited.txt", added_output),
    Tamper("a cell of a sweep", OUTPUT, "cells.parquet", cells_frame, kind="sweep"),
    Tamper("a fee, with digest and seal renewed", OUTPUT, "fills.parquet", fills_frame_renewed, by="execution"),
    Tamper("equity, with digest and seal renewed", OUTPUT, "equity.parquet", equity_frame_renewed, by="execution"),
    Tamper("the parameters cell", PARAMETERS, "initial_cash_usd", parameters_cell),
    Tamper("a limit in config.toml", PARAMETERS, "risk.max_drawdown", in_config("risk.max_drawdown", 0.5)),
    Tamper("costs in config.toml", PARAMETERS, "costs.fee_bps", in_config("costs.fee_bps", 0.0)),
    Tamper("a signal's parameter", PARAMETERS, "signals.0.params.fast", signal_parameter),
    Tamper(
        "another instrument grid",
        PARAMETERS,
        "instruments.BTCUSDT.tick_size",
        in_config("instruments.BTCUSDT.tick_size", "1"),
    ),
    Tamper("a sweep's grid", PARAMETERS, "ema_momentum.fast", grid_file, kind="sweep"),
    Tamper(
        "the config everywhere but in the notebook", PARAMETERS, "costs.fee_bps", config_everywhere_but_in_the_notebook
    ),
    Tamper("a metric", MANIFEST, "seal", in_manifest(lambda done: done["metrics"].update(sharpe=3.0))),
    Tamper("the seed", MANIFEST, "seal", in_manifest(lambda done: done.update(seed=8))),
    Tamper("the result's digest", MANIFEST, "seal", in_manifest(lambda done: done.update(result_digest="0" * 64))),
    Tamper("the config", MANIFEST, "seal", in_manifest(lambda done: done["config"]["costs"].update(fee_bps=0.0))),
    Tamper(
        "the digest of an output",
        MANIFEST,
        "seal",
        in_manifest(lambda done: done["outputs"].update({"report.html": "0" * 64})),
        also=(OUTPUT,),
    ),
    Tamper(
        "the grid",
        MANIFEST,
        "seal",
        in_manifest(lambda done: done.update(grid={"ema_momentum.fast": [5, 8]})),
        kind="sweep",
    ),
    Tamper("a manifest cut off", MANIFEST, "manifest.json", truncated, status=2),
    Tamper("the folder's name", MANIFEST, "small-", renamed),
    Tamper(
        "a metric, sealed again",
        MANIFEST,
        "metrics.sharpe",
        in_manifest(lambda done: done["metrics"].update(sharpe=3.0), seal=True),
        by="execution",
    ),
    Tamper(
        "the decisions' digest, sealed again",
        MANIFEST,
        "decisions_digest",
        in_manifest(lambda done: done.update(decisions_digest="0" * 64), seal=True),
        by="execution",
    ),
)
