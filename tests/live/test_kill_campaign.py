"""A slice of the campaign of kills, and the bugs that it must catch.

The whole: make kills. The bugs: pytest tests/live/test_kill_campaign.py -m slow
"""

import os
import subprocess
import sys

import pytest

from flea_lab.live.process import minimal_environment
from tests.live.kill_mutants import PLANTED

WORD = {"unwritten": "orphan", "again": "duplicate", "anew": "orphan", "forgets": "forgotten halt"}


def campaign(*words: str) -> "subprocess.CompletedProcess[str]":
    """A campaign in a process of its own: it forks, which none with threads should."""
    return subprocess.run(
        [sys.executable, "-m", "tests.live.kill_campaign", "--cold=0", *words],
        capture_output=True,
        text=True,
        env={**minimal_environment(), "TMPDIR": os.environ.get("TMPDIR", "/tmp")},
        timeout=280,
        check=False,
    )


def test_six_kills_leave_no_duplicate_no_orphan_and_no_forgotten_halt(home: os.PathLike[str]) -> None:
    ran = campaign("--forked=6", "--days=0.5", "--seed=3")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = dict(line.split("  ", 1) for line in ran.stdout.splitlines() if "  " in line)
    assert found["kills"].strip() == "6 (6 forked)"
    for name in ("duplicates", "orphans", "forgotten halts", "unequal accounts", "anything else"):
        assert found[name].strip() == "0", name


@pytest.mark.slow
@pytest.mark.parametrize("mutant", sorted(PLANTED))
def test_a_planted_bug_is_caught_within_sixty_kills(home: os.PathLike[str], mutant: str) -> None:
    ran = campaign("--forked=60", "--no-faults", "--seed=2", f"--mutant={mutant}")
    print(ran.stdout)
    assert ran.returncode == 1 and WORD[mutant] in ran.stdout.split("machine")[1], ran.stdout + ran.stderr
