"""A Dask cluster on this machine, begun by the lines that the page shows, on ports of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.processes import until

SHOWN = "tcp://127.0.0.1:8786"
UP = {"scheduler": r"Scheduler at: +(tcp://\S+)", "worker": r"Registered to: +(tcp://\S+)"}
"""What each says once it is there."""


@contextmanager
def begun(lines: list[str], folder: Path) -> Iterator[str]:
    """The scheduler's address, where each of `lines` is at work; all that they began is ended."""
    psutil = pytest.importorskip("psutil")
    address = ""
    with ExitStack() as held:
        for line in lines:
            words = re.sub(r" --port \d+", " --port 0", line.replace(SHOWN, address))
            words = re.sub(r"(--dashboard-address \S+:)\d+", r"\g<1>0", words)
            process, log = held.enter_context(at_work(words.split()[1:], folder))
            address = until(lambda process=process, log=log: said(process, log), 120.0, line)
            heard = {where for one in family(psutil, process.pid) for where in listening(psutil, one)}
            assert heard == {"127.0.0.1"}, f"{line}: it is heard on {heard}"
        yield address


@contextmanager
def at_work(words: list[str], folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """`dask WORDS...` and what it says, in a session of its own that is gone at the end."""
    log = folder / f"dask-{words[0]}.log"
    env = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder / "dask")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words], stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        yield process, log
    finally:
        process.terminate()
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def said(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The scheduler's address, where the process has named it."""
    text = log.read_text(errors="replace")
    assert process.poll() is None, text
    found = [at for pattern in UP.values() for at in re.findall(pattern, text)]
    return found[0] if found else ""


def family(psutil: Any, pid: int) -> list[Any]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def listening(psutil: Any, process: Any) -> list[str]:
    """The addresses that a process listens on."""
    try:
        return [one.laddr.ip for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []
