"""Questions to Hyperliquid's `/info`, paid from one budget of weight a minute, and the ones about one account."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.venue.budget import Budget
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.hyperliquid_account import FILL_ROWS, FUNDING_ROWS, AccountReading, Holdings
from flea_lab.venue.one_in_flight import Execution
from flea_lab.venue.protocol import VenueAccount
from flea_lab.venue.reading import question
from flea_lab.venue.rest import OK, Rest

LIGHT, HEAVY = 2, 20
ROWS_A_WEIGHT = 20
ACCOUNT_SHARE = 0.5
"""Share of the budget that questions about an account may spend beside a feed of the same address."""

KEPT = 10_000
"""Executions that are remembered."""
OVERLAP_MS = 600_000
"""How far before the last known execution the next question begins: what is listed late is listed nevertheless."""


class Info:
    """`/info` of one address, within `share` of its budget: what else this process asks there has the rest."""

    def __init__(self, dialect: Dialect, rest: Rest, share: float = 1.0) -> None:
        self._dialect, self._rest = dialect, rest
        self._budget = Budget(int(dialect.weight_per_minute * share))

    async def ask(self, where: str, weight: int, kind: str, **given: Any) -> bytes:
        """The answer to a question of `kind`, at the dialect's path for `where`."""
        path: str = getattr(self._dialect.paths, where)
        if not path:
            raise VenueRefusal(f"dialect {self._dialect.name!r} has no path for {where!r}")
        loop = asyncio.get_running_loop()
        while (wait_s := self._budget.wait_s(loop.time(), weight)) > 0.0:
            await asyncio.sleep(wait_s)
        self._budget.spend(loop.time(), weight)
        answer = await self._rest.ask(path, question(kind, **given))
        if answer.status not in OK:
            raise VenueError(f"{kind}: {answer.said}")
        return answer.body

    def listed(self, rows: int) -> None:
        """Takes note of the rows of an answer, which weigh as well."""
        self._budget.spend(asyncio.get_running_loop().time(), rows // ROWS_A_WEIGHT)


class Seen(NamedTuple):
    """One look at an account: what it holds, and every execution that was not listed before, oldest first."""

    holdings: Holdings
    fresh: list[Execution]


class Account:
    """What Hyperliquid tells anybody of the account at `address`. Every execution and every payment of funding since
    it began is asked for once, and counted once."""

    def __init__(
        self, info: Info, address: str, coins: Mapping[str, str], instruments: Mapping[str, Instrument]
    ) -> None:
        self._info, self.address = info, address
        self.reading = AccountReading(coins, instruments)
        self.executions: dict[str, Execution] = {}
        self.names: dict[str, str] = {}
        self._charged: dict[str, int] = {}
        self._fill_ms = self._funding_ms = 0
        self._fees_uusd = self._funding_uusd = 0
        self.seq = 0
        """The number of the last execution listed; 0 before any."""

    async def look(self, now_ns: int) -> Seen:
        """The account now. The holdings are asked for last: they hold at least what the executions say."""
        fresh = await self._fills()
        raw = await self._info.ask("account", LIGHT, "clearinghouseState", user=self.address)
        return Seen(self.reading.holdings(raw, now_ns), fresh)

    async def account(self, now_ns: int) -> tuple[VenueAccount, Seen]:
        """The same as an account, with the funding that was paid."""
        await self._fund()
        seen = await self.look(now_ns)
        account = VenueAccount(
            ts_event=seen.holdings.ts_event,
            cash_uusd=seen.holdings.cash_uusd,
            equity_uusd=seen.holdings.equity_uusd,
            fees_uusd=self._fees_uusd,
            funding_uusd=self._funding_uusd,
            lots=seen.holdings.lots,
            seq=self.seq,
        )
        return account, seen

    def after(self, seq: int) -> list[Execution]:
        """The executions numbered beyond `seq` that were listed, oldest first."""
        return sorted((one for one in self.executions.values() if one.seq > seq), key=lambda one: one.seq)

    async def _fills(self) -> list[Execution]:
        found: list[Execution] = []
        while True:
            given = {"user": self.address, "startTime": max(0, self._fill_ms - OVERLAP_MS)}
            page = self.reading.fills(await self._info.ask("fills", HEAVY, "userFillsByTime", **given))
            self._info.listed(page.rows)
            for name, fee in page.fees.items():
                self._fees_uusd += fee if name not in self._charged else 0
                self._charged[name] = fee
            fresh = [one for one in page.executions if one.fill.fill_id not in self.executions]
            self.executions |= {one.fill.fill_id: one for one in fresh}
            self.names |= page.names
            found += fresh
            self.seq = max([self.seq, *(one.seq for one in fresh)])
            moved, self._fill_ms = page.last_ms > self._fill_ms, max(self._fill_ms, page.last_ms)
            if page.rows < FILL_ROWS or not moved:
                self._forget()
                return found

    def _forget(self) -> None:
        """Lets go of what was listed longest ago, beyond `KEPT`."""
        for known in (self.executions, self.names, self._charged):
            while len(known) > KEPT:
                del known[next(iter(known))]

    async def _fund(self) -> None:
        while True:
            given = {"user": self.address, "startTime": self._funding_ms + 1}
            paid_uusd, last_ms, rows = self.reading.funding(
                await self._info.ask("funding", HEAVY, "userFunding", **given)
            )
            self._funding_uusd += paid_uusd
            self._funding_ms = max(self._funding_ms, last_ms)
            if rows < FUNDING_ROWS:
                return
