"""What it costs to verify a stored run: CPU of `flea verify` beside that of the `flea report` that made it, by turns.

Both are commands in processes of their own; counted are they and all that they start. Every verify must say equal. The
last line is JSON: `ratio` is verify over report, medians; `--quick` takes two rounds instead of five.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
name = "verified"
symbols = ["BTCUSDT"]
interval = "1m"
[[signals]]
kernel = "ema_momentum"
[[signals]]
kernel = "rsi_reversion"
weight = 0.7
[data]
venue = "synthetic"
"""


def flea(home: Path, *words: object) -> tuple[float, str]:
    """CPU seconds of one command and all that it started, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FLEA_HOME": str(home)}
    command = [sys.executable, "-m", "flea_lab", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"flea {' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main() -> None:
    """Prints a line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    rounds = 2 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder) / "home", Path(folder) / "verified.toml"
        file.write_text(CONFIG, encoding="utf-8")
        flea(home, "data", "synth")
        flea(home, "report", file)  # compiles
        found: dict[str, list[float]] = {"report": [], "verify": [], "quick": []}
        for number in range(rounds):
            spent, said = flea(home, "report", file)
            found["report"].append(spent)
            run = Path(said.strip().splitlines()[-1].strip()).parent
            for name, words in (("verify", ("verify", run)), ("quick", ("verify", run, "--quick"))):
                spent, said = flea(home, *words)
                assert ": equal (" in said, said
                found[name].append(spent)
            print(f"round {number + 1}: " + ", ".join(f"{name} {found[name][-1]:.2f} s" for name in found))
    median = {name: statistics.median(values) for name, values in found.items()}
    figures = {
        "ratio": round(median["verify"] / median["report"], 3),
        "quick_ratio": round(median["quick"] / median["report"], 3),
        "cpu_s": {name: round(value, 2) for name, value in median.items()},
        "rounds": rounds,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
