"""One runner an account, one account a key; the death of the holder frees both."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.lock import holder, lock_account, running_accounts
from flea_lab.secret import Secret

HOLD = """
import sys
from flea_lab.clock import WallClock
from flea_lab.live.account import ready_folder
from flea_lab.live.lock import lock_account
from flea_lab.secret import Secret
with lock_account(ready_folder(sys.argv[1]), WallClock(), Secret(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(account: str, key: str = "k1") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds `account`."""
    words = [sys.executable, "-c", HOLD, account, key]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_runner_of_an_account_is_refused_with_the_first_ones_pid(home: Path) -> None:
    folder = ready_folder("main")
    with held_elsewhere("main") as other:
        said = rf"^a runner is already running for account 'main' \(pid {other.pid}\)$"
        with pytest.raises(WorkspaceError, match=said):
            lock_account(folder, WallClock())
        found = holder(folder)
        assert found is not None and found.pid == other.pid and found.account == "main" and found.start_ns > 0
        assert running_accounts() == ["main"]


def test_death_releases_the_lock(home: Path) -> None:
    with held_elsewhere("main") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert holder(ready_folder("main")) is None and running_accounts() == []
        lock_account(ready_folder("main"), WallClock()).close()


def test_one_key_is_not_traded_by_two_accounts(home: Path) -> None:
    with held_elsewhere("main", "k1") as other:
        said = rf"^the key of account 'b' is already traded by account 'main' \(pid {other.pid}\)$"
        with pytest.raises(WorkspaceError, match=said):
            lock_account(ready_folder("b"), WallClock(), Secret("k1"))
        assert holder(account_folder("b")) is None, "what was refused holds nothing"
        with lock_account(ready_folder("b"), WallClock(), Secret("k2")):
            assert running_accounts() == ["b", "main"]


def test_a_lock_is_let_go_and_taken_again(home: Path) -> None:
    folder = ready_folder("main")
    for _ in range(2):
        with lock_account(folder, WallClock(), Secret("k1")):
            found = holder(folder)
            assert found is not None and found.pid == os.getpid()
        assert holder(folder) is None


def test_lock_files_are_private_and_hold_no_key(home: Path) -> None:
    with lock_account(ready_folder("main"), WallClock(), Secret("canary-7")):
        files = [file for file in home.rglob("*.lock") if file.is_file()]
        assert len(files) == 2
        for file in files:
            assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
            assert "canary" not in file.name and "canary" not in file.read_text()


def test_an_account_never_run_has_no_holder(home: Path) -> None:
    assert holder(account_folder("main")) is None and running_accounts() == []
