"""Bugs to be planted in a runner before it starts: a campaign of kills that does not catch them is worth nothing."""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from flea_lab.execution.order import Status
from flea_lab.live import sender as sender_module
from flea_lab.live.brake import Brake
from flea_lab.live.desk import Desk
from flea_lab.live.runner import Runner
from flea_lab.model.trading import NewOrder


def sends_before_it_writes() -> None:
    """An order leaves without waiting for its row in the journal."""

    async def at_once(ticket: Any) -> None:
        return None

    sender_module.durable = at_once  # type: ignore[assignment]


def sends_again_after_a_restart() -> None:
    """What was on its way when it was killed is posted once more, under its own id: the venue is said to know it."""
    _sends_again("")


def sends_again_under_a_new_id() -> None:
    """What was on its way when it was killed is taken for lost, and ordered anew."""
    _sends_again("-again")


def _sends_again(suffix: str) -> None:
    run, catch_up = Runner.run, Runner._catch_up
    lost: list[NewOrder] = []

    async def noted(self: Runner) -> str:
        orders = self.core.router.blotter.open_orders()
        lost.extend(order.command for order in orders if order.status is Status.PENDING)
        return await run(self)

    async def again(self: Runner) -> None:
        await catch_up(self)
        while lost:
            order = lost.pop()
            self.exchange.blocked = lambda: ""
            await self.exchange.send(structs.replace(order, client_order_id=f"{order.client_order_id}{suffix}"))

    Runner.run, Runner._catch_up = noted, again  # type: ignore[method-assign]


def halts_in_memory_only() -> None:
    """A halt stops orders, and is said, before anything of it is on the disk."""

    def halted(self: Desk, request: dict[str, Any]) -> None:
        self._runner.brake.asked = "halted"

    def seen(self: Brake) -> None:
        return None

    Desk._halt = halted  # type: ignore[method-assign]
    Brake.look = seen  # type: ignore[method-assign]


PLANTED: dict[str, Callable[[], None]] = {
    "unwritten": sends_before_it_writes,
    "again": sends_again_after_a_restart,
    "forgets": halts_in_memory_only,
    "anew": sends_again_under_a_new_id,
}
"""Each with the name that it is asked for by."""
