"""Large orders of a core, worked slice by slice at its own pace: bars and heartbeats are its time.

Rules. An order of more than a share of what trades in a day becomes a parent. Each slice is looked at like an order,
and none goes while the gate halts. Where only what reduces may pass, parents that do not are ended, and told. What a
parent has not given counts as exposure from the moment it is decided. Stopping ends it at once: nothing more is given,
its child is taken back.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from flea_lab.execution.order import Order
from flea_lab.execution.parents import Parent, Wanted
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import Slicing
from flea_lab.ledger import LOTS, MARK, Ledger
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import DAY_NS
from flea_lab.model.trading import Alert, Approved, CancelOrder, Command, HandCancel, HandOrder, OrderIntent
from flea_lab.money import value_uusd
from flea_lab.risk.checks import CHECKS, PASSED
from flea_lab.risk.gate import Gate, TradingState
from flea_lab.risk.watch import Given

HOUR_NS = 3_600_000_000_000
HOURS = 24
Hour = tuple[int, float, int]
"""An hour since 1970, the lots traded in it, and the bars that were heard of it."""

LONGEST_MINUTES = 1_440.0


def by_hand(name: str) -> str:
    """Where an order comes from that a person gave as `name`."""
    return f"by hand: {name}"


class Working:
    """The parents of one account. Without `slicing` there never is one."""

    def __init__(
        self,
        gate: Gate,
        ledger: Ledger,
        router: Router,
        instruments: Mapping[str, Instrument],
        slicing: Slicing | None,
        bar_ns: int,
    ) -> None:
        self._gate, self._ledger, self._router, self.slicing = gate, ledger, router, slicing
        self._instruments, self._bar_ns = dict(instruments), bar_ns
        self._lot = {symbol: float(grid.lot_size) for symbol, grid in instruments.items()}
        self._hours: dict[str, list[Hour]] = {symbol: [] for symbol in instruments}
        self._last: dict[str, float] = {}
        self.given_up = 0

    def heard(self, symbol: str, ts_event: int, volume: float) -> None:
        """Takes the volume of a bar, base units; NaN is none."""
        lots = volume / self._lot[symbol] if volume > 0 else 0.0
        hours, hour = self._hours[symbol], (ts_event - 1) // HOUR_NS
        if hours and hours[-1][0] == hour:
            hours[-1] = hour, hours[-1][1] + lots, hours[-1][2] + 1
        else:
            hours.append((hour, lots, 1))
            self._hours[symbol] = [one for one in hours if one[0] > hour - HOURS]
        self._last[symbol] = lots
        self._router.parents.traded(symbol, lots)

    def day_lots(self, symbol: str) -> float:
        """What trades in a day, by the bars that were heard of the last 24 hours; 0 before the first was."""
        hours = self._hours[symbol]
        heard_ns = sum(bars for _, _, bars in hours) * self._bar_ns
        return sum(lots for _, lots, _ in hours) * DAY_NS / heard_ns if hours else 0.0

    def too_large(self, symbol: str, lots: int) -> bool:
        """Whether an order is to be worked in slices."""
        above = "none" if self.slicing is None else self.slicing.above
        return above != "none" and abs(lots) > above * self.day_lots(symbol)

    def resting(self, intent: OrderIntent) -> bool:
        """Whether a limit order is worked until it is filled, instead of given once."""
        return self.slicing is not None and self.slicing.limits == "work" and intent.order_type == "limit"

    def rest(self, approved: Approved, lots: int) -> tuple[Command, ...]:
        """The parent of a limit order that is worked, and its first price."""
        assert self.slicing is not None, "nothing is worked without slicing"
        parent = self._router.work(approved, lots, self.slicing)
        self._ledger.pend(approved.intent.symbol, lots)
        return parent, *self.tick(parent.ts_event)

    def slicing_of(self, order: HandOrder) -> Slicing | str:
        """How an order by hand is worked, or why it is not."""
        plain, minutes = self.slicing, order.minutes
        if plain is None:
            return "all orders fill at the next open here, none is worked in slices"
        if not 1.0 <= minutes <= LONGEST_MINUTES or not plain.every_s <= minutes * 60.0:
            return f"{minutes:g} minutes must be 1 to {LONGEST_MINUTES:g}, and at least a slice of {plain.every_s:g} s"
        if any(by_hand(order.name) in one.command.intent.signal_sources for one in self._router.parents.active()):
            return "one of that name is worked already"
        return replace(plain, style=order.style, minutes=minutes, offset_ticks=0)

    def end_one(self, cancel: HandCancel) -> tuple[Command, ...]:
        """Ends one parent, as a person asks."""
        for one in self._router.parents.active():
            if one.command.parent_id == cancel.parent_id:
                return self._give_up(one, cancel.ts_event)
        text = f"order {cancel.parent_id} cannot be ended: it is not worked"
        return (Alert(ts_event=cancel.ts_event, severity="warning", text=text),)

    def begin(self, approved: Approved, lots: int, slicing: Slicing | None = None) -> tuple[Command, ...]:
        """The parent of an order that is too large to go at once, and what of it goes now."""
        slicing = slicing or self.slicing
        assert slicing is not None, "nothing is too large without slicing"
        symbol = approved.intent.symbol
        parent = self._router.begin(approved, lots, slicing, self.day_lots(symbol), self._last.get(symbol, 0.0))
        self._ledger.pend(symbol, lots)
        return parent, *self.tick(parent.ts_event)

    def left_in(self, symbol: str) -> tuple[int, int]:
        """Lots that parents have not given yet, to buy and to sell, both unsigned."""
        return self._router.parents.left_in(symbol) if self.slicing is not None else (0, 0)

    def on(self, before: Order, after: Order) -> None:
        """Takes what became of an order; what a child did not fill is its parent's again."""
        if after.command.parent:
            back = self._router.parents.on(before, after)
            self._ledger.pend(after.command.symbol, back if after.command.side == "buy" else -back)

    def tick(self, ts_event: int) -> tuple[Command, ...]:
        """What time does: children that had theirs are taken back, parents that are over end, due slices go."""
        parents = self._router.parents
        if self.slicing is None or not parents.active():
            return ()
        commands: list[Command] = self._barred(ts_event)
        marks = {symbol: int(self._ledger.book[s, MARK]) for symbol, s in self._ledger.row.items()}
        least = {symbol: self._router.least(symbol, ticks) for symbol, ticks in marks.items()}
        commands += parents.stale(ts_event)
        for one in parents.over(ts_event, least):
            commands += self._give_up(one, ts_event)
        for wanted in parents.due(ts_event, self.slicing.participation, least):
            commands += self._give(wanted, marks[wanted.parent.command.symbol], ts_event)
        return tuple(commands)

    def stop(self, ts_event: int, symbol: str | None = None, side: str | None = None) -> tuple[CancelOrder, ...]:
        """Ends parents, all or those of a symbol and a side: nothing more is given; cancels for their children."""
        cancels: list[CancelOrder] = []
        for one in self._router.parents.active(symbol):
            if side is None or one.command.side == side:
                cancels += self._end(one, ts_event)
        return tuple(cancels)

    def dump(self) -> tuple[list[Parent], dict[str, list[Hour]]]:
        """What it remembers."""
        return self._router.parents.dump(), {symbol: list(hours) for symbol, hours in self._hours.items() if hours}

    def load(self, parents: Iterable[Parent], hours: Mapping[str, list[Hour]]) -> None:
        """Goes on from a `dump`."""
        self._router.parents.load(parents)
        self._hours = {symbol: list(hours.get(symbol, [])) for symbol in self._hours}

    def _barred(self, ts_event: int) -> list[Command]:
        """Ends parents of which the gate lets nothing pass; each is told, since nothing may end unheard."""
        state, said = self._gate.trading_state, list[Command]()
        for one in self._router.parents.active() if state is not TradingState.ACTIVE else ():
            if state is TradingState.HALTED or not self._reduces(one):
                said += self._give_up(one, ts_event)
        return said

    def _give(self, wanted: Wanted, ticks: int, ts_event: int) -> tuple[Command, ...]:
        ask = wanted.parent.command
        lots = wanted.lots if ask.side == "buy" else -wanted.lots
        grid = self._instruments[ask.symbol]
        price = self._router.price(wanted.parent, ticks)[1]
        worth = value_uusd(wanted.lots, max(ticks, price), grid.unit_num, grid.unit_den)
        if not worth <= self._gate.limits.max_order_usd * 1e6:
            return ()  # the price has run away since it was decided: it waits, and is given up in the end
        given = Given(ask.symbol, ts_event, lots, price)
        reduces = self._reduces(wanted.parent)
        code = self._gate.watch.code(given, ticks, float("inf"), reduces=reduces, numbered=True)
        if code != PASSED:
            text = f"a slice of {ask.parent_id} does not go: {CHECKS[code][1]}"
            return (Alert(ts_event=ts_event, severity="warning", text=text),)
        self._gate.watch.note(given)
        return (self._router.slice(wanted, ticks, ts_event),)

    def _reduces(self, parent: Parent) -> bool:
        """Whether all that is left of a parent only shrinks the position."""
        held = int(self._ledger.book[self._ledger.row[parent.command.symbol], LOTS])
        left = parent.command.lots - parent.filled_lots
        return left <= (-held if parent.command.side == "buy" else held)

    def _give_up(self, parent: Parent, ts_event: int) -> tuple[Command, ...]:
        left = self._router.parents.left(parent)
        cancels = self._end(parent, ts_event)
        if not left:
            return cancels
        ask = parent.command
        self.given_up += 1
        text = f"{ask.style} {ask.parent_id}: {left} of {ask.lots} lots of {ask.symbol} are given up"
        return (*cancels, Alert(ts_event=ts_event, severity="warning", text=text))

    def _end(self, parent: Parent, ts_event: int) -> tuple[CancelOrder, ...]:
        left, cancels = self._router.parents.stop(parent, ts_event)
        self._ledger.pend(parent.command.symbol, -left if parent.command.side == "buy" else left)
        return cancels
