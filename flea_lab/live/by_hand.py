"""Orders that a person gives a running session, through its journal, its guards and its slices like the desk's own."""

import asyncio
from collections.abc import Callable
from typing import Any

from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.alerts import Severity
from flea_lab.live.phrase import order_phrase
from flea_lab.live.pump import durable
from flea_lab.live.runner import Runner
from flea_lab.model.trading import Alert, Command, HandCancel, HandOrder, ParentOrder, Refused

TAKE_S = 3.0
"""How long the loop may take to come to an order."""

KEPT = 200
"""Names that are remembered with what became of their orders."""


class ByHand:
    """Takes orders by hand into one runner; called in its loop.

    An order is an event: it is in the journal, on the disk, before any of it leaves and before it is answered. `known`
    has the parents by the names that were given: a name that comes again is answered, and nothing is ordered.
    """

    def __init__(self, runner: Runner, account: str, alert: Callable[[Severity, str], None]) -> None:
        self._runner, self._account, self._alert = runner, account, alert
        self.known: dict[str, tuple[dict[str, Any], str]] = {}
        self._coming: set[str] = set()

    async def order(self, asked: dict[str, Any]) -> str:
        """The id of the parent that works what is `asked`; `ConfigError` where it is not taken, and why."""
        name, phrase = asked["name"], order_phrase(self._account, asked["side"], asked["usd"], asked["symbol"])
        if asked["phrase"] != phrase:
            raise ConfigError(f"a person orders it by typing {phrase!r}")
        what = {key: asked.get(key) for key in ("symbol", "side", "usd", "style", "minutes", "limit_price")}
        if name in self.known:
            before, parent_id = self.known[name]
            if before != what:
                raise ConfigError(f"order {name!r} was given before, and was another: {before}")
            return parent_id
        self._require_free(asked)
        if name in self._coming:
            raise ConfigError(f"order {name!r} is being taken")
        self._coming.add(name)
        try:
            commands = await self._given(_event(asked, self._now_ns()))
        finally:
            self._coming.discard(name)
        parent_id = _parent(commands)
        self.known[name] = what, parent_id
        while len(self.known) > KEPT:
            self.known.pop(next(iter(self.known)))
        self._alert("warning", f"{phrase}: {asked['style']} {parent_id}, ordered by {asked['by']}")
        return parent_id

    async def cancel(self, asked: dict[str, Any]) -> None:
        """Ends a parent; `ConfigError` where none of that id is worked."""
        parent_id, by = asked["parent_id"], asked["by"]
        active = self._runner.core.router.parents.active()
        if all(one.command.parent_id != parent_id for one in active):
            known = ", ".join(one.command.parent_id for one in active) or "none is"
            raise ConfigError(f"order {parent_id!r} is not worked ({known})")
        await self._given(HandCancel(ts_event=self._now_ns(), parent_id=parent_id, by=by))
        self._alert("warning", f"order {parent_id} is ended by {by}")

    def _now_ns(self) -> int:
        """The venue's time, which is that of the slices."""
        return max(self._runner.intake.venue_ns, self._runner.core.decided_ns)

    def _require_free(self, asked: dict[str, Any]) -> None:
        """Refuses what cannot be sent now: nothing is kept for later."""
        runner = self._runner
        why = runner.brake.why() or ("" if runner.link and runner.ready else "the account is not reconciled")
        if why:
            raise ConfigError(f"no order is taken now: {why}")
        if asked["symbol"] not in runner.core.symbols:
            traded = ", ".join(runner.core.symbols)
            raise ConfigError(f"{asked['symbol']} is not traded here, only {traded}")
        rests = asked["style"] == "iceberg" or asked.get("limit_price") is not None
        if rests and not runner.exchange.capabilities.limit_orders:
            raise ConfigError("the venue takes no limit order: twap without limit_price is what there is")

    async def _given(self, event: HandOrder | HandCancel) -> tuple[Command, ...]:
        """What the core says to `event`, once both are durable."""
        said: asyncio.Future[tuple[Command, ...]] = asyncio.get_running_loop().create_future()

        def hear(taken: object, commands: tuple[Command, ...]) -> None:
            if taken is event and not said.done():
                said.set_result(commands)

        self._runner.listeners.append(hear)
        try:
            self._runner.put(event)
            async with asyncio.timeout(TAKE_S):
                commands = await said
        except TimeoutError:
            raise WorkspaceError(
                f"the runner's loop did not come to it within {TAKE_S:g} s: ask its status before anything else"
            ) from None
        finally:
            self._runner.listeners.remove(hear)
        await durable(self._runner.pump.commit())
        return commands


def _event(asked: dict[str, Any], now_ns: int) -> HandOrder:
    return HandOrder(
        ts_event=now_ns,
        name=asked["name"],
        by=asked["by"],
        symbol=asked["symbol"],
        side=asked["side"],
        size_uusd=round(asked["usd"] * 1e6),
        style=asked["style"],
        minutes=asked["minutes"],
        limit_price=asked.get("limit_price"),
    )


def _parent(commands: tuple[Command, ...]) -> str:
    """The parent among what the core said; `ConfigError` with its reason where there is none."""
    for command in commands:
        if isinstance(command, ParentOrder):
            return command.parent_id
    whys = [
        one.reason if isinstance(one, Refused) else one.text for one in commands if isinstance(one, Refused | Alert)
    ]
    raise ConfigError(f"not ordered: {'; '.join(whys) or 'the core said nothing'}")
