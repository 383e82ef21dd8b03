"""What the control socket may ask of a runner, and how a halt and its clearing are carried out."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import HALT
from flea_lab.live.by_hand import ByHand
from flea_lab.live.doorway import is_clear
from flea_lab.live.latch import is_latched, remove_before, write_halt_file
from flea_lab.live.opening import Bot
from flea_lab.live.phrase import clearing_phrase
from flea_lab.live.runner import Runner
from flea_lab.live.status import status_of
from flea_lab.model.trading import Resume

T = TypeVar("T")

COMPARE_S = 2.5
DISK_S = 1.0
"""How long a resume waits for a comparison with the venue, and for the disk."""

CLEAR_S = 1.0
"""How long a halt waits for an order that has had its last look to be written."""

REPLY_S = 4.0
"""How long a request that the loop has to answer may take."""


class Desk:
    """What the control socket may ask of a runner; called in the socket's own thread."""

    def __init__(self, bot: Bot, runner: Runner) -> None:
        self._bot, self._runner = bot, runner
        self._loop = asyncio.get_running_loop()
        self._since_ns = bot.clock.now_ns()
        self._halted_ns = -1
        self._by_hand = ByHand(runner, bot.about.account, bot.alerts.put)

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["verb"]:
            case "halt":
                self._halt(request)
            case "stop":
                self._loop.call_soon_threadsafe(self._runner.finish, "stopped by a person")
            case "resume":
                self._wait(self._resume(request))
            case "order":
                return {**self.status(), "parent_id": self._wait(self._by_hand.order(request))}
            case "cancel":
                self._wait(self._by_hand.cancel(request))
        return self.status()

    def _wait(self, answer: Coroutine[Any, Any, T]) -> T:
        """What the loop answers."""
        try:
            return asyncio.run_coroutine_threadsafe(answer, self._loop).result(REPLY_S)
        except TimeoutError:
            raise WorkspaceError(f"the runner's loop did not take it within {REPLY_S:g} s") from None

    def _halt(self, request: dict[str, Any]) -> None:
        """Stops orders at once, one whose last look is over included: it is waited for. A file keeps the halt until the
        journal has it, which waits for the loop."""
        reason = request.get("reason") or "halted by a person"
        self._halted_ns = int(request["received_ns"])
        self._runner.brake.asked = reason
        try:
            write_halt_file(self._bot.folder, reason, self._bot.clock)
            self._runner.brake.filed = True
        except WorkspaceError as error:
            self._bot.alerts.put("critical", f"the halt is not on disk yet: {error}")
        if not is_clear(self._bot.folder, CLEAR_S):
            self._bot.alerts.put("critical", f"an order that is being sent has not left after {CLEAR_S:g} s")
        self._loop.call_soon_threadsafe(self._runner.put, None)

    def status(self) -> dict[str, Any]:
        """The last published status, with who and what trades."""
        about = {**msgspec.to_builtins(self._bot.about), "pid": os.getpid(), "since_ns": self._since_ns}
        said = self._runner.status
        filed = is_latched(self._bot.folder / HALT)
        if filed and said["state"] == "trading":  # the loop has not heard of it yet, and no order leaves any more
            said = {**said, "state": "halted"}
        alerts = self._bot.alerts.said + self._bot.alerts.held
        return {**about, **said, "halt_durable": filed or self._runner.pump.halted, "alerts": alerts}

    async def _resume(self, request: dict[str, Any]) -> None:
        runner = self._runner
        clears = tuple(request["clear"])
        phrase = clearing_phrase(self._bot.about.account, clears)
        if request["phrase"] != phrase:
            raise ConfigError(f"a person clears it by typing {phrase!r}")
        await self._compared()
        status = status_of(runner)
        if not status["reconciled"]:
            raise ConfigError("cannot resume: the account is not the venue's; see the last reconcile in the journal")
        if status["unknown_orders"]:
            raise ConfigError(f"cannot resume: {status['unknown_orders']} orders are of unknown fate")
        if "kill_switch" in clears:
            received_ns = int(request["received_ns"])
            await self._journalled()
            if self._halted_ns > received_ns or not remove_before(self._bot.folder, received_ns):
                raise ConfigError("cannot resume: halted again since")
            runner.brake.asked, runner.brake.filed = "", False
            if self._halted_ns > received_ns:  # while that was done: it is said before it is asked for
                runner.brake.asked = "halted again"
                raise ConfigError("cannot resume: halted again since")
        by, why = request["by"], request["why"]
        runner.put(Resume(ts_event=self._bot.clock.now_ns(), clears=clears, by=by, why=why))
        self._bot.alerts.put("warning", f"{', '.join(clears)} cleared by {by}{f': {why}' if why else ''}")

    async def _journalled(self) -> None:
        """Returns once the halt that is to be cleared is in the journal: until then its file alone stands for it, and
        is not taken away."""
        runner, loop = self._runner, asyncio.get_running_loop()
        until = loop.time() + DISK_S
        while not runner.pump.stands("kill_switch"):
            closed = "kill_switch" in runner.core.gate.closed()
            if not (closed or runner.brake.asked or is_latched(self._bot.folder / HALT)):
                return  # nothing is halted
            if loop.time() >= until:
                raise ConfigError("cannot resume: the halt is not in the journal yet")
            await asyncio.sleep(0.005)

    async def _compared(self) -> None:
        """Returns once the account has been compared with the venue's anew; `ConfigError` where it cannot be."""
        runner, loop = self._runner, asyncio.get_running_loop()
        before, until = runner.reconciler.count, loop.time() + COMPARE_S
        runner.reconciler.hurry()
        runner.put(None)
        while runner.reconciler.count == before:
            if loop.time() >= until:
                unknown = len(runner.core.router.blotter.unknown_orders())
                why = f"{unknown} orders are of unknown fate" if unknown else "see the alerts"
                raise ConfigError(f"cannot resume: the account could not be compared in {COMPARE_S:g} s, {why}")
            await asyncio.sleep(0.02)
