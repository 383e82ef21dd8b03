"""What must hold, looked at from outside of the bot: the exchange, the disk and the send log against what it believes.

Every law is named as in the list of invariants: the letter of its group and its number.
"""

import os
from collections import Counter
from typing import TYPE_CHECKING

from flea_lab.execution.order import NOT_ACCEPTED, OPEN, UNKNOWN
from flea_lab.execution.parents import Parent
from flea_lab.ledger import LOTS, MARK
from flea_lab.live.account import HALT
from flea_lab.model.trading import Fill, NewOrder, ParentOrder
from flea_lab.sim.exchange import Standing
from flea_lab.sim.halting import Halting
from flea_lab.sim.life import MAX_SKEW_S, PARTICIPATION, PATIENCE_S, STALE_S, Life
from flea_lab.sim.market import GRID, MIDDLE, SYMBOLS, WANDER

if TYPE_CHECKING:
    from flea_lab.sim.world import World


LATE_NS = 3_000_000_000
"""By how much the bar may come late that a slice was not yet a share of: it counts for the next."""

LISTED_S = 1.0
"""How long before a halt the venue's list may be of: another halt may have stood already."""

HEARD_S = 3.0
"""How long before the end a stranger must have traded for the bot to know of it."""

LEAST = 6
"""Lots that may go with the last slice, so that less than the smallest order is never left."""


def _excused(off_s: float) -> float:
    """By how much a clock that is `off_s` ahead may be mistaken of an age: as far apart as two clocks may be."""
    return max(0.0, -off_s) if abs(off_s) <= MAX_SKEW_S else 0.0


