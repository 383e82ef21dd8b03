"""One websocket: frames out, and frames in by a callback, without a task to wake or a queue in between.

Rules. A frame is told in the very call that brought its bytes, many in one go where one read brought many, each
stamped as it is told. Where what hears it answers with anything but None, nothing more is told until `release`, which
tells what came meanwhile, in order; after `MOST_KEPT` bytes of it the socket is not read. Redirects are not followed,
and a venue that is spoken to over TLS must prove its name.
"""

import asyncio
import logging
import os
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from picows import WSCloseCode, WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from flea_lab.venue.reading import shown

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY

CLOSE_S = 2.0
"""How long a venue may take to answer our close."""
LEAVE_S = 0.5
"""How long a connect that nobody wants any more may take to end in order."""
MOST_KEPT = 1 << 20
READ_BYTES = 64 * 1024

log = logging.getLogger("flea_lab.websocket")
log.setLevel(logging.CRITICAL)  # what is wrong is said as the end of the connection


class Lost(NamedTuple):
    """The connection is over, and why."""

    reason: str


class NoUpgrade(Exception):
    """The venue answered the upgrade with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"websocket upgrade answered {status}")
        self.status = status


class NoConnection(Exception):
    """There is no connection; its text says why in one line."""


Take = Callable[[bytes, int, float], Any]
"""Takes a frame, the time (ns UTC) and when it was read on the loop's clock; None where it can take the next."""


