"""Between the last look of an order and its write nobody who halts passes: what is stopped there never sends."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import DOORWAY, ready_folder
from flea_lab.live.doorway import is_clear, passage, stands_inside
from flea_lab.live.halt import halt_account
from flea_lab.live.kill import Kill
from flea_lab.live.latch import is_latched, write_halt_file
from flea_lab.live.lock import lock_account
from flea_lab.venue.rest import LastLook
from tests.live.processes import until

SENDER = """
import os, signal, sys
from pathlib import Path
from flea_lab.clock import WallClock
from flea_lab.live.doorway import passage
from flea_lab.live.latch import is_latched
from flea_lab.live.lock import lock_account
folder = Path(sys.argv[1])
with lock_account(folder, WallClock()), passage(folder) as shut:
    if not shut and not is_latched(folder / "HALT"):
        os.kill(os.getpid(), signal.SIGSTOP)
        (folder / "sent").touch()
"""
"""A runner that is stopped right after the last look of an order."""


HOLDER = """
import sys
from pathlib import Path
from flea_lab.clock import WallClock
from flea_lab.live.lock import lock_account
with lock_account(Path(sys.argv[1]), WallClock()):
    print("held", flush=True)
    sys.stdin.read()
"""
"""A runner that sends nothing, until its input ends."""


@pytest.fixture
def folder(home: Path) -> Path:
    return ready_folder("door")


def test_it_is_clear_before_anything_was_sent_and_after_every_order(folder: Path) -> None:
    assert is_clear(folder) and not (folder / DOORWAY).exists()
    with passage(folder) as shut:
        assert shut == "" and not is_clear(folder) and not is_clear(folder, 0.01)
        assert stands_inside(folder, os.getpid()) and not stands_inside(folder, os.getppid())
        with passage(folder) as another:
            assert another == "", "two orders do not shut each other out"
    assert is_clear(folder) and not stands_inside(folder, os.getpid())
    assert (folder / DOORWAY).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_opened_or_is_held_by_who_halts_is_shut(folder: Path) -> None:
    with passage(folder / "away") as shut:
        assert "away/doorway.lock cannot be opened (No such file or directory)" in shut
    with passage(folder):
        pass
    handle = os.open(folder / DOORWAY, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with passage(folder) as shut:
        assert shut == "halted"
    os.close(handle)


def stopped_inside(folder: Path) -> "subprocess.Popen[bytes]":
    """A runner that stands stopped in the doorway."""
    words = [sys.executable, "-c", SENDER, str(folder)]
    process = subprocess.Popen(words)
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T" or process.poll() is not None, 60.0)
    assert process.poll() is None
    return process


def test_a_runner_that_is_stopped_there_is_ended_and_its_order_never_leaves(folder: Path) -> None:
    process = stopped_inside(folder)
    said: list[str] = []
    kill = Kill(folder, "a test", WallClock(), told=said.append)
    assert kill.latch()
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == -signal.SIGKILL and not (folder / "sent").exists()
    gone = f"the runner (pid {process.pid}, its process is stopped) was in the middle of sending an order"
    assert said[0] == f"ended       {gone}: its process was ended" and "no runner of account door sends" in said[1]
    assert kill.unknown(WorkspaceError("no key")).runner == f"{gone}: its process was ended"


def test_a_halt_without_the_runner_says_that_its_order_may_leave(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = stopped_inside(folder)
    monkeypatch.setattr("flea_lab.live.halt.CLEAR_S", 0.01)
    found = halt_account(folder, "a test")
    assert found.outcome == "unreached" and found.why.endswith("an order that it is sending may still leave")
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0 and (folder / "sent").exists(), "that it may is true"
    assert halt_account(folder, "a test").why == "no runner for account 'door'"


def test_no_process_is_ended_but_the_one_that_is_seen_to_stand_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flea_lab.live.kill.DOORWAY_S", 0.01)
    ended: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: ended.append(pid))
    with passage(folder):
        kill = Kill(folder, "a test", WallClock())
        assert kill.latch() and kill._inside.startswith("no runner is in the middle of sending an order")
        words = [sys.executable, "-c", HOLDER, str(folder)]
        other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        assert kill.latch() and kill._inside.startswith(f"the runner (pid {other.pid}) is in the middle")
        other.communicate()
    assert not ended and kill.latch() and not kill._inside


def test_the_look_and_the_write_are_inside_of_the_doorway(folder: Path) -> None:
    seen: list[str] = []

    class Writer:
        async def write(self, _chunk: bytes) -> None:
            seen.append(f"write {is_clear(folder)}")

    def blocked() -> str:
        seen.append(f"look {is_clear(folder)}")
        return "halted" if is_latched(folder / "HALT") else ""

    def body() -> LastLook:
        return LastLook(b"{}", blocked, lambda: passage(folder))

    asyncio.run(body().write_with_length(Writer(), None))  # type: ignore[arg-type]
    assert seen == ["look False", "write False"] and is_clear(folder)
    write_halt_file(folder, "a test", WallClock())
    last = body()
    with pytest.raises(ValueError, match="kept back"):
        asyncio.run(last.write_with_length(Writer(), None))  # type: ignore[arg-type]
    assert last.why == "halted" and seen[2:] == ["look False"] and is_clear(folder)
    with lock_account(folder, WallClock()):
        assert is_clear(folder), "a runner that sends nothing is not in it"
