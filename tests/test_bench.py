"""The benchmarks run, agree with what they compare, and end in one line of JSON with a ratio."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def figures_of(name: str, home: Path, *flags: str) -> dict[str, Any]:
    """What a benchmark's last line says."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FLEA_HOME": str(home)}
    ran = subprocess.run(
        [sys.executable, ROOT / "bench" / f"{name}.py", *flags], capture_output=True, text=True, env=env, timeout=240
    )
    assert ran.returncode == 0, ran.stderr
    figures: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return figures


@pytest.mark.parametrize("name", ["sweep", "live", "memory"])
def test_a_benchmark_ends_in_json_with_its_ratio(name: str, tmp_path: Path) -> None:
    figures = figures_of(name, tmp_path, "--smoke")
    assert math.isfinite(figures["ratio"]) and figures["ratio"] > 0.0
    assert figures["rounds"] == 1


def test_the_replay_without_its_peer_says_so_and_gives_no_ratio(tmp_path: Path) -> None:
    figures = figures_of("replay", tmp_path, "--smoke")
    assert (figures["ratio"], figures["peer"], figures["rounds"]) == (None, "not asked for", 1)
    assert 0.0 < figures["fold_ratio"] < 1.0
    assert all(rate > 0.0 for rate in figures["events_per_s"].values())


def test_a_peer_that_cannot_be_installed_is_no_error(tmp_path: Path) -> None:
    script = "from engines import nautilus; from pathlib import Path; print(nautilus.environment(Path('cache')))"
    (tmp_path / "cache").write_text("a file where a folder is due")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bench"), "FLEA_OFFLINE": "0"}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert ran.returncode == 0 and ran.stdout.startswith("(None, ") and "-m venv" in ran.stdout, ran.stderr


@pytest.mark.slow
def test_every_halt_and_kill_of_the_benchmark_is_verified(tmp_path: Path) -> None:
    figures = figures_of("halt", tmp_path, "--quick")
    assert math.isfinite(figures["ratio"]) and figures["ratio"] > 0.0  # how fast is the machine's affair
    assert figures["ms"]["kill_to_verified"]["n"] >= 6 and figures["ms"]["halt_to_gone"]["n"] >= 10


def test_the_exponent_is_the_slope_of_what_was_measured() -> None:
    script = (
        "import json, scaling\n"
        "seconds = {'bars': [[n**1.5] for n in (10, 20, 100)], 'combinations': [[3.0 * n] for n in (1, 4, 10)]}\n"
        "print(json.dumps(scaling.told('a', scaling.Sizes((10, 20, 100), (1, 4, 10)), seconds)))"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'bench'}"}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["bars"]["exponent"] == pytest.approx(1.5)
    assert found["bars"]["over_linear"] == pytest.approx(10**0.5)
    assert (found["combinations"]["exponent"], found["combinations"]["over_linear"]) == pytest.approx((1.0, 1.0))


@pytest.mark.slow
def test_the_growth_of_a_sweep_is_told_of_both_ways(tmp_path: Path) -> None:
    figures = figures_of("scaling", tmp_path, "--smoke")
    assert all(math.isfinite(figures["ema_cross"][axis]["exponent"]) for axis in ("bars", "combinations"))
    assert math.isfinite(figures["ratio"]) and figures["ratio"] > 0.0  # what it comes to is the machine's affair


@pytest.mark.slow
def test_four_times_the_combinations_take_no_more_memory(tmp_path: Path) -> None:
    figures = figures_of("peak", tmp_path, "--smoke")
    assert figures["rows"]["400"]["combinations"] == 4 * figures["rows"]["100"]["combinations"]
    assert 0.9 < figures["ratio"] < 1.1


@pytest.mark.slow
def test_memory_is_flat_over_a_million_messages(tmp_path: Path) -> None:
    figures = figures_of("memory", tmp_path)
    assert figures["messages"] == 1_000_000
    assert figures["ratio"] < 1.02 and figures["most_mib"] < 1.02 * figures["before_mib"]


def test_the_benchmark_readme_names_every_benchmark() -> None:
    text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    runnable = [path.name for path in (ROOT / "bench").glob("*.py") if "argparse" in path.read_text(encoding="utf-8")]
    assert sorted(runnable) == [
        *("cold.py", "corpus.py", "feed.py", "halt.py", "live.py", "memory.py", "peak.py", "replay.py"),
        *("scaling.py", "single.py", "sweep.py", "verify.py"),
    ]
    assert all(f"bench/{name}" in text for name in runnable)
