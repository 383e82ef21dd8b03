"""The runner's control socket: status, halt, resume, stop, orders by hand, from other processes of the same user.

The server has a thread of its own and never waits for the trading loop: a halt is taken while that loop is blocked.
One request a line, one answer a line, JSON: `{"verb": "halt", "reason": "..."}` is answered by
`{"ok": true, "answer": {...}}` or `{"ok": false, "error": "..."}`.
"""

import selectors
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from flea_lab.clock import Clock, WallClock
from flea_lab.errors import FleaError, WorkspaceError
from flea_lab.live.account import CONTROL
from flea_lab.live.control_client import CAP, ControlClient, Declined, Latch, NoRunner, Unanswered
from flea_lab.live.socket_path import peer_is_ours, socket_path, write_private

__all__ = ["ControlClient", "ControlServer", "Declined", "Handle", "Latch", "NoRunner", "Unanswered"]

CONNECTIONS = 32
CHECK_S = 5.0  # how often the server looks whether its socket is still there

Handle = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers one request: `verb`, its arguments, and `received_ns`. Called in the server's thread, so it must only read
what may be read from there, set flags, and post to the loop with `call_soon_threadsafe`. Only a resume and an order by
hand may wait for the loop: they are called in a thread of its own, perhaps while another request is answered."""


class _Request(Struct, frozen=True, kw_only=True, tag_field="verb", forbid_unknown_fields=True):
    """What may be asked."""


class _Status(_Request, frozen=True, kw_only=True, tag="status"):
    pass


class _Halt(_Request, frozen=True, kw_only=True, tag="halt"):
    reason: Annotated[str, Meta(max_length=500)] = ""


class _Resume(_Request, frozen=True, kw_only=True, tag="resume"):
    clear: Annotated[tuple[Latch, ...], Meta(min_length=1, max_length=3)]
    by: Annotated[str, Meta(min_length=1, max_length=100)]
    phrase: Annotated[str, Meta(max_length=200)] = ""
    why: Annotated[str, Meta(max_length=500)] = ""


class _Stop(_Request, frozen=True, kw_only=True, tag="stop"):
    pass


class _Order(_Request, frozen=True, kw_only=True, tag="order"):
    symbol: Annotated[str, Meta(min_length=1, max_length=40)]
    side: Literal["buy", "sell"]
    usd: Annotated[float, Meta(gt=0.0, le=1e9)]
    style: Literal["twap", "iceberg"] = "twap"
    minutes: Annotated[float, Meta(ge=1.0, le=1_440.0)] = 30.0
    limit_price: Annotated[float, Meta(gt=0.0)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    by: Annotated[str, Meta(min_length=1, max_length=100)]
    phrase: Annotated[str, Meta(max_length=200)] = ""


class _Cancel(_Request, frozen=True, kw_only=True, tag="cancel"):
    parent_id: Annotated[str, Meta(min_length=1, max_length=64)]
    by: Annotated[str, Meta(min_length=1, max_length=100)]


_WAITS = _Resume | _Order | _Cancel
_TOO_LONG = {"ok": False, "error": f"a request is at most {CAP} bytes"}
_DECODER = msgspec.json.Decoder(_Status | _Halt | _Stop | _WAITS)


class _Peer:
    """One connection: the bytes of a line that is not whole yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()


