"""One event into the core, written down before anything is carried out.

Rules. The event is a row of the journal before the core sees it. What the core says follows it in the same batch; an
order leaves only when the ticket of that batch is done, and a halt is said only then. What sends nothing and can be
asked for again at the venue (bars, fills, funding) waits for the next such moment, or for `flush`. An event that the
core refuses changed nothing; it is kept as a fault and raised. One at which the core breaks leaves a state that nobody
can vouch for: the journal is told so, and from then on takes halts alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from flea_lab.clock import Clock
from flea_lab.core import Event, TradingCore
from flea_lab.errors import FleaError, WorkspaceError
from flea_lab.journal import COMMAND, Ticket, done_ticket
from flea_lab.ledger import held_uusd
from flea_lab.live.fold import StateHash, base_of
from flea_lab.live.journal import LiveJournal
from flea_lab.model.market import Funding, Heartbeat
from flea_lab.model.trading import Command, Control, Fill, Halt, NewOrder, OrderReport, Refused

LAZY_NS = 50_000_000
"""How long what is not urgent waits to become durable."""

MOST_NS = 1_000_000_000
"""What one look at the clock adds to how long the store has taken."""

STALL_NS = 30_000_000_000
"""How long the store may take for a batch before that is the end of trading."""

SNAPSHOT_ROWS = 2_000
"""Rows after which the state is kept, so that a start need not fold more than these."""


class Step(NamedTuple):
    """What to carry out, and the ticket of the batch that it stands in: done when all of it is durable."""

    commands: tuple[Command, ...]
    ticket: Ticket


NOTHING = Step((), done_ticket())


async def durable(ticket: Ticket) -> None:
    """Returns once the batch is durable; `WorkspaceError` where it never will be."""
    if not ticket.settled:
        known = asyncio.get_running_loop().create_future()
        ticket.then(lambda _: None if known.done() else known.set_result(None))
        await known
    if ticket.failed:
        raise WorkspaceError(f"the journal failed: {ticket.failed}")


class Pump:
    """The core with its journal: what drives both says what happened, and gets what to do.

    `latched` are the latches that are closed and durable: what may be said of them.
    """

    def __init__(
        self,
        core: TradingCore,
        journal: LiveJournal,
        clock: Clock,
        beside: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """`beside` gives facts that become durable with every batch."""
        self.core, self.journal = core, journal
        self._clock, self._beside = clock, beside
        self._committed_ns = 0
        self._times: dict[str, tuple[int, int]] = {}
        self._hash = StateHash()
        self._given: deque[Ticket] = deque()
        self._flushed_ns = clock.now_ns()
        self._stalled_ns = 0
        self._marked = journal.seq
        self._broken = False
        self._closed = self._said = self.latched = core.gate.closed()
        self._changing = 0  # batches on their way that change which latches are closed
        self.orders = self.fills = self.refused = self.bars = 0

    def on(self, event: Event) -> Step:
        """What to carry out, and its ticket. What the core raises is raised, the event kept as a fault."""
        core, journal = self.core, self.journal
        journal.check()
        if self._broken:
            return self._halt_only(event)
        decided, received = core.decided_ns, self._clock.now_ns()
        journal.append(event, ts_recv=received)  # type: ignore[arg-type]  # every kind of report is in the union
        filled = self._filled(event)
        try:
            commands = core.on(event)
        except FleaError:
            journal.retract(fault=True)
            raise
        except Exception as error:  # the core broke in the middle of it: passed on, and never trusted again
            journal.retract(fault=True)
            self._broken = True
            journal.repair(f"the core broke at {type(event).__name__}: {type(error).__name__}")
            raise
        paid = core.take_paid()
        barred = core.decided_ns != decided
        lasts = isinstance(event, OrderReport | Control | Funding)
        if not (commands or paid or barred or lasts):
            if isinstance(event, Heartbeat):  # time alone, and nothing came of it
                journal.retract(fault=False)
            return NOTHING
        for funding, cost in paid:
            journal.paid(funding, cost)
        if isinstance(event, OrderReport):
            self._note_report(event, filled)
        if barred:
            self._note_bar()
        self._note_commands(commands)
        if isinstance(event, Control) or any(not isinstance(command, Refused) for command in commands):
            self._timed(commands, received, self._clock.now_ns())
            return Step(commands, self.commit())
        return Step(commands, NOTHING.ticket)

    @property
    def halted(self) -> bool:
        """Whether the core is halted, and that is durable: what may be said of it."""
        return self.core.halted and self.stands(*self.core.gate.closed())

    def stands(self, *latches: str) -> bool:
        """Whether these latches are closed, and the last word of the disk on them: nothing that would say otherwise is
        on its way there."""
        return not self._changing and set(latches) <= set(self.latched) & set(self.core.gate.closed())

    def flush(self) -> None:
        """Gives the store what waits, where it waited for long enough; `WorkspaceError` where the store has failed, or
        says nothing."""
        self.journal.check()
        now = self._clock.now_ns()
        while self._given and self._given[0].settled:
            self._given.popleft()
            self._stalled_ns = 0
        if self._given:  # a clock that is set by an hour makes no disk slow
            self._stalled_ns += min(max(now - self._flushed_ns, 0), MOST_NS)
        self._flushed_ns = now
        if self._stalled_ns > STALL_NS:
            raise WorkspaceError(f"journal {self.journal.store.name}: the disk took longer than {STALL_NS / 1e9:g} s")
        if not self._broken and self.journal.seq - self._marked >= SNAPSHOT_ROWS:
            self.snapshot()
        elif self.journal.waiting and not 0 <= now - self._committed_ns < LAZY_NS:
            self.commit()

    def answered(self, client_order_id: str) -> None:
        """The venue answered an order: its times are noted, durable with whatever comes next."""
        times = self._times.pop(client_order_id, None)
        if times is not None:
            self.journal.timing(client_order_id, *times, self._clock.now_ns())

    def commit(self) -> Ticket:
        """The ticket of everything so far."""
        self._tell_beside()
        return self._gave(self.journal.commit())

    def snapshot(self) -> Ticket:
        """The ticket of everything so far, with the state after it: a start goes on from there."""
        if self._broken:
            return self.commit()
        self._tell_beside()
        state = self.core.dump()
        told, changed = self._hash.of(self.core, state)
        self.journal.mark(told)
        self._marked = self.journal.seq
        return self._gave(self.journal.commit((told, state, changed)))

    def rebase(self) -> None:
        """The core's state was changed by something else than an event: what follows goes on from it as it is."""
        self.journal.base(base_of(self.core, int(self.journal.get("limit_ttl_ns") or 0)))

    def _tell_beside(self) -> None:
        for key, value in self._beside().items() if self._beside is not None else ():
            self.journal.meta(key, value)
        closed = self.core.gate.closed()
        if closed != self._closed or self.journal.get("latches") is None:
            self._closed = closed
            self.journal.meta("latches", ",".join(closed))

    def _gave(self, ticket: Ticket) -> Ticket:
        self._committed_ns = self._clock.now_ns()
        if not ticket.settled:
            self._given.append(ticket)
        if self._closed != self._said:  # whatever else is on its way: a latch may be opened and closed in one breath
            self._said = self._closed
            self._changing += 1
            ticket.then(self._told(self._closed))
        return ticket

    def _told(self, closed: tuple[str, ...]) -> Callable[[Ticket], None]:
        def told(ticket: Ticket) -> None:
            if ticket.done:
                self.latched = closed
                self._changing -= 1

        return told

    def _halt_only(self, event: Event) -> Step:
        """A halt of a core that broke: its latch is closed, and nothing else of it is asked."""
        if isinstance(event, Halt):
            self.core.gate.on(event)
            self.journal.repair(event.reason)
            return Step((), self.commit())
        return NOTHING

    def _filled(self, event: Event) -> int:
        """Lots of the event's order that were filled before it."""
        blotter = self.core.router.blotter
        if isinstance(event, Fill) and event.client_order_id in blotter:
            return blotter.get(event.client_order_id).filled_lots
        return 0

    def _note_report(self, report: OrderReport, filled: int) -> None:
        order = self.core.router.blotter.get(report.client_order_id)
        self.journal.order(order)
        if isinstance(report, Fill) and order.filled_lots != filled:
            self.journal.fill(report, order.command.decided_ticks)
            self.fills += 1

    def _note_bar(self) -> None:
        core = self.core
        self.bars += 1
        gross = int(held_uusd(core.ledger.book))
        equity = core.ledger.equity_uusd()
        self.journal.curve(core.decided_ns, equity, core.ledger.cash_uusd, gross, core.gate.closed())

    def _note_commands(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.journal.append(command, COMMAND)
            if isinstance(command, NewOrder):
                self.orders += 1
                self.journal.order(self.core.router.blotter.get(command.client_order_id))
            elif isinstance(command, Refused):
                self.refused += 1

    def _timed(self, commands: Iterable[Command], received: int, decided: int) -> None:
        for command in commands:
            if isinstance(command, NewOrder):
                self._times[command.client_order_id] = received, decided
