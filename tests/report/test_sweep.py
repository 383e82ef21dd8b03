"""A stored sweep: what is in its folder, what its page says, what is left when it fails."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flea_lab import runs
from flea_lab.backtest import found as found_module
from flea_lab.backtest.sweep import load_grid, sweep
from flea_lab.config import RunConfig, from_dict, load
from flea_lab.errors import ConfigError, DataError, WorkspaceError
from flea_lab.report import cell_file
from flea_lab.report import sweep as stored
from flea_lab.report.cell_file import CELLS, CellFile, write_cells
from flea_lab.report.sweep import page, run_sweep, table_text
from flea_lab.wiring import demo_config, load_market, run_fold
from flea_lab.workspace import workspace

GRID = load_grid({"ema_momentum.fast": [5, 9, 30], "ema_momentum.slow": [20, 40]}, "test")


@pytest.fixture
def config(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    assert not home.exists() or home.is_dir()
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    return demo_config(("BTCUSDT",), days=2)


def test_the_folder_holds_table_page_grid_and_a_manifest_that_names_them(config: RunConfig) -> None:
    folder, found = run_sweep(config, GRID, progress=False)
    manifest = runs.read_manifest(folder)
    assert manifest.kind == "sweep"
    assert manifest.synthetic
    assert set(manifest.outputs) == {"cells.parquet", "refused.parquet", "config.toml", "grid.toml", "sweep.html"}
    assert load(folder / "config.toml").id == config.id
    assert pd.read_parquet(folder / "cells.parquet")["sharpe"].equals(found.table["sharpe"])
    assert manifest.reproduce.endswith(f"--grid {folder / 'grid.toml'}")
    assert not list((folder.parent / ".unfinished").glob("*"))


def test_the_page_opens_offline_and_says_what_it_ran_on(config: RunConfig) -> None:
    folder, _ = run_sweep(config, GRID, progress=False)
    html = (folder / "sweep.html").read_text()
    assert html.count("<script src=") == 1
    assert 'src="../_assets/plotly-' in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "synthetic data" in html
    assert "flea-warn" in html
    assert "Refused: 1 point" in html
    assert "fast (30) must be shorter than slow (20)" in html
    assert "hidden state" not in html


def test_what_a_kernel_holds_beyond_its_notebook_is_said_on_the_page(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "hidden_state", lambda *_: ["cell twice: In [3], In [4] are one cell"])
    folder, _ = run_sweep(config, {"ema_momentum.fast": [5, 9]}, progress=False)
    html = (folder / "sweep.html").read_text()
    assert "hidden state" in html and "In [3], In [4] are one cell" in html
    assert runs.read_manifest(folder).hidden == ["cell twice: In [3], In [4] are one cell"]


def test_a_cell_of_the_table_is_the_fold_of_its_config(config: RunConfig) -> None:
    market = load_market(config).market
    found = sweep(config, GRID, market)
    for row in found.table.to_dict("records"):
        cell = found.cell_config({name: row[name] for name in found.grid})
        assert cell.id == row["config_id"]
        folded = run_fold(cell, market, found.start)
        assert folded.metrics[0] == row["total_return"]


def test_chunked_threaded_and_resumed_sweeps_are_the_same_bits(config: RunConfig, tmp_path: Path) -> None:
    market = load_market(config).market
    whole = sweep(config, GRID, market).table
    values = config.to_dict()
    values["deployment"] = {"threads": 2, "chunk": 1}
    chunked = from_dict(values)
    assert sweep(chunked, GRID, market).table.equals(whole)
    seen: list[int] = []
    stopped = sweep(chunked, GRID, market, cancelled=lambda: len(seen) >= 2, resume=tmp_path, on_chunk=_count(seen))
    assert stopped.table["sharpe"].isna().any()
    more: list[int] = []
    resumed = sweep(chunked, GRID, market, resume=tmp_path, on_chunk=_count(more))
    assert resumed.table.equals(whole)
    assert len(list(tmp_path.rglob("*.npy"))) == len(whole)


def _count(seen: list[int]):  # type: ignore[no-untyped-def]
    return lambda chunk, _: seen.append(len(chunk))


def test_a_chunk_of_another_sweep_is_not_taken(config: RunConfig, tmp_path: Path) -> None:
    market = load_market(config).market
    sweep(config, {"ema_momentum.fast": [5]}, market, resume=tmp_path)
    other = sweep(config, {"ema_momentum.fast": [7]}, market, resume=tmp_path).table
    assert other.equals(sweep(config, {"ema_momentum.fast": [7]}, market).table)


SAYS = """
from math import nan
from typing import NamedTuple

from flea_lab.settings import Bars, Settings
from flea_lab.signal.kernel import Bar, Floats, kernel


class P(Settings, frozen=True, kw_only=True):
    wait: Bars = 3


class S(NamedTuple):
    n: float = 0.0
    direction: float = nan
    confidence: float = nan


@kernel(P, S, inputs=("close",), warmup=lambda p: p.wait)
def mine(s: S, bar: Bar, p: P, memory: Floats) -> S:
    n = s.n + 1.0
    return S(n) if n < p.wait else S(n, {}, 1.0)
