"""A halt gets through: while the loop is blocked, beside garbage and silent connections, over a socket left behind."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flea_lab.clock import Stopwatch
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live import control, socket_path
from flea_lab.live.account import CONTROL, ready_folder
from flea_lab.live.control import ControlClient, ControlServer, Declined, NoRunner, Unanswered
from flea_lab.live.control_client import CAP


class Runner:
    """Answers like a runner that is never busy; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fail: Exception | None = None

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if self.fail is not None:
            raise self.fail
        return {"state": "trading", "verb": request["verb"]}


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return ready_folder("main")


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def server(folder: Path, runner: Runner) -> Iterator[ControlServer]:
    with ControlServer(folder, runner) as running:
        yield running


def exchange(path: Path, sent: bytes) -> list[dict[str, Any]]:
    """What the server answers to raw bytes until it closes, or until each whole line has its answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(path))
        with suppress(BrokenPipeError):  # who is turned away may find the door closed before he has spoken
            sock.sendall(sent)
        got = b""
        while got.count(b"\n") < max(1, sent.count(b"\n")) and (more := sock.recv(CAP)):
            got += more
    return [json.loads(line) for line in got.splitlines()]


def test_every_verb_reaches_the_runner_with_its_arguments(folder: Path, runner: Runner, server: ControlServer) -> None:
    client = ControlClient(folder)
    assert client.status() == {"state": "trading", "verb": "status"}
    assert client.halt("too fast")["verb"] == "halt"
    assert client.resume(["kill_switch", "drawdown"], "ann")["verb"] == "resume"
    assert client.stop()["verb"] == "stop"
    assert [{k: v for k, v in asked.items() if k != "received_ns"} for asked in runner.asked] == [
        {"verb": "status"},
        {"verb": "halt", "reason": "too fast"},
        {"verb": "resume", "clear": ("kill_switch", "drawdown"), "by": "ann", "phrase": "", "why": ""},
        {"verb": "stop"},
    ]
    times = [asked["received_ns"] for asked in runner.asked]
    assert times == sorted(times) and times[0] > 1_700_000_000_000_000_000


def test_a_halt_is_answered_within_50_ms_while_the_main_thread_spins(folder: Path, server: ControlServer) -> None:
    took: list[float] = []

    def ask() -> None:
        for _ in range(20):
            began = time.process_time()  # which goes on with the main thread's spinning, and with nobody else's
            ControlClient(folder).halt("now")
            took.append(time.process_time() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    turns = 0
    while asking.is_alive():
        turns += 1
    asking.join()
    assert len(took) == 20 and sorted(took)[10] < 0.05, took


def test_a_halt_does_not_wait_behind_a_resume_that_waits_for_the_loop(
    folder: Path, server: ControlServer, runner: Runner
) -> None:
    waits, loop_is_free = threading.Event(), threading.Event()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if request["verb"] == "resume":
            waits.set()
            loop_is_free.wait(60)
        return runner(request)

    server._handle = handle
    answers: list[dict[str, Any]] = []
    resuming = threading.Thread(target=lambda: answers.append(ControlClient(folder).resume(["drawdown"], "ann")))
    resuming.start()
    assert waits.wait(60)
    assert ControlClient(folder).halt()["verb"] == "halt"
    assert not answers, "the resume waits on"
    loop_is_free.set()
    resuming.join()
    assert answers[0]["verb"] == "resume" and [asked["verb"] for asked in runner.asked] == ["halt", "resume"]


def test_a_resume_answers_once_the_loop_has_opened_the_latch(folder: Path, server: ControlServer) -> None:
    asked: list[str] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["verb"])
        return {"state": "halted", "latches": ["drawdown"]} if len(asked) < 3 else {"state": "trading", "latches": []}

    server._handle = handle
    assert ControlClient(folder).resume(["drawdown"], "ann")["state"] == "trading"
    assert asked == ["resume", "status", "status"]


def test_only_the_owner_can_reach_the_socket(folder: Path, server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / CONTROL).stat().st_mode) == 0o600
    assert (folder / CONTROL).read_text().strip() == str(server.path)


def test_another_users_process_is_turned_away(
    server: ControlServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "peer_is_ours", lambda _: False)
    [answer] = exchange(server.path, b'{"verb":"status"}\n')
    assert answer == {"ok": False, "error": "another user's runner"} and runner.asked == []


def test_a_peer_is_ours_by_its_user_id(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = socket.socketpair()
    with one, two:
        assert socket_path.peer_is_ours(one)
        monkeypatch.setattr(os, "geteuid", lambda: 123_456)
        assert socket_path.peer_is_ours(one) is (os.getuid() == 0)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"\n", "not a request"),
        (b"halt\n", "not a request"),
        (b"\xff\xfe\x00\n", "not a request"),
        (b"[" * 5_000 + b"\n", "not a request"),
        (b'{"verb":"flatten"}\n', "not a request: Invalid value 'flatten'"),
        (b'{"verb":"halt","reason":1}\n', "not a request: Expected `str`, got `int`"),
        (b'{"verb":"halt","force":true}\n', "unknown field `force`"),
        (b'{"verb":"resume","clear":["daily"],"by":"ann"}\n', "not a request: Invalid enum value 'daily'"),
        (b'{"verb":"resume","clear":[],"by":"ann"}\n', "not a request"),
        (b'{"verb":"resume","clear":["drawdown"],"by":""}\n', "not a request"),
    ],
)
def test_what_is_no_request_is_answered_and_the_next_one_served(
    server: ControlServer, runner: Runner, sent: bytes, error: str
) -> None:
    refused, served = exchange(server.path, sent + b'{"verb":"halt"}\n')
    assert not refused["ok"] and error in refused["error"]
    assert served["ok"] and [asked["verb"] for asked in runner.asked] == ["halt"]


@pytest.mark.parametrize("size", [CAP + 1, 10 * CAP])
def test_a_request_beyond_the_cap_is_refused_and_harms_nobody(
    folder: Path, server: ControlServer, runner: Runner, size: int
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(server.path))
        try:
            sock.sendall(b"x" * size)
            assert b"at most 65536 bytes" in sock.recv(CAP)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before all of it was sent
    assert ControlClient(folder).halt()["verb"] == "halt"


def test_a_request_may_arrive_in_pieces(server: ControlServer) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(server.path))
        for piece in (b'{"ve', b'rb":"sta', b'tus"}', b"\n"):
            sock.sendall(piece)
            time.sleep(0.005)
        assert json.loads(sock.recv(CAP))["ok"]


def test_silent_connections_do_not_keep_a_halt_out(folder: Path, server: ControlServer) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(control.CONNECTIONS + 8)]
    try:
        for sock in silent:
            sock.connect(str(server.path))
        assert ControlClient(folder).halt()["verb"] == "halt"
    finally:
        for sock in silent:
            sock.close()


def test_a_peer_that_does_not_read_is_dropped_and_nobody_waits(folder: Path, server: ControlServer) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.path))
        sock.settimeout(0.2)
        with pytest.raises((TimeoutError, BrokenPipeError, ConnectionResetError)):  # noqa: PT012
            while True:
                sock.sendall(b'{"verb":"status"}\n' * 500)
        assert ControlClient(folder).halt()["verb"] == "halt"


def test_a_socket_left_by_a_dead_runner_is_replaced(folder: Path, runner: Runner) -> None:
    path = socket_path.socket_path(folder)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (folder / CONTROL).write_text(f"{path}\n")
    with pytest.raises(NoRunner, match=r"no runner for account 'main', the socket .*\.sock was left by one that died"):
        ControlClient(folder).status()
    with ControlServer(folder, runner):
        assert ControlClient(folder).status()["state"] == "trading"
    assert not path.exists() and not (folder / CONTROL).exists()


def test_a_socket_that_was_cleaned_away_comes_back(
    folder: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CHECK_S", 0.05)
    with ControlServer(folder, runner) as server:
        server.path.unlink()
        assert until(server.path.exists)
        assert ControlClient(folder).halt()["verb"] == "halt"


def until(holds: Callable[[], bool]) -> bool:
    """Whether `holds` comes true within half a minute."""
    watch = Stopwatch()
    while watch.elapsed_s() < 30 and not holds():
        time.sleep(0.01)
    return holds()


def test_nobody_there_is_said_so(folder: Path) -> None:
    with pytest.raises(NoRunner, match=r"^no runner for account 'main'$"):
        ControlClient(folder).halt()


def test_a_silent_runner_is_no_answer(folder: Path, server: ControlServer, runner: Runner) -> None:
    given_up = threading.Event()

    class Stuck(Runner):
        def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
            given_up.wait(60)
            return {}

    server._handle = Stuck()
    with pytest.raises(Unanswered, match=r"the runner of account 'main' did not answer status within 0\.1 s"):
        ControlClient(folder, timeout_s=0.1).status()
    given_up.set()


def test_what_the_runner_refuses_reaches_the_asker(folder: Path, server: ControlServer, runner: Runner) -> None:
    runner.fail = ConfigError("drawdown (11 %) is still above its limit (10 %)")
    with pytest.raises(Declined, match=r"declined resume: drawdown \(11 %\) is still above its limit"):
        ControlClient(folder).resume(["drawdown"], "ann")


def test_a_handler_that_fails_is_named_and_the_next_halt_is_taken(
    folder: Path, server: ControlServer, runner: Runner, capfd: pytest.CaptureFixture[str]
) -> None:
    runner.fail = ZeroDivisionError("by zero")
    with pytest.raises(Declined, match="the runner failed to answer: ZeroDivisionError: by zero"):
        ControlClient(folder).halt()
    assert "Traceback" in capfd.readouterr().err
    runner.fail = None
    assert ControlClient(folder).halt()["verb"] == "halt"


def test_an_answer_that_is_no_json_is_an_error_not_a_silence(folder: Path, runner: Runner) -> None:
    with (
        ControlServer(folder, lambda _: {"state": object()}),
        pytest.raises(Declined, match="the runner's answer is no JSON"),
    ):
        ControlClient(folder).status()


def test_a_long_runtime_folder_is_passed_over(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 120)))
    found = socket_path.socket_path(ready_folder("main"))
    assert found.parent.name == f"flea-{os.geteuid()}" and len(os.fsencode(found)) < 104
    monkeypatch.setattr(socket_path.tempfile, "gettempdir", lambda: str(tmp_path / ("y" * 120)))
    with pytest.raises(WorkspaceError, match=r"is too long; .* is too long \(set XDG_RUNTIME_DIR to a short folder\)"):
        socket_path.socket_path(ready_folder("main"))


def test_a_folder_that_is_no_folder_of_ours_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (tmp_path / "flea").symlink_to(real)
    (tmp_path / f"flea-{os.geteuid()}").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(socket_path.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.raises(WorkspaceError, match="no folder for a control socket"):
        socket_path.socket_path(tmp_path)


def test_a_full_queue_is_waited_for(folder: Path) -> None:
    path = control.socket_path(folder)
    (folder / "control").write_text(f"{path}\n")
    path.unlink(missing_ok=True)
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        try:
            while len(waiting) < 8:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass  # the queue is full now
        with pytest.raises(control.Unanswered, match=r"did not take a connection within 0\.2 s"):
            ControlClient(folder, timeout_s=0.2).halt()
        for sock in waiting:
            sock.close()
    path.unlink()