class ControlServer:
    """The socket of the account in `folder`, answering from its own daemon thread once started.

    Whoever starts it holds the lock of the account: a socket that is found there was left by a runner that died.
    """

    def __init__(self, folder: Path, handle: Handle, clock: Clock | None = None) -> None:
        self.folder = folder
        self.path = socket_path(folder)
        self._handle = handle
        self._clock = clock or WallClock()
        self._selector = selectors.DefaultSelector()
        self._wake: socket.socket | None = None
        self._woken: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._inode = 0
        self._peers: list[_Peer] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> "ControlServer":
        """This server, listening; `WorkspaceError` where its socket or the file that names it cannot be made."""
        try:
            self._wake, self._woken = socket.socketpair()
            self._selector.register(self._woken, selectors.EVENT_READ)
            self._listen()
            write_private(self.folder / CONTROL, f"{self.path}\n")
        except BaseException:
            self._release()
            raise
        self._thread.start()
        return self

    def close(self) -> None:
        """Stops answering and takes the socket away."""
        self._closing.set()
        if self._thread.is_alive() and self._wake is not None:
            self._wake.send(b"x")
            self._thread.join(timeout=2.0)
        self._release()

    def fault(self) -> str:
        """That nobody answers here any more, in words; "" while somebody does."""
        if self._closing.is_set() or self._thread.is_alive():
            return ""
        return "the control socket is not answered: its thread is dead"

    def __enter__(self) -> "ControlServer":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _listen(self) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))  # in a folder that is this user's alone
            self.path.chmod(0o600)
            listener.listen(CONNECTIONS)
            listener.setblocking(False)
            self._inode = self.path.stat().st_ino
        except OSError as error:
            listener.close()
            raise WorkspaceError(f"control socket {self.path}: {error.strerror}") from None
        self._selector.register(listener, selectors.EVENT_READ)
        self._listener = listener

    def _release(self) -> None:
        for peer in list(self._peers):
            self._drop(peer)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
                (self.folder / CONTROL).unlink(missing_ok=True)
        self._selector.close()
        for end in (self._wake, self._woken):
            if end is not None:
                end.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(CHECK_S):
                if isinstance(key.data, _Peer):
                    self._read(key.data)
                elif key.fileobj is self._listener:
                    self._accept()
            self._keep_listening()

    def _keep_listening(self) -> None:
        """Listens anew where somebody cleaned the socket away: a kill switch must stay in reach."""
        if self._closing.is_set():
            return
        try:
            if self.path.stat().st_ino == self._inode:
                return
        except OSError:
            pass  # gone: made again below
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        try:
            self.path = socket_path(self.folder)
            self._listen()
            write_private(self.folder / CONTROL, f"{self.path}\n")
        except (OSError, FleaError) as error:  # tried again at the next look; the HALT file and SIGTERM remain
            print(f"control socket {self.path} cannot be made again: {error}", file=sys.stderr)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:  # the caller is gone already, or no descriptor is left
            self._closing.wait(0.02)
            return
        if len(self._peers) >= CONNECTIONS:
            self._drop(self._peers[0])  # the oldest: silent connections must not keep a halt out
        sock.setblocking(False)
        peer = _Peer(sock)
        self._peers.append(peer)
        self._selector.register(sock, selectors.EVENT_READ, peer)
        if not peer_is_ours(sock):
            self._answer(peer, {"ok": False, "error": "another user's runner"})
            self._drop(peer)

    def _read(self, peer: _Peer) -> None:
        try:
            got = peer.sock.recv(CAP)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self._drop(peer)
            return
        received_ns = self._clock.now_ns()
        peer.buffer += got
        while (end := peer.buffer.find(b"\n")) >= 0 and peer in self._peers:
            line = bytes(peer.buffer[:end])
            del peer.buffer[: end + 1]
            if len(line) > CAP:
                self._answer(peer, _TOO_LONG)
                continue
            try:
                request = _DECODER.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._answer(peer, {"ok": False, "error": f"not a request: {str(error)[:300]}"})
                continue
            if isinstance(request, _WAITS):
                self._answer_aside(peer, request, received_ns)
            else:
                self._answer(peer, self._reply(request, received_ns))
        if len(peer.buffer) > CAP and peer in self._peers:
            self._answer(peer, _TOO_LONG)
            self._drop(peer)  # where its line would end is not known

    def _answer_aside(self, peer: _Peer, request: _Request, received_ns: int) -> None:
        """Answers in a thread of its own, and hangs up: what may wait for the loop must not keep a halt waiting."""
        self._peers.remove(peer)
        self._selector.unregister(peer.sock)

        def answer() -> None:
            with peer.sock, suppress(OSError):  # the asker may have gone
                peer.sock.settimeout(1.0)
                peer.sock.sendall(_encoded(self._reply(request, received_ns)))

        threading.Thread(target=answer, name="waits", daemon=True).start()

    def _reply(self, request: _Request, received_ns: int) -> dict[str, Any]:
        try:
            asked = {**msgspec.to_builtins(request), "received_ns": received_ns}
            return {"ok": True, "answer": self._handle(asked)}
        except FleaError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # the asker must hear that nothing was done, and the next halt must be taken
            traceback.print_exception(error)
            return {"ok": False, "error": f"the runner failed to answer: {type(error).__name__}: {error}"}

    def _answer(self, peer: _Peer, answer: dict[str, Any]) -> None:
        line = _encoded(answer)
        try:
            sent = peer.sock.send(line)
        except OSError:
            sent = 0
        if sent < len(line):  # it does not read: waiting for it would keep others waiting
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._selector.unregister(peer.sock)
            peer.sock.close()


def _encoded(answer: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(answer) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        return msgspec.json.encode({"ok": False, "error": f"the runner's answer is no JSON: {error}"}) + b"\n"
