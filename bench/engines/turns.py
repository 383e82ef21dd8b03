"""Engines in processes of their own that take turns, so that neither hides the other's memory nor its noise.

A child answers one line of JSON for every line it is sent: what its work returned, and the CPU seconds that it took
(of all its threads; the wall also counts what else the machine did). The last line asks for its peak memory.
"""

import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

END = "end"


class Engine:
    """A child process running `script --child name folder`, where `serve` answers."""

    def __init__(self, script: Path, name: str, folder: Path, python: Path | None = None) -> None:
        self.name = name
        self.cpu_s: list[float] = []
        self._child = subprocess.Popen(
            [str(python or sys.executable), str(script), "--child", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self) -> Any:
        """One pass: what it returned. Its CPU seconds are added to `cpu_s`."""
        answer = self._ask("go")
        self.cpu_s.append(answer["cpu_s"])
        return answer["found"]

    def end(self) -> float:
        """Ends the child; its peak resident memory in MiB."""
        peak = float(self._ask(END)["peak_mib"])
        self._child.wait()
        return peak

    @property
    def median_s(self) -> float:
        """Median CPU seconds of the turns after the first, which compiles; of the only one, if there is one."""
        return statistics.median(self.cpu_s[1:] or self.cpu_s)

    def _ask(self, word: str) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(word + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"the child {self.name} ended with status {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(work: Callable[[], Any]) -> None:
    """Answers the parent until it says that it is the end; the garbage of a pass is collected outside its time."""
    for line in sys.stdin:
        if line.strip() == END:
            print(json.dumps({"peak_mib": peak_mib()}), flush=True)
            return
        start = time.process_time()
        found = work()
        cpu_s = time.process_time() - start
        print(json.dumps({"cpu_s": cpu_s, "found": found}), flush=True)
        gc.collect()


def peak_mib() -> float:
    """Highest resident memory of this program: where Linux tells it, not `ru_maxrss`, which may be of its parent."""
    try:
        return _status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def resident_mib() -> float:
    """Resident memory of this process now; its peak where the system does not tell."""
    try:
        return _status("VmRSS")
    except OSError:
        return peak_mib()


def _status(name: str) -> float:
    """A size in MiB from what Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def take_turns(engines: Sequence[Engine], rounds: int) -> dict[str, Any]:
    """One pass of every engine that compiles, then `rounds` of each, turn by turn; what each returned last."""
    found: dict[str, Any] = {}
    for _ in range(rounds + 1):
        for engine in engines:
            found[engine.name] = engine.turn()
    return found
