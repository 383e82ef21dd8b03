"""Bugs to be planted in a runner before it starts: a campaign of kills that does not catch them is worth nothing."""

from collections.abc import Callable
from typing import Any

from flea_lab.core import TradingCore
from flea_lab.journal import done_ticket
from flea_lab.live import sender as sender_module
from flea_lab.live.brake import Brake
from flea_lab.live.desk import Desk
from flea_lab.live.runner import Runner


def sends_before_it_writes() -> None:
    """An order leaves without waiting for its row in the journal."""

    async def at_once(ticket: Any) -> None:
        return None

    sender_module.durable = at_once  # type: ignore[assignment]


def sends_again_after_a_restart() -> None:
    """What was sent and not answered when it was killed is posted once more, under its own id."""
    run = Runner.run

    async def again(self: Runner) -> str:
        for order in self.core.router.blotter.unknown_orders():
            self._sender.give(order.command, done_ticket())
        return await run(self)

    Runner.run = again  # type: ignore[method-assign]


def halts_in_memory_only() -> None:
    """A halt stops orders, and is said, before anything of it is on the disk."""

    def halted(self: Desk, request: dict[str, Any]) -> None:
        self._runner.brake.asked = "halted"

    def seen(self: Brake) -> None:
        return None

    Desk._halt = halted  # type: ignore[method-assign]
    Brake.look = seen  # type: ignore[method-assign]


def counts_ids_from_one() -> None:
    """A restart numbers its orders from the beginning again."""
    load = TradingCore.load

    def loaded(self: TradingCore, *given: Any, **named: Any) -> None:
        load(self, *given, **named)
        self.router._minted = 0

    TradingCore.load = loaded  # type: ignore[method-assign]


PLANTED: dict[str, Callable[[], None]] = {
    "unwritten": sends_before_it_writes,
    "again": sends_again_after_a_restart,
    "forgets": halts_in_memory_only,
    "recounts": counts_ids_from_one,
}
"""Each with the name that it is asked for by."""
