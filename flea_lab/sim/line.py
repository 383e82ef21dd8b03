"""The way from the venue to a process: frames that are lost, doubled, late, wrong, or held up by the hour."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple

from msgspec.structs import replace

from flea_lab.clock import Dice
from flea_lab.model.market import BookSnapshot, Candle, Heartbeat
from flea_lab.sim.loop import SimLoop
from flea_lab.sim.swarm import Swarm

NAN_LIKE = (float("nan"), float("inf"), -1.0, 0.0, 1e308)
RAW = 0.2
"""Share of impossible numbers that get past the reader of frames, to whoever comes after it."""


class Frame(NamedTuple):
    """One frame: `seq` counts per channel and symbol, private ones per account. `bad`: it cannot be read."""

    channel: str
    symbol: str
    seq: int
    said: Any
    bad: bool = False


class Line:
    """One connection. `closed` is why it ended, "" while it is open."""

    def __init__(self, loop: SimLoop, dice: Dice, owner: object) -> None:
        self._loop, self._dice, self.owner = loop, dice, owner
        self._frames: deque[Frame] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._last_s = self.clogged_s = 0.0
        self.closed = ""
        self.silent = self.private_silent = False
        self.muted: set[tuple[str, str]] = set()

    def send(self, frame: Frame) -> None:
        """Sends a frame: what is sent first arrives first."""
        if self.silent or self.closed:
            return
        at = max(self._last_s, self._loop.time() + self._dice.uniform(0.002, 0.02), self.clogged_s)
        self._last_s = at
        self._loop.call_at(at, self._arrive, frame, context=Context())

    def send_later(self, seconds: float, frame: Frame) -> None:
        """Sends a frame after others."""
        self._loop.call_later(seconds, self.send, frame, context=Context())

    def close(self, reason: str) -> None:
        """Ends the connection; both sides see it."""
        self.closed = self.closed or reason
        self._stir()

    async def next(self, within_s: float) -> Frame | None:
        """The next frame; None where the connection has ended, or nothing came in time."""
        if not self._frames and not self.closed:
            self._wake = self._loop.create_future()
            try:
                async with asyncio.timeout(within_s):
                    await self._wake
            except TimeoutError:
                return None
            finally:
                self._wake = None
        return self._frames.popleft() if self._frames else None

    def _arrive(self, frame: Frame) -> None:
        if not self.silent:
            self._frames.append(frame)
            self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Board:
    """Everybody who listens to the venue, and what goes wrong on the way to each."""

    def __init__(self, loop: SimLoop, dice: Dice, swarm: Swarm) -> None:
        self._loop, self._dice, self._swarm = loop, dice, swarm
        self.lines: list[Line] = []
        self._seq: dict[tuple[str, str], int] = {}
        self.told: list[Frame] = []
        self.blind: Callable[[], bool] = lambda: False

    def connect(self, owner: object) -> Line:
        """A new connection; it may begin with what was told of the account before."""
        line = Line(self._loop, self._dice, owner)
        self.lines.append(line)
        if self.told and self._swarm.hits("private.replay"):
            for frame in self.told[-self._dice.randint(1, 12) :]:
                line.send(frame)
        return line

    def disconnect(self, line: Line) -> None:
        """The other side has gone."""
        line.closed = line.closed or "gone"
        if line in self.lines:
            self.lines.remove(line)

    def drop(self, owner: object) -> None:
        """The process of these lines is dead."""
        for line in [line for line in self.lines if line.owner is owner]:
            self.disconnect(line)

    def heal(self) -> None:
        """What was muted is told again; a half-open connection is for the other side to notice."""
        for line in self.lines:
            line.muted.clear()
            line.private_silent = False
            line.clogged_s = 0.0

    def public(self, channel: str, symbol: str, said: Candle | BookSnapshot | Heartbeat) -> None:
        """Tells everybody something of the market."""
        key = channel, symbol
        for _ in range(2 if channel == "candle" and self._swarm.hits("public.resent") else 1):
            seq = self._seq[key] = self._seq.get(key, 0) + 1
            frame = Frame(channel, symbol, seq, said)
            for line in list(self.lines):
                self._public(line, frame)

    def private(self, seq: int, said: Any) -> None:
        """Tells everybody something of the account."""
        frame, hits = Frame("private", "", seq, said), self._swarm.hits
        self.told.append(frame)
        for line in self.lines if not self.blind() else ():
            if line.private_silent or hits("private.drop"):
                continue
            if hits("private.stall"):
                line.private_silent = True
                continue
            if hits("private.late"):
                line.send_later(self._dice.uniform(0.05, 1.5), frame)
                continue
            line.send(frame)
            if hits("private.twice"):
                line.send_later(self._dice.uniform(0.0, 2.0), frame)

    def _public(self, line: Line, frame: Frame) -> None:
        hits, dice = self._swarm.hits, self._dice
        if (frame.channel, frame.symbol) in line.muted or hits("public.drop"):
            return
        if hits("public.mute"):
            line.muted.add((frame.channel, frame.symbol))
        if hits("public.half_open"):
            line.silent = True
        if hits("public.close"):
            line.close("closed by the venue, code 1006")
        if hits("public.backlog"):
            line.clogged_s = self._loop.time() + dice.uniform(1.0, 6.0)
        frame = self._spoiled(frame)
        if hits("public.late"):
            line.send_later(dice.uniform(0.1, 1.5), frame)
            return
        line.send(frame)
        if hits("public.twice"):
            line.send_later(dice.uniform(0.0, 1.0), frame)

    def _spoiled(self, frame: Frame) -> Frame:
        """The frame, or it with an impossible number, or its book crossed."""
        said, dice = frame.said, self._dice
        if isinstance(said, Candle | BookSnapshot) and self._swarm.hits("public.not_a_number"):
            if dice.random() >= RAW:
                return frame._replace(bad=True)
            wrong = dice.choice(NAN_LIKE)
            if isinstance(said, Candle):
                return frame._replace(said=replace(said, close=wrong))
            return frame._replace(said=replace(said, bids=((wrong, said.bids[0][1]), *said.bids[1:])))
        if isinstance(said, BookSnapshot) and self._swarm.hits("public.crossed"):
            return frame._replace(said=replace(said, bids=said.asks[::-1], asks=said.bids[::-1]))
        return frame
