"""The brake of a runner: why no order may leave now, and what is open taken back until the venue says that none is.

Rules. A halt is asked for by any thread, by the HALT file, or by the core; an end is asked for once. Either stops
orders at once, takes every open order back at the venue, and is verified only when the venue says that none is left
and none is unknown. The HALT file stands for a halt until the journal has it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import VenueError, VenueRefusal, WorkspaceError
from flea_lab.live.account import HALT
from flea_lab.live.alerts import Severity
from flea_lab.live.latch import is_latched, remove_halt_file, write_halt_file
from flea_lab.live.pump import Pump, durable
from flea_lab.live.sender import ASK_S, Sender
from flea_lab.model.trading import Halt, Resume
from flea_lab.venue.protocol import Exchange

STOP_WAIT_S = 15.0
DISK_WAIT_S = 3.0
"""How long a halt waits for the disk before a file says it; orders are taken back after that."""

AlertPut = Callable[[Severity, str], None]
"""Takes severity and text; returns at once."""


class Brake:
    """Halts and the end of one runner. `asked` is set by any thread and read before every order; `filed` says that the
    HALT file stands for it until it is in the journal; `ending` is why the session ends."""

    def __init__(self, pump: Pump, exchange: Exchange, clock: Clock, folder: Path, alert: AlertPut) -> None:
        self._pump, self._core, self._exchange = pump, pump.core, exchange
        self._clock, self._folder, self._alert = clock, folder, alert
        self._file = str(folder / HALT)  # looked for at every event
        self._ends = asyncio.Event()
        self.asked = self.ending = ""
        self.filed = self.verified = False

    @property
    def pulled(self) -> bool:
        """Whether a halt or an end has been asked for."""
        return bool(self.asked or self._core.halted or self.ending)

    def why(self) -> str:
        """Why no order may be sent at this instant; "" when one may, as far as halts and the end go."""
        if self.asked or self._core.halted or is_latched(self._file):
            return "halted"
        return "stopping" if self.ending else ""

    def end(self, reason: str) -> bool:
        """Whether this is what ends the session; False where something else does already."""
        if self.ending:
            return False
        self.ending, self.verified = reason, False
        self._ends.set()
        return True

    def look(self) -> Halt | None:
        """The halt that the core has not heard of yet. The file of one that is in the journal goes; of one that was
        cleared, so does the word that nothing was open."""
        if not self.pulled:
            self.verified = False
        why = self.asked or ("the HALT file is there" if is_latched(self._file) else "")
        if why or self.filed:
            killed = "kill_switch" in self._core.gate.closed()
            if why and not killed:
                return Halt(ts_event=self._clock.now_ns(), reason=why)
            if self.filed and self._pump.stands("kill_switch"):
                self.filed = False
                remove_halt_file(self._folder)
        return None

    def left_of(self, resume: Resume) -> Resume:
        """What a resume may still clear: no kill switch where a halt came after it was granted. The row that opens the
        latch must never come behind the word that it stands."""
        if "kill_switch" not in resume.clears or not (self.asked or is_latched(self._file)):
            return resume
        self._alert("warning", f"halted again since {resume.by} cleared the kill switch: it stays closed")
        return replace(resume, clears=tuple(latch for latch in resume.clears if latch != "kill_switch"))

    async def verify(self, sender: Sender) -> None:
        """Takes back every open order at the venue; verified when it says that none is open and none is unknown.

        Nor may one have been unknown when the venue was asked: it may arrive there after the answer, and its own
        acknowledgement come before this looks.
        """
        blotter = self._core.router.blotter
        settled = sender.settled(blotter)
        try:
            await self._exchange.cancel_all()
            left = await self._exchange.open_orders()
        except VenueError as error:
            self._alert("critical", f"open orders cannot be taken back yet: {error}")
            return
        if not left and settled and sender.settled(blotter):
            self.verified = True
            self._alert("info", "no open order at the exchange")

    async def deadline(self) -> None:
        """Returns when an end that was asked for takes too long: the loop may be waiting for a venue that is silent."""
        await self._ends.wait()
        await asyncio.sleep(STOP_WAIT_S)
        what = "the account equals the venue's" if self.verified else "no order is open"
        self._alert("critical", f"stopped without the venue's word that {what}")
        self.ending += f", without the venue's word that {what}"

    async def last_words(self, reason: str, sender: Sender) -> None:
        """The end of trading by `reason`: latched in the journal, or in a file, while every order is taken back."""
        self.asked, self.verified = reason, False
        taken_back = self._take_back_in_time(sender)
        await asyncio.gather(self._latch(reason), taken_back)  # a disk that hangs keeps no order open

    async def _latch(self, reason: str) -> None:
        try:
            async with asyncio.timeout(DISK_WAIT_S):
                await durable(self._pump.on(Halt(ts_event=self._clock.now_ns(), reason=reason)).ticket)
        except Exception as second:  # the journal does not take it, whatever the reason: a file does
            self._alert("critical", f"the halt is not in the journal: {second}")
            self._leave_file(reason)

    async def _take_back_in_time(self, sender: Sender) -> None:
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                await self._take_back(sender)
        except Exception as second:  # whatever it is, it must not hide why the runner ends
            text = str(second) or ("no answer" if isinstance(second, TimeoutError) else type(second).__name__)
            self._alert("critical", f"open orders could not be taken back: {text}")

    async def _take_back(self, sender: Sender) -> None:
        """Takes everything back until the venue lists no open order, and none was on its way when it was asked: that
        one may arrive after the answer."""
        while True:
            on_its_way = sender.sending
            try:
                await self._exchange.cancel_all()
                if not await self._exchange.open_orders() and not on_its_way:
                    return
            except VenueRefusal:
                raise
            except VenueError as error:
                self._alert("critical", f"open orders cannot be taken back yet: {error}")
            await asyncio.sleep(ASK_S)

    def _leave_file(self, reason: str) -> None:
        try:
            write_halt_file(self._folder, reason, self._clock)
        except WorkspaceError as error:
            self._alert("critical", str(error))
