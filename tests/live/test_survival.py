"""A runner trades on whatever becomes of the process that launched it: an interrupt, a kill, the end of its kernel."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from flea_lab.live import attach, launch, process, start_sandbox
from flea_lab.live.keys import store_key
from flea_lab.live.launcher import Session
from flea_lab.secret import Secret
from tests.live.processes import config_file, sleep, until
from tests.live.session import rows
from tests.live.test_kills import busy, claimed, store_market

ACCOUNT = "survivor"
LAUNCH = """
from flea_lab.live import launch
session = launch({file!r}, unpromoted=True, account={account!r}, url={url!r})
print("launched", session.pid, flush=True)
"""


@pytest.fixture
def market(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A sandbox that plays on at a pace of its own, and a config that trades on it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    home.mkdir(parents=True, exist_ok=True)
    store_market(5_000)
    file = config_file(busy(), home)
    with start_sandbox(file, pace=600, days=3.0) as sandbox:
        store_key(ACCOUNT, Secret(claimed(sandbox.url)))
        try:
            yield sandbox.url, file
        finally:
            Session(ACCOUNT).stop()


def bars() -> int:
    found: int = attach(ACCOUNT).status()["bars"]
    return found


def assert_it_trades_on(pid: int) -> None:
    session = attach(ACCOUNT)
    assert session.pid == pid and session.alive
    before = bars()
    until(lambda: bars() > before + 3, 60.0, "bars after the end of the launcher")
    assert session.status()["state"] == "trading" and len(session.equity()) > 3


def test_an_interrupt_of_the_launchers_group_and_its_death_do_not_reach_the_runner(market: tuple[str, Path]) -> None:
    url, file = market
    code = LAUNCH.format(file=str(file), account=ACCOUNT, url=url) + "import time\nwhile True:\n    time.sleep(1)\n"
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True, text=True)
    try:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline().split()[1])
        until(lambda: attach(ACCOUNT).status()["state"] == "trading", 60.0)
        os.killpg(launcher.pid, signal.SIGINT)
        assert launcher.wait(60) != 0
        assert_it_trades_on(pid)
    finally:
        launcher.kill()
        launcher.wait()
        if launcher.stdout is not None:
            launcher.stdout.close()


def test_a_closed_terminal_stops_a_runner_in_order(market: tuple[str, Path]) -> None:
    url, file = market
    session = launch(file, unpromoted=True, account=ACCOUNT, url=url)
    until(lambda: session.status()["state"] == "trading", 60.0)
    os.kill(session.pid or 0, signal.SIGHUP)
    assert session.wait(60.0)
    assert rows(session.folder, "SELECT how FROM runs") == [("stopped by SIGHUP",)]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("how", ["killed", "shut down"])
def test_the_end_of_a_kernel_does_not_reach_the_runner(market: tuple[str, Path], how: str) -> None:
    url, file = market
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, **process.minimal_environment()})
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=100)
        said: list[str] = []
        client.execute_interactive(
            LAUNCH.format(file=str(file), account=ACCOUNT, url=url),
            timeout=100,
            output_hook=lambda message: said.append(str(message["content"].get("text", ""))),
        )
        found = re.search(r"launched (\d+)", "".join(said))  # a line may come in pieces
        assert found, said
        pid = int(found[1])
        until(lambda: attach(ACCOUNT).status()["state"] == "trading", 60.0)
        if how == "killed":
            assert manager.provisioner is not None
            os.kill(manager.provisioner.pid, signal.SIGKILL)
            until(lambda: not manager.is_alive(), 60.0)
        else:
            manager.shutdown_kernel(now=False)
        sleep(0.2)
        assert_it_trades_on(pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
