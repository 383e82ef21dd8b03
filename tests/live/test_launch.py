"""A launched runner is a process of its own: no interrupt, death or environment of the launcher reaches it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from flea_lab.clock import Stopwatch, WallClock
from flea_lab.config import RunConfig, from_dict, load
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live import attach, launcher, process
from flea_lab.live.account import account_folder
from flea_lab.live.control import NoRunner
from flea_lab.live.latch import write_halt_file
from flea_lab.live.launcher import Session, launch

FAKE = Path(__file__).with_name("fake_runner.py")
CONFIG = {"name": "tiny", "symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}

DETACH = process.start_detached


def start_fake(words: Sequence[str], log: IO[bytes], folder: Path) -> "subprocess.Popen[bytes]":
    """What `start_detached` does, with another program."""
    return DETACH([str(FAKE), *words], log, folder)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return from_dict(CONFIG)


@pytest.fixture
def fake(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(launcher, "start_detached", start_fake)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield
    for file in home.glob("journals/*/runner.lock"):
        Session(file.parent.name).stop()


def facts(account: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((account_folder(account) / "facts.json").read_text())
    return found


def until(holds: Callable[[], bool]) -> bool:
    watch = Stopwatch()
    while watch.elapsed_s() < 60 and not holds():
        time.sleep(0.02)
    return holds()


@pytest.mark.usefixtures("fake")
def test_a_runner_is_started_detached_and_found_again(
    config: RunConfig, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEA_API_KEY", "canary-key")
    monkeypatch.setenv("SOMETHING_ELSE", "x")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    session = launch(config, unpromoted=True, url="http://127.0.0.1:1/trading-api")
    os.close(reading)
    os.close(writing)
    said = facts()
    assert said["sid"] == session.pid != os.getsid(0)
    assert said["umask"] == 0o077 and said["cwd"] == str(home / "journals" / "main")
    assert said["fds"]["0"] == "/dev/null" and not [link for link in said["fds"].values() if "pipe" in link]
    assert said["env"]["FLEA_HOME"] == str(home)
    assert "SOMETHING_ELSE" not in said["env"] and "FLEA_API_KEY" not in said["env"]
    assert said["argv"] == [
        "-m", "flea_lab", "run", str(home / "journals" / "main" / "launched.toml"),
        "--venue=sandbox", "--account=main", "--url=http://127.0.0.1:1/trading-api", "--unpromoted",
    ]  # fmt: skip
    assert load(said["argv"][3]) == config
    assert not [file for file in home.rglob("*") if file.is_file() and b"canary" in file.read_bytes()]
    assert (account_folder("main") / "runner.log").stat().st_mode & 0o777 == 0o600
    again = attach()
    assert again.pid == session.pid and again.status()["state"] == "trading" and "hello" in again.log()
    assert again.stop() and not session.alive
    with pytest.raises(NoRunner, match="no runner for account 'main': launch one"):
        attach()


@pytest.mark.usefixtures("fake")
def test_a_launch_on_a_running_account_attaches_or_says_what_runs(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEA_OFFLINE", config.id)  # what the stand-in gives as its config's id
    first = launch(config, unpromoted=True)
    assert launch(config, unpromoted=True).pid == first.pid
    other = from_dict(CONFIG | {"interval": "5m"})
    with pytest.raises(ConfigError, match=r"account 'main' is traded already, by config seed .* stop it first"):
        launch(other, unpromoted=True)
    with pytest.raises(ConfigError, match=r"on sandbox, not .* on paper"):
        launch(config, unpromoted=True, venue="paper")
    second = launch(other, unpromoted=True, account="b")
    assert second.pid != first.pid


@pytest.mark.usefixtures("fake")
def test_a_runner_that_ends_at_once_is_quoted(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    said = r"the runner of account 'main' ended \(2\): no key for account 'main': flea faucet \(log .*runner\.log\)"
    with pytest.raises(WorkspaceError, match=said):
        launch(config, unpromoted=True, url="fail")
    monkeypatch.setenv("FLEA_API_KEY", "canary-key")
    with pytest.raises(WorkspaceError, match="flea faucet; FLEA_API_KEY is not handed on to a launched runner"):
        launch(config, unpromoted=True, url="fail")


LAUNCHER = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parents[2]))
from flea_lab.live import launcher, process
start = process.start_detached
launcher.start_detached = lambda words, log, folder: start([sys.argv[1], *words], log, folder)
print(launcher.launch(Path(sys.argv[2]), unpromoted=True).pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("fake")
def test_an_interrupt_and_the_death_of_the_launcher_do_not_reach_the_runner(tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text('symbols = ["BTCUSDT"]\ninterval = "1m"\nsignals = [{kernel = "ema_momentum"}]\n')
    words = [sys.executable, "-c", LAUNCHER, str(FAKE), str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        parent.wait(60)
    assert parent.returncode != 0
    session = attach()
    assert session.pid == pid and session.status()["pid"] == pid
    assert session.halt("test").outcome == "verified"
    assert session.stop() and until(lambda: not session.alive)


def test_what_cannot_be_launched_is_said_before_anything_starts(home: Path, config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="venue 'live' with live=False: real money is venue 'live' and live=True"):
        launch(config, venue="live")
    with pytest.raises(ConfigError, match=r"config 'tiny' is not promoted: flea promote, or launch"):
        launch(config)
    with pytest.raises(ConfigError, match=r"config .*none\.toml: no such file"):
        launch(tmp_path / "none.toml", unpromoted=True)
    write_halt_file(account_folder("main"), "enough", WallClock())
    with pytest.raises(WorkspaceError, match=r"account 'main' is halted by .*HALT: flea resume --account main --clear"):
        launch(config, unpromoted=True)


def test_an_account_without_a_journal_says_so(home: Path) -> None:
    for read in (Session("main").equity, Session("main").fills):
        with pytest.raises(WorkspaceError, match="account 'main' has no journal yet"):
            read()


SANDBOX = """
import signal, sys, threading
print("config " + sys.argv[-1], flush=True)
if "--days=0.5" in sys.argv:
    print("flea: no stored data", file=sys.stderr)
    sys.exit(2)
