"""The websocket of a venue: connect, subscribe, deliver in wire order, and come back, at a pace, whatever ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import aiohttp
from yarl import URL

from flea_lab.clock import Clock
from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.market import INTERVAL_MS, MS_NS, BookSnapshot, Candle, Heartbeat, Trade
from flea_lab.model.trading import Fill
from flea_lab.venue.bars import Bars, Owed
from flea_lab.venue.heard import Bands, Heard, Skew
from flea_lab.venue.mending import History, mended
from flea_lab.venue.numbering import Numbers
from flea_lab.venue.protocol import Deliver, Link, Played, VenueClock
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

OFF_S = 1.0
"""How long a frame may still be on its way, of which the venue says that it has been sent."""


class Asks(NamedTuple):
    """What a stream may ask of the venue besides: candles of a symbol after an instant, and the venue's clock."""

    history: History
    clock: Callable[[], Awaitable[VenueClock]]


class _Connection:
    """What one websocket has shown so far. `waiting` holds (channel, their symbol) not yet acknowledged; a private
    channel has no symbol. `heard_s` is of the last frame, `owed_ns` a heartbeat that we have not acknowledged yet,
    `beat_ns` the latest heartbeat; `off_s` is when the venue was found to be a bar ahead of it.
    """

    def __init__(self, waiting: set[tuple[str, str]], bars: Bars | None = None) -> None:
        self.waiting, self.bars = waiting, bars
        self.answered = self.up = self.played = self.refused = False
        self.first_s = self.last_s = self.heard_s = self.off_s = 0.0
        self.owed_ns, self.beat_ns = 0, 0
        self.limit: asyncio.Timeout | None = None
        self.numbers, self.bands = Numbers(), Bands()


class _Ended(NamedTuple):
    """Why a connection ended, and whether no other could do better."""

    reason: str
    final: bool = False


BEHIND = _Ended("private frames are missing")


