"""The websocket of a venue: connect, subscribe, deliver in wire order, and come back, at a pace, whatever ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import aiohttp
from yarl import URL

from flea_lab.clock import Clock
from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.market import INTERVAL_MS
from flea_lab.model.trading import Fill
from flea_lab.venue.protocol import Deliver, Link, Played
from flea_lab.venue.reading import FrameError, shown
from flea_lab.venue.reconnect import Reconnect
from flea_lab.venue.rest import AGAIN, Rest, reason_of
from flea_lab.venue.speech import CRITICAL, PRIVATE, Complaint, Kind, Push, Speech, Subscribed
from flea_lab.venue.speech import Said as Told

FINAL = ("unknown_symbol", "unknown_channel", "invalid_symbol", "invalid_channel", "invalid_subscription")
TEXT, BINARY = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
WebSocket = aiohttp.ClientWebSocketResponse[bool]

OnFault = Callable[[str], None]
"""Hears of a frame that could not be used, one line each; must return at once."""

OnRaw = Callable[[bytes, int], None]
"""Hears every frame as it came, without the key, with the time of its receipt (ns UTC), before it is read; must return
at once.
"""

Missed = Callable[[int], Awaitable[list[tuple[int, Fill]]]]
"""Asks for every fill with a private sequence number beyond the one given."""


class _Connection:
    """What one websocket has shown so far. `waiting` holds (channel, their symbol) not yet acknowledged; a private
    channel has no symbol.
    """

    def __init__(self, waiting: set[tuple[str, str]]) -> None:
        self.waiting = waiting
        self.answered = self.up = self.played = False
        self.first_s = self.last_s = 0.0
        self.seqs: dict[tuple[str, str], int] = {}


class _Ended(NamedTuple):
    """Why a connection ended, and whether no other could do better."""

    reason: str
    final: bool = False


BEHIND = _Ended("private frames are missing")


class Stream:
    """One websocket after the other; `private_seq` is the last private frame delivered, `faults` counts what could
    not be used.
    """

    def __init__(
        self,
        wire: Speech,
        rest: Rest,
        clock: Clock,
        kinds: Sequence[Kind],
        missed: Missed,
        *,
        ack: bool,
        on_fault: OnFault | None,
        on_raw: OnRaw | None = None,
    ) -> None:
        self._dialect, self._wire, self._rest, self._clock = wire.dialect, wire, rest, clock
        self._kinds = tuple(kind for kind in kinds if wire.channel[kind])
        self._missed, self._ack, self._on_fault, self._on_raw = missed, ack, on_fault, on_raw
        bar_s = INTERVAL_MS[wire.interval] / 1_000 + 30.0
        self._silence_s = wire.dialect.silence_s if wire.beat_s else max(wire.dialect.silence_s, bar_s)
        self._ws: WebSocket | None = None
        self._running = self._been_up = False
        self.private_seq: int | None = None
        self.faults = 0

    async def run(self, deliver: Deliver) -> None:
        """As `Feed.run`; private frames come in between, in wire order. A second call while one runs returns at once,
        which is what `Exchange.run` means here.
        """
        if self._running:
            return
        self._running = True
        dialect, loop = self._dialect, asyncio.get_running_loop()
        pace = Reconnect(dialect.backoff_first_s, dialect.backoff_last_s, dialect.connects_per_minute, dialect.steady_s)
        try:
            while True:
                await asyncio.sleep(pace.wait_s(loop.time(), self._clock.jitter()))
                pace.connecting(loop.time())
                state = _Connection(self._wire.asked(self._kinds))
                self._wire.begin(self._clock.now_ns())
                ended = await self._connection(state, deliver)
                reason = self._rest.masked(ended.reason)
                deliver(Link(up=False, ts_recv=self._clock.now_ns(), reason=reason))
                if ended.final:
                    raise VenueRefusal(reason)
                pace.ended(state.last_s - state.first_s)
        finally:
            self._running = False

    async def _connection(self, state: _Connection, deliver: Deliver) -> _Ended:
        session = self._rest.opened()
        try:
            async with asyncio.timeout(self._dialect.request_timeout_s):
                ws = await session.ws_connect(
                    URL(self._dialect.ws_url),
                    headers=self._rest.headers(),
                    heartbeat=None if self._wire.beat_s else self._dialect.ping_s,
                    max_msg_size=self._dialect.max_frame_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                    decode_text=False,
                )
        except aiohttp.WSServerHandshakeError as error:
            status = error.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _Ended(f"connect: {reason_of(error)}")
        else:
            self._ws = ws
            try:
                return await self._together(ws, state, deliver)
            except (aiohttp.ClientError, OSError) as error:
                return _Ended(reason_of(error))
            finally:
                self._ws = None
                await ws.close()
        if status in (401, 403):
            return _Ended(f"websocket upgrade answered {status}: the key, or the way it is sent, is refused", True)
        mismatch = not self._been_up and status not in AGAIN
        return _Ended(f"{'dialect mismatch: ' if mismatch else ''}websocket upgrade answered {status}", mismatch)

    async def _together(self, ws: WebSocket, state: _Connection, deliver: Deliver) -> _Ended:
        """`_converse`, with what time alone brings beside it."""
        if not self._wire.beat_s:
            return await self._converse(ws, state, deliver)
        tasks = [asyncio.ensure_future(job(ws, state, deliver)) for job in (self._converse, self._beat)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self, ws: WebSocket, state: _Connection, deliver: Deliver) -> _Ended:
        while True:
            await asyncio.sleep(self._wire.beat_s)
            if not state.up:
                continue
            beat = self._wire.beat(self._clock.now_ns())
            for push in beat.pushes:
                if push.said is not None:
                    deliver(push.said)
            for frame in beat.frames:
                await ws.send_str(frame.decode())

    async def _converse(self, ws: WebSocket, state: _Connection, deliver: Deliver) -> _Ended:
        """Subscribes, then delivers until the connection ends."""
        dialect = self._dialect
        for frame in self._wire.subscriptions(self._kinds, self._ack):
            await ws.send_str(frame.decode())
        if dialect.acknowledged == "never":
            self._lift(state, deliver)
        limit_s = dialect.acknowledge_within_s
        while True:
            try:
                async with asyncio.timeout(limit_s) as limit:
                    return await self._receive(ws, state, deliver, limit)
            except TimeoutError:
                if state.up:
                    return _Ended(f"no frame for {self._silence_s:g} s")
            if state.answered or dialect.acknowledged == "always":
                missing = ", ".join(" ".join(filter(None, pair)) for pair in sorted(state.waiting))
                return _Ended(f"not acknowledged within {dialect.acknowledge_within_s:g} s: {missing}")
            self._lift(state, deliver)  # a venue that says nothing at all of subscriptions
            limit_s = self._silence_s

    async def _receive(self, ws: WebSocket, state: _Connection, deliver: Deliver, limit: asyncio.Timeout) -> _Ended:
        loop, moved_s = asyncio.get_running_loop(), -1.0
        while True:
            message = await ws.receive()
            now_s = loop.time()
            if message.type is not TEXT and message.type is not BINARY:
                return _Ended(_farewell(ws, getattr(message, "extra", None)))
            ended = await self._on_frame(message.data, state, deliver, now_s)
            if ended is not None:
                return ended
            if state.up and now_s >= moved_s + 1.0:  # a timer moves once a second, not at every frame
                moved_s = now_s
                limit.reschedule(None if self._ack or state.played else now_s + self._silence_s)

    async def _on_frame(self, raw: bytes, state: _Connection, deliver: Deliver, now_s: float) -> _Ended | None:
        ts_recv = self._clock.now_ns()
        if self._on_raw is not None:
            self._on_raw(self._rest.without_key(raw), ts_recv)
        try:
            told = self._wire.push(raw, ts_recv)
        except FrameError as error:
            text = self._rest.unkeyed(raw, str(error))
            self._fault(text)
            return _Ended(text) if error.critical else None
        for one in told if isinstance(told, list) else (told,):
            ended = await self._say(one, state, deliver, now_s)
            if ended is not None:
                return ended
        return None

    async def _say(self, told: Told, state: _Connection, deliver: Deliver, now_s: float) -> _Ended | None:
        if not isinstance(told, Push):
            return self._told(told, state, deliver)
        ended = self._pushed(told, state, deliver, now_s)
        return await self._catch_up(told, deliver) if ended is BEHIND else ended

    def _pushed(self, push: Push, state: _Connection, deliver: Deliver, now_s: float) -> _Ended | None:
        """Delivers `push`; `BEHIND` where private frames before it are missing."""
        kind, seq = push.kind, push.seq
        if not kind:
            state.played = state.played or isinstance(push.said, Played)
        elif kind in PRIVATE:
            if seq is not None:
                if self.private_seq is not None and seq > self.private_seq + 1:
                    return BEHIND
                self.private_seq = seq if self.private_seq is None else max(seq, self.private_seq)
        else:
            state.first_s, state.last_s = state.first_s or now_s, now_s
            if not state.up and not state.answered and self._dialect.acknowledged == "maybe":
                self._lift(state, deliver)  # data before any answer: a venue that does not acknowledge
            if seq is not None:
                key = kind, push.symbol
                last = state.seqs.get(key, seq - 1)
                if seq > last + 1:
                    text = f"{self._wire.channel[kind]} {push.symbol}: seq = {seq}: {seq - last - 1} missing before it"
                    self._fault(text)
                    if kind in CRITICAL:
                        return _Ended(text)
                state.seqs[key] = seq
        if push.said is not None:
            deliver(push.said)
        return None

    def _told(self, said: Subscribed | Complaint | None, state: _Connection, deliver: Deliver) -> _Ended | None:
        if isinstance(said, Complaint):
            text = f"{said.code}: {said.message}"
            if said.code in FINAL:
                return _Ended(f"subscription refused: {text}", True)
            self._fault(text)
        elif isinstance(said, Subscribed):
            state.answered = True
            symbols = ("", *said.symbols)
            state.waiting -= {(channel, symbol) for channel in said.channels for symbol in symbols}
            if not state.waiting and not state.up:
                self._lift(state, deliver)
        return None

    def _lift(self, state: _Connection, deliver: Deliver) -> None:
        state.up = self._been_up = True
        deliver(Link(up=True, ts_recv=self._clock.now_ns()))

    async def _catch_up(self, push: Push, deliver: Deliver) -> _Ended | None:
        """Delivers the fills that were missed before `push`, then `push`."""
        after, seq = self.private_seq or 0, push.seq or 0
        self._fault(f"private frames {after + 1} to {seq - 1} are missing, asking for their fills")
        try:
            missed = await self._missed(after)
        except VenueError as error:
            return _Ended(
                f"private frames {after + 1} to {seq - 1} are missing: {error}", isinstance(error, VenueRefusal)
            )
        for number, fill in missed:
            if number < seq:
                deliver(fill)
        self.private_seq = seq
        if push.said is not None:
            deliver(push.said)
        return None

    def _fault(self, text: str) -> None:
        self.faults += 1
        if self._on_fault is not None:
            self._on_fault(self._rest.masked(text))

    async def refresh(self, symbol: str) -> None:
        """As `Feed.refresh`: a second subscription is answered with a whole book first."""
        ws = self._ws
        if self._wire.dialect.book == "delta" and ws is not None and not ws.closed:
            with suppress(aiohttp.ClientError, OSError):  # the reader sees the end of the connection and says why
                for frame in self._wire.subscriptions(("book",), False, (symbol,)):
                    await ws.send_str(frame.decode())

    async def acknowledge(self, ts_event: int) -> None:
        """As `Feed.acknowledge`; nothing while there is no connection, the venue does not wait then."""
        ws = self._ws
        if self._ack and ws is not None and not ws.closed:
            with suppress(aiohttp.ClientError, OSError):  # the reader sees the end of the connection and says why
                await ws.send_str(self._wire.acknowledgement(ts_event).decode())


def _farewell(ws: WebSocket, extra: object) -> str:
    failed = ws.exception()
    if failed is not None:
        return f"connection lost: {type(failed).__name__}: {shown(str(failed))}"
    why = f" {shown(extra)}" if isinstance(extra, str) and extra else ""
    return f"closed by the venue, code {ws.close_code}{why}"
