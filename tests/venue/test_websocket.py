"""The websocket itself, against servers that send it frame by frame: parts, sizes, pings, TLS, ends, and what waits."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from flea_lab.clock import WallClock
from flea_lab.venue import websocket
from flea_lab.venue.websocket import Lost, NoConnection, WebSocket, connect

TEXT, MORE = WSMsgType.TEXT, WSMsgType.CONTINUATION


class Server(WSListener):
    """Does what a test wants when a client has come, and keeps what it says."""

    def __init__(self, greet: Callable[[WSTransport], None]) -> None:
        self._greet, self.heard = greet, []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self._greet(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.heard.append((frame.msg_type, frame.get_payload_as_bytes()))
        if frame.msg_type is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


@asynccontextmanager
async def serving(greet: Callable[[WSTransport], None], tls: ssl.SSLContext | None = None) -> AsyncIterator[Any]:
    there: list[Server] = []

    def listener(_: object) -> Server:
        there.append(Server(greet))
        return there[-1]

    server = await ws_create_server(listener, "127.0.0.1", 0, ssl=tls, enable_auto_pong=False, use_aiofastnet=False)
    try:
        yield server.sockets[0].getsockname()[1], there
    finally:
        for one in there:
            one.transport.disconnect(graceful=False)
        server.close()
        await server.wait_closed()


def into(told: list[bytes]) -> Any:
    """Takes every frame into `told`."""
    return lambda raw, *_: told.append(raw)


def never(_: object) -> bool:
    return False


async def joined(port: int, take: Any, scheme: str = "ws", **given: Any) -> WebSocket:
    values = {"headers": {}, "most_bytes": 1_000, "ping_s": None, "within_s": 5.0, **given}
    return await connect(f"{scheme}://127.0.0.1:{port}/ws", take, WallClock().now_ns, **values)


def met(
    greet: Callable[[WSTransport], None], until: Callable[[list[bytes]], bool], **given: Any
) -> tuple[list[bytes], Any]:
    """The frames that were told, and why nothing more is."""

    async def run() -> tuple[list[bytes], Any]:
        told: list[bytes] = []
        async with asyncio.timeout(5), serving(greet) as (port, _):
            ws = await joined(port, into(told), **given)
            try:
                while not until(told) and ws.found is None:
                    await asyncio.sleep(0.005)
                return told, ws.found
            finally:
                await ws.close()

    return asyncio.run(run())


def test_a_message_in_parts_is_told_once_it_is_whole_pings_in_between() -> None:
    def parts(to: WSTransport) -> None:
        to.send(TEXT, b"one ", fin=False)
        to.send_ping(b"?")
        to.send(MORE, b"two ", fin=False)
        to.send(MORE, b"three")
        to.send(WSMsgType.BINARY, b"four")

    async def run() -> tuple[list[bytes], list[Any]]:
        told: list[bytes] = []
        async with asyncio.timeout(5), serving(parts) as (port, there):
            ws = await joined(port, into(told))
            while len(told) < 2 or not there[0].heard:
                await asyncio.sleep(0.005)
            await ws.close()
            return told, there[0].heard

    told, heard = asyncio.run(run())
    assert told == [b"one two three", b"four"] and heard[0] == (WSMsgType.PONG, b"?")
    assert [kind for kind, _ in heard] == [WSMsgType.PONG, WSMsgType.CLOSE]


@pytest.mark.parametrize(
    ("greet", "reason"),
    [
        (lambda to: to.send(TEXT, b"x" * 1_001), "connection lost: Received frame with payload size exceeding max"),
        (
            lambda to: [to.send(TEXT, b"x" * 600, fin=False), to.send(MORE, b"x" * 600)],
            "connection lost: a message of more than 1000 bytes",
        ),
        (lambda to: to.send(MORE, b"x"), "connection lost: a part that belongs to no message"),
        (
            lambda to: [to.send(TEXT, b"x", fin=False), to.send(TEXT, b"x")],
            "connection lost: a part that belongs to no message",
        ),
        (lambda to: to.disconnect(graceful=False), "connection lost"),
        (lambda to: to.send(WSMsgType.CLOSE, b""), "closed by the venue, code 1005"),
        (lambda to: to.send(WSMsgType.CLOSE, b"\x0f\xa1off\xc3\xa9"), "closed by the venue, code 4001 offé"),
        (lambda to: to.underlying_transport.write(b"\xff\xff\xff\xff"), "connection lost"),
    ],
)
def test_what_breaks_the_rules_of_a_websocket_is_its_end_and_says_why(greet: Any, reason: str) -> None:
    told, found = met(greet, never)
    assert told == [] and isinstance(found, Lost) and found.reason.startswith(reason)


def test_what_comes_while_something_is_asked_waits_in_order_and_the_end_comes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "MOST_KEPT", 100)  # so that the socket is not read for a while

    def greet(to: WSTransport) -> None:
        for number in range(200):
            to.send(TEXT, b"%d" % number)
        to.send_close()

    async def run() -> list[Any]:
        told: list[Any] = []

        def take(raw: bytes, ts: int, at: float) -> str | None:
            told.append(int(raw))
            return "ask" if int(raw) % 50 == 0 else None

        async with asyncio.timeout(5), serving(greet) as (port, _):
            ws = await joined(port, take)
            try:
                while True:
                    await ws.wake.wait()
                    ws.wake.clear()
                    told.append(ws.found)
                    if isinstance(ws.found, Lost):
                        return told
                    await asyncio.sleep(0.02)
                    assert told[-1] == "ask"  # nothing was told meanwhile
                    ws.release()
            finally:
                await ws.close()

    told = asyncio.run(run())
    assert [one for one in told if isinstance(one, int)] == list(range(200))
    assert [told[at - 1] for at, one in enumerate(told) if one == "ask"] == [0, 50, 100, 150]
    assert told[-1] == Lost("closed by the venue, code 1000") or told[-1].reason.startswith("closed by the venue")


def test_what_the_listener_raises_ends_the_telling_and_is_kept() -> None:
    async def run() -> Any:
        def take(raw: bytes, ts: int, at: float) -> None:
            raise ValueError("no")

        async with asyncio.timeout(5), serving(lambda to: [to.send(TEXT, b"a"), to.send(TEXT, b"b")]) as (port, _):
            ws = await joined(port, take)
            await ws.wake.wait()
            found = ws.found
            await ws.close()
            return found

    found = asyncio.run(run())
    assert isinstance(found, ValueError) and str(found) == "no"


def test_a_venue_that_answers_no_ping_is_lost_and_one_that_does_is_not() -> None:
    _, found = met(lambda to: to.underlying_transport.pause_reading(), never, ping_s=0.1)
    assert found == Lost("connection lost: no answer to a ping within 0.05 s")

    async def alive() -> Any:
        async with asyncio.timeout(5), serving(never) as (port, there):
            ws = await joined(port, into([]), ping_s=0.2)
            while len([kind for kind, _ in there[0].heard if kind is WSMsgType.PING]) < 2 and ws.found is None:
                await asyncio.sleep(0.01)
            found = ws.found
            await ws.close()
            return found

    assert asyncio.run(alive()) is None


def test_a_connect_that_fails_says_why_in_one_line() -> None:
    async def run() -> None:
        async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answers.pop(0))
            writer.close()

        answers = [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"nonsense\r\n\r\n"]
        server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NoConnection, match="closed before the upgrade was answered"):
            await joined(port, None)
        with pytest.raises(websocket.NoUpgrade, match="websocket upgrade answered 200"):
            await joined(port, None)
        with pytest.raises(NoConnection, match="WSInvalidMessageError: cannot upgrade"):
            await joined(port, None)
        server.close()
        await server.wait_closed()
        with pytest.raises(NoConnection, match=rf"cannot connect to 127.0.0.1:{port}: connection refused"):
            await joined(port, None)

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NoConnection, match="TimeoutError"):
            await joined(port, None, within_s=0.1)
        with pytest.raises(TimeoutError):  # given up from outside, in the middle of the upgrade
            async with asyncio.timeout(0.1):
                await joined(port, None, within_s=0.3)
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of 127.0.0.1 that nobody vouches for."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls_a_venue_must_prove_its_name(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(cert, key)
    told: list[bytes] = []

    async def run() -> None:
        async with asyncio.timeout(5), serving(lambda to: to.send(TEXT, b"hello"), theirs) as (port, _):
            with pytest.raises(NoConnection, match="SSLCertVerificationError"):
                await joined(port, None, "wss")
            ws = await joined(port, into(told), "wss", tls=ssl.create_default_context(cafile=str(cert)))
            while not told:
                await asyncio.sleep(0.005)
            await ws.close()

    asyncio.run(run())
    assert told == [b"hello"]
