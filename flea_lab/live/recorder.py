"""A recorder: what a feed says goes onto a tape as it came, frame by frame, beside what was read from it.

Rules. A frame is on the tape before the event that was read from it, and the connection's ups and downs stand between
them, so that a hole can be seen. What is on the tape is handed to the system every `flush_s`; with `fsync` also to
the disk. A process that is killed loses what came since, and half a record at most, which the next one cuts off.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from flea_lab.clock import Clock
from flea_lab.data.tape import Note, NoteKind, RawFrame, Record, beginning
from flea_lab.data.tape_roll import TapeRoll
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.feeds import OpenFeed
from flea_lab.model.market import Candle, Heartbeat, MarketEvent
from flea_lab.settings import Settings
from flea_lab.venue.protocol import Link, Played, Said
from flea_lab.venue.speech import Kind

CHANNELS: tuple[Kind, ...] = ("candle", "book", "trades", "funding")
"""What a recorder may listen to; the account's own orders never."""


class RecorderSettings(Settings, frozen=True, kw_only=True):
    """How a recorder writes. `keep`: frames as they came ("raw"), what was read from them ("events"), or both.

    `history` candles of each symbol are asked for before the first frame. A file ends at `max_mb` (10^6 bytes) and,
    with `daily`, at midnight UTC; without either there is one.
    """

    flush_s: Annotated[float, Meta(gt=0.0, le=3_600.0, description="seconds")] = 1.0
    fsync: bool = False
    keep: Literal["both", "events", "raw"] = "both"
    history: Annotated[int, Meta(ge=0, le=100_000, description="bars")] = 0
    max_mb: Annotated[float, Meta(gt=0.0, le=1_000_000.0, description="10^6 bytes")] | None = None
    daily: bool = False

    @property
    def max_bytes(self) -> int | None:
        """`max_mb` in bytes."""
        return None if self.max_mb is None else round(self.max_mb * 1e6)


class Recorded(Struct, frozen=True, kw_only=True):
    """What a recorder wrote: records by kind, the number of lost connections and unread frames, and how it ended."""

    how: str
    counts: dict[str, int]
    downs: int
    faults: int


class Recorder:
    """Writes what one feed says onto one tape. `hear_raw`, `hear_fault` are the hooks of its client."""

    def __init__(self, tape: TapeRoll, settings: RecorderSettings, clock: Clock, *, ack: bool = False) -> None:
        """With `ack` the venue is told how far the tape is, so that a recorded market goes on."""
        self.tape, self._settings, self._clock, self._ack = tape, settings, clock, ack
        self.counts: Counter[str] = Counter()
        self.up = False
        self.downs = self.faults = 0
        self.venue_ns = 0
        self._frame: tuple[bytes, int] | None = None
        self._acked: asyncio.Queue[int] = asyncio.Queue()
        self._over: asyncio.Event = asyncio.Event()
        self._how = ""

    @property
    def keeps_frames(self) -> bool:
        """Whether frames are kept as they come."""
        return self._settings.keep != "events"

    def hear_raw(self, raw: bytes, ts_recv: int) -> None:
        """Takes a frame as it came."""
        self._settle_frame()
        if self._settings.keep != "events":
            self._frame = raw, ts_recv

    def hear_fault(self, text: str) -> None:
        """Takes what is wrong with a frame, in words."""
        self.faults += 1
        self._note("fault", text)

    def deliver(self, said: Said) -> None:
        """Takes what was read from the last frame, or what became of the connection."""
        if isinstance(said, Link):
            self.up = said.up
            self.downs += not said.up
            self._note("up" if said.up else "down", said.reason)
        elif isinstance(said, Played):
            self.finish("the recorded market is over")
        elif isinstance(said, MarketEvent):
            self._event(said)

    def finish(self, how: str) -> None:
        """Ends the recording in order."""
        self._how = self._how or how
        self._over.set()

    async def run(
        self, client: OpenFeed, symbols: Sequence[str], interval: str = "1m", limit_s: float | None = None
    ) -> Recorded:
        """Records until `finish`, the end of a recorded market, or `limit_s` have gone by; what ends the feed for
        good is raised, the tape closed.
        """
        try:
            self._note("begin", beginning(client.dialect.name, interval, symbols))
            async with client:
                await self._ask_history(client, symbols)
                await self._listen(client, limit_s)
        finally:
            with _on_disk(self.tape.path):
                try:
                    self._note("end", self._how or "ended by an error")
                finally:
                    self.tape.close()
        return Recorded(how=self._how, counts=dict(self.counts), downs=self.downs, faults=self.faults)

    async def _listen(self, client: OpenFeed, limit_s: float | None) -> None:
        work = (client.run(self.deliver), self._flush(), self._acknowledge(client), self._over.wait())
        tasks = [asyncio.ensure_future(job) for job in work]
        try:
            done, _ = await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            self.finish("the time is over")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_history(self, client: OpenFeed, symbols: Sequence[str]) -> None:
        if not self._settings.history:
            return
        past = [candle for symbol in symbols for candle in await client.history(symbol, None, self._settings.history)]
        self._note("history", f"{len(past)} candles")
        here_ns = self._clock.now_ns()  # of all of them: their order on the tape is that of their time
        for candle in sorted(past, key=lambda candle: (candle.ts_event, symbols.index(candle.symbol))):
            self._event(msgspec.structs.replace(candle, ts_recv=here_ns))

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._settings.flush_s)
            self._settle_frame()
            self._flush_tape(self._settings.fsync)

    async def _acknowledge(self, client: OpenFeed) -> None:
        while True:
            ts_event = await self._acked.get()
            if self._acked.empty():
                self._flush_tape(False)
                await client.acknowledge(ts_event)

    def _event(self, event: MarketEvent) -> None:
        if self._frame is not None:
            self._settle_frame(event.ts_event)
        if not isinstance(event, Candle) or event.complete:
            self.venue_ns = max(self.venue_ns, event.ts_event)
        if self._settings.keep != "raw":
            self._write(event)
        if isinstance(event, Heartbeat) and self._ack:
            self._acked.put_nowait(event.ts_event)

    def _settle_frame(self, ts_event: int | None = None) -> None:
        if self._frame is not None:
            (raw, ts_recv), self._frame = self._frame, None
            self._write(RawFrame(ts_recv, raw, ts_event))

    def _note(self, kind: NoteKind, text: str) -> None:
        self._settle_frame()
        self._write(Note(self._clock.now_ns(), kind, text))

    def _flush_tape(self, sync: bool) -> None:
        with _on_disk(self.tape.path):
            self.tape.flush(sync=sync)

    def _write(self, record: Record) -> None:
        self.counts[type(record).__name__] += 1
        with _on_disk(self.tape.path):
            self.tape.append(record)


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """What the disk refuses is one line."""
    try:
        yield
    except OSError as error:
        raise WorkspaceError(f"tape {path}: {error.strerror or error}") from None


def channels_of(text: str) -> tuple[Kind, ...]:
    """The channels named in `text`, separated by commas; `ConfigError` for one that is not among `CHANNELS`."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in found or ("",):
        if name not in CHANNELS:
            raise ConfigError(f"channel {name!r} must be among {', '.join(CHANNELS)}")
    return tuple(kind for kind in CHANNELS if kind in found)
