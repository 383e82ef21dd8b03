"""What another process of the same user asks a runner: status, halt, resume, stop, and orders by hand."""

import socket
import threading
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from flea_lab.clock import Stopwatch
from flea_lab.errors import WorkspaceError
from flea_lab.live.account import CONTROL
from flea_lab.live.lock import Holder, holder
from flea_lab.live.socket_path import peer_is_ours

CAP = 64 * 1024  # bytes of one request, and of one answer
QUEUE_S = 0.02  # between two tries to get into the server's queue, or two looks whether a latch is open
OPENED_S = 2.0  # for which a latch that was cleared is looked at

Latch = Literal["kill_switch", "reducing", "drawdown"]


class HandAsked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order by hand: `usd` of `symbol`, in slices over `minutes`, never beyond `limit_price` where there is one.
    `name` is of whoever asks, `by` a person."""

    symbol: str
    side: Literal["buy", "sell"]
    usd: float
    name: str
    by: str
    phrase: str
    style: Literal["twap", "iceberg"] = "twap"
    minutes: float = 30.0
    limit_price: float | None = None


class NoRunner(WorkspaceError):
    """Nobody runs this account, or nobody that listens: what was asked for was not done."""


class Unanswered(WorkspaceError):
    """A runner that is silent: whether it did what was asked is not known."""


class Declined(WorkspaceError):
    """A runner that answered that it does not do what was asked, and why."""


class ControlClient:
    """Asks the runner of the account in `folder`; each question is a connection of its own, `timeout_s` long at most.

    `NoRunner` where there is none, `Unanswered` where it is silent, `Declined` where it says no.
    """

    def __init__(self, folder: Path, *, timeout_s: float = 5.0) -> None:
        self.folder = folder
        self.timeout_s = timeout_s

    def status(self) -> dict[str, Any]:
        """What the runner says of itself."""
        return self._ask({"verb": "status"})

    def halt(self, reason: str = "") -> dict[str, Any]:
        """What the runner says to a halt: it stands, though orders may still be open at the exchange."""
        return self._ask({"verb": "halt", "reason": reason[:500]})

    def resume(
        self, clear: tuple[Latch, ...] | list[Latch], by: str, phrase: str = "", why: str = ""
    ) -> dict[str, Any]:
        """What the runner says after clearing these latches in the name of `by`; it declines without the phrase that a
        person types (`live.phrase.clearing_phrase`). Its loop opens them a moment later, which is waited for: a latch
        that is still named afterwards was closed again, or the loop is busy."""
        said = self._ask({"verb": "resume", "clear": list(clear), "by": by, "phrase": phrase, "why": why[:500]})
        watch, pause = Stopwatch(), threading.Event()
        while set(clear) & set(said.get("latches", ())) and watch.elapsed_s() < OPENED_S:
            pause.wait(QUEUE_S)
            said = self.status()
        return said

    def order(self, asked: HandAsked) -> dict[str, Any]:
        """What the runner says to an order by hand, with its `parent_id`; it declines without the phrase that a person
        types (`live.phrase.order_phrase`). Where the answer is lost, the same `name` again orders nothing twice."""
        return self._ask({"verb": "order", **msgspec.to_builtins(asked)})

    def cancel(self, parent_id: str, by: str) -> dict[str, Any]:
        """What the runner says once nothing more of a parent order is given, and its child is taken back."""
        return self._ask({"verb": "cancel", "parent_id": parent_id, "by": by})

    def stop(self) -> dict[str, Any]:
        """What the runner says to being stopped; its process ends later."""
        return self._ask({"verb": "stop"})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        watch = Stopwatch()
        with self._connect() as sock:
            try:
                sock.sendall(msgspec.json.encode(request) + b"\n")
                line = self._line(sock, watch)
                said = msgspec.json.decode(line, type=dict[str, Any])
            except TimeoutError:
                raise Unanswered(
                    f"{self._who()} did not answer {request['verb']} within {self.timeout_s:g} s"
                ) from None
            except (OSError, msgspec.MsgspecError) as error:
                raise Unanswered(f"{self._who()} broke off while answering {request['verb']} ({error})") from None
        answer = said.get("answer")
        if not said.get("ok") or not isinstance(answer, dict):
            raise Declined(f"{self._who()} declined {request['verb']}: {said.get('error', 'it did not say why')}")
        return answer

    def _connect(self) -> socket.socket:
        try:
            path = (self.folder / CONTROL).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise self._none("") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Unanswered(f"{self.folder / CONTROL}: cannot be read ({error})") from None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout_s)
        try:
            self._wait_in_line(sock, path)
            if not peer_is_ours(sock):
                raise Unanswered(f"{path}: another user listens there")
        except TimeoutError:
            sock.close()
            raise Unanswered(f"{self._who()} did not take a connection within {self.timeout_s:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            raise self._none(f", the socket {path} was left by one that died") from None
        except OSError as error:
            sock.close()
            raise Unanswered(f"{self._who()}: its socket {path} cannot be reached ({error.strerror})") from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _wait_in_line(self, sock: socket.socket, path: str) -> None:
        """Connects; a server whose queue is full for the moment is tried again until the time is up."""
        watch, pause = Stopwatch(), threading.Event()
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # the queue is full: a unix socket does not wait for that by itself
                if not watch.elapsed_s() < self.timeout_s:
                    raise TimeoutError from None
                pause.wait(QUEUE_S)
            else:
                return

    def _line(self, sock: socket.socket, watch: Stopwatch) -> bytes:
        buffer = b""
        while not buffer.endswith(b"\n"):
            left = self.timeout_s - watch.elapsed_s()
            if not left > 0:
                raise TimeoutError
            sock.settimeout(left)
            got = sock.recv(CAP)
            if not got:
                raise ConnectionResetError("nothing more came")
            buffer += got
            if len(buffer) > 16 * CAP:
                raise ConnectionResetError("it does not end")
        return buffer

    def _none(self, left_over: str) -> WorkspaceError:
        """Nobody listens: because nobody runs, or because who runs does not listen (yet)."""
        running = holder(self.folder)
        if running is None:
            return NoRunner(f"no runner for account {self.folder.name!r}{left_over}")
        return Unanswered(f"{self._who(running)} holds the account but does not listen")

    def _who(self, running: Holder | None = None) -> str:
        running = running or holder(self.folder)
        pid = f" (pid {running.pid})" if running is not None and running.pid else ""
        return f"the runner of account {self.folder.name!r}{pid}"
