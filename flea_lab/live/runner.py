"""The live bot: one loop that carries what the venue says into the core and what the core says to the venue.

Rules. One inbox, in the order of arrival; one event at a time. Nothing trades before history has warmed the signals
and the account here equals the account there. What cannot be explained halts: an event that the core refuses, an order
that nobody here gave, a difference at a reconcile. A halt stops orders at once, takes every open order back at the
venue, and is called verified only when the venue says that none is left and none is unknown. Stopping does the same
without closing a latch. The loop never guesses and never sends an order twice.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings
from flea_lab.core import Event
from flea_lab.data.market_watch import Told
from flea_lab.data.tape import TapeWriter
from flea_lab.errors import FleaError, VenueError, VenueRefusal, WorkspaceError
from flea_lab.execution.order import UNKNOWN, Status
from flea_lab.live.account import HALT
from flea_lab.live.alerts import Severity
from flea_lab.live.catch_up import ask, unheard
from flea_lab.live.halt import remove_halt_file
from flea_lab.live.hearing import Hearing
from flea_lab.live.inbox import Inbox
from flea_lab.live.pump import Pump
from flea_lab.live.reconcile import Missed, Reconciler
from flea_lab.live.sender import ASK_S, Sender
from flea_lab.live.status import status_of
from flea_lab.model.finding import Resync
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Accepted,
    Alert,
    CancelOrder,
    Halt,
    NewOrder,
    Refused,
    Rejected,
    SendUnclear,
    WarmUp,
)
from flea_lab.venue.protocol import Exchange, Feed, Link, Played, Said

OVER = "the recorded market is over"
TICK_S = 0.1
"""How often the loop looks at its timers, at least."""

PUBLISH_S = 0.05
STOP_WAIT_S = 15.0
REFRESH_S = 5.0
"""How long at least between two wishes for a whole book of one symbol."""


Item = Said | Event | None
AlertPut = Callable[[Severity, str], None]
"""Takes severity and text; returns at once."""


class Runner:
    """One account's live bot over a feed and an exchange."""

    def __init__(
        self,
        *,
        pump: Pump,
        feed: Feed,
        exchange: Exchange,
        settings: LiveSettings,
        warmup_bars: int,
        wall_clock: bool,
        clock: Clock,
        folder: Path,
        alert: AlertPut,
        hearing: Hearing,
    ) -> None:
        """`wall_clock` says that the venue's time is the time of day, so that a candle's age can be told."""
        self.pump, self.core = pump, pump.core
        self.feed, self.exchange, self.settings = feed, exchange, settings
        self._bars, self._wall_clock = max(settings.history_bars, warmup_bars), wall_clock
        self._clock, self._folder, self._alert = clock, folder, alert
        self._halt_file = str(folder / HALT)  # looked for at every event
        self.status: dict[str, Any] = {"state": "starting"}
        self._inbox: Inbox[Item] = Inbox()
        self.reconciler = Reconciler(pump, exchange, settings, clock)
        self._sender = Sender(
            exchange,
            self.put,
            clock.now_ns,
            self._why_blocked,
            lambda: self.reconciler.known_seq,
            settings.unknown_wait_s,
        )
        self.state, self.error = "starting", ""
        self.halt_asked = ""  # set by any thread, read before every order
        self.halt_filed = False  # the HALT file stands for it until it is in the journal
        self.link = self._caught_up = self.ready = self.verified = False
        self._finish = ""
        self.venue_ns = self.late = 0
        self._ack_ns: int | None = None
        self._warm_ns = self._fresh_ns = -1
        self._stopping = asyncio.Event()
        self._published_s = 0.0
        self._tape = TapeWriter(folder / "market.tape")
        self._hearing, self._asked_for, self.found = hearing, set[str](), 0
        self._refreshed_s: dict[str, float] = {}

    def put(self, item: Item) -> None:
        """Takes something into the inbox; from the loop's own thread."""
        self._inbox.put_nowait(item)

    def finish(self, reason: str) -> None:
        """Stops in order: no new order, open ones taken back, then the end. From the loop's own thread."""
        if not self._finish:
            self._finish, self.state, self.verified = reason, "stopping", False
            self._stopping.set()
            self.put(None)

    async def run(self) -> str:
        """Runs until stopped or the recorded market is over; how it ended. What cannot go on is raised, orders taken
        back as far as the venue answers."""
        one: object = self.feed  # often one object is both, and listens once
        work = {
            "loop": self._work(),
            "feed": self.feed.run(self.put),
            **({} if one is self.exchange else {"exchange": self.exchange.run(self.put)}),
            "orders": self._sender.send_orders(),
            "cancels": self._sender.send_cancels(),
            "questions": self._ask(),
            "deadline": self._deadline(),
        }
        tasks = {asyncio.create_task(job, name=name): name for name, job in work.items()}
        try:
            await self._watch(tasks)
        except Exception as error:  # whatever it is, it is the end of trading: latched, and raised again
            await self._last_words(error)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tape.close()
        self.pump.commit()
        self.state = "stopped"
        self._tell()
        return self._finish

    async def _watch(self, tasks: dict[asyncio.Task[Any], str]) -> None:
        """Waits for the loop to end, or the time it has for that; what any task raises is raised."""
        waiting = set(tasks)
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if any(tasks[task] in ("loop", "deadline") for task in done):
                return

    async def _deadline(self) -> None:
        """Returns when an end that was asked for takes too long: the loop may be waiting for a venue that is silent."""
        await self._stopping.wait()
        await asyncio.sleep(STOP_WAIT_S)
        what = "the account equals the venue's" if self.verified else "no order is open"
        self._alert("critical", f"stopped without the venue's word that {what}")
        self._finish += f", without the venue's word that {what}"

    async def _last_words(self, error: Exception) -> None:
        self.error = str(error) or type(error).__name__
        self._alert("critical", f"the runner ends: {self.error}")
        if self.state == "starting":
            return
        self.halt_asked = self.error
        try:
            self.pump.on(Halt(ts_event=self._clock.now_ns(), reason=self.error))
        except Exception as second:  # the journal does not take it, whatever the reason: a file does
            self._alert("critical", f"the halt is not in the journal: {second}")
            self._leave_halt_file()
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                await self.exchange.cancel_all()
        except (VenueError, TimeoutError) as second:
            self._alert("critical", f"open orders could not be taken back: {second or 'no answer'}")

    def _leave_halt_file(self) -> None:
        try:
            (self._folder / HALT).touch(mode=0o600)
        except OSError as error:
            self._alert("critical", f"{self._folder / HALT}: cannot be written ({error.strerror})")

    # ---- the loop

    async def _work(self) -> None:
        while not (self._finish and await self._finished()):
            item = await self._next()
            if item is not None:
                await self._take(item)
            if self._sender.waiting:
                await asyncio.sleep(0)  # what was ordered goes out before anything else is looked at
            self._look_at_halts()
            if self._inbox.empty():
                await self._at_rest()
            self.pump.flush()
            self._tell(often=False)

    async def _next(self) -> Item:
        """The next of the inbox; None where nothing came for a tick: time to look at the timers."""
        if not self._inbox.empty():
            return self._inbox.get_nowait()
        try:
            async with asyncio.timeout(TICK_S):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _take(self, item: Said | Event) -> None:
        match item:
            case Link():
                await self._on_link(item)
            case Played():
                self.venue_ns = max(self.venue_ns, item.ts_event)
                self.finish(OVER)
            case Candle():
                self._tape.append(item)
                if item.complete:
                    self._on_candle(item)
            case Trade() | BookSnapshot() | BookDelta():
                self._tape.append(item)
                self.venue_ns = max(self.venue_ns, item.ts_event)
                self._noted(self._hearing.on(item))
            case Funding():
                self._tape.append(item)
                self._noted(self._hearing.on(item))
                if item.state == "settled":
                    self._give(item)
            case Heartbeat():
                self.venue_ns = max(self.venue_ns, item.ts_event)
                self._give(item)
                self._ack_ns = item.ts_event
            case _:
                self._give(item)

    def _noted(self, told: Told) -> None:
        """What was found in the data is kept, and told to the core where the config does not tolerate it; a book that
        needs a snapshot is asked for."""
        for one in told:
            if isinstance(one, Resync):
                if one.reason != "start":
                    self._alert("warning", f"the book of {one.symbol} cannot be read ({one.reason}): asked for afresh")
                self._asked_for.add(one.symbol)
            elif one.kind != "start":
                self.found += 1
                self.pump.journal.finding(one)
                if one.ts_to is None or one.resolved == "told":
                    self._alert("warning", f"{one.channel} of {one.symbol}: {one.kind} {one.detail}".rstrip())
                doubt = self._hearing.doubt(one)
                if doubt is not None:
                    self._give(doubt)

    def _on_candle(self, candle: Candle) -> None:
        ts = candle.ts_event
        self.venue_ns = max(self.venue_ns, ts)
        features, told = self._hearing.bar(candle)
        self._noted(told)
        if ts <= self.core.decided_ns:
            self.late += 1  # history had it already, or it came twice
            return
        age_s = ((self._clock.now_ns() if self._wall_clock else self.venue_ns) - ts) / 1e9
        stale = not age_s <= self.settings.stale_s
        if stale:
            self._alert("warning", f"the candle of {candle.symbol} came {age_s:.0f} s late: it decides nothing")
        if stale and self._fresh_ns == ts:  # others of its bar wait to be decided on: history brings the bar whole
            self._caught_up = self.ready = False
            return
        if stale or not self.ready:
            if self._warm_ns != ts:  # once a bar: it drops what waits
                self._give(WarmUp(ts_event=ts, until_ns=ts))
                self._warm_ns = ts
        else:
            self._fresh_ns = ts
        if features is not None:
            self._give(features)
        self._give(candle)

    def _give(self, event: Event) -> None:
        """One event into the core; what it says is carried out. What the core refuses halts."""
        try:
            commands = self.pump.on(event)
        except WorkspaceError:
            raise
        except FleaError as error:
            what = f"{type(event).__name__}: {error}"
            self._alert("critical", what)
            if not isinstance(event, Halt):
                self._give(Halt(ts_event=self._clock.now_ns(), reason=what))
            return
        if isinstance(event, Accepted | Rejected | SendUnclear):
            self.pump.answered(event.client_order_id)
        for command in commands:
            match command:
                case NewOrder() | CancelOrder():
                    self._sender.give(command)
                case Alert():
                    self._alert(command.severity, command.text)
                case Refused():
                    self._alert("info", f"{command.intent.symbol} refused: {command.reason}")

    # ---- the connection

    async def _on_link(self, link: Link) -> None:
        self.link = link.up
        self._caught_up = self.ready = False
        if not link.up:
            self._ack_ns = None
            self._noted(self._hearing.lost(self.venue_ns))
            self.state = "warming" if self.state == "trading" else self.state
            self._alert("warning", f"the connection is down: {link.reason}")
            return
        await self._catch_up()

    async def _catch_up(self) -> None:
        """Asks for all that nobody heard, and takes it in."""
        self.state = "stopping" if self._finish else "warming"
        self._tell()
        try:
            asked = await ask(
                self.feed, self.exchange, self.core, bars=self._bars, fills_after=self.reconciler.known_seq
            )
        except VenueRefusal:
            raise
        except VenueError as error:
            self._alert("warning", f"the venue does not say what was missed: {error}")
            return  # asked again when next at rest
        for event in unheard(asked, self.core, self._clock.now_ns()):
            if isinstance(event, Candle):
                self._tape.append(event)
                self.venue_ns = max(self.venue_ns, event.ts_event)
                self._noted(self._hearing.bar(event)[1])
            self._give(event)
        self.pump.commit()
        self.reconciler.asked_seq = asked.seq
        self._caught_up = True

    # ---- at rest: everything heard, everything answered

    async def _at_rest(self) -> None:
        if not self.link:
            return
        if not self._caught_up:
            await self._catch_up()
            return
        blotter = self.core.router.blotter
        if not self._sender.idle or any(o.status in (Status.PENDING, UNKNOWN) for o in blotter.open_orders()):
            return
        if self.reconciler.due(self.venue_ns, self.ready):
            await self._reconcile()
        if self._ack_ns is not None and (self.ready or self.core.halted) and self._inbox.empty():
            ack, self._ack_ns = self._ack_ns, None
            self._tape.flush()
            await self.feed.acknowledge(ack)

    async def _reconcile(self) -> bool:
        """Whether the two accounts could be compared."""
        try:
            found = await self.reconciler.compare(self._inbox.empty)
        except VenueRefusal:
            raise
        except Missed as error:
            self._alert("warning", f"{error}: the venue is asked for what was missed")
            self._caught_up = self.ready = False
            return False
        except VenueError as error:
            self._alert("warning", f"the account could not be compared: {error}")
            return False
        if found is None:
            return False
        if found:
            what = "the account differs from the venue's: " + "; ".join(found)
            self._alert("critical", what)
            if "kill_switch" not in self.core.gate.closed():  # what the clock would open again is no halt for this
                self._give(Halt(ts_event=self._clock.now_ns(), reason=what))
            return True
        if not self.ready and not self._finish:
            self.ready = True
            self.state = "halted" if self.core.halted else "trading"
            self._alert("info", f"ready: {self.pump.bars} bars of history, the account equals the venue's")
        return True

    # ---- halts and the end

    def _why_blocked(self) -> str:
        """Why no order may be sent at this instant; "" when one may."""
        if self.halt_asked or self.core.halted or os.path.exists(self._halt_file):
            return "halted"
        if self._finish:
            return "stopping"
        return "" if self.link and self.ready else "the account is not reconciled with the venue"

    def _look_at_halts(self) -> None:
        why = self.halt_asked or ("the HALT file is there" if os.path.exists(self._halt_file) else "")
        if why or self.halt_filed:
            killed = "kill_switch" in self.core.gate.closed()
            if why and not killed:
                self._give(Halt(ts_event=self._clock.now_ns(), reason=why))
            elif killed and self.halt_filed:
                self.halt_filed = False
                remove_halt_file(self._folder)
        if self.state in ("trading", "halted"):
            state = "halted" if self.core.halted else "trading"
            if state != self.state:
                self.state, self.verified = state, False

    async def _ask(self) -> None:
        """Asks for what is unknown, and at a halt for what is open, until there is nothing left to ask."""
        while True:
            await asyncio.sleep(ASK_S)
            self._tell(often=False)  # the loop may be waiting for the venue
            if self.link and self._caught_up:
                await self._sender.ask(self.core.router.blotter)
            if self.link and self._asked_for:
                await self._refresh()
            if (self.halt_asked or self.core.halted or self._finish) and not self.verified and self.state != "starting":
                await self._verify()

    async def _refresh(self) -> None:
        """Asks for the snapshots that books need."""
        now = asyncio.get_running_loop().time()
        for symbol in sorted(self._asked_for):
            if now - self._refreshed_s.get(symbol, -REFRESH_S) < REFRESH_S:
                continue  # a feed that stays broken is not asked at every message
            self._refreshed_s[symbol] = now
            try:
                await self.feed.refresh(symbol)
            except VenueError as error:
                self._alert("warning", f"no snapshot of {symbol} can be asked for: {error}")
                return  # asked again
            self._asked_for.discard(symbol)

    async def _verify(self) -> None:
        """Takes back every open order at the venue; verified when it says that none is open and none is unknown."""
        try:
            await self.exchange.cancel_all()
            left = await self.exchange.open_orders()
        except VenueError as error:
            self._alert("critical", f"open orders cannot be taken back yet: {error}")
            return
        unsure = [o for o in self.core.router.blotter.open_orders() if o.status in (Status.PENDING, UNKNOWN)]
        if not left and self._sender.idle and not unsure:
            self.verified = True
            self._alert("info", "no open order at the exchange")

    async def _finished(self) -> bool:
        """Whether the end has come: verified, and compared once more where the venue can be heard."""
        if not (self.verified and self._inbox.empty() and self._sender.idle):
            return False
        if not self.link:
            return True
        return self._caught_up and await self._reconcile() and self._inbox.empty()

    def _tell(self, *, often: bool = True) -> None:
        """Puts the status where any thread may read it; at most twenty times a second where `often` is False."""
        now = asyncio.get_running_loop().time()
        if often or now - self._published_s >= PUBLISH_S:
            self._published_s = now
            self.status = status_of(self)
