"""One event into the core, written down before anything is carried out.

Rules. The event is a row of the journal before the core sees it. What the core says, the orders as they stand and the
core's state become durable in one piece before an order, a cancel or a halt leaves this module. What sends nothing and
can be asked for again at the venue (bars, fills, funding) waits for the next such moment, or for `flush`. An event that
the core refuses changed nothing; it is kept as a fault and raised.
"""

from collections.abc import Callable, Iterable, Mapping

from flea_lab.clock import Clock
from flea_lab.core import Event, TradingCore
from flea_lab.errors import FleaError
from flea_lab.ledger import held_uusd
from flea_lab.live.journal import COMMAND, SqliteJournal
from flea_lab.model.market import Funding, Heartbeat
from flea_lab.model.trading import Command, Control, Fill, NewOrder, OrderReport, Refused

LAZY_NS = 50_000_000
"""How long what is not urgent waits to become durable."""


class Pump:
    """The core with its journal: what drives both says what happened, and gets what to do."""

    def __init__(
        self,
        core: TradingCore,
        journal: SqliteJournal,
        clock: Clock,
        beside: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """`beside` gives facts that become durable with every state."""
        self.core, self.journal = core, journal
        self._clock, self._beside = clock, beside
        self._committed_ns = 0
        self._times: dict[str, tuple[int, int]] = {}
        self.orders = self.fills = self.refused = self.bars = 0

    def on(self, event: Event) -> tuple[Command, ...]:
        """The commands to carry out, durable by now. What the core raises is raised, the event kept as a fault."""
        core, journal = self.core, self.journal
        decided, received = core.decided_ns, self._clock.now_ns()
        journal.append(event, ts_recv=received)  # type: ignore[arg-type]  # every kind of report is in the union
        filled = self._filled(event)
        try:
            commands = core.on(event)
        except FleaError:
            journal.retract(fault=True)
            raise
        paid = core.take_paid()
        barred = core.decided_ns != decided
        lasts = isinstance(event, OrderReport | Control | Funding)
        if not (commands or paid or barred or lasts):
            if isinstance(event, Heartbeat):  # time alone, and nothing came of it
                journal.retract(fault=False)
            return ()
        for funding, cost in paid:
            journal.paid(funding, cost)
        if isinstance(event, OrderReport):
            self._note_report(event, filled)
        if barred:
            self._note_bar()
        self._note_commands(commands)
        if isinstance(event, Control) or any(not isinstance(command, Refused) for command in commands):
            self._timed(commands, received, self._clock.now_ns())
            self.commit()
        return commands

    def flush(self) -> None:
        """Makes durable what waits, where it waited for long enough."""
        if self.journal.waiting and self._clock.now_ns() - self._committed_ns >= LAZY_NS:
            self.commit()

    def answered(self, client_order_id: str) -> None:
        """The venue answered an order: its times are noted, durable with whatever comes next."""
        times = self._times.pop(client_order_id, None)
        if times is not None:
            self.journal.timing(client_order_id, *times, self._clock.now_ns())

    def commit(self) -> None:
        """Makes everything so far durable, with the state after it."""
        for key, value in self._beside().items() if self._beside is not None else ():
            self.journal.meta(key, value)
        self.journal.commit(self.core.dump())
        self._committed_ns = self._clock.now_ns()

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
            self.journal.fill(report, order.command.price_ticks)
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
