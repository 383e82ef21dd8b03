"""Planted bugs of the account: exposure, fills, comparisons with the venue, what a restart keeps."""

from typing import Any

from msgspec.structs import replace

from flea_lab.core import TradingCore
from flea_lab.dealing import Dealer
from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import FILLED, OPEN, UNKNOWN, Order, Status
from flea_lab.ledger import LOTS, MARK, Ledger
from flea_lab.live import catch_up, opening, reconcile, runner
from flea_lab.live.pump import NOTHING, Pump
from flea_lab.live.reconcile import Reconciler
from flea_lab.live.runner import Runner
from flea_lab.model.trading import Adopt, Fill, Halt, OrderReport
from flea_lab.risk.checks import DAY_OPEN, PEAK
from flea_lab.risk.gate import Gate
from tests.sim.mutants import Swap, just, mutant


def _exposing(swap: Swap, counts: Any) -> None:
    """Exposure of those orders only that `counts`."""

    def exposed(self: Any, symbol: str) -> tuple[int, int]:
        buys = sells = 0
        for order in (*self.open_orders(), *self.owed_orders()):
            if order.command.symbol == symbol and counts(order):
                buys += order.exposed_lots if order.command.side == "buy" else 0
                sells += order.exposed_lots if order.command.side == "sell" else 0
        return buys, sells

    swap(Blotter, "exposed", exposed)


@mutant("C4")
def open_orders_are_not_exposure(swap: Swap) -> None:
    """The position is what is held."""
    swap(Blotter, "exposed", just((0, 0)))


@mutant("C4")
def unknown_orders_are_not_exposure(swap: Swap) -> None:
    """Only what the venue has acknowledged can become a position."""
    _exposing(swap, lambda order: order.status is not UNKNOWN)


@mutant("C4")
def cancelled_soon_is_not_exposure(swap: Swap) -> None:
    """An order whose cancel is on its way will not fill any more."""
    _exposing(swap, lambda order: order.status is not Status.CANCELLING)


@mutant("C4")
def finished_orders_are_not_exposure(swap: Swap) -> None:
    """An order that is over is in the position: its fills have come."""
    _exposing(swap, lambda order: order.status in OPEN)


@mutant("C4")
def exposure_is_netted(swap: Swap) -> None:
    """Open sells make up for open buys."""

    def worst_side(self: Any, symbol: str, buy: bool) -> int:
        buys, sells = self._router.blotter.exposed(symbol)
        row = self._ledger.book[self._ledger.row[symbol]]
        return (int(row[LOTS]) + buys - sells) * int(row[MARK]) * 100

    swap(Dealer, "_worst_side", worst_side)


@mutant("C4")
def limit_holds_for_one_order(swap: Swap) -> None:
    """The share of a symbol is what the order is worth."""
    code = Gate.code

    def alone(self: Any, size: int, equity: int, before: int, *more: Any, **named: Any) -> int:
        return code(self, size, equity, 0, *more, **named)

    swap(Gate, "code", alone)


def _filling(swap: Swap, known: Any) -> None:
    """Fills of which `known` says whether they were booked before."""

    def filled(self: Order, fill: Fill, status: Status) -> Order:
        if known(self, fill):
            return self
        self._check(fill)
        lots = self.filled_lots + fill.lots
        after = FILLED if lots >= self.command.lots else status
        return replace(self, status=after, filled_lots=lots, fill_ids=(*self.fill_ids, fill.fill_id))

    swap(Order, "_filled", filled)


@mutant("B2")
def every_fill_counts(swap: Swap) -> None:
    """A fill is a fill."""
    _filling(swap, just(False))


@mutant("B2")
def last_fill_is_remembered(swap: Swap) -> None:
    """A fill that is told twice is told twice in a row."""
    _filling(swap, lambda order, fill: order.fill_ids[-1:] == (fill.fill_id,))


@mutant("B2", "B7")
def fills_known_to_the_process(swap: Swap) -> None:
    """Fills that this process has seen are dropped before they reach the core."""
    _filling(swap, just(False))
    on = Pump.on

    def once(self: Any, event: Any) -> Any:
        seen = self.__dict__.setdefault("_seen", set())
        if isinstance(event, Fill):
            if event.fill_id in seen:
                return NOTHING
            seen.add(event.fill_id)
        return on(self, event)

    swap(Pump, "on", once)


@mutant("B1", "B5", "B3")
def overfill_is_cut(swap: Swap) -> None:
    """More than was ordered cannot be filled: what is over is a mistake of the venue's."""
    on = TradingCore.on

    def cut(self: Any, event: Any) -> Any:
        if isinstance(event, Fill) and event.client_order_id in self.router.blotter:
            order = self.router.blotter.get(event.client_order_id)
            left = order.command.lots - order.filled_lots
            if 0 < left < event.lots and event.fill_id not in order.fill_ids:
                event = replace(event, lots=left)
        return on(self, event)

    swap(TradingCore, "on", cut)


@mutant("B1", "B5", "B3")
def fill_after_the_end_is_dropped(swap: Swap) -> None:
    """An order that was cancelled does not fill."""
    filled = Order._filled

    def closed(self: Order, fill: Fill, status: Status) -> Order:
        return self if self.status is Status.CANCELLED else filled(self, fill, status)

    swap(Order, "_filled", closed)


