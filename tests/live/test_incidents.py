"""Eight failures that cost other people money, each as the events that made it, and what must come of them here.

The issue named beside each test is where it was reported. Core, sender and router are the real ones; the venue says
what the incident's venue said.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from flea_lab.core import Event, TradingCore
from flea_lab.core_state import CoreState
from flea_lab.errors import DataError, VenueError, WorkspaceError
from flea_lab.execution.order import Status
from flea_lab.journal import Ticket
from flea_lab.live.sender import TRIES, Sender
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    Command,
    Fill,
    Halt,
    NewOrder,
    OrderReport,
    ParentOrder,
    Refused,
)
from flea_lab.risk.checks import KILL_SWITCH
from flea_lab.venue.protocol import Capabilities, OrderState
from tests.backtest.tiny import config
from tests.test_core import NOON, a_core, a_fill, candle
from tests.test_core_slicing import a_core as a_slicing_core
from tests.test_core_slicing import bar, orders

WAIT_S = 0.02


class Venue:
    """A venue that says what it is told to say."""

    capabilities = Capabilities(id_scope="for_ever", query_by_id=True, private_seq=True)

    def __init__(self) -> None:
        self.posts: list[str] = []
        self.cancels = 0
        self.states: dict[str, OrderState] = {}
        self.executions: list[tuple[int, Fill]] = []
        self.lost = self.away = False

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        name = command.client_order_id
        if isinstance(command, CancelOrder):
            self.cancels += 1
            raise VenueError("DELETE /orders: TimeoutError")
        self.posts.append(name)
        self.states[name] = OrderState(
            client_order_id=name, symbol="X", status="open", lots=command.lots, filled_lots=0, ts_event=1
        )
        if self.lost:
            raise VenueError("POST /orders: TimeoutError")
        return (Accepted(client_order_id=name, ts_event=1),)

    async def order(self, name: str) -> OrderState | None:
        self._reach()
        return self.states.get(name)

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        self._reach()
        return [one for one in self.executions if one[0] > after]

    def _reach(self) -> None:
        if self.away:
            raise VenueError("GET /orders: cannot connect: name or service not known")


class Desk:
    """A core and its sender; what the sender puts goes into the core."""

    def __init__(self, core: TradingCore, venue: Venue) -> None:
        self.core, self.venue = core, venue
        self.said: list[Command] = []
        exchange: Any = venue
        self.sender = Sender(exchange, self.put, lambda: 7, lambda: "halted" if core.halted else "", lambda: 0, WAIT_S)

    def put(self, event: Event | None) -> None:
        """One event into the core; what it commands goes out, durable at once."""
        if event is not None:
            self.give(self.core.on(event))

    def give(self, commands: tuple[Command, ...], ticket: Ticket | None = None) -> None:
        self.said += commands
        done = ticket or Ticket()
        if ticket is None:
            done.settle()
        for command in commands:
            if isinstance(command, NewOrder | CancelOrder):
                self.sender.give(command, done)

    def status(self, name: str) -> Status:
        return self.core.router.blotter.get(name).status

    async def settled(self) -> None:
        """Returns once everything given has been answered."""
        while not self.sender.idle:
            await asyncio.sleep(0.001)


def play(story: Callable[[Desk], Awaitable[None]], core: TradingCore | None = None) -> Desk:
    async def run() -> Desk:
        desk = Desk(core or a_core(config(("X",))), Venue())
        lanes = [asyncio.create_task(lane) for lane in (desk.sender.send_orders(), desk.sender.send_cancels())]
        try:
            async with asyncio.timeout(10):
                await story(desk)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        return desk

    return asyncio.run(run())


def test_an_ambiguous_time_out_is_no_failure_and_nothing_is_sent_again() -> None:
    """catalyst #317, nautilus_trader #4215: the request timed out, the order was there, the retry made it two."""

    async def story(desk: Desk) -> None:
        desk.venue.lost = True
        desk.give(desk.core.on(candle("X", 1, say=0.5)))
        await desk.settled()
        (name,) = desk.venue.posts
        assert desk.status(name) is Status.UNKNOWN and desk.core.ledger.book[0, 1] > 0, "it counts as exposure"
        for _ in range(5):
            await desk.sender.ask(desk.core.router.blotter)
        assert desk.status(name) is Status.WORKING and desk.venue.posts == [name]

    play(story)


def test_an_outage_of_names_is_no_word_that_an_order_was_never_seen() -> None:
    """hummingbot #8457: six live orders were dropped because asking for them failed; a short stayed unwatched."""

    async def story(desk: Desk) -> None:
        desk.venue.lost = True
        for n in range(1, 7):
            desk.give(desk.core.on(candle("X", n, say=0.1)))
            await desk.settled()
        assert len(desk.venue.posts) == 6
        desk.venue.away = True
        for _ in range(30):  # far beyond the time after which "never seen" would be believed
            await desk.sender.ask(desk.core.router.blotter)
            await asyncio.sleep(WAIT_S / 4)
        assert len(desk.core.router.blotter.unknown_orders()) == 6
        desk.venue.away = False
        await desk.sender.ask(desk.core.router.blotter)
        assert {desk.status(name) for name in desk.venue.posts} == {Status.WORKING}

    play(story)


