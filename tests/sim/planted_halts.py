"""Planted bugs of the brake: halts, taking orders back, restarts, the dead man's switch."""

import asyncio
from contextlib import suppress
from typing import Any

from flea_lab.core import TradingCore
from flea_lab.errors import VenueError
from flea_lab.live import brake, desk, opening
from flea_lab.live.brake import Brake
from flea_lab.live.dead_man import DeadMan
from flea_lab.live.desk import Desk
from flea_lab.live.latch import remove_halt_file
from flea_lab.live.pump import durable
from flea_lab.live.sender import Sender
from flea_lab.model.trading import CancelOrder, Resume
from flea_lab.risk.checks import KILL_LATCH
from tests.sim.mutants import Swap, just, mutant


@mutant("D1", "B1", "D7", "E3")
def check_then_await(swap: Swap) -> None:
    """Whether an order may go is asked when its turn comes; then it is made durable and sent."""

    async def send_orders(self: Any) -> None:
        while True:
            order, ticket = await self._orders.get()
            why = self._blocked() or self._old(order)
            await durable(ticket)
            if why:
                self._refuse(order, f"not sent: {why}", sent=False)
            else:
                blocked, self._blocked = self._blocked, str
                await self._send(order)
                self._blocked = blocked
            self._done()

    swap(Sender, "send_orders", send_orders)


@mutant("D1", "D2")
def halt_only_in_memory(swap: Swap) -> None:
    """A halt is a flag of the process that every order looks at."""

    def halt(self: Any, request: Any) -> None:
        self._halted_ns = int(request["received_ns"])
        self._runner.brake.asked = request.get("reason") or "halted by a person"
        self._loop.call_soon_threadsafe(self._runner.put, None)

    swap(Desk, "_halt", halt)
    swap(Brake, "look", just(None))


@mutant("D1", "D2")
def halt_waits_for_the_loop(swap: Swap) -> None:
    """A halt is answered when it is handed to the loop, which journals it: no file is needed."""
    swap(desk, "write_halt_file", just(None))


@mutant("D1", "D2", "B7")
def halt_forgotten_at_restart(swap: Swap) -> None:
    """A restart is a person's decision to go on: the kill switch opens."""
    resumed = opening.resumed

    def fresh(*args: Any, **kwargs: Any) -> Any:
        core = resumed(*args, **kwargs)
        core.gate.state[KILL_LATCH] = 0
        return core

    swap(opening, "resumed", fresh)


@mutant("D1", "D2")
def halt_file_is_not_read(swap: Swap) -> None:
    """The file says to a person that it is halted; the runner knows that by itself."""
    swap(brake, "is_latched", just(False))


@mutant("D3")
def kill_without_cancel(swap: Swap) -> None:
    """A halt stops new orders; those that are open end by themselves, and then it is verified."""

    async def verify(self: Any, sender: Any) -> None:
        try:
            left = await self._exchange.open_orders()
        except VenueError:
            return
        if not left and sender.idle:
            self.verified = True

    swap(TradingCore, "_take_back", just(()))
    swap(Brake, "verify", verify)


@mutant("D3", "A6")
def kill_of_known_orders(swap: Swap) -> None:
    """Every order that we have is cancelled by its id; none of ours is open when all those are answered."""

    async def verify(self: Any, sender: Any) -> None:
        opened = self._core.router.blotter.open_orders()
        now_ns = self._clock.now_ns()
        for order in opened:
            name, symbol = order.command.client_order_id, order.command.symbol
            sender.give(CancelOrder(client_order_id=name, symbol=symbol, ts_event=now_ns), None)
        if sender.idle and not opened:
            self.verified = True

    swap(Brake, "verify", verify)


@mutant("D3")
def verified_while_unknown(swap: Swap) -> None:
    """The venue lists no open order: nothing is open."""

    async def verify(self: Any, sender: Any) -> None:
        try:
            await self._exchange.cancel_all()
            self.verified = not await self._exchange.open_orders()
        except VenueError:
            return

    swap(Brake, "verify", verify)