@mutant("B5", "B1", "B3")
def no_fills_after_reconnect(swap: Swap) -> None:
    """The stream tells every fill; after a reconnect only candles are missing."""
    missed = catch_up.missed

    async def candles(*args: Any, **kwargs: Any) -> list[Any]:
        return [event for event in await missed(*args, **kwargs) if not isinstance(event, Fill)]

    swap(catch_up, "missed", candles)


@mutant("B5", "B1", "B6", "B7", "B3")
def heard_is_known(swap: Swap) -> None:
    """Every frame up to the last one of the stream was heard: what is asked for begins after it."""

    def known(self: Any) -> int:
        return max(self.__dict__.get("_known", 0), self._exchange.private_seq or 0)

    swap(Reconciler, "known_seq", property(known, lambda self, seq: self.__dict__.update(_known=seq)))


@mutant("A5", "A6", "L1", "C4")
def orders_are_not_asked_for_after_reconnect(swap: Swap) -> None:
    """Orders are told of by the stream: after a reconnect only fills are missing."""
    ask = catch_up.ask

    async def asked(*args: Any, **kwargs: Any) -> Any:
        return (await ask(*args, **kwargs))._replace(orders={})

    swap(runner, "ask", asked)


@mutant("A6")
def strangers_are_nobodys_business(swap: Swap) -> None:
    """An order that was not given here belongs to somebody else."""
    ask = catch_up.ask

    async def asked(*args: Any, **kwargs: Any) -> Any:
        return (await ask(*args, **kwargs))._replace(strangers=[])

    give = Runner._give

    def given(self: Any, event: Any) -> None:
        if isinstance(event, OrderReport) and event.client_order_id not in self.core.router.blotter:
            return
        give(self, event)

    def same(self: Any, there: set[str]) -> None:
        require(self, {name for name in there if name in self._pump.core.router.blotter})

    swap(runner, "ask", asked)
    swap(Runner, "_give", given)
    require = swap(Reconciler, "_require_same_orders", same)


@mutant("B1", "B5", "B6", "B3")
def difference_is_a_warning(swap: Swap) -> None:
    """A difference from the venue's account is told to a person, and will be gone at the next comparison."""
    swap(reconcile, "differences", just([]))


@mutant("B1", "B5", "B6", "A6", "B3")
def compared_at_the_start_only(swap: Swap) -> None:
    """The two accounts were equal when the session began, and every fill is told."""
    due = Reconciler.due

    def once(self: Any, venue_ns: int, ready: bool) -> bool:
        return not ready and due(self, venue_ns, ready)

    swap(Reconciler, "due", once)


@mutant("B1")
def trades_before_it_is_compared(swap: Swap) -> None:
    """History is there, so trading begins; the account is compared meanwhile."""
    swap(Runner, "_why_blocked", lambda self: self.brake.why() or self.dead_man.why_not)


@mutant("B6", "B3")
def adopts_positions_only(swap: Swap) -> None:
    """The venue's positions are taken over; cash follows from the fills."""

    def adopt(self: Any, lots: Any, cash_uusd: int, fees_uusd: int, funding_uusd: int) -> None:
        for symbol, held in lots.items():
            self.book[self.row[symbol]][LOTS] = held

    swap(Ledger, "adopt", adopt)


@mutant("B4")
def adoption_opens_trading(swap: Swap) -> None:
    """Once the venue's account is taken over the two are equal, and trading goes on."""
    on_adopt = TradingCore._on_adopt

    def adopted(self: Any, adopt: Adopt) -> Any:
        on, self.gate.on = self.gate.on, just(None)
        try:
            return on_adopt(self, adopt)
        finally:
            self.gate.on = on

    swap(TradingCore, "_on_adopt", adopted)


@mutant("B3", "B4", "B1")
def first_difference_is_adopted(swap: Swap) -> None:
    """The venue is always right, at once: there is nothing to ask it for."""
    swap(Reconciler, "stands", property(just(True)))


def _restarting(swap: Swap, index: int) -> None:
    resumed = opening.resumed

    def begun(*args: Any, **kwargs: Any) -> Any:
        core = resumed(*args, **kwargs)
        core.gate.state[index] = core.ledger.equity_uusd()
        return core

    swap(opening, "resumed", begun)


@mutant("B7", "C5")
def day_begins_at_the_restart(swap: Swap) -> None:
    """The day's loss is counted from what the account is worth when the session begins."""
    _restarting(swap, DAY_OPEN)


@mutant("B7", "C5")
def peak_begins_at_the_restart(swap: Swap) -> None:
    """The highest equity is that of this session."""
    _restarting(swap, PEAK)


@mutant("D5", "A1", "A3", "B7", "L1")
def core_survives_its_own_fault(swap: Swap) -> None:
    """An event that the core refuses is logged and forgotten: trading must go on."""
    give = Runner._give

    def forgiving(self: Any, event: Any) -> None:
        if isinstance(event, Halt) and ":" in event.reason and event.reason.split(":")[0] in ("Fill", "Candle"):
            return
        give(self, event)

    swap(Runner, "_give", forgiving)


@mutant("B3", "B5", "A5", "L1")
def missing_fills_are_not_asked_for(swap: Swap) -> None:
    """An order that is over has all its fills, or they come by themselves."""
    from flea_lab.live.sender import Sender

    async def nothing(self: Any, blotter: Any) -> None:
        return

    swap(Sender, "_ask_owed", nothing)
