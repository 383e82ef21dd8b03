"""With FLEA_OFFLINE=1 nothing connects beyond loopback, and what stays on the machine still does."""

import os
import socket

import pytest

from tests.conftest import OfflineError, is_local, refuse_beyond_loopback

BEYOND = ("192.0.2.1", 9)  # an address kept for documentation: nobody answers there


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_beyond_loopback(monkeypatch)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("way", ["connect", "connect_ex"])
def test_a_connection_beyond_loopback_raises(way: str) -> None:
    with socket.socket() as s, pytest.raises(OfflineError, match=r"forbids the connection to 192\.0\.2\.1"):
        getattr(s, way)(BEYOND)


@pytest.mark.usefixtures("guarded")
def test_a_datagram_and_a_name_query_raise() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as s, pytest.raises(OfflineError, match="forbids"):
        s.sendto(b"x", BEYOND)
    with pytest.raises(OfflineError, match=r"forbids the connection to exchange\.example"):
        socket.create_connection(("exchange.example", 443), timeout=1)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_still_connects(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_unix_sockets_and_ipv6_loopback_are_local() -> None:
    assert is_local(socket.AF_UNIX, "control.sock")
    assert is_local(socket.AF_INET6, ("::1", 80, 0, 0))
    assert not is_local(socket.AF_INET6, ("2001:db8::1", 80, 0, 0))
    assert not is_local(socket.AF_INET, ("127.0.0.1.example", 80))


@pytest.mark.skipif(os.environ.get("FLEA_OFFLINE") != "1", reason="FLEA_OFFLINE is not 1: the session runs unguarded")
def test_this_session_is_guarded() -> None:
    with socket.socket() as s, pytest.raises(OfflineError, match="forbids"):
        s.connect(BEYOND)
