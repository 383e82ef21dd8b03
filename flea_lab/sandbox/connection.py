"""One WebSocket of the sandbox: who it is, what it wants, and what is still to be sent on it.

Rules. What it says is read elsewhere (`audience`). Sending never waits: frames are queued, and who leaves too many
unread is cut off. A fault may end it in each way that a venue ends connections.
"""

import asyncio
from collections import deque

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from flea_lab.sandbox.api import Frame
from flea_lab.sandbox.fault_line import FaultLine

MAX_UNREAD = 20_000


class Connection:
    """One socket: who it is, what it wants, how far it has worked, what is still to be sent.

    `asked_ms` is the last heartbeat it was sent, `acked_ms` the last it has acknowledged.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        account_id: str,
        line: FaultLine | None = None,
    ) -> None:
        self.socket, self.account_id, self._transport, self.line = socket, account_id, transport, line
        self.wants: set[tuple[str, str]] = set()
        self.channels: set[str] = set()
        self.acking, self.asked_ms, self.acked_ms = False, -1, -1
        self.deltas, self.synced = False, set[str]()
        self.at_s, self.mute, self.deaf = 0.0, False, False
        self._unread: deque[tuple[bytes, ...] | WSCloseCode] = deque()
        self._wake = asyncio.Event()

    def hears(self, frame: Frame) -> bool:
        """Whether `frame` is for this one; of its own account it hears every symbol, so that the count has no hole."""
        if frame.account_id:
            return frame.account_id == self.account_id and frame.channel in self.channels
        return (frame.channel, frame.symbol) in self.wants

    def send(self, *frames: bytes) -> None:
        """Queues frames, which count as one; who leaves too many unread is cut off."""
        if self.mute:
            return
        self._unread.append(frames)
        self._wake.set()
        if len(self._unread) > MAX_UNREAD and self._transport is not None:
            self._unread.clear()
            self._transport.abort()
        ending = self.line.ending(self.at_s) if self.line is not None and self.channels else ""
        if ending:
            self._end(ending)

    def _end(self, kind: str) -> None:
        """Ends the connection by a fault; nothing is sent on it any more."""
        self.mute = True
        match kind:
            case "close_1000":
                self._unread.append(WSCloseCode.OK)
            case "close_1001":
                self._unread.append(WSCloseCode.GOING_AWAY)
            case "reset" if self._transport is not None:
                self._unread.clear()
                self._transport.abort()
            case "deaf" if self._transport is not None:
                self.acking, self.deaf = False, True  # it will never be heard, nor be seen to leave
                self._transport.pause_reading()

    def beat(self, ts_ms: int) -> None:
        """Queues a heartbeat."""
        self.asked_ms = ts_ms
        self.send(control("heartbeat", ts_ms))

    async def drain(self) -> None:
        """Sends what is queued, until the socket is gone."""
        try:
            while True:
                while self._unread:
                    frames = self._unread.popleft()
                    if isinstance(frames, WSCloseCode):
                        await self.socket.close(code=frames)
                        return
                    for frame in frames:
                        await self.socket.send_frame(frame, WSMsgType.TEXT)
                await self._wake.wait()
                self._wake.clear()
        except ConnectionError:
            self._unread.clear()  # the reading side ends as well, and says so

    async def close(self) -> None:
        """Says goodbye; a connection that is mute is cut."""
        if self.mute and self._transport is not None:
            self._transport.abort()
        await self.socket.close(code=WSCloseCode.GOING_AWAY, message=b"sandbox ends")


def control(event: str, ts_ms: int) -> bytes:
    """A frame about the connection itself, as it is sent."""
    return orjson.dumps({"event": event, "ts": ts_ms})


def refusal(code: str, message: str) -> bytes:
    """The frame that says what was wrong with what a client said."""
    return orjson.dumps({"event": "error", "code": code, "message": message})
