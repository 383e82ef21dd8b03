"""A schedule in real time: a real scheduler process, and jobs that write down when they began and ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from flea_lab.clock import Stopwatch
from flea_lab.runs import ROOT, to_toml
from flea_lab.schedule.ledger import Run, has_begun, history
from flea_lab.schedule.process import MARK, PROC

NOTE = (
    "import os, sys, time, signal, subprocess\n"
    "def note(what):\n"
    "    line = f\"{os.environ['FLEA_SCHEDULE_JOB']} {os.environ['FLEA_SCHEDULE_PLANNED']} {what} {time.time()}\\n\"\n"
    "    handle = os.open('notes.txt', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
    "    os.write(handle, line.encode())\n"
)
BEGIN = NOTE + "note('begins')\n"
GOOD = BEGIN + "print('hello')\nnote('ends')"
CRASHES = BEGIN + "note('ends')\nraise SystemExit(3)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
LEFT = NOTE + DEAF + "os.setsid()\nnote('deaf')\ntime.sleep(3600)"
"""A child that has left its group, and says so once it hears nothing: its parent is deaf by then."""
HANGS = BEGIN + DEAF + f"subprocess.Popen([sys.executable, '-I', '-c', {LEFT!r}])\ntime.sleep(3600)"


def lasts(seconds: float) -> str:
    return BEGIN + f"time.sleep({seconds})\nnote('ends')"


def until_file(name: str) -> str:
    return BEGIN + f"while not os.path.exists({name!r}):\n    time.sleep(0.02)\nnote('ends')"


class Note(NamedTuple):
    """What a job wrote down of itself."""

    job: str
    planned: str
    what: str
    at_s: float


class Desk:
    """A workspace, a schedule's file, and the schedulers that were started on it."""

    def __init__(self, folder: Path, jobs: Sequence[dict[str, Any]], **more: Any) -> None:
        self.folder, self.home = folder, folder / "home"
        self.file = folder / "schedule.toml"
        listed = [{"command": ["python", "-I", "-c", job.pop("does")], **job} for job in map(dict, jobs)]
        self.file.write_text(to_toml({**more, "jobs": listed}), encoding="utf-8")
        self.ledger = self.home / "schedule" / "ledger.sqlite"
        self.started: list[subprocess.Popen[bytes]] = []
        self._hearing: list[threading.Thread] = []
        self._said: list[str] = []

    def start(self) -> "subprocess.Popen[bytes]":
        """A scheduler, as a process of its own."""
        work = f"run_schedule(Path({str(self.file)!r}))"
        code = f"from pathlib import Path; from flea_lab.schedule.service import run_schedule; {work}"
        environment = {**os.environ, "FLEA_HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.started.append(process)
        hears = threading.Thread(target=self._hear, args=(process,), daemon=True)
        hears.start()
        self._hearing.append(hears)
        return process

    def runs(self, job: str | None = None) -> list[Run]:
        """What the ledger says, oldest first."""
        return history(self.ledger, job, 1_000_000) if has_begun(self.ledger) else []

    def statuses(self, job: str) -> list[str]:
        return [run.status for run in self.runs(job)]

    def notes(self) -> list[Note]:
        """What the jobs say."""
        file = self.folder / "notes.txt"
        found = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [Note(job, planned, what, float(at)) for job, planned, what, at in found]

    def said(self) -> str:
        """What the schedulers printed, all of it where they have ended."""
        for process, hears in zip(self.started, self._hearing, strict=True):
            if process.poll() is not None:
                hears.join(20)
        return "".join(self._said)

    def _hear(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:  # a pipe: not on the disk that is full
            for line in lines:
                self._said.append(line.decode())

    def wait(self, done: Callable[[], object], limit_s: float = 60.0) -> None:
        """Returns once `done`, which must come."""
        watch, pause = Stopwatch(), threading.Event()
        while not done():
            assert watch.elapsed_s() < limit_s, f"not within {limit_s} s: {self.said()}"
            pause.wait(0.05)

    def close(self) -> None:
        """Ends everything that was started, schedulers and jobs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        while left := self.marked():  # what one of them began meanwhile is there at the next look
            for pid in left:
                with suppress(ProcessLookupError):  # a job may end by itself
                    os.kill(pid, signal.SIGKILL)

    def marked(self) -> list[int]:
        """The processes of this desk's jobs that live."""
        ids, found = {f"{MARK}={run.id}".encode() for run in self.runs()}, []
        for entry in PROC.glob("[0-9]*"):
            try:
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
                if alive and ids & set((entry / "environ").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found
