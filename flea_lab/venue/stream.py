"""The websocket of a venue: connect, subscribe, deliver in wire order, and come back, at a pace, whatever ends it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from flea_lab.clock import Clock
from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.market import INTERVAL_MS, MS_NS
from flea_lab.venue.bars import Bars
from flea_lab.venue.conversation import Conversation, Ended, Known, Missed, OnFault, OnRaw, Terms
from flea_lab.venue.heard import Heard
from flea_lab.venue.mending import History
from flea_lab.venue.protocol import Deliver, Link, VenueClock
from flea_lab.venue.reconnect import Reconnect
from flea_lab.venue.rest import AGAIN, Rest
from flea_lab.venue.speech import Kind, Speech
from flea_lab.venue.websocket import Lost, NoConnection, NoUpgrade, WebSocket, connect

__all__ = ["Asks", "OnFault", "OnRaw", "Stream"]

MORE = 4.0
"""How many times longer than one that was not acknowledged the next connection gets for it."""

OFF_S = 1.0
"""How long a frame may still be on its way, of which the venue says that it has been sent."""


class Asks(NamedTuple):
    """What a stream may ask of the venue besides: candles of a symbol after an instant, and the venue's clock."""

    history: History
    clock: Callable[[], Awaitable[VenueClock]]


class Stream:
    """One websocket after the other; what outlives them is in `known`."""

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
        asks: Asks | None = None,
        partial: bool = False,
        max_skew_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`partial` goes on without what the venue refuses; `max_skew_s` apart, the two clocks are complained of;
        `tls` is how a venue spoken to over TLS proves its name, the machine's own way where it is None."""
        self._dialect, self._wire, self._rest, self._clock = wire.dialect, wire, rest, clock
        history = None if asks is None else asks.history
        asked = tuple(kind for kind in kinds if wire.channel[kind])
        self._terms = Terms(asked, missed, history, ack, partial, on_fault, on_raw)
        bar_s = INTERVAL_MS[wire.interval] / 1_000 + 30.0
        self._silence_s = wire.dialect.silence_s if wire.beat_s else max(wire.dialect.silence_s, bar_s)
        self._quiet_s = self._silence_s if wire.beat_s or asks is None else wire.dialect.quiet_s
        self._asks, self._tls = asks, tls
        self.known = Known(max_skew_s)
        self._talk: Conversation | None = None
        self._step_ns = INTERVAL_MS[wire.interval] * MS_NS
        self._ws: WebSocket | None = None
        self._patience_s = wire.dialect.acknowledge_first_s
        self._running = False

    @property
    def heard(self) -> Heard:
        """How recent each channel is."""
        return self.known.heard

    @property
    def faults(self) -> int:
        """How many frames could not be used."""
        return self.known.faults

    @property
    def refused(self) -> set[tuple[str, str]]:
        """(channel, their symbol) that the venue does not give."""
        return self.known.refused

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
                talk = Conversation(self._wire, self._rest, self._terms, self.known, deliver, self._clock.now_ns)
                talk.bars = self._bars()
                self._talk = talk
                self._wire.begin(self._clock.now_ns())
                ended = await self._connection(talk, deliver)
                reason = self._rest.masked(ended.reason)
                deliver(Link(up=False, ts_recv=self._clock.now_ns(), reason=reason))
                if ended.final:
                    raise VenueRefusal(reason)
                pace.ended(talk.last_s - talk.first_s)
        finally:
            self._running = False

    async def _connection(self, talk: Conversation, deliver: Deliver) -> Ended:
        dialect = self._dialect
        self._rest.opened()
        try:
            ws = await connect(
                dialect.ws_url,
                talk.take,
                self._clock.now_ns,
                headers=self._rest.headers(),
                most_bytes=dialect.max_frame_bytes,
                ping_s=None if self._wire.beat_s else dialect.ping_s,
                within_s=dialect.request_timeout_s,
                tls=self._tls,
            )
        except NoUpgrade as error:
            status = error.status
        except NoConnection as error:
            return Ended(f"connect: {error}")
        else:
            self._ws = ws
            try:
                return await self._together(ws, talk, deliver)
            finally:
                self._ws = None
                await ws.close()
        if status in (401, 403):
            return Ended(f"websocket upgrade answered {status}: the key, or the way it is sent, is refused", True)
        mismatch = not self.known.been_up and status not in AGAIN
        return Ended(f"{'dialect mismatch: ' if mismatch else ''}websocket upgrade answered {status}", mismatch)

    def _bars(self) -> Bars | None:
        """The bars that are to be whole; none where nobody may be asked, or where the speech closes bars itself."""
        if self._asks is None or self._wire.beat_s or "candle" not in self._terms.kinds:
            return None
        channel, theirs, refused = self._wire.channel["candle"], self._dialect.theirs, self.known.refused
        symbols = [symbol for symbol in self._wire.symbols if (channel, theirs(symbol)) not in refused]
        return Bars(symbols, self._step_ns, self.known.closes)

    async def _together(self, ws: WebSocket, talk: Conversation, deliver: Deliver) -> Ended:
        """`_converse`, with what time alone brings beside it."""
        if not self._wire.beat_s:
            return await self._converse(ws, talk)
        tasks = [asyncio.ensure_future(job) for job in (self._converse(ws, talk), self._beat(ws, talk, deliver))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self, ws: WebSocket, talk: Conversation, deliver: Deliver) -> Ended:
        while True:
            await asyncio.sleep(self._wire.beat_s)
            if not talk.up:
                continue
            beat = self._wire.beat(self._clock.now_ns())
            for push in beat.pushes:
                if push.said is not None:
                    deliver(push.said)
            for frame in beat.frames:
                ws.send(frame)

    async def _converse(self, ws: WebSocket, talk: Conversation) -> Ended:
        """Subscribes, then delivers until the connection ends."""
        dialect = self._dialect
        for frame in self._wire.subscriptions(self._terms.kinds, self._terms.ack):
            ws.send(frame)
        if dialect.acknowledged == "never":
            talk.lift()
        loop = asyncio.get_running_loop()
        began_s, patience_s = loop.time(), min(self._patience_s, dialect.acknowledge_within_s)
        limit_s = self._limit_s()
        while True:
            ended = await self._listen(ws, limit_s if talk.up else min(limit_s, began_s + patience_s - loop.time()))
            if ended is not None:
                return ended
            if talk.up:
                looked = await self._look(ws, talk)
                if isinstance(looked, Ended):
                    return looked
                limit_s = looked
            elif loop.time() >= began_s + patience_s:
                self._patience_s = patience_s * MORE
                ended = talk.unanswered(patience_s, last=patience_s >= dialect.acknowledge_within_s)
                if ended is not None:
                    return ended

    async def _listen(self, ws: WebSocket, limit_s: float) -> Ended | None:
        """The end of the connection; None when `limit_s` are over. What a frame has to wait for is waited for."""
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    await ws.wake.wait()
            except TimeoutError:
                return None
            ws.wake.clear()
            found = ws.found
            if isinstance(found, Exception):
                raise found
            if isinstance(found, Lost):
                return Ended(found.reason)
            ended = found if isinstance(found, Ended) else await found()
            if ended is not None:
                return ended
            ws.heard_s = asyncio.get_running_loop().time()  # while the venue was asked its silence did not count
            ws.release()

    def _limit_s(self) -> float:
        return min(self._quiet_s, self._silence_s)

    async def _look(self, ws: WebSocket, talk: Conversation) -> Ended | float:
        """Why a silent connection is dead, or how many seconds it may go on in silence.

        A market that waits for us is silent by right. Another is dead when its clock runs on without a word: a
        recorded one when it is a bar ahead of what it has told us, a real one when the silence is too long.
        """
        loop = asyncio.get_running_loop()
        heard_s = ws.heard_s
        silent_s = loop.time() - heard_s
        dead = Ended(f"no frame for {round(silent_s, 1):g} s")
        if talk.played or talk.owed_ns:
            return self._limit_s()
        if silent_s < self._limit_s() - 0.01 and not talk.off_s:
            return self._limit_s() - silent_s
        if talk.off_s or self._asks is None:
            return dead
        try:
            async with asyncio.timeout(self._dialect.request_timeout_s):
                time = await self._asks.clock()
        except (VenueError, TimeoutError):
            return dead
        if ws.heard_s > heard_s:
            return self._limit_s()
        if time.kind == "wall":
            enough_s = self._limit_s() if "book" in self._terms.kinds else self._silence_s
            return dead if silent_s >= enough_s - 0.01 else enough_s - silent_s
        if talk.beat_ns and time.now_ns >= talk.beat_ns + self._step_ns:
            talk.off_s = loop.time()
            return OFF_S
        if talk.beat_ns:
            await self.acknowledge(talk.beat_ns)  # in case that it was lost
        talk.beat_ns = talk.beat_ns or time.now_ns
        return self._limit_s()

    async def refresh(self, symbol: str) -> None:
        """As `Feed.refresh`: a second subscription is answered with a whole book first."""
        if self._wire.dialect.book == "delta" and self._ws is not None:
            for frame in self._wire.subscriptions(("book",), False, (symbol,)):
                self._ws.send(frame)

    async def acknowledge(self, ts_event: int) -> None:
        """As `Feed.acknowledge`; nothing while there is no connection, the venue does not wait then."""
        ws, talk = self._ws, self._talk
        if ws is None:
            return
        if talk is not None and ts_event >= talk.owed_ns:
            talk.owed_ns = 0
            ws.heard_s = asyncio.get_running_loop().time()  # from now on the venue owes us the next word
        if self._terms.ack:
            ws.send(self._wire.acknowledgement(ts_event))
