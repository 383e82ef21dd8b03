"""Orders that are worked by children: what of each has filled, is out, and may still go.

Rules. At any time filled + out + not yet given = what was ordered; out is what its children may still fill, those of
unknown fate and fills that the venue has named included. So a child is given only of what is left by the fills, after a
restart as well, and a child that was taken back counts until the venue has said how much of it filled. A parent has one
child at a time. It ends when nothing is left, when it is stopped, or when its time is over.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from flea_lab.execution.blotter import Blotter
from flea_lab.execution.order import OPEN, WORKING, Order
from flea_lab.execution.slicing import release
from flea_lab.model.trading import CancelOrder, ParentOrder


class Parent(Struct, frozen=True):
    """One parent: what was ordered, what has filled, its child that is not settled, when its last slice went, and what
    has traded since."""

    command: ParentOrder
    filled_lots: int = 0
    child: str = ""
    last_ns: int = 0
    traded_lots: float = 0.0
    slices: int = 0


class Wanted(Struct, frozen=True):
    """A child that may be given now."""

    parent: Parent
    lots: int


class Parents:
    """The parents of one account that are worked. One that has ended is forgotten; its children are not."""

    def __init__(self, blotter: Blotter) -> None:
        self._blotter = blotter
        self._active: dict[str, Parent] = {}

    def begin(self, command: ParentOrder, traded_lots: float = 0.0) -> None:
        """Takes a parent on; its first slice may go at once, as a share of `traded_lots`."""
        last_ns = command.ts_event - command.every_ns
        self._active[command.parent_id] = Parent(command, last_ns=last_ns, traded_lots=traded_lots)

    def active(self, symbol: str | None = None) -> tuple[Parent, ...]:
        """Those that are worked, oldest first; of one symbol, or all."""
        return tuple(one for one in self._active.values() if symbol is None or one.command.symbol == symbol)

    def left(self, parent: Parent) -> int:
        """Lots that have not been given to a child."""
        return max(parent.command.lots - parent.filled_lots - self._out(parent), 0)

    def left_in(self, symbol: str) -> tuple[int, int]:
        """The same of a symbol: lots to buy and to sell, both unsigned."""
        buys = sells = 0
        for one in self.active(symbol):
            if one.command.side == "buy":
                buys += self.left(one)
            else:
                sells += self.left(one)
        return buys, sells

    def on(self, before: Order, after: Order) -> int:
        """Lots that come back to the parent by what became of its child, unsigned; 0 where the child has none."""
        name = after.command.parent
        if name not in self._active:
            return 0
        parent, child = self._active[name], after.command.client_order_id
        out = before.exposed_lots if parent.child == child else self._out(parent)
        was = max(parent.command.lots - parent.filled_lots - out, 0)
        filled = parent.filled_lots + after.filled_lots - before.filled_lots
        over = parent.child == child and after.status not in OPEN and after.owed_lots == 0
        self._active[name] = parent = replace(parent, filled_lots=filled, child="" if over else parent.child)
        now = self.left(parent)
        if filled >= parent.command.lots and not parent.child:
            del self._active[name]
        return now - was

    def _out(self, parent: Parent) -> int:
        return self._blotter.get(parent.child).exposed_lots if parent.child else 0

    def traded(self, symbol: str, lots: float) -> None:
        """Takes note of what has traded in `symbol`."""
        for one in self.active(symbol):
            self._active[one.command.parent_id] = replace(one, traded_lots=one.traded_lots + lots)

    def due(self, ts_event: int, participation: float, least: dict[str, int]) -> list[Wanted]:
        """The children that may be given at `ts_event`; `least` is the smallest order in lots, by symbol."""
        found = []
        for one in self.active():
            ask = one.command
            if one.child or ts_event - one.last_ns < ask.every_ns:
                continue
            traded = float("inf") if ask.style == "passive" else one.traded_lots
            lots = release(self.left(one), ask.slice_lots, traded, participation, least[ask.symbol])
            if lots:
                found.append(Wanted(one, lots))
        return found

    def gave(self, parent_id: str, child: str, ts_event: int) -> None:
        """Takes note that a child was given."""
        one = self._active[parent_id]
        self._active[parent_id] = replace(one, child=child, last_ns=ts_event, traded_lots=0.0, slices=one.slices + 1)

    def stale(self, ts_event: int) -> tuple[CancelOrder, ...]:
        """Cancels for children that had their time, so that what is left of them can be given again."""
        return tuple(
            self._cancel(one, ts_event)
            for one in self.active()
            if one.child and ts_event - one.last_ns >= one.command.every_ns and self._works(one.child)
        )

    def over(self, ts_event: int, least: dict[str, int]) -> tuple[Parent, ...]:
        """Those whose time is over, or of which less is left than the smallest order."""
        return tuple(
            one
            for one in self.active()
            if not one.child and (ts_event >= one.command.until_ns or self.left(one) < least[one.command.symbol])
        )

    def stop(self, parent: Parent, ts_event: int) -> tuple[int, tuple[CancelOrder, ...]]:
        """Ends a parent: the lots that will not be given, unsigned, and a cancel for its child."""
        left = self.left(parent)
        del self._active[parent.command.parent_id]
        return left, (self._cancel(parent, ts_event),) if parent.child else ()

    def dump(self) -> list[Parent]:
        """What it remembers."""
        return list(self._active.values())

    def load(self, parents: Iterable[Parent]) -> None:
        """Goes on from a `dump`; the orders are the blotter's."""
        self._active = {one.command.parent_id: one for one in parents}

    def _works(self, child: str) -> bool:
        return self._blotter.get(child).status is WORKING

    def _cancel(self, parent: Parent, ts_event: int) -> CancelOrder:
        return CancelOrder(client_order_id=parent.child, symbol=parent.command.symbol, ts_event=ts_event)
