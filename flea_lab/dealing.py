"""From an intent to its order, or to the refusal that says why not: gate, a look at the order itself, router.

Rules. What may still become a position counts as one from the moment it is given, on its worst side: a buy is judged as
if all open buys were filled and no sell, and the other way round. The five guards come first, in their order.
"""

from collections.abc import Mapping

from flea_lab.errors import DataError
from flea_lab.execution.order import CONTRADICTIONS, Order
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import Slicing
from flea_lab.ledger import DEN, LOTS, MARK, NUM, Ledger, gross_uusd
from flea_lab.model.instrument import Instrument
from flea_lab.model.limit import intent_ticks
from flea_lab.model.trading import Alert, Approved, Command, Fill, HandOrder, OrderIntent, OrderReport, Reduce, Refused
from flea_lab.money import value_uusd
from flea_lab.risk.checks import BELOW_MINIMUM, CHECKS, COLLAR, PASSED, THROTTLE, worst_uusd
from flea_lab.risk.gate import Gate
from flea_lab.risk.watch import Given
from flea_lab.working import Working, by_hand

MINUTE_NS = 60_000_000_000


class Dealer:
    """What becomes of the intents of one account."""

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        router: Router,
        instruments: Mapping[str, Instrument],
        slippage_e8: int,
        bar_ns: int,
        slicing: Slicing | None = None,
    ) -> None:
        self.working = Working(gate, ledger, router, instruments, slicing, bar_ns)
        self._gate, self._ledger, self._router, self._instruments = gate, ledger, router, instruments
        self._slippage_e8, self._worst_e8 = slippage_e8, gate.watch.worst_e8(slippage_e8)
        self._minute_lots = {s: MINUTE_NS / bar_ns / float(grid.lot_size) for s, grid in instruments.items()}

    def on(
        self, intent: OrderIntent, equity: int, toxicity: float, unsettled: bool, volume: float
    ) -> tuple[Command, ...]:
        """The order for `intent`, or its refusal and what follows from that. `volume` is the bar's, in base units.

        A parent that works the other way ends first.
        """
        symbol, amount = intent.symbol, max(intent.size_uusd, 0)  # what is not above 0 is refused, whatever its side
        size = amount if intent.side == "buy" else -amount
        turned = self.working.stop(intent.ts_event, symbol, "sell" if size > 0 else "buy")
        return (*turned, *self._deal(intent, size, equity, toxicity, unsettled, volume))

    def by_hand(self, order: HandOrder, equity: int, toxicity: float, unsettled: bool) -> tuple[Command, ...]:
        """The parent for what a person orders, or its refusal: it passes the same guards as an intent of the desk."""
        symbol, ts = order.symbol, order.ts_event
        ticks = int(self._ledger.book[self._ledger.row[symbol], MARK])
        slicing = self.working.slicing_of(order)
        if isinstance(slicing, str) or ticks < 1:
            why = slicing if isinstance(slicing, str) else f"{symbol} has no price yet"
            return (Alert(ts_event=ts, severity="warning", text=f"order {order.name!r} is not taken: {why}"),)
        intent = OrderIntent(
            symbol=symbol,
            side=order.side,
            size_usd=order.size_uusd / 1e6,
            order_type="twap" if order.limit_price is None else "limit",
            limit_price=order.limit_price,
            urgency="normal",
            signal_sources=(by_hand(order.name),),
            ts_event=ts,
            price_ticks=ticks,
            size_uusd=order.size_uusd,
            conviction=0.0,
        )
        size = order.size_uusd if order.side == "buy" else -order.size_uusd
        turned = self.working.stop(ts, symbol, "sell" if size > 0 else "buy")
        return (*turned, *self._deal(intent, size, equity, toxicity, unsettled, 0.0, slicing))

    def _deal(
        self,
        intent: OrderIntent,
        size: int,
        equity: int,
        toxicity: float,
        unsettled: bool,
        volume: float,
        slicing: Slicing | None = None,
    ) -> tuple[Command, ...]:
        """With `slicing` it is worked in slices, that way, however small it is."""
        gate, symbol = self._gate, intent.symbol
        try:
            ticks = intent_ticks(intent, self._instruments[symbol])
        except DataError:
            return (Refused(intent, COLLAR, CHECKS[COLLAR][1]),)
        before = self._worst_side(symbol, size > 0)
        worst = worst_uusd(size, ticks, self._worst_e8 if intent.order_type == "market" else self._slippage_e8)
        code = gate.code(size, equity, before, gross_uusd(self._ledger.book), worst, toxicity, unsettled)
        if code != PASSED:
            return (Refused(intent, code, CHECKS[code][1]),)
        verdict = Approved(intent)
        lots = self._router.lots(intent, ticks)
        said = int(self._ledger.book[self._ledger.row[symbol], MARK])
        if lots == 0:
            least = Given(symbol, intent.ts_event, 1, ticks)  # a price that no order may have is the better reason
            far = gate.watch.code(least, said, float("inf"), reduces=False) == COLLAR
            code = COLLAR if far else BELOW_MINIMUM
            return (Refused(intent, code, CHECKS[code][1]),)
        given = Given(symbol, intent.ts_event, lots, ticks)
        reduces = abs(before + size) <= abs(before) and (before + size) * before >= 0
        sliced = slicing is not None or self.working.too_large(symbol, lots)
        minute_lots = float("inf") if sliced else volume * self._minute_lots[symbol]  # each slice has its own share
        code = gate.watch.code(given, said, minute_lots, reduces=reduces)
        if code != PASSED:
            return self._turned_back(intent, code)
        if slicing is not None:
            gate.watch.note(given)
        if sliced:
            return self.working.begin(verdict, lots, slicing)
        if self.working.resting(intent):
            return self.working.rest(verdict, lots)
        gate.watch.note(given)
        order = self._router.on(verdict, lots, ticks)
        self._ledger.pend(symbol, order.lots if order.side == "buy" else -order.lots)
        return (order,)

    def _worst_side(self, symbol: str, buy: bool) -> int:
        """Signed micro-dollars of the position in `symbol` if all that goes this way were filled, and nothing that goes
        the other."""
        buys, sells = self._router.blotter.exposed(symbol)
        if self.working.slicing is not None:
            more = self.working.left_in(symbol)
            buys, sells = buys + more[0], sells + more[1]
        row = self._ledger.book[self._ledger.row[symbol]]
        lots = int(row[LOTS]) + (buys if buy else -sells)
        return value_uusd(lots, int(row[MARK]), int(row[NUM]), int(row[DEN]))

    def _turned_back(self, intent: OrderIntent, code: int) -> tuple[Command, ...]:
        """A refusal for what the order looks like; one order too many also closes the latch REDUCING."""
        refused = Refused(intent, code, CHECKS[code][1])
        if code != THROTTLE:
            return (refused,)
        self._gate.on(Reduce(ts_event=intent.ts_event, reason=refused.reason))
        text = f"{intent.symbol}: {refused.reason}"
        return refused, Alert(ts_event=intent.ts_event, severity="critical", text=text)


def contradiction(before: Order, report: OrderReport) -> tuple[Alert, ...]:
    """What a person is told where `report` cannot be true together with what was said of a closed order."""
    if (before.status, type(report)) not in CONTRADICTIONS:
        return ()
    name, said = before.command.client_order_id, type(report).__name__
    text = f"order {name} was {before.status.value}, and now: {said}"
    return (Alert(ts_event=report.ts_event, severity="critical", text=text),)


def overfill(order: Order, fill: Fill) -> Alert:
    """What a person is told of more lots filled than ordered; they are booked all the same."""
    name, lots = order.command.client_order_id, order.command.lots
    text = f"order {name} is overfilled: {order.filled_lots} of {lots} lots of {fill.symbol}"
    return Alert(ts_event=fill.ts_event, severity="critical", text=text)