print("sandbox  http://127.0.0.1:4711/trading-api  acked", flush=True)
threading.Event().wait(60)
"""


@pytest.fixture
def fake_sandbox(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "sandbox.py"
    script.write_text(SANDBOX)
    monkeypatch.setattr(
        process, "start_detached", lambda words, log, folder: DETACH([str(script), *words], log, folder)
    )


@pytest.mark.usefixtures("fake_sandbox")
def test_a_sandbox_is_given_back_once_it_listens(config: RunConfig) -> None:
    with process.start_sandbox(config, pace=60, options={"queue_ahead": 0.5}) as sandbox:
        assert sandbox.url == "http://127.0.0.1:4711/trading-api" and sandbox.alive
        assert os.getsid(sandbox.pid) == sandbox.pid
        argv = Path(f"/proc/{sandbox.pid}/cmdline").read_text().split("\0")
        assert argv[argv.index("sandbox") + 2 : -1] == ["--port=0", "--pace=60", "--queue-ahead=0.5"]
    assert not sandbox.alive and "ended" in repr(sandbox)
    sandbox.stop()


@pytest.mark.usefixtures("fake_sandbox")
def test_a_sandbox_that_does_not_start_is_quoted(config: RunConfig) -> None:
    with pytest.raises(WorkspaceError, match=r"the sandbox did not start: flea: no stored data \(log .*\.log\)"):
        process.start_sandbox(config, days=0.5)


def test_what_a_notebook_needs_is_named_on_the_package_and_nothing_is_loaded_for_it() -> None:
    code = "import flea_lab.live as live, sys; print(sorted({'pandas', 'numba', 'subprocess'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    import flea_lab.live as live

    assert live.launch is launch and live.Session is Session and "start_sandbox" in dir(live)
    with pytest.raises(AttributeError, match=r"'flea_lab\.live' has no attribute 'lunch'"):
        live.lunch  # noqa: B018