def test_an_order_that_is_not_written_down_is_never_sent() -> None:
    """freqtrade #7184, #4653: filled at the exchange, then the row could not be inserted, and the trade was lost."""

    async def story(desk: Desk) -> None:
        ticket = Ticket()
        desk.give(desk.core.on(candle("X", 1, say=0.5)), ticket)
        await asyncio.sleep(0.01)
        assert desk.venue.posts == [], "not durable yet"
        ticket.settle("database is locked")
        await asyncio.sleep(0.01)
        assert desk.venue.posts == []

    play(story)
    failed = Ticket()
    failed.settle("database is locked")

    async def alone() -> None:
        exchange: Any = Venue()
        sender = Sender(exchange, lambda _: None, lambda: 7, lambda: "", lambda: 0, WAIT_S)
        (order,) = a_core(config(("X",))).on(candle("X", 1, say=0.5))
        assert isinstance(order, NewOrder)
        sender.give(order, failed)
        with pytest.raises(WorkspaceError, match="database is locked"):
            await sender.send_orders()

    asyncio.run(alone())


def test_fills_that_are_told_again_at_a_reconnect_count_once() -> None:
    """hummingbot #2945, nautilus_trader #3046, ccxt #18854: the stream replayed fills and the position doubled."""
    core = a_core(config(("X",)))
    (order,) = core.on(candle("X", 1, say=0.5))
    assert isinstance(order, NewOrder)
    fills = [msgspec.structs.replace(a_fill(order, lots), fill_id=name) for lots, name in ((10, "a"), (20, "b"))]
    for fill in (*fills, *fills, fills[0]):
        core.on(fill)
    first = core.account()
    again = a_core(config(("X",)))
    again.load(core.dump())
    again.router.blotter.restore(core.router.blotter.get(order.client_order_id))
    for fill in fills:  # and once more after a restart
        again.on(fill)
    assert first.lots == again.account().lots == {"X": 30} and first.cash_uusd == again.account().cash_uusd


def test_a_partial_fill_that_races_the_cancel_makes_the_next_slice_smaller() -> None:
    """nautilus_trader #4154, Alpaca #165: cancel and replace while a part filled: 1.165 of 1.000."""
    core = a_slicing_core(slicing={"minutes": 2.0, "participation": 1.0, "above": 1e-5, "style": "iceberg"})
    parent, child = bar(core, 1, say=1.0)
    assert isinstance(parent, ParentOrder) and isinstance(child, NewOrder) and child.lots == 10_000
    core.on(Accepted(client_order_id=child.client_order_id, ts_event=2))
    (cancel,) = bar(core, 2)
    assert isinstance(cancel, CancelOrder)
    core.on(Cancelled(client_order_id=child.client_order_id, ts_event=3, filled_lots=1_650))
    assert orders(bar(core, 3)) == [], "the venue names 1,650 filled, and none of them has come"
    core.on(a_fill(child, lots=1_650))
    given, n = [*orders(bar(core, 4))], 5
    assert [order.lots for order in given] == [10_000]
    while core.ledger.book[0, 1]:
        for order in given:
            core.on(a_fill(order))
        given = orders(bar(core, n))
        n += 1
    assert core.account().lots == {"X": parent.lots}, "to the lot"


def test_a_kill_switch_whose_cancels_fail_goes_on_stopping_orders() -> None:
    """hummingbot #2534: the kill switch fired, threw, and trading went on."""

    async def story(desk: Desk) -> None:
        desk.give(desk.core.on(candle("X", 1, say=0.5)))
        await desk.settled()
        desk.give(desk.core.on(Halt(ts_event=9, reason="enough")))
        await desk.settled()
        assert desk.venue.cancels == TRIES and desk.core.halted
        (name,) = desk.venue.posts
        assert desk.status(name) is Status.UNKNOWN, "the cancel was not answered: it is asked for"
        (refused,) = desk.core.on(candle("X", 2, say=-0.5))
        assert isinstance(refused, Refused) and refused.code == KILL_SWITCH
        late = msgspec.structs.replace(desk.core.router.blotter.get(name).command, client_order_id="late")
        desk.core.router.blotter.register(late)
        desk.give((late,))
        await desk.settled()
        assert desk.venue.posts == [name] and desk.status("late") is Status.REJECTED, "what was on its way is kept back"

    play(story)


def test_a_restart_forgets_neither_the_halt_nor_what_the_loss_is_counted_from() -> None:
    """hyperliquid-trading-agent #5, trading-bot #27: restarted, it traded on, its limits set from what was left."""
    core = a_core(config(("X",), risk={"max_daily_loss": 0.03, "max_drawdown": 0.5}))
    (order,) = core.on(candle("X", 1, say=0.9))
    assert isinstance(order, NewOrder)
    core.on(a_fill(order))
    core.on(candle("X", 2, say=0.0, close=95.0))
    core.on(Halt(ts_event=NOON, reason="by hand"))
    assert core.gate.closed() == ("kill_switch", "daily_loss")
    again = a_core(config(("X",), risk={"max_daily_loss": 0.03, "max_drawdown": 0.5}))
    again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(core.dump()), type=CoreState))
    assert again.gate.closed() == core.gate.closed() and again.halted
    assert (again.gate.day_open_uusd, again.gate.peak_uusd) == (10_000_000_000, 10_000_000_000)
    for n in (3, 4):
        (refused,) = again.on(candle("X", n, say=0.5, close=95.0))
        assert isinstance(refused, Refused) and refused.code == KILL_SWITCH


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf, -1.0, 0.0])
def test_a_price_that_is_no_number_trades_nothing_and_poisons_nothing(price: float) -> None:
    """hummingbot #7823: a market order at NaN, filled; Helios-x #17: NaN in a total for the life of the process."""
    core = a_core(config(("X",)))
    core.on(candle("X", 1, say=0.0))
    before = core.dump()
    with pytest.raises(DataError, match=r"price .* is not between 1 and"):
        core.on(candle("X", 2, say=1.0, close=price))
    assert core.dump().arrays == before.arrays and core.dump().waiting == before.waiting
    (order,) = core.on(candle("X", 2, say=0.5))
    assert isinstance(order, NewOrder) and core.ledger.equity_uusd() == 10_000_000_000
