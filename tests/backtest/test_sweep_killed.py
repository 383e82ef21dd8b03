"""A sweep whose process is killed in the middle: what was finished is not folded again, and the result is the same."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flea_lab.backtest.grid import load_grid
from flea_lab.backtest.plan import Plan
from flea_lab.backtest.sweep import sweep
from flea_lab.config import load, read_toml
from flea_lab.report.sweep import run_sweep
from flea_lab.wiring import demo_config, load_market

CHUNK, LANDED = 25, 3
CONFIG = f"""
name = "killed"
symbols = ["BTCUSDT"]
interval = "1m"
signals = [{{ kernel = "ema_momentum" }}]
data = {{ venue = "synthetic", end = "2025-01-02" }}
deployment = {{ chunk = {CHUNK}, threads = 1 }}
"""
GRID = "[ema_momentum]\nfast = {start = 2, stop = 21}\nslow = {start = 30, stop = 39}\n"
KILLED = f"""
import os, signal, sys
from pathlib import Path
from flea_lab.__main__ import main

replace, landed = Path.replace, []

def dies(self, target):
    if self.parent.name.startswith("chunks-"):
        if len(landed) == {LANDED}:
            os.kill(os.getpid(), signal.SIGKILL)  # a chunk is written, and has not its name yet
        landed.append(target)
    return replace(self, target)

Path.replace = dies
main()
"""


@pytest.mark.slow  # a process of its own
def test_a_killed_sweep_loses_what_was_under_way_and_ends_equal_to_the_bit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_DATA_DIR", raising=False)
    demo_config(("BTCUSDT",))
    path, grid = home / "killed.toml", home / "grid.toml"
    path.write_text(CONFIG)
    grid.write_text(GRID)
    words = [sys.executable, "-c", KILLED, "sweep", str(path), "--grid", str(grid)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [folder] = (home / "runs" / ".unfinished").iterdir()
    assert len(list(folder.glob("[0-9]*.npy"))) == LANDED
    assert len(list(folder.glob(".*.part"))) == 1
    spans: list[tuple[int, int]] = []
    fold = Plan.fold
    monkeypatch.setattr(Plan, "fold", lambda self, *asked: spans.append(asked[:2]) or fold(self, *asked))
    config, axes = load(path), load_grid(read_toml(grid, "grid"), "grid.toml")
    _, found = run_sweep(config, axes, progress=False)
    again = [span for span in spans if span[1] - span[0] > 1]  # one cell alone is the compiler's
    assert sum(last - first for first, last in again) == 200 - LANDED * CHUNK
    assert found.table.equals(sweep(config, axes, load_market(config).market).table)
    assert not folder.exists()
