"""The processes of a schedule: each attempt a group of its own, found again by whoever comes later, and ended whole.

Rules. Never a shell. An attempt is known by its process id and when that process started, and each of its processes by
a mark in its environment, so that neither a process id that was given to somebody else nor a descendant that left the
group is mistaken. Where there is no /proc only the group of a child of ours is known: nothing is taken over then.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from flea_lab.errors import WorkspaceError
from flea_lab.live.process import minimal_environment

MARK = "FLEA_SCHEDULE_RUN"
STUB = Path(__file__).with_name("stub.py")
PROC = Path("/proc")
MARK_TRIES = 10_000  # a thousandth of a second apart


class Known(NamedTuple):
    """A process: its id, and what no other process with that id has ("" where that cannot be told)."""

    pid: int
    token: str


class Exit(NamedTuple):
    """How an attempt ended: its exit status (negative: by that signal; None where nobody knows), and when where that
    was written down."""

    code: int | None
    ended_ns: int | None = None


class Processes(Protocol):
    """What a scheduler needs of processes; a simulation brings its own. A run is meant by its id."""

    def start(self, run: str, argv: Sequence[str], folder: Path, log: Path, more: Mapping[str, str]) -> Known:
        """Starts it; `WorkspaceError` where that cannot be."""

    def ended(self, run: str, known: Known, log: Path) -> Exit | None:
        """How the attempt with this log ended; None while it runs."""

    def find(self, run: str) -> Known | None:
        """A living process of the run, the leader of its group if that is there."""

    def end(self, run: str, known: Known, *, force: bool) -> int:
        """How many processes of the run were asked to end, or, with `force`, were."""


class RealProcesses:
    """Processes of this machine, whose jobs work in the workspace `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, run: str, argv: Sequence[str], folder: Path, log: Path, more: Mapping[str, str]) -> Known:
        """As `Processes.start`: in a session of its own, its output to `log`."""
        try:
            with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as out:
                child = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(STUB), str(exit_file(log)), *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    close_fds=True,
                    cwd=folder,
                    umask=0o077,
                    env={**minimal_environment(), "FLEA_HOME": str(self._home), **more, MARK: run},
                )
        except OSError as error:
            raise WorkspaceError(f"{argv[0]} in {folder}: cannot be started ({error.strerror})") from None
        self._children[child.pid] = child
        _wait_for_mark(child, run)
        return Known(child.pid, token_of(child.pid))

    def ended(self, run: str, known: Known, log: Path) -> Exit | None:  # noqa: ARG002
        """As `Processes.ended`."""
        child = self._children.get(known.pid)
        if child is not None:
            code = child.poll()
            if code is None:
                return None
            del self._children[known.pid]
            return written(log) or Exit(code if code < 0 else 128 - code if code > 128 else code)
        if known.token and token_of(known.pid) == known.token:
            return None
        return written(log) or Exit(None)

    def let_go(self) -> None:
        """Leaves what runs to itself; each is still waited for, so that no dead process looks alive."""
        for child in self._children.values():
            threading.Thread(target=child.wait, name=f"end of {child.pid}", daemon=True).start()
        self._children.clear()

    def find(self, run: str) -> Known | None:
        """As `Processes.find`."""
        marked = marked_with(run)
        leaders = [pid for pid in marked if _group(pid) == pid]
        pid = next(iter([*leaders, *marked]), None)
        return None if pid is None else Known(pid, token_of(pid))

    def end(self, run: str, known: Known, *, force: bool) -> int:
        """As `Processes.end`: the whole group, and whoever of the run has left it."""
        number = signal.SIGKILL if force else signal.SIGTERM
        marked = marked_with(run)
        groups = {_group(pid) for pid in marked} - {0, os.getpgrp()}
        if known.pid in self._children:
            groups.add(known.pid)  # a child that nobody waited for keeps its group's name
        for group in groups:
            if group == known.pid or set(members_of(group)) <= set(marked):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, number)
        for pid in marked_with(run) if force else marked:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return len(marked)


def exit_file(log: Path) -> Path:
    """Where the end of the attempt with this log is written down."""
    return log.with_suffix(".exit")


def written(log: Path) -> Exit | None:
    """How an attempt ended, as its stub wrote it down; None where it did not."""
    file = exit_file(log)
    try:
        return Exit(int(file.read_text()), file.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


def token_of(pid: int) -> str:
    """What tells process `pid` from another that has its id later: the boot, and when it began; "" where it is gone."""
    fields = _stat(pid)
    if not fields or fields[0] in ("Z", "X"):
        return ""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        boot = ""
    return f"{boot}-{fields[19]}"


def marked_with(run: str) -> list[int]:
    """The living processes that bear the mark of a run."""
    entries = PROC.glob("[0-9]*") if PROC.is_dir() else ()
    return sorted(pid for pid in (int(entry.name) for entry in entries) if bears_mark(pid, run) and token_of(pid))


def bears_mark(pid: int, run: str) -> bool:
    """Whether a process bears the mark of a run, as far as its environment can be read."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return False
    return f"{MARK}={run}".encode() in environment.split(b"\0")


def members_of(group: int) -> list[int]:
    """The living processes of a group."""
    return [int(entry.name) for entry in PROC.glob("[0-9]*") if _group(int(entry.name)) == group]


def _wait_for_mark(child: subprocess.Popen[bytes], run: str) -> None:
    """`Popen` returns while the kernel still sets up the new program: until that is done, its environment reads as
    empty, and whoever looks for the run's processes would miss this one."""
    for _ in range(MARK_TRIES if PROC.is_dir() else 0):
        if bears_mark(child.pid, run) or child.poll() is not None:
            return
        with suppress(subprocess.TimeoutExpired):
            child.wait(0.001)


def _group(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[2]) if fields and fields[0] not in ("Z", "X") else 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, group, session, ..."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rfind(")") + 2 :].split()
