"""Planted bugs of the way out: what is durable, what is sent, what is believed of an order that was."""

import asyncio
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from flea_lab.errors import VenueError
from flea_lab.journal import done_ticket
from flea_lab.live import sender
from flea_lab.live.journal import LiveJournal
from flea_lab.live.pump import Pump, Step, durable
from flea_lab.live.sender import Sender
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelRejected,
    NewOrder,
    NotFound,
    Rejected,
    SendUnclear,
)
from tests.sim.mutants import Swap, just, mutant


@mutant("A2", "A6")
def journal_after_send(swap: Swap) -> None:
    """The order goes first and is written down while its answer is awaited: the disk is slower than the venue."""

    async def send_orders(self: Any) -> None:
        while True:
            order, ticket = await self._orders.get()
            await self._send(order)
            await durable(ticket)
            self._done()

    swap(Sender, "send_orders", send_orders)


@mutant("A2", "A6")
def no_fsync(swap: Swap) -> None:
    """A batch counts as kept once the system has it: `synchronous = OFF`."""
    commit = LiveJournal.commit

    def committed(self: Any, snapshot: Any = None) -> Any:
        commit(self, snapshot)
        self._last = done_ticket()
        return self._last

    swap(LiveJournal, "commit", committed)


@mutant("A2")
def failed_disk_goes_on(swap: Swap) -> None:
    """A disk that refuses a batch is somebody else's trouble: trading must not stop for a log."""

    async def waited(ticket: Any) -> None:
        if not ticket.settled:
            known = asyncio.get_running_loop().create_future()
            ticket.then(lambda _: None if known.done() else known.set_result(None))
            await known

    swap(sender, "durable", waited)
    swap(LiveJournal, "check", just(None))


@mutant("B7", "A2")
def urgent_only(swap: Swap) -> None:
    """An event that leads to no command changes nothing, so it needs no row: a smaller journal."""
    on = Pump.on

    def lean(self: Any, event: Any) -> Step:
        before = self.journal.seq
        step = on(self, event)
        if not step.commands and self.journal.seq == before + 1 and self.journal._rows:
            self.journal.retract(fault=False)
        return step

    swap(Pump, "on", lean)


async def _resent(self: Any, order: NewOrder, again: Any) -> None:
    """As `Sender._send`, with what `again` gives for a send that failed: the order to send then, or None."""
    while True:
        why = await self._turn(asyncio.get_running_loop().time() + self._patience_s) or self._blocked()
        why = why or self._old(order)
        if why:
            self._refuse(order, f"not sent: {why}", sent=False)
            return
        try:
            reports = await self._exchange.send(order)
        except VenueError as error:
            other = again(order, error)
            if other is None:
                name = order.client_order_id
                self._put(SendUnclear(client_order_id=name, ts_event=self._now_ns(), reason=str(error)))
                return
            order = other
            continue
        for report in reports:
            self._put(report)
        return


@mutant("A1", "A2")
def new_id_on_retry(swap: Swap) -> None:
    """An order that was not answered is given again, under an id of its own so that the venue takes it."""

    def again(order: NewOrder, error: VenueError) -> NewOrder | None:
        return replace(order, client_order_id=f"{order.client_order_id}r") if "no answer" in str(error) else None

    async def send(self: Any, order: NewOrder) -> None:
        await _resent(self, order, again)

    swap(Sender, "_send", send)


@mutant("A3", "A1")
def reposted_after_timeout(swap: Swap) -> None:
    """No answer in time: the same request once more, its id makes that safe."""

    async def send(self: Any, order: NewOrder) -> None:
        await _resent(self, order, lambda order, error: order if "no answer" in str(error) else None)

    swap(Sender, "_send", send)


@mutant("A3", "A1")
def reposted_after_503(swap: Swap) -> None:
    """503 says that the service was not available: an order that was refused may be sent again."""

    async def send(self: Any, order: NewOrder) -> None:
        await _resent(self, order, lambda order, error: order if "503" in str(error) else None)

    swap(Sender, "_send", send)


@mutant("A5", "A6", "C4", "B1")
def timeout_is_rejected(swap: Swap) -> None:
    """An order that nobody answered did not go through."""
    send = Sender._send

    async def sent(self: Any, order: NewOrder) -> None:
        put, name = self._put, order.client_order_id

        def told(report: Any) -> None:
            unclear = isinstance(report, SendUnclear)
            put(Rejected(client_order_id=name, ts_event=report.ts_event, reason="no answer") if unclear else report)

        self._put = told
        try:
            await send(self, order)
        finally:
            self._put = put

    swap(Sender, "_send", sent)


