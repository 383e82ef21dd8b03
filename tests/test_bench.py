"""The benchmarks run, agree with what they compare, and end in one line of JSON with a ratio."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["sweep", "replay", "live"])
def test_a_benchmark_ends_in_json_with_its_ratio(name: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FLEA_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, ROOT / "bench" / f"{name}.py", "--smoke"], capture_output=True, text=True, env=env, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert math.isfinite(figures["ratio"]) and figures["ratio"] > 0.0
    assert figures["rounds"] == 1


def test_the_benchmark_readme_names_every_benchmark() -> None:
    text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    runnable = [path.name for path in (ROOT / "bench").glob("*.py") if "argparse" in path.read_text(encoding="utf-8")]
    assert sorted(runnable) == ["live.py", "replay.py", "sweep.py"]
    assert all(f"bench/{name}" in text for name in runnable)
