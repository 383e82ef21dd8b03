"""A sandbox and a runner as processes of their own, to be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flea_lab.clock import Stopwatch
from flea_lab.config import RunConfig
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.control_client import ControlClient, Declined, NoRunner, Unanswered
from flea_lab.live.process import minimal_environment
from flea_lab.runs import to_toml

PAUSE_S = 0.03


class Process:
    """`flea WORDS...`, its output in a file."""

    def __init__(self, log: Path, *words: str) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flea_lab", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**minimal_environment(), "TMPDIR": os.environ.get("TMPDIR", "/tmp")},
            )
        self.watch = Stopwatch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and its end."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, within_s: float) -> int:
        """The exit status."""
        return self._process.wait(within_s)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def sleep(seconds: float) -> None:
    """Lets others work."""
    threading.Event().wait(seconds)


def until(holds: Callable[[], Any], within_s: float = 60.0, what: str = "") -> Any:
    """The first true value of `holds`."""
    watch = Stopwatch()
    while watch.elapsed_s() < within_s:
        found = holds()
        if found:
            return found
        sleep(PAUSE_S)
    raise AssertionError(f"not within {within_s} s: {what or holds}")


def config_file(config: RunConfig, folder: Path) -> Path:
    """`config` as a file."""
    file = folder / f"{config.name}.toml"
    file.write_text(to_toml(config.to_dict()))
    return file


def start_runner(file: Path, url: str, account: str) -> Process:
    """A runner of the config in `file`."""
    log = ready_folder(account) / "runner.log"
    return Process(log, "run", str(file), "--unpromoted", f"--url={url}", f"--account={account}")


def start_sandbox(file: Path, log: Path, *options: str) -> tuple[Process, str]:
    """A sandbox that plays the stored market of the config in `file`, and its address."""
    process = Process(log, "sandbox", str(file), "--port=0", *options)

    def address() -> str:
        assert process.ended is None, process.said()
        lines = [line for line in process.said().splitlines() if line.startswith("sandbox  http")]
        return lines[0].split()[1] if lines else ""

    return process, until(address, 120.0, "the sandbox's address")


def status(account: str) -> dict[str, Any]:
    """What the runner of `account` says; nothing where it does not."""
    try:
        return ControlClient(account_folder(account)).status()
    except (NoRunner, Unanswered, Declined):
        return {}
