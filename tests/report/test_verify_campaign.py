"""A stored report executed again and again, each time in fresh processes: equal every time; and what was spoilt is
found by the command as it is typed, by the package that it was done to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flea_lab import runs
from flea_lab.report.run import run_report
from flea_lab.workspace import Workspace
from tests.report.scenes import Scene, config, copied, copy_checkout, stored_market
from tests.report.tampers import COMPONENTS, TAMPERS, Tamper

TIMES = int(os.environ.get("FLEA_VERIFIES", "100"))
BACKTESTS = [tamper for tamper in TAMPERS if tamper.kind == "backtest"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A workspace with one real report in it, and a copy of the checkout that nobody edits."""
    folder = tmp_path_factory.mktemp("campaign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(folder / "home"))
        stored_market(folder / "home")
        copy_checkout(runs.ROOT, folder / "checkout")
        yield Scene(folder / "home", run_report(config(), progress=False), folder / "checkout")


def flea(scene: Scene, *words: str) -> subprocess.CompletedProcess[str]:
    """`flea` of the scene's checkout on the scene's workspace."""
    env = {**os.environ, "FLEA_HOME": str(scene.home), "PYTHONPATH": str(scene.checkout)}
    command = [sys.executable, "-m", "flea_lab", *words]
    return subprocess.run(command, cwd=scene.checkout, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(TIMES))
def test_a_report_is_equal_in_every_fresh_process(number: int, scene: Scene) -> None:
    done = flea(scene, "verify", scene.run.name)
    assert done.returncode == 0 and f"{scene.run.name}: equal (executed again: 4 frames" in done.stdout, done


@pytest.mark.slow
@pytest.mark.parametrize("tamper", BACKTESTS, ids=lambda tamper: tamper.name.replace(" ", "-"))
def test_what_was_spoilt_is_found_by_the_command(tamper: Tamper, scene: Scene, tmp_path: Path) -> None:
    spoilt = copied(scene, tmp_path, with_checkout=True)
    spoilt = tamper.edit(spoilt, np.random.default_rng(BACKTESTS.index(tamper))) or spoilt
    before = sorted(Workspace(spoilt.home).runs.iterdir())
    done = flea(spoilt, "verify", str(spoilt.run))
    assert done.returncode == tamper.status, done
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"  {tamper.component:<16}")]
    assert any(tamper.item in line for line in lines), done
    named = {one for one in COMPONENTS if any(line.startswith(f"  {one:<16}") for line in done.stdout.splitlines())}
    assert named - set(tamper.also) == {tamper.component}, done
    assert sorted(Workspace(spoilt.home).runs.iterdir()) == before, "to verify leaves nothing behind"