class Oracle:
    """Watches one scenario. `sent` counts what left, by id; `halted` that a halt stands, by whoever's word."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.sent: Counter[str] = Counter()
        self._intents: dict[tuple[str, int], str] = {}
        self._marked: set[str] = set()
        self._parents: dict[str, ParentOrder] = {}
        self._sliced: dict[str, dict[str, int]] = {}
        self._given: dict[str, int] = {}
        self._booked: set[str] = set()
        self._cleared_s = -1.0
        self.halted = ""
        self.verified = False
        self.halting = Halting(world.exchange)
        self._halted_s = -1.0

    # ---- at every moment

    def sending(self, order: NewOrder) -> None:
        """An order is about to leave."""
        world, name, life = self._world, order.client_order_id, self._world.life
        violate, self.verified = world.violate, False
        world.note("bot", f"sends {name} {order.side} {order.lots} {order.symbol} {order.order_type}")
        self.sent[name] += 1
        if self.sent[name] > 1:
            violate("A3", f"order {name} is sent a second time")
        intent = order.parent or order.symbol, order.ts_event
        if self._intents.setdefault(intent, name) != name:
            violate("A1", f"the intent of {intent[0]} at {intent[1]} is sent as {self._intents[intent]} and as {name}")
        if order.parent and life is not None and life.core is not None:
            self._slice(order, life.core.router.parents.active(order.symbol))
        kept = world.disk.synced(name)
        if kept is None or kept.command != order:
            violate("A2", f"order {name} leaves before it is durable")
        if not (isinstance(order.lots, int) and isinstance(order.price_ticks, int) and order.lots > 0):
            violate("G1", f"order {name} of {order.lots} lots at {order.price_ticks} ticks leaves")
        age_s = (world.exchange.now_ns - order.ts_event) / 1e9
        if not age_s <= STALE_S + PATIENCE_S + _excused(world.clock.off_s):
            violate("E3", f"order {name} leaves {age_s:.2f} s after the close that it was decided on")
        if self.halted:
            violate("D1", f"order {name} leaves while halted ({self.halted})")
        if life is None or life.runner is None:
            return
        if life.runner.core.halted or os.path.exists(world.folder / HALT):
            violate("D1", f"order {name} leaves while the core or the file says halted")
        if life.runner.exchange.capabilities.dead_man_s and not world.exchange.armed_until_s > world.loop.time():
            violate("D7", f"order {name} leaves while the dead man's switch is not armed")
        if not (life.runner.link and life.runner.ready):
            violate("B1", f"order {name} leaves before the account is reconciled")
        self._books(life)

    def _slice(self, order: NewOrder, working: tuple[Parent, ...]) -> None:
        """A slice of a larger order is about to leave."""
        name = order.parent
        for one in working:
            self._parents.setdefault(one.command.parent_id, one.command)
        parent = self._parents.get(name)
        before = self._sliced.setdefault(name, {})
        if parent is None or order.client_order_id in before:
            return  # it has ended since, or the slice never left when it was tried before
        exchange = self._world.exchange
        works = [child for child in before if any(one.status == "open" for one in exchange.by_name.get(child, ()))]
        if works:
            self._world.violate("H3", f"slice {order.client_order_id} leaves while {works[0]} works")
        since_ns = max(before.values(), default=parent.ts_event - parent.every_ns)
        before[order.client_order_id] = order.ts_event
        bars = self._world.market.bars[order.symbol]
        traded = sum(bar.volume for bar in bars if since_ns - LATE_NS < bar.ts_event <= order.ts_event) / float(
            GRID.lot_size
        )
        most = min(PARTICIPATION * traded, parent.slice_lots + LEAST)
        if order.lots > most:
            self._world.violate("H5", f"slice {order.client_order_id} has {order.lots} lots, {most:.0f} may go at once")
        given = self._given[name] = self._given.get(name, 0) + order.lots
        whole = sum(bar.volume for bar in bars if bar.ts_event >= parent.ts_event)  # a late heartbeat may date a slice
        share = PARTICIPATION * whole / float(GRID.lot_size)
        if given > share:
            self._world.violate("H5", f"slices of {name} are {given} lots, {share:.0f} are their share of what traded")

    def _whole(self, one: Standing) -> None:
        """What is at the exchange of a larger order is never more than it."""
        world = self._world
        for name, children in self._sliced.items():
            if one.name in children:
                taken = [known for child in children for known in world.exchange.by_name.get(child, ())]
                lots = sum(min(known.filled, known.lots) + known.left for known in taken)
                if lots > self._parents[name].lots:
                    world.violate("H2", f"slices of {lots} lots of {name}, which has {self._parents[name].lots}")

    def _books(self, life: Life) -> None:
        """A book that is vouched for is one that the venue had, whole."""
        assert life.hearing is not None
        for symbol in SYMBOLS:
            book = life.hearing.watch.book(symbol)
            if book is None:
                continue
            theirs = self._world.market.books[symbol].get(book.seq or 0)
            if theirs != (book.bids, book.asks):
                self._world.violate("E1", f"the book of {symbol} at {book.seq} is not one that ever was")

    def unsent(self, order: NewOrder) -> None:
        """It never left, which is proven: it may be tried again."""
        self._world.note("bot", f"{order.client_order_id} never left")
        self.sent[order.client_order_id] -= 1

    def accepted(self, one: Standing) -> None:
        """The exchange took an order."""
        world, life = self._world, self._world.life
        self._whole(one)
        if self.verified and one.name not in world.exchange.foreign:
            world.violate("D3", f"order {one.name} arrives after no order was said to be open")
        if life is None or life.core is None or one.name not in life.core.router.blotter:
            return
        status = life.core.router.blotter.get(one.name).status
        if status not in OPEN:
            world.violate("A5", f"order {one.name} is taken after it was believed to be {status.value}")

    def booked(self, fill: Fill) -> None:
        """The bot counts a fill."""
        if fill.fill_id in self._booked:
            self._world.violate("B2", f"fill {fill.fill_id} of {fill.client_order_id} is counted a second time")
        self._booked.add(fill.fill_id)

    def begins(self, life: Life) -> None:
        """A process has read its journal: what it counts is what is durable."""
        self._booked = life.disk.fills()
        self._marked.clear()
        self.folds(life)

    def halts(self, kind: str) -> None:
        """A halt was asked for, and has been answered."""
        world = self._world
        self.halted, self._halted_s = kind, world.loop.time()
        self.halting.begin(world.loop.time(), healthy=world.swarm.quiet)

    def ended(self, why: str) -> None:
        """A process that traded ends by an error: that is a halt, and the next one must know of it."""
        self.halted = self.halted or f"the runner ended: {why}"

    def cancel_held(self) -> None:
        """A cancel waits for its turn, though few were asked for and none was refused."""
        self._world.violate("D4", "a cancel is held up by what else was asked of the venue")

    def asks_on(self) -> None:
        """A request leaves though a 429 said when the next one may."""
        self._world.violate("C7", "more is asked before the time that the last 429 named")

    def _beliefs(self) -> None:
        """What is over here is over there; an account that was taken over lets through only what reduces."""
        world, life = self._world, self._world.life
        if life is None or life.core is None:
            return
        blotter = life.core.router.blotter
        for one in world.exchange.orders:
            if one.status == "open" and one.name in blotter and blotter.get(one.name).status not in OPEN:
                world.violate("A6", f"order {one.name} is {blotter.get(one.name).status.value} here, open there")
            if one.filled and one.name in blotter and blotter.get(one.name).status is NOT_ACCEPTED:
                world.violate("A5", f"order {one.name} was filled, and it was concluded that it never arrived")
        for symbol, row in life.core.ledger.row.items():
            ticks = int(life.core.ledger.book[row, MARK])
            if not abs(ticks - MIDDLE) <= WANDER and (ticks or symbol in self._marked):
                world.violate("G1", f"{symbol} is valued at {ticks} ticks, which it never was")
            if ticks:
                self._marked.add(symbol)
        if life.hearing is not None:
            self._books(life)
        if life.runner is not None and life.runner.reconciler.adopted and "reducing" not in life.core.gate.closed():
            world.violate("B4", "the venue's account was taken over, and more than what reduces may pass")
        if life.runner is not None and life.runner.reconciler.adopted and not world.exchange.foreign:
            world.violate("B3", "the venue's account was taken over, and nobody else traded on it: fills were missed")

    def look(self) -> None:
        """Looks at what is believed, and at how long orders are open while a halt stands."""
        self._beliefs()
        overdue = self.halting.overdue(self._world.loop.time())
        if overdue is not None:
            self._world.violate("D8", f"halted, and order {overdue[0]} has been open for {overdue[1]:.1f} s since")

    def must_be_gone(self) -> None:
        """A healthy bot was halted a while ago: nothing of it is open, but what arrived after that."""
        world = self._world
        late = [
            one.name for one in world.exchange.orders if one.status == "open" and one.name not in world.exchange.foreign
        ]
        late = [name for name in late if self._since(name) < self._halted_s]
        if late and self.halted:
            world.violate("D3", f"halted {world.loop.time() - self._halted_s:.1f} s ago, and {', '.join(late)} is open")

    def said_verified(self, now: bool) -> None:
        """The runner says, or no longer says, that no order is open."""
        world = self._world
        if now and not self.verified:
            world.note("bot", "says that no order is open")
            if world.exchange.listed_s < self._halted_s - LISTED_S:
                world.violate("D3", "no order is said to be open, and the venue was not asked since the halt")
            just = world.loop.time() - 0.5  # a stranger's order may come between the venue's word and this look
            left = [one.name for one in world.exchange.orders if one.status == "open"]
            left = [name for name in left if not (name in world.exchange.foreign and self._since(name) > just)]
            if left:
                world.violate("D3", f"no order is said to be open, and {', '.join(left)} is")
        self.verified = now

    def cleared(self, life: Life) -> None:
        """A person was allowed to clear the halt: nothing may be unknown, and the account must be the venue's."""
        world, core = self._world, life.core
        assert core is not None
        unknown = [order.command.client_order_id for order in core.router.blotter.unknown_orders()]
        if unknown:
            world.violate("D6", f"the halt is cleared while {', '.join(unknown)} may be at the exchange")
        self.halting.end()
        self.halted, self._cleared_s, self._halted_s = "", world.loop.time(), -1.0

    def _since(self, name: str) -> float:
        return self._world.exchange.by_name[name][-1].at_s

    # ---- at the end

    def at_the_end(self) -> None:
        """All is healed, and has been for long enough."""
        world, life = self._world, self._world.life
        self.halting.end()
        if world.usurped and (life is None or life.runner is None):
            return  # an account that somebody else trades on is refused, where no journal says why
        if life is None or life.runner is None or life.core is None:
            world.violate("L1", "the bot does not run, long after all is healed")
            return
        self._account(life)
        self.folds(life)
        self._orders(life)
        self._strangers(life)
        self._alive(life)

    def _account(self, life: Life) -> None:
        world, core, exchange = self._world, life.core, self._world.exchange
        assert core is not None
        for symbol in SYMBOLS:
            held = int(core.ledger.book[core.ledger.row[symbol], LOTS])
            if held != exchange.lots[symbol]:
                world.violate("B1", f"{symbol}: {held} lots here, {exchange.lots[symbol]} there")
        if core.ledger.cash_uusd != exchange.cash_uusd:
            world.violate("B6", f"cash {core.ledger.cash_uusd} here, {exchange.cash_uusd} there")
        for name, lots in exchange.filled_by.items():
            if name in exchange.foreign:
                continue
            if name not in core.router.blotter:
                world.violate("A6", f"order {name} has filled and is not known here")
                continue
            order = core.router.blotter.get(name)
            if order.filled_lots != lots:
                world.violate("B5", f"order {name}: {order.filled_lots} lots filled here, {lots} there")

    def folds(self, life: Life) -> None:
        """The state is what the journal's rows lead to."""
        live, folded = life.folded()
        if live != folded:
            self._world.violate("B7", f"the state is {live}, the journal folds to {folded}")

    def _orders(self, life: Life) -> None:
        world, core, exchange = self._world, life.core, self._world.exchange
        assert core is not None
        there = {one.name for one in exchange.orders if one.status == "open"}
        here = {order.command.client_order_id for order in core.router.blotter.open_orders()}
        strangers = there & exchange.foreign
        if here != there - strangers:
            world.violate("A6", f"open here only: {sorted(here - there)}, there only: {sorted(there - here)}")
        if strangers and not core.gate.closed():
            world.violate("A6", f"orders {sorted(strangers)} are not ours, and no latch is closed")
        for order in core.router.blotter.open_orders():
            if order.status is UNKNOWN:
                world.violate("A5", f"order {order.command.client_order_id} is still unknown")
        for name, known in exchange.by_name.items():
            if name in exchange.foreign:
                continue
            if name not in core.router.blotter:
                world.violate("A6", f"order {name} is at the exchange and not known here")
            elif known[-1].status == "open" and core.router.blotter.get(name).status not in OPEN:
                world.violate("A6", f"order {name} is open there, {core.router.blotter.get(name).status.value} here")

    def _strangers(self, life: Life) -> None:
        """Somebody else's trade is nothing that the bot can explain: it halts, until a person has looked at it."""
        world, exchange = self._world, self._world.exchange
        assert life.core is not None
        from_ns = world.market.start_ns + round(max(self._cleared_s, 0.0) * 1e9)
        trades = [fill for _, fill in exchange.fills_told if fill.client_order_id in exchange.foreign]
        known = [fill for fill in trades if from_ns <= fill.ts_event <= exchange.now_ns - HEARD_S * 1e9]
        if known and "kill_switch" not in life.core.gate.closed():
            world.violate("D5", f"somebody else has traded ({known[-1].fill_id}), and the bot is not halted")

    def _alive(self, life: Life) -> None:
        world, runner = self._world, life.runner
        assert runner is not None
        closed = runner.core.gate.closed()
        if self.halted and not runner.core.halted:
            world.violate("D2", f"the halt ({self.halted}) is forgotten")
        if not (runner.link and runner.ready):
            world.violate("L1", f"not ready long after all is healed: {runner.state}, link {runner.link}")
        if runner.core.halted:
            if not runner.brake.verified:
                world.violate("D3", f"halted ({', '.join(closed)}), and never verified that no order is open")
            if any(one.status == "open" for one in world.exchange.orders):
                world.violate("D3", "halted, and orders are open at the exchange")
