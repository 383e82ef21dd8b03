"""The live bot: one loop that carries what the venue says into the core and what the core says to the venue.

Rules. One inbox, in the order of arrival; one event at a time. Nothing trades before history has warmed the signals
and the account here equals the account there. What cannot be explained halts: an event that the core refuses, an order
that nobody here gave, one that is over here and stays open there. A difference between the accounts is asked for, then
the venue's is taken over and only what reduces passes. A halt stops orders at once, takes every open order back at the
venue, and is called verified only when the venue says that none is left and none is unknown. Stopping does the same
without closing a latch. The loop never guesses and never sends an order twice.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings
from flea_lab.core import Event
from flea_lab.errors import FleaError, VenueError, VenueRefusal, WorkspaceError
from flea_lab.journal import Ticket
from flea_lab.ledger import LOTS
from flea_lab.live.brake import AlertPut, Brake
from flea_lab.live.catch_up import ask, unheard
from flea_lab.live.dead_man import DeadMan
from flea_lab.live.doorway import passage
from flea_lab.live.hearing import Hearing
from flea_lab.live.inbox import Inbox
from flea_lab.live.intake import Intake, Tape
from flea_lab.live.pump import Pump, durable
from flea_lab.live.reconcile import Missed, Reconciler, Unexplained
from flea_lab.live.sender import ASK_S, Sender
from flea_lab.live.stages import Stages
from flea_lab.live.status import status_of
from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
from flea_lab.model.trading import (
    Accepted,
    Alert,
    CancelOrder,
    Command,
    Halt,
    NewOrder,
    Refused,
    Rejected,
    Resume,
    SendUnclear,
)
from flea_lab.venue.protocol import Exchange, Feed, Link, Played, Said

OVER = "the recorded market is over"
TICK_S = 0.1
"""How often the loop looks at its timers, at least."""

PUBLISH_S = 0.05

Item = Said | Event | None


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
        tape: Tape | None = None,
        stages: Stages | None = None,
    ) -> None:
        """`wall_clock` says that the venue's time is the time of day, so that a candle's age can be told; `stages` has
        what this start has taken so far."""
        self.pump, self.core = pump, pump.core
        self.feed, self.exchange, self.settings = feed, exchange, settings
        self._bars = max(settings.history_bars, warmup_bars)
        self._clock, self._alert = clock, alert
        self.stages = stages or Stages(asyncio.get_running_loop().time)
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
            settings.order_patience_s,
            clock.jitter,
            self._why_old,
            lambda: passage(folder),
        )
        self.state, self.error = "starting", ""
        self.link = self._caught_up = self.ready = False
        self._ack_ns: int | None = None
        self._published_s = 0.0
        self.vitals: list[Callable[[], str]] = []  # each says what is dead, "" while all is well
        self.listeners: list[Callable[[Event, tuple[Command, ...]], None]] = []  # told of what the core has taken
        self.lag: Callable[[], tuple[float, str]] = lambda: (0.0, "")  # of this loop: p99 in s, why nothing may grow
        self.brake = Brake(pump, exchange, clock, folder, alert)
        self.dead_man = DeadMan(exchange, settings.dead_man_s, alert)
        self.intake = Intake(
            pump=pump,
            hearing=hearing,
            settings=settings,
            wall_clock=wall_clock,
            clock=clock,
            folder=folder,
            alert=alert,
            give=self._give,
            tape=tape,
        )

    def put(self, item: Item) -> None:
        """Takes something into the inbox; from the loop's own thread."""
        self._inbox.put_nowait(item)

    def finish(self, reason: str) -> None:
        """Stops in order: no new order, open ones taken back, then the end. From the loop's own thread."""
        if self.brake.end(reason):
            self.state = "stopping"
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
            "brake": self._take_back(),
            "dead man": self.dead_man.run(),
            "deadline": self.brake.deadline(),
        }
        tasks = {asyncio.create_task(job, name=name): name for name, job in work.items()}
        try:
            await self._watch(tasks)
        except Exception as error:  # whatever it is, it is the end of trading: latched, and raised again
            self.error = str(error) or type(error).__name__
            self._alert("critical", f"the runner ends: {self.error}")
            if self.state != "starting":
                await self.brake.last_words(self.error, self._sender)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.intake.close()
        await durable(self.pump.snapshot())
        if self.brake.verified:
            await self.dead_man.disarm()
        self.state = "stopped"
        self._tell()
        return self.brake.ending

    async def _watch(self, tasks: dict[asyncio.Task[Any], str]) -> None:
        """Waits for the loop to end, or the time it has for that; what any task raises is raised, and so is the end of
        one that had none."""
        waiting = set(tasks)
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            ended = {tasks[task] for task in done}
            if ended & {"loop", "deadline"}:
                return
            if ended - {"exchange"}:  # that one ends at once where the feed does its work
                raise RuntimeError(f"a task that must not end has ended: {', '.join(sorted(ended))}")

    # ---- the loop

    async def _work(self) -> None:
        while not (self.brake.ending and await self._finished()):
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
                self.intake.saw(item.ts_event)
                self.finish(OVER)
            case Candle():
                if self.intake.take_candle(item, self.ready):
                    self._caught_up = self.ready = False
            case Trade() | BookSnapshot() | BookDelta() | Funding():
                self.intake.take(item)
            case Heartbeat():
                self.intake.take(item)
                self._ack_ns = item.ts_event
            case Resume():
                self._give(self.brake.left_of(item))
            case _:
                self._give(item)

    def _give(self, event: Event) -> None:
        """One event into the core; what it says is carried out. What the core refuses halts."""
        try:
            step = self.pump.on(event)
        except WorkspaceError:
            raise
        except FleaError as error:
            what = f"{type(event).__name__}: {error}"
            self._alert("critical", what)
            if not isinstance(event, Halt):
                self._give(Halt(ts_event=self._clock.now_ns(), reason=what))
            return
        if isinstance(event, Halt):
            self.brake.verified = False  # it may be about an order that came after the venue had none
        if isinstance(event, Accepted | Rejected | SendUnclear):
            self.pump.answered(event.client_order_id)
        for listener in self.listeners:
            listener(event, step.commands)
        for command in step.commands:
            match command:
                case NewOrder() | CancelOrder():
                    self._sender.give(command, step.ticket)
                case Alert():
                    step.ticket.then(partial(self._say, command))
                case Refused():
                    self._alert("info", f"{command.intent.symbol} refused: {command.reason}")

    def _say(self, alert: Alert, ticket: Ticket) -> None:
        """Says what the core has to say, durable by now; where it never will be the runner ends and says that."""
        if ticket.done:
            self._alert(alert.severity, alert.text)

    # ---- the connection

    async def _on_link(self, link: Link) -> None:
        self.link = link.up
        self._caught_up = self.ready = False
        if not link.up:
            self._ack_ns = None
            self.intake.lost()
            self.state = "warming" if self.state == "trading" else self.state
            self._alert("warning", f"the connection is down: {link.reason}")
            return
        self.stages.ended("connect")
        await self._catch_up()

    async def _catch_up(self) -> None:
        """Asks for all that nobody heard, and takes it in."""
        self.state = "stopping" if self.brake.ending else "warming"
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
                self.intake.take_past(event)
            self._give(event)
        self.pump.commit()
        self.reconciler.asked_seq = asked.seq
        self._caught_up = True
        self.stages.ended("questions")

    # ---- at rest: everything heard, everything answered

    async def _at_rest(self) -> None:
        if not self.link:
            return
        if not self._caught_up:
            await self._catch_up()
            return
        if not self._sender.settled(self.core.router.blotter):
            return
        if self.reconciler.due(self.intake.venue_ns, self.ready):
            await self._reconcile()
        # a cancel may need the market to go on, and at the end nothing gets ready again; once verified the market must
        # stand, or it would never be quiet
        free = self.ready or self.core.halted or bool(self.brake.ending)
        over = self.brake.ending and self.brake.verified and not self.core.settling
        if self._ack_ns is not None and free and not over and self._inbox.empty():
            ack, self._ack_ns = self._ack_ns, None
            self.intake.flush()
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
        except Unexplained as error:
            if "kill_switch" not in self.core.gate.closed():
                self._give(Halt(ts_event=self._clock.now_ns(), reason=str(error)))
            return False
        except VenueError as error:
            self._alert("warning", f"the account could not be compared: {error}")
            return False
        if found is None:
            return False
        if found:
            self._differs("the account differs from the venue's: " + "; ".join(found))
            return False
        said = self.pump.halted == self.core.halted  # a halt that the disk does not have yet: nobody may say either
        if not self.ready and said and not self.brake.ending and not self.dead_man.why_not:
            self.ready = True
            self.stages.finish("compare")
            self.state = "halted" if self.core.halted else "trading"
            self._alert("info", f"ready: {self.pump.bars} bars of history, the account equals the venue's")
        return True

    def _differs(self, what: str) -> None:
        """Nothing trades until it is explained: first all that may have been missed is asked for, then the venue is
        right."""
        self._caught_up = self.ready = False
        if not self.reconciler.stands:
            self._alert("warning", f"{what}: the venue is asked for what was missed")
            return
        self._alert("critical", what)
        adoption = self.reconciler.adoption()
        if adoption is not None:
            self._give(adoption)
        elif "kill_switch" not in self.core.gate.closed():  # what the clock would open again is no halt for this
            self._give(Halt(ts_event=self._clock.now_ns(), reason=what))

    # ---- halts and the end

    def _why_blocked(self) -> str:
        """Why no order may be sent at this instant; "" when one may."""
        ready = self.link and self.ready
        unready = "" if ready else "the account is not reconciled with the venue"
        return self.brake.why() or unready or self.dead_man.why_not

    def _why_old(self, order: NewOrder) -> str:
        """Why this order may not be sent any more: the prices that it was decided on are too old by now, or ""."""
        age_s = self.intake.age_s(order.ts_event)
        if age_s <= self.settings.stale_s + self.settings.order_patience_s:
            return self.lag()[1] if self._grows(order) else ""
        return f"it was decided on prices that are {age_s:.1f} s old"

    def _grows(self, order: NewOrder) -> bool:
        """Whether an order opens or grows a position, or may leave one on the other side."""
        held = int(self.core.ledger.book[self.core.ledger.row[order.symbol], LOTS])
        return order.lots > (-held if order.side == "buy" else held)

    def _look_at_halts(self) -> None:
        halt = self.brake.look()
        if halt is not None:
            self._give(halt)
        if self.state in ("trading", "halted"):
            halted = "halted" if self.pump.halted else self.state  # not yet on the disk: as it was
            state = halted if self.core.halted else "trading"
            if state != self.state:
                self.state, self.brake.verified = state, False

    async def _ask(self) -> None:
        """Asks for what is unknown, and for books, for as long as there is anything to ask."""
        while True:
            await asyncio.sleep(ASK_S)
            self._tell(often=False)  # the loop may be waiting for the venue
            dead = [fault for vital in self.vitals if (fault := vital())]
            if dead:
                raise RuntimeError("; ".join(dead))
            if self.link and self._caught_up:
                await self._sender.ask(self.core.router.blotter)
            if self.link and self.intake.wanted:
                await self.intake.refresh(self.feed)

    async def _take_back(self) -> None:
        """At a halt and at the end: takes back what is open until the venue says that nothing is. It waits for no other
        question: those may take as long as the venue is silent."""
        while True:
            await asyncio.sleep(ASK_S)
            if self.brake.pulled and not self.brake.verified and self.state != "starting":
                await self.brake.verify(self._sender)

    async def _finished(self) -> bool:
        """Whether the end has come: verified, and compared once more where the venue can be heard."""
        if not (self.brake.verified and self._inbox.empty() and self._sender.idle):
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