def _asking(swap: Swap, *, patient: bool, failed_is_missing: bool, tries: int = 1) -> None:
    async def ask_unknown(self: Any, blotter: Any) -> None:
        now = asyncio.get_running_loop().time()
        for order in blotter.unknown_orders():
            name = order.command.client_order_id
            first, missing = self._asked.setdefault(name, (now, 0))
            state = None
            try:
                state = await self._exchange.order(name)
            except VenueError:
                if not failed_is_missing:
                    continue
            if state is not None:
                del self._asked[name]
                with suppress(VenueError):
                    for _, fill in await self._exchange.fills(self._fills_after()):
                        if fill.client_order_id == name:
                            self._put(fill)
                self._put(sender.told(state))
                continue
            self._asked[name] = first, missing + 1
            if (not patient and missing + 1 >= tries) or (
                patient and missing >= 1 and now - first >= self._unknown_wait_s
            ):
                del self._asked[name]
                self._put(NotFound(client_order_id=name, ts_event=self._now_ns()))

    swap(Sender, "_ask_unknown", ask_unknown)


@mutant("A5")
def early_not_found_is_final(swap: Swap) -> None:
    """The venue does not know the order: then there is none."""
    _asking(swap, patient=False, failed_is_missing=False)


@mutant("A5", "A6", "C4")
def failed_query_is_not_found(swap: Swap) -> None:
    """A question that fails brings no order, and after enough of those there is none."""
    _asking(swap, patient=True, failed_is_missing=True)


@mutant("A5", "A6", "C4")
def three_failures_are_not_found(swap: Swap) -> None:
    """An order that could not be found three times, for whatever reason, is lost."""
    _asking(swap, patient=False, failed_is_missing=True, tries=3)


@mutant("A5", "L1")
def asked_three_times(swap: Swap) -> None:
    """What the venue does not say at the third question it will not say at the fourth."""
    ask, asked = Sender._ask_unknown, dict[str, int]()

    async def ask_thrice(self: Any, blotter: Any) -> None:
        class Few:
            def unknown_orders(self) -> list[Any]:
                names = [(order, order.command.client_order_id) for order in blotter.unknown_orders()]
                for _, name in names:
                    asked[name] = asked.get(name, 0) + 1
                return [order for order, name in names if asked[name] <= 3]

        await ask(self, Few())  # type: ignore[arg-type]

    swap(Sender, "_ask_unknown", ask_thrice)


@mutant("A6", "C4", "B1", "D3")
def cancel_without_answer_is_done(swap: Swap) -> None:
    """A cancel that went out took the order back; the answer is a formality."""
    cancelled = Sender._cancelled

    async def believed(self: Any, cancel: Any) -> Any:
        reports = await cancelled(self, cancel)
        name = cancel.client_order_id
        if len(reports) == 1 and isinstance(reports[0], SendUnclear):
            return (Cancelled(client_order_id=name, ts_event=self._now_ns()),)
        return reports

    swap(Sender, "_cancelled", believed)


@mutant("A5", "A6", "C4", "B1", "B5")
def refused_cancel_means_gone(swap: Swap) -> None:
    """The venue has no such open order, so it is over: no need to ask how it ended."""
    cancelled = Sender._cancelled

    async def believed(self: Any, cancel: Any) -> Any:
        name = cancel.client_order_id
        reports = await cancelled(self, cancel)
        refused = len(reports) == 1 and isinstance(reports[0], CancelRejected) and reports[0].sent
        return (Cancelled(client_order_id=name, ts_event=self._now_ns()),) if refused else reports

    swap(Sender, "_cancelled", believed)


@mutant("A6", "A5", "L1", "C4")
def acknowledged_by_silence(swap: Swap) -> None:
    """What failed without a word works: it is shown as open until somebody says otherwise."""
    send = Sender._send

    async def sent(self: Any, order: NewOrder) -> None:
        put, name = self._put, order.client_order_id

        def told(report: Any) -> None:
            unclear = isinstance(report, SendUnclear)
            put(Accepted(client_order_id=name, ts_event=report.ts_event) if unclear else report)

        self._put = told
        try:
            await send(self, order)
        finally:
            self._put = put

    swap(Sender, "_send", sent)


@mutant("E3")
def order_age_is_not_looked_at(swap: Swap) -> None:
    """An order was decided on fresh prices; how long it waits for its turn does not matter."""
    from flea_lab.live.runner import Runner

    swap(Runner, "_why_old", just(""))