"""


def test_a_chunk_folded_before_a_signal_was_edited_is_not_taken(config: RunConfig, tmp_path: Path) -> None:
    path = workspace().ready().signals / "mine.py"
    path.write_text(SAYS.format("1.0"))
    own = from_dict({**config.to_dict(), "signals": [{"kernel": "mine"}]})
    market, grid = load_market(own).market, {"mine.wait": [5]}
    first = sweep(own, grid, market, resume=tmp_path).table
    path.write_text(SAYS.format("-1.0"))
    edited = sweep(own, grid, market, resume=tmp_path).table
    assert edited.equals(sweep(own, grid, market).table)
    assert not edited.equals(first)


def test_an_interrupted_sweep_leaves_a_folder_that_says_so_and_goes_on_later(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "write_html", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(config, GRID, progress=False)
    failed = [run for run in runs.list_runs(workspace()) if run.state == "failed"]
    assert len(failed) == 1
    assert "its finished chunks are kept" in failed[0].why
    assert list((workspace().runs / ".unfinished").rglob("*.npy"))


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_is_one_line_and_leaves_no_finished_folder(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "write_html", _full)
    with pytest.raises(WorkspaceError, match=r"sweep demo: .*runs: no space left on device"):
        run_sweep(config, GRID, progress=False)
    assert not list(workspace().runs.glob("demo-*"))


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_swept_is_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="metric 'luck' is unknown"):
        run_sweep(config, GRID, metric="luck")
    market = load_market(config).market
    with pytest.raises(DataError, match=r"bars are too few: the longest warm-up of the grid is \d+ bars"):
        sweep(config, {"ema_momentum.slow": [4_900]}, market)
    axis = {"start": 1, "stop": 5_000, "step": 1}
    with pytest.raises(ConfigError, match="grid has 25,000,000 cells, at most 5,000,000"):
        load_grid({"ema_momentum.fast": axis, "ema_momentum.slow": axis}, "test")


def test_a_range_of_a_grid_has_its_stop() -> None:
    grid = load_grid({"risk": {"max_drawdown": {"start": 0.05, "stop": 0.2, "step": 0.05}}}, "test")
    assert grid == {"risk.max_drawdown": [0.05, 0.1, 0.15, 0.2]}


def test_best_names_the_cell_and_refuses_a_metric_that_is_nowhere_known(config: RunConfig) -> None:
    found = sweep(config, GRID, load_market(config).market)
    values = found.best("total_return")
    row = found.table.loc[found.table["total_return"].idxmax()]
    assert values == {name: row[name] for name in GRID}
    nothing = sweep(config, {"sizing.base_fraction": [1e-7]}, load_market(config).market)
    with pytest.raises(ConfigError, match="metric 'win_rate' is not a number in any of 1 cells"):
        nothing.best("win_rate")


def test_a_sweep_where_nothing_trades_says_so(config: RunConfig) -> None:
    market = load_market(config)
    found = sweep(config, {"sizing.base_fraction": [1e-7]}, market.market)
    shown = json.dumps(page(found, market, "win_rate"))
    assert "is not defined in any cell" in shown
    assert "1 cell; sorted by win_rate" in table_text(found, "win_rate", 3)


def test_a_grid_that_cannot_be_leaves_no_folder_and_a_scalar_is_an_axis(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="no such parameter of ema_momentum"):
        run_sweep(config, {"ema_momentum.fats": [5]}, progress=False)
    assert runs.list_runs(workspace()) == []
    assert len(sweep(config, {"ema_momentum.fast": 5}, load_market(config).market).table) == 1


def test_a_finished_sweep_leaves_the_chunks_of_another_alone(config: RunConfig) -> None:
    other = workspace().runs / ".unfinished"
    sweep(config, {"ema_momentum.fast": [7]}, load_market(config).market, resume=other)
    run_sweep(config, {"ema_momentum.fast": [5]}, progress=False)
    assert len(list(other.rglob("*.npy"))) == 1


def test_the_result_is_read_from_the_run_folder_once_its_chunks_are_gone(config: RunConfig) -> None:
    grid = {**GRID, "risk.max_drawdown": [0.1, 1.0]}
    whole = sweep(config, grid, load_market(config).market)
    folder, found = run_sweep(config, grid, progress=False)
    assert found.kept is None
    assert not list((folder.parent / ".unfinished").glob("*"))
    assert np.array_equal(found.column("sharpe"), whole.column("sharpe"), equal_nan=True)
    assert found.table.equals(whole.table)
    assert found.best("sharpe") == whole.best("sharpe")
    assert found.top("sharpe", 3).equals(whole.top("sharpe", 3))
    assert found.frame(3, 5).equals(whole.frame(3, 5))
    assert pd.read_parquet(folder / "cells.parquet").equals(whole.table)


def test_a_table_in_pieces_is_the_table(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"ema_momentum.fast": [5, 9, 12], "risk.max_drawdown": [1, 0.25]}
    found = sweep(config, grid, load_market(config).market)
    for module in (cell_file, found_module):
        monkeypatch.setattr(module, "FRAME", 2)
    write_cells(found, tmp_path / CELLS)
    stored_table = pd.read_parquet(tmp_path / CELLS)
    assert stored_table.equals(found.table)
    assert runs.stored_digest(tmp_path / CELLS) == runs.frame_digest(found.table)
    read = CellFile(tmp_path / CELLS)
    assert np.array_equal(read.rows(1, 5), found.metrics.rows(1, 5), equal_nan=True)
    assert np.array_equal(read.column("fees_usd"), found.column("fees_usd"))


def test_the_page_says_how_many_combinations_were_tried_on_this_data(config: RunConfig) -> None:
    run_sweep(config, {"ema_momentum.fast": [5, 7]}, progress=False)
    folder, found = run_sweep(config, GRID, progress=False)
    assert found.tried == 2 + found.n == 7
    assert "7 combinations tried on this data so far" in (folder / "sweep.html").read_text()
    assert "7 combinations tried on this data so far" in table_text(found, "sharpe", 2)
