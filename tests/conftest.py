"""What every test may ask for, and the guard that keeps tests off the network."""

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# The same examples on every run; a first call compiles, so that a deadline would measure the compiler.
hypothesis.settings.register_profile("flea", deadline=None, derandomize=True, max_examples=100)
hypothesis.settings.load_profile("flea")

# A background job of a shell ignores interrupts, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_DATA = "real market data is not here: FLEA_DATA_DIR does not name a folder"


def recorded_data() -> Path | None:
    """The folder that FLEA_DATA_DIR names, if there is one."""
    named = os.environ.get("FLEA_DATA_DIR", "")
    folder = Path(named).expanduser().absolute()
    return folder if named and folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if recorded_data() is None:
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason=NO_DATA))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The recorded market data; without it the test is skipped with a reason."""
    folder = recorded_data()
    if folder is None:
        pytest.skip(NO_DATA)
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_signals_of_others() -> None:
    """No signal that another file of tests loaded from a workspace of its own is still in this process."""
    for name in [name for name in sys.modules if name.startswith("flea_workspace_")]:
        del sys.modules[name]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace of this test's own, named by FLEA_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FLEA_HOME", str(folder))
    return folder


class OfflineError(RuntimeError):
    """A test went out for something while FLEA_OFFLINE forbids it."""


def is_local(family: int, address: Any) -> bool:
    """Whether a connection stays on this machine: a unix socket, localhost, or a loopback address."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0]).split("%")[0]
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_beyond_loopback(patch: pytest.MonkeyPatch) -> None:
    """From here on a connection beyond loopback raises before a packet or a name query leaves."""
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    getaddrinfo = socket.getaddrinfo

    def check(family: int, address: Any) -> None:
        if not is_local(family, address):
            raise OfflineError(f"FLEA_OFFLINE=1 forbids the connection to {address[0]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        check(self.family, rest[-1])
        return sendto(self, data, *rest)

    def guarded_getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        check(socket.AF_INET, (name or "",))
        return getaddrinfo(host, *rest, **named)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket.socket, "sendto", guarded_sendto)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(scope="session", autouse=True)
def offline() -> Iterator[None]:
    """The guard, for the whole session, where FLEA_OFFLINE=1."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("FLEA_OFFLINE") == "1":
            refuse_beyond_loopback(patch)
        yield
