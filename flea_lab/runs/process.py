"""A command of `flea` in a process of its own that knows nothing of its starter: a new environment, a folder of its
own for all that programs keep for their user, a workspace that shares only what is read."""

import os
import site
import subprocess
import sys
from pathlib import Path

from flea_lab.errors import FleaError
from flea_lab.runs.place import ROOT
from flea_lab.workspace import Workspace

KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "FLEA_OFFLINE", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
"""What of the environment goes along: where programs lie, how text is encoded, whether the network is forbidden."""
READ = ("store", "signals", "tapes", "journals", "promoted", "schedule")


def bare_workspace(home: Workspace, folder: Path) -> Workspace:
    """A workspace in `folder` that reads what `home` has stored and keeps runs of its own."""
    folder.mkdir(mode=0o700)
    for name in READ:
        if (home.root / name).exists():
            (folder / name).symlink_to((home.root / name).resolve())
    return Workspace(folder)


def run_clean(words: list[str], home: Workspace, own: Path, root: Path = ROOT) -> str:
    """What ``flea WORDS`` prints when the package at `root` runs it on `home`; `own` is what its user's folder is.

    `FleaError` with the last line of what it says where it fails.
    """
    command = [sys.executable, "-m", "flea_lab", *words]
    done = subprocess.run(
        command, cwd=root, env=_environment(home, own, root), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise FleaError(lines[-1].removeprefix("flea: ") if lines else f"status {done.returncode} without a word")
    return done.stdout


def _environment(home: Workspace, own: Path, root: Path) -> dict[str, str]:
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "HOME": str(own),
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTER_CONFIG_DIR": str(own / "jupyter"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONPATH": str(root),
        "XDG_CACHE_HOME": caches,  # compiled code is kept there under a hash of its sources
        "FLEA_HOME": str(home.root),
    }