class Stream:
    """One websocket after the other; `private_seq` is the last private frame delivered, `faults` counts what could
    not be used, `refused` holds (channel, their symbol) that the venue does not give, `closes` the last close known.
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
        asks: Asks | None = None,
        partial: bool = False,
        max_skew_s: float = 2.0,
    ) -> None:
        """`partial` goes on without what the venue refuses; `max_skew_s` apart, the two clocks are complained of."""
        self._dialect, self._wire, self._rest, self._clock = wire.dialect, wire, rest, clock
        self._kinds = tuple(kind for kind in kinds if wire.channel[kind])
        self._missed, self._ack, self._on_fault, self._on_raw = missed, ack, on_fault, on_raw
        bar_s = INTERVAL_MS[wire.interval] / 1_000 + 30.0
        self._silence_s = wire.dialect.silence_s if wire.beat_s else max(wire.dialect.silence_s, bar_s)
        self._quiet_s = self._silence_s if wire.beat_s or asks is None else wire.dialect.quiet_s
        self._asks, self._partial = asks, partial
        self.heard, self.skew = Heard(), Skew(max_skew_s)
        self.refused: set[tuple[str, str]] = set()
        self.closes: dict[str, float] = {}
        self._state: _Connection | None = None
        self._step_ns = INTERVAL_MS[wire.interval] * MS_NS
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
                state = self._state = _Connection(self._wire.asked(self._kinds) - self.refused, self._bars())
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

    def _bars(self) -> Bars | None:
        """The bars that are to be whole; none where nobody may be asked, or where the speech closes bars itself."""
        if self._asks is None or self._wire.beat_s or "candle" not in self._kinds:
            return None
        channel, theirs = self._wire.channel["candle"], self._dialect.theirs
        symbols = [symbol for symbol in self._wire.symbols if (channel, theirs(symbol)) not in self.refused]
        return Bars(symbols, self._step_ns, self.closes)

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
        state.heard_s = asyncio.get_running_loop().time()
        while True:
            try:
                async with asyncio.timeout(limit_s) as limit:
                    return await self._receive(ws, state, deliver, limit)
            except TimeoutError:
                if state.up:
                    looked = await self._look(state)
                    if isinstance(looked, _Ended):
                        return looked
                    limit_s = looked
                    continue
            if self._partial and (state.refused or state.answered):
                ended = self._go_without(set(state.waiting), state, deliver)
                if ended is not None:
                    return ended
            elif state.answered or dialect.acknowledged == "always":
                missing = ", ".join(" ".join(filter(None, pair)) for pair in sorted(state.waiting))
                return _Ended(f"not acknowledged within {dialect.acknowledge_within_s:g} s: {missing}")
            if not state.up:
                self._lift(state, deliver)  # a venue that says nothing at all of subscriptions
            limit_s = self._limit_s()

    def _limit_s(self) -> float:
        return min(self._quiet_s, self._silence_s)

    async def _look(self, state: _Connection) -> _Ended | float:
        """Why a silent connection is dead, or how many seconds it may go on in silence.

        A market that waits for us is silent by right. Another is dead when its clock runs on without a word: a
        recorded one when it is a bar ahead of what it has told us, a real one when the silence is too long.
        """
        loop = asyncio.get_running_loop()
        silent_s = loop.time() - state.heard_s
        dead = _Ended(f"no frame for {round(silent_s, 1):g} s")
        if state.played or state.owed_ns:
            return self._limit_s()
        if silent_s < self._limit_s() - 0.01 and not state.off_s:
            return self._limit_s() - silent_s
        if state.off_s or self._asks is None:
            return dead
        try:
            async with asyncio.timeout(self._dialect.request_timeout_s):
                time = await self._asks.clock()
        except (VenueError, TimeoutError):
            return dead
        if time.kind == "wall":
            enough_s = self._limit_s() if "book" in self._kinds else self._silence_s
            return dead if silent_s >= enough_s - 0.01 else enough_s - silent_s
        if state.beat_ns and time.now_ns >= state.beat_ns + self._step_ns:
            state.off_s = loop.time()
            return OFF_S
        if state.beat_ns:
            await self.acknowledge(state.beat_ns)  # in case that it was lost
        state.beat_ns = state.beat_ns or time.now_ns
        return self._limit_s()

    async def _receive(self, ws: WebSocket, state: _Connection, deliver: Deliver, limit: asyncio.Timeout) -> _Ended:
        loop, moved_s, state.limit = asyncio.get_running_loop(), -1.0, limit
        while True:
            message = await ws.receive()
            state.heard_s = now_s = loop.time()
            state.off_s = 0.0
            if message.type is not TEXT and message.type is not BINARY:
                return _Ended(_farewell(ws, getattr(message, "extra", None)))
            ended = await self._on_frame(message.data, state, deliver, now_s)
            if ended is not None:
                return ended
            if state.up and now_s >= moved_s + 1.0:  # a timer moves once a second, not at every frame
                moved_s = now_s
                limit.reschedule(None if state.played else now_s + self._limit_s())
                apart = self.skew.complaint()
                if apart:
                    self._fault(apart)

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
        if type(told) is Push and told.kind in ("book", "trades"):  # nearly all: nothing to wait for
            return self._pushed(told, state, deliver, now_s)
        for one in told if isinstance(told, list) else (told,):
            ended = await self._say(one, state, deliver, now_s)
            if ended is not None:
                return ended
        return None

    async def _say(self, told: Told, state: _Connection, deliver: Deliver, now_s: float) -> _Ended | None:
        if not isinstance(told, Push):
            return self._told(told, state, deliver)
        said, bars = told.said, state.bars
        if bars is not None and isinstance(said, Candle | Heartbeat):
            owed, wild = bars.owed(said), isinstance(said, Candle) and bars.wild(said)
            if owed or wild:
                found = await self._mend(bars, owed, said if wild else None, deliver)
                if isinstance(found, _Ended):
                    return found
                said = found if wild else said
                told = told._replace(said=said)
            if isinstance(said, Candle):
                bars.told(said)
        ended = self._pushed(told, state, deliver, now_s)
        return await self._catch_up(told, deliver) if ended is BEHIND else ended

    @contextmanager
    def _unhurried(self) -> Iterator[None]:
        """The silence of the venue does not count while it is asked something: nobody listens."""
        limit = self._state.limit if self._state is not None else None
        if limit is not None:
            limit.reschedule(None)
        yield
        if limit is not None:
            limit.reschedule(asyncio.get_running_loop().time() + self._limit_s())

    async def _mend(
        self, bars: Bars, owed: list[Owed], wild: Candle | Heartbeat | None, deliver: Deliver
    ) -> _Ended | Candle | None:
        """Delivers bars that are owed; one that is hard to believe as the venue's history has it, if it does."""
        assert self._asks is not None
        try:
            with self._unhurried():
                found = await mended(self._asks.history, owed, wild, self._step_ns)
        except VenueError as error:
            return _Ended(f"candles are missing: {error}", isinstance(error, VenueRefusal))
        for text in found.faults:
            self._fault(text)
        for candle in found.candles:
            bars.told(candle)
            deliver(candle)
        return found.instead

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
                place = state.numbers.place((kind, push.symbol), seq)
                if place != "next":
                    text = f"{self._wire.channel[kind]} {push.symbol}: seq = {seq}: "
                    text += f"{state.numbers.missed} missing before it" if place == "gap" else f"came {place}"
                    self._fault(text)
                    if place == "gap" and kind in CRITICAL:
                        return _Ended(text)
                    if place == "again" or (place == "late" and isinstance(push.said, BookSnapshot)):
                        return None
        said = push.said
        if said is not None and (kind in PRIVATE or self._believed(kind, push.symbol, said, state)):
            deliver(said)
        return None

    def _believed(self, kind: str, symbol: str, said: object, state: _Connection) -> bool:
        """Whether the price of a print or book is near the one before. Notes how recent it all is."""
        if isinstance(said, Heartbeat):
            state.beat_ns = max(state.beat_ns, said.ts_event)
            state.owed_ns = said.ts_event if self._ack else 0
            if not self._wire.beat_s:
                self.skew.note(said.ts_event, self._clock.now_ns())
            return True
        price = 0.0
        if isinstance(said, BookSnapshot):
            price = said.bids[0][0] if said.bids else 0.0
        elif isinstance(said, Trade):
            price = said.price
        if price and not state.bands.believes(symbol, price):
            self._fault(f"{kind} {symbol}: price = {price}: too far from the one before")
            return False
        ts = getattr(said, "ts_event", 0)
        self.heard.note(kind, symbol, ts)
        if kind in ("book", "trades"):
            self.skew.note(ts, said.ts_recv)  # type: ignore[attr-defined]
        return True

    def _told(self, said: Subscribed | Complaint | None, state: _Connection, deliver: Deliver) -> _Ended | None:
        if isinstance(said, Complaint):
            text = f"{said.code}: {said.message}"
            if said.code in FINAL and self._partial:
                state.refused = True
                self._fault(f"subscription refused: {text}")
                named = {pair for pair in state.waiting if any(f"'{name}'" in said.message for name in pair if name)}
                return self._go_without(named, state, deliver)
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

    def _go_without(self, pairs: set[tuple[str, str]], state: _Connection, deliver: Deliver) -> _Ended | None:
        """Goes on without what the venue does not give; there must be something left."""
        for channel, symbol in sorted(pairs):
            self._fault(f"goes on without {channel} {symbol}".rstrip())
        self.refused |= pairs
        for symbol in self._wire.symbols:
            if state.bars is not None and (self._wire.channel["candle"], self._dialect.theirs(symbol)) in pairs:
                state.bars.drop(symbol)
        state.waiting -= pairs
        if not self._wire.asked(self._kinds) - self.refused:
            return _Ended("nothing that was asked for is given", True)
        if state.answered and not state.waiting and not state.up:
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
            with self._unhurried():
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
        ws, state = self._ws, self._state
        if state is not None and ts_event >= state.owed_ns:
            state.owed_ns = 0
            state.heard_s = asyncio.get_running_loop().time()  # from now on the venue owes us the next word
        if self._ack and ws is not None and not ws.closed:
            with suppress(aiohttp.ClientError, OSError):  # the reader sees the end of the connection and says why
                await ws.send_str(self._wire.acknowledgement(ts_event).decode())


def _farewell(ws: WebSocket, extra: object) -> str:
    failed = ws.exception()
    if failed is not None:
        return f"connection lost: {type(failed).__name__}: {shown(str(failed))}"
    why = f" {shown(extra)}" if isinstance(extra, str) and extra else ""
    return f"closed by the venue, code {ws.close_code}{why}"
