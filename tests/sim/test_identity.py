"""The same seed gives the same scenario in every process, whatever its hashes are seeded with."""

import os
import subprocess
import sys

import pytest

from tests.laws.source import ROOT

DIGESTS = """
import sys
from flea_lab.sim import run_scenario
for seed in range(int(sys.argv[1])):
    print(run_scenario(seed).digest)
"""


def _digests(hash_seed: str, count: int) -> list[str]:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", DIGESTS, str(count)], env=env, capture_output=True, text=True, check=True, timeout=250
    )
    return ran.stdout.split()


def test_a_seed_is_one_scenario_whatever_the_process() -> None:
    first, second = _digests("0", 6), _digests("4711", 6)
    assert len(set(first)) == 6
    assert first == second


@pytest.mark.slow
def test_twenty_seeds_are_twenty_scenarios_in_four_processes() -> None:
    runs = [_digests(hash_seed, 20) for hash_seed in ("0", "1", "random", "random")]
    assert len(set(runs[0])) == 20
    assert all(run == runs[0] for run in runs)