@mutant("D3")
def kill_counts_its_own_cancel(swap: Swap) -> None:
    """The venue was told to cancel everything, so nothing is open; that it answers is enough."""

    async def verify(self: Any, sender: Any) -> None:
        with suppress(VenueError):
            await self._exchange.cancel_all()
        self.verified = sender.idle

    swap(Brake, "verify", verify)


@mutant("D8")
def taken_back_once_all_is_known(swap: Swap) -> None:
    """Orders of unknown fate are asked for first: then everything that is open can be taken back at once."""
    verify = Brake.verify

    async def verified(self: Any, sender: Any) -> None:
        if sender.settled(self._core.router.blotter):
            await verify(self, sender)

    swap(Brake, "verify", verified)


@mutant("D8")
def taken_back_at_the_next_minute(swap: Swap) -> None:
    """A venue that does not take a cancel has enough to do: it is left alone for a minute."""
    verify = Brake.verify

    async def verified(self: Any, sender: Any) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self.__dict__.get("_again_s", 0.0):
            return
        alert, failed = self._alert, list[str]()

        def said(severity: Any, text: str) -> None:
            failed.extend([text] * (severity == "critical"))
            alert(severity, text)

        self._alert = said
        try:
            await verify(self, sender)
        finally:
            self._alert = alert
        if failed:
            self.__dict__["_again_s"] = loop.time() + 60.0

    swap(Brake, "verify", verified)


@mutant("D3")
def verified_for_good(swap: Swap) -> None:
    """That nothing is open was found out once, and orders are stopped: none can have come since."""

    def verify(self: Any, value: bool) -> None:
        self.__dict__["_verified"] = self.__dict__.get("_verified", False) or value

    swap(Brake, "verified", property(lambda self: self.__dict__.get("_verified", False), verify))


@mutant("D6")
def cleared_while_unknown(swap: Swap) -> None:
    """A person who clears a halt knows best."""

    async def resume(self: Any, request: Any) -> None:
        runner, clears = self._runner, tuple(request["clear"])
        runner.brake.asked, runner.brake.filed = "", False
        remove_halt_file(self._bot.folder)
        by, why = request["by"], request["why"]
        runner.put(Resume(ts_event=self._bot.clock.now_ns(), clears=clears, by=by, why=why))

    swap(Desk, "_resume", resume)


@mutant("D1", "D2", "D5")
def last_words_are_a_log_line(swap: Swap) -> None:
    """What ends the runner is in the log: whoever starts it again has read that."""

    async def last_words(self: Any, reason: str, _sender: Any) -> None:
        self._alert("critical", reason)

    swap(Brake, "last_words", last_words)


@mutant("D7")
def dead_man_never_armed(swap: Swap) -> None:
    """The switch is set up when the venue asks for it; until then nothing waits."""

    async def run(self: Any) -> None:
        await asyncio.sleep(1e9)

    swap(DeadMan, "run", run)
    swap(DeadMan, "why_not", property(just("")))


@mutant("D7")
def dead_man_not_refreshed(swap: Swap) -> None:
    """The switch is armed once, when the session begins."""

    async def run(self: Any) -> None:
        while True:
            try:
                await self._exchange.dead_man(self.timeout_s)
                self._until_s = float("inf")
                await asyncio.sleep(1e9)
            except VenueError:
                await asyncio.sleep(0.5)

    swap(DeadMan, "run", run)


@mutant("D7")
def dead_man_refreshed_on_faith(swap: Swap) -> None:
    """A refresh that failed will have arrived: the next one comes soon."""

    async def run(self: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._exchange.dead_man(self.timeout_s)
            except VenueError as error:
                self._alert("info", f"the dead man's switch was not answered: {error}")
            self._until_s = loop.time() + self.timeout_s
            await asyncio.sleep(self.timeout_s / 4)

    swap(DeadMan, "run", run)