class WebSocket(WSListener):
    """One connection, made by `connect`. `found` is why nothing more is told: what `Take` answered or raised, or that
    the connection is `Lost`; `wake` is set when there is something. `heard_s` is of the last frame."""

    def __init__(self, take: Take, now_ns: Callable[[], int], most_bytes: int, ping_s: float | None) -> None:
        self._take, self._now_ns, self._most, self._ping_s = take, now_ns, most_bytes, ping_s
        self._loop_s = asyncio.get_running_loop().time
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = False
        self._transport: WSTransport | None = None
        self._first = True
        self._read_s = self.heard_s = self._loop_s()
        self._parts = bytearray()
        self._parted = self._over = self._closing = False
        self._free = True
        self._kept: deque[tuple[bytes, float] | Lost] = deque()
        self._kept_bytes = 0
        self.found: Any = None
        self.wake = asyncio.Event()

    @property
    def joined(self) -> bool:
        """Whether the venue took the upgrade."""
        return self._transport is not None

    def send(self, frame: bytes) -> None:
        """Sends text; nothing where the connection is over: its end is told."""
        if self._transport is not None and not self._over:
            self._transport.send(WSMsgType.TEXT, frame)

    def release(self) -> None:
        """Tells what was kept, in order, until something stops it again; then reads on."""
        self.found = None
        while self._kept and self.found is None:
            one = self._kept.popleft()
            found: Any = one
            if not isinstance(one, Lost):
                self._kept_bytes -= len(one[0])
                try:
                    found = self._take(one[0], self._now_ns(), one[1])
                except Exception as error:  # as in `on_ws_frame`
                    found = error
            if found is not None:
                self._stop(found)
        self._free = self.found is None and not self._closing
        if self._transport is not None and not self._over and self._kept_bytes <= MOST_KEPT:
            self._transport.underlying_transport.resume_reading()

    async def close(self) -> None:
        """Leaves: says so, waits a little for the venue to agree, and ends. Nothing is told any more."""
        transport, self._closing, self._free = self._transport, True, False
        if transport is None:
            return
        if not transport.is_disconnected:
            transport.underlying_transport.resume_reading()
            transport.send_close(WSCloseCode.OK)
            if self._over:
                transport.disconnect()
        with suppress(Exception):  # what ended it was told where it happened
            try:
                async with asyncio.timeout(CLOSE_S):
                    await transport.wait_disconnected()
            except TimeoutError:
                transport.disconnect(graceful=False)
                await transport.wait_disconnected()

    # ---- called by the transport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Takes the connection."""
        self._transport = transport
        self._read_s = self.heard_s = self._loop_s()
        self._ping()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Takes a frame; it is valid in here only."""
        if self._first:
            self._read_s = self._loop_s()
        self._first = frame.last_in_buffer  # the loop's clock is read once for all that one read brought
        kind = frame.msg_type
        if (kind is not TEXT and kind is not BINARY) or self._parted or not frame.fin:
            whole = self._other(transport, frame, kind)
            if whole is None:
                return
            raw = whole
        else:
            raw = frame.get_payload_as_bytes()
        self.heard_s = self._read_s
        if not self._free:
            self._keep(raw)
            return
        try:
            found = self._take(raw, self._now_ns(), self._read_s)
        except Exception as error:  # whatever it is: raised where the connection is waited for
            found = error
        if found is not None:
            self._stop(found)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Takes the end."""
        if self._timer is not None:
            self._timer.cancel()
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        why = f": {shown(sent.reason)}" if sent is not None and sent.reason else ""
        self._end(f"connection lost{why}")

    # ---- inside

    def _other(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> bytes | None:
        """What is no message by itself; the message that it completes."""
        if kind is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            self._on_close(transport, frame)
        elif kind is not WSMsgType.PONG:
            return self._part(transport, frame, kind)
        return None

    def _stop(self, found: Any) -> None:
        self.found, self._free = found, False
        self.wake.set()

    def _ping(self) -> None:
        """Asks a venue that is silent whether it is there; one that does not answer is lost."""
        transport, ping_s = self._transport, self._ping_s
        if transport is None or ping_s is None or self._over:
            return
        silent_s = self._loop_s() - self._read_s
        if silent_s < ping_s or self._kept_bytes > MOST_KEPT:
            self._pinged = False
            again_s = max(ping_s - silent_s, ping_s / 2)
        elif self._pinged:
            self._end(f"connection lost: no answer to a ping within {ping_s / 2:g} s")
            transport.disconnect(graceful=False)
            return
        else:
            self._pinged = True
            transport.send_ping()
            again_s = ping_s / 2
        self._timer = asyncio.get_running_loop().call_later(again_s, self._ping)

    def _keep(self, raw: bytes) -> None:
        if self._closing:
            return
        self._kept.append((raw, self._read_s))
        self._kept_bytes += len(raw)
        if self._kept_bytes > MOST_KEPT and self._transport is not None:
            self._transport.underlying_transport.pause_reading()

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        if self._free:
            self._stop(Lost(reason))
        else:
            self._kept.append(Lost(reason))

    def _on_close(self, transport: WSTransport, frame: WSFrame) -> None:
        code: Any = frame.get_close_code()
        number = 1005 if not frame.payload_size else int(getattr(code, "value", code))
        why = (frame.get_close_message() or b"").decode("utf-8", "replace")
        self._end(f"closed by the venue, code {number} {shown(why) if why else ''}".rstrip())
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode.OK)
        transport.disconnect()

    def _part(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> bytes | None:
        """A message that comes in parts, once it is whole."""
        if (kind is WSMsgType.CONTINUATION) != self._parted or len(self._parts) + frame.payload_size > self._most:
            broken = (kind is WSMsgType.CONTINUATION) != self._parted
            what = "a part that belongs to no message" if broken else f"a message of more than {self._most} bytes"
            self._end(f"connection lost: {what}")
            transport.send_close(WSCloseCode.PROTOCOL_ERROR if broken else WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()
            return None
        self._parts += frame.get_payload_as_bytes()
        self._parted = not frame.fin
        if self._parted:
            return None
        whole = bytes(self._parts)
        self._parts.clear()
        return whole


async def connect(
    url: str,
    take: Take,
    now_ns: Callable[[], int],
    *,
    headers: Mapping[str, str],
    most_bytes: int,
    ping_s: float | None,
    within_s: float,
    tls: ssl.SSLContext | None = None,
) -> WebSocket:
    """The open connection. `NoUpgrade` where the venue's answer is another, `NoConnection` where there is none.

    With `ping_s` a venue that is silent for so long is pinged, and lost where it is silent for half of it again.
    """
    socket = WebSocket(take, now_ns, most_bytes, ping_s)
    connecting = asyncio.ensure_future(
        ws_connect(
            lambda: socket,
            url,
            ssl_context=tls,
            websocket_handshake_timeout=within_s,
            logger_name=log,
            enable_auto_pong=False,
            max_frame_size=most_bytes,
            extra_headers=dict(headers),
            max_redirects=0,
            read_buffer_init_size=READ_BYTES,
            happy_eyeballs_delay=0.25,
            use_aiofastnet=False,  # TLS is the interpreter's own
        )
    )
    try:
        async with asyncio.timeout(within_s):
            await asyncio.shield(connecting)
    except (WSError, OSError, TimeoutError, ValueError) as error:
        failed: Exception = _why(error, url)
    else:
        if socket.joined:  # and perhaps over again
            return socket
        failed = NoConnection("closed before the upgrade was answered")
    finally:
        if not socket.joined:
            await _leave(connecting)
    raise failed  # outside of the except block: what was raised may hold the headers of the request


async def _leave(connecting: "asyncio.Future[Any]") -> None:
    """Ends a connect that failed or is not wanted any more."""
    await asyncio.wait({connecting}, timeout=LEAVE_S)
    if not connecting.done():
        connecting.cancel()
        await asyncio.wait({connecting})
    if not connecting.cancelled() and connecting.exception() is None:
        transport = connecting.result()[0]
        if not transport.is_disconnected:
            transport.disconnect(graceful=False)
            with suppress(Exception):
                await transport.wait_disconnected()


def _why(error: Exception, url: str) -> Exception:
    status = getattr(getattr(error, "response", None), "status", None)
    if isinstance(error, WSHandshakeError) and status is not None and status != 101:
        if 300 <= status < 400:
            return NoConnection("the venue redirects, and a request that carries a key does not follow")
        return NoUpgrade(int(status))
    if isinstance(error, OSError) and error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        at = urlsplit(url)
        port = at.port or (443 if at.scheme == "wss" else 80)
        return NoConnection(f"cannot connect to {at.hostname}:{port}: {os.strerror(error.errno).lower()}")
    text = str(error)
    return NoConnection(f"{type(error).__name__}: {shown(text)}" if text else type(error).__name__)
