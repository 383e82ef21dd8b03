"""What may be sent again and what may not: only what never left, only for a while, and never past a halt."""

import asyncio
from typing import Any, cast

import pytest
from msgspec.structs import replace

from flea_lab.errors import VenueError
from flea_lab.execution.blotter import Blotter
from flea_lab.journal import Ticket
from flea_lab.live import sender as sender_module
from flea_lab.live.sender import TRIES, Sender
from flea_lab.model.trading import (
    Accepted,
    CancelOrder,
    CancelRejected,
    Fill,
    NewOrder,
    NotFound,
    OrderReport,
    Rejected,
    SendUnclear,
)
from flea_lab.venue.protocol import Capabilities
from tests.execution.orders import a_report, an_order


class Exchange:
    """Answers `answers` in their order, then accepts; `wait_s` until an order may be sent."""

    def __init__(self, *answers: OrderReport, wait_s: float = 0.0) -> None:
        self.answers, self.wait_s, self.sent = list(answers), wait_s, 0

    def order_wait_s(self) -> float:
        wait, self.wait_s = self.wait_s, 0.0 if self.wait_s < 1.0 else self.wait_s
        return wait

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        self.sent += 1
        if self.answers:
            return (self.answers.pop(0),)
        return (Accepted(client_order_id=command.client_order_id, ts_event=1),)


UNSENT = Rejected(client_order_id="1", ts_event=1, reason="not sent: cannot connect", sent=False)


def sent(exchange: Exchange, command: NewOrder | CancelOrder | None = None, blocked: Any = None) -> list[Any]:
    """What the sender reported of `command`."""
    told: list[Any] = []

    async def run() -> None:
        venue: Any = exchange
        why = blocked or (lambda: "")
        sender = Sender(venue, told.append, lambda: 7, why, lambda: 0, 1.0, patience_s=0.5, jitter=lambda: 0.01)
        ticket = Ticket()
        ticket.settle()
        sender.give(command or an_order(), ticket)
        lanes = [asyncio.create_task(lane) for lane in (sender.send_orders(), sender.send_cancels())]
        async with asyncio.timeout(10):
            while not sender.idle:
                await asyncio.sleep(0.001)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)

    asyncio.run(run())
    return [report for report in told if report is not None]


def test_an_order_that_never_left_is_tried_again_and_given_up_in_the_end() -> None:
    exchange = Exchange(UNSENT)
    assert [type(report) for report in sent(exchange)] == [Accepted] and exchange.sent == 2
    exchange = Exchange(*[UNSENT] * 9)
    assert sent(exchange) == [UNSENT] and exchange.sent == TRIES


def test_an_order_that_the_venue_refused_is_not_tried_again() -> None:
    refused = Rejected(client_order_id="1", ts_event=1, reason="below_minimum")
    exchange = Exchange(refused)
    assert sent(exchange) == [refused] and exchange.sent == 1


def test_a_halt_between_two_tries_keeps_the_second_back() -> None:
    exchange = Exchange(UNSENT, UNSENT)
    (told,) = sent(exchange, blocked=lambda: "halted" if exchange.sent else "")
    assert isinstance(told, Rejected) and told.reason == "not sent: halted" and exchange.sent == 1


def test_an_order_waits_for_its_turn_and_is_given_up_where_that_is_too_late() -> None:
    exchange = Exchange(wait_s=0.05)
    assert [type(report) for report in sent(exchange)] == [Accepted]
    exchange = Exchange(wait_s=30.0)
    (told,) = sent(exchange)
    assert isinstance(told, Rejected) and not told.sent and exchange.sent == 0
    assert told.reason == "not sent: the venue's limits leave no order for 30.0 s"


def test_a_cancel_that_never_left_is_tried_again() -> None:
    unsent = CancelRejected(client_order_id="1", ts_event=1, reason="not sent", sent=False)
    exchange = Exchange(unsent, unsent)
    told = sent(exchange, CancelOrder(client_order_id="1", symbol="X", ts_event=1))
    assert [type(report).__name__ for report in told] == ["CancelSent", "Accepted"] and exchange.sent == 3


def test_never_seen_is_not_believed_while_the_venue_may_still_take_the_order() -> None:
    class Silent(Exchange):
        capabilities = Capabilities(id_scope="for_ever", query_by_id=True, validity_s=30.0)

        async def order(self, client_order_id: str) -> None:
            return None

        async def fills(self, after: int) -> list[Any]:
            return []

    told: list[Any] = []

    async def run(now_s: int) -> None:
        blotter, venue = Blotter(), cast(Any, Silent())
        command = an_order()
        blotter.register(command)
        blotter.on(SendUnclear(client_order_id=command.client_order_id, ts_event=1, reason="no answer"))
        sender = Sender(venue, told.append, lambda: command.ts_event + now_s * 10**9, lambda: "", lambda: 0, 0.0)
        for _ in range(4):
            await sender.ask(blotter)

    asyncio.run(run(31))
    assert told == []
    asyncio.run(run(33))
    assert {type(report) for report in told} == {NotFound}


class Unnumbered(Exchange):
    """Tells its fills where it is asked, and counts how often and from where."""

    capabilities = Capabilities(id_scope="for_ever", query_by_id=True)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        self.asked.append(after)
        if len(self.asked) == 2:
            raise VenueError("away")
        one = a_report(Fill, fill_id="f1")
        return [(3, one), (4, replace(one, client_order_id="a stranger", fill_id="f2"))]


def test_fills_are_asked_for_again_and_again_where_no_number_would_show_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    venue, told, blotter = Unnumbered(), list[Any](), Blotter()
    blotter.register(an_order())
    monkeypatch.setattr(sender_module, "FILLS_S", 0.0)

    async def run() -> None:
        sender = Sender(cast(Any, venue), told.append, lambda: 7, lambda: "", lambda: 0, 1.0)
        for _ in range(3):
            await sender.ask(blotter)
        venue.capabilities = Capabilities(id_scope="for_ever", query_by_id=True, private_seq=True)
        await sender.ask(blotter)
        venue.capabilities = Unnumbered.capabilities
        monkeypatch.setattr(sender_module, "FILLS_S", 5.0)
        await sender.ask(blotter)

    asyncio.run(run())
    assert venue.asked == [0, 4, 4], "what fails is asked again; numbered, or too soon, is not asked"
    assert [report.fill_id for report in told] == ["f1", "f1"], "the core counts one once"
