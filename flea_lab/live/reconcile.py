"""The account as we have it beside the account as the venue has it."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings
from flea_lab.core import TradingCore
from flea_lab.errors import VenueError
from flea_lab.ledger import FEES, FUNDING, LOTS
from flea_lab.live.pump import Pump
from flea_lab.venue.protocol import Exchange, VenueAccount


class Reconciler:
    """Compares the two accounts when it is time to, and knows up to where every private frame was heard."""

    def __init__(self, pump: Pump, exchange: Exchange, settings: LiveSettings, clock: Clock) -> None:
        self._pump, self._exchange, self._settings, self._clock = pump, exchange, settings, clock
        self.known_seq = int(pump.journal.get("known_seq") or 0)
        base = pump.journal.get("base")
        self._base: dict[str, int] = msgspec.json.decode(base) if base else {"fees_uusd": 0, "funding_uusd": 0}
        self.count = 0
        self.equal = False
        self.venue_ns = 0
        self._at_s = self._behind_s = -1e9

    def due(self, venue_ns: int, ready: bool) -> bool:
        """Whether it is time: always until the first was equal, then by the venue's clock, and never too often."""
        now = asyncio.get_running_loop().time()
        if now - self._at_s < (self._settings.reconcile_pause_s if ready else 0.0):
            return False
        return not ready or venue_ns - self.venue_ns >= self._settings.reconcile_s * 1e9

    async def compare(self, quiet: Callable[[], bool]) -> list[str] | None:
        """What differs, none if nothing does; None where it cannot be told yet.

        `quiet` says that everything heard has been worked off. A private stream that stays behind the account for
        longer than an unknown order may take is a `VenueError`.
        """
        core, loop = self._pump.core, asyncio.get_running_loop()
        account = await self._exchange.account()
        self._at_s = loop.time()
        heard = self._exchange.private_seq
        if account.seq is not None and heard is not None and heard < account.seq:
            if self._behind_s < 0:
                self._behind_s = loop.time()
            if loop.time() - self._behind_s > self._settings.unknown_wait_s:
                raise VenueError(f"the private stream is at {heard}, the account at {account.seq}: frames are missing")
            return None
        self._behind_s = -1e9
        if not quiet() or core.settling or (account.seq is not None and heard is not None and heard > account.seq):
            return None
        mine, venue = ours(core, self._base), theirs(account, core)
        found = differences(mine, venue)
        self.count, self.equal, self.venue_ns = self.count + 1, not found, account.ts_event
        self._pump.journal.reconcile(self._clock.now_ns(), account.ts_event, not found, mine, venue)
        if not found and account.seq is not None:
            self.known_seq = account.seq
            self._pump.journal.meta("known_seq", str(account.seq))
        return found


def ours(core: TradingCore, base: dict[str, int]) -> dict[str, Any]:
    """Cash, fees and funding in micro-dollars and signed lots by symbol; `base` is what the venue had charged before
    our ledger began."""
    book = core.ledger.book
    return {
        "cash_uusd": core.ledger.cash_uusd,
        "fees_uusd": int(book[:, FEES].sum()) + base["fees_uusd"],
        "funding_uusd": int(book[:, FUNDING].sum()) + base["funding_uusd"],
        "lots": {symbol: int(book[row, LOTS]) for symbol, row in core.ledger.row.items()},
    }


def theirs(account: VenueAccount, core: TradingCore) -> dict[str, Any]:
    """The same of the venue; positions in symbols that are not traded here are named."""
    held = {symbol: lots for symbol, lots in account.lots.items() if lots}
    return {
        "cash_uusd": account.cash_uusd,
        "fees_uusd": account.fees_uusd,
        "funding_uusd": account.funding_uusd,
        "lots": {symbol: held.pop(symbol, 0) for symbol in core.symbols} | held,
    }


def differences(mine: dict[str, Any], venue: dict[str, Any]) -> list[str]:
    """What differs, in words; none where the two are equal to the micro-dollar and the lot."""
    found = [
        f"{name[:-5]} {mine[name] / 1e6:,.6f} USD here, {venue[name] / 1e6:,.6f} there"
        for name in ("cash_uusd", "fees_uusd", "funding_uusd")
        if mine[name] != venue[name]
    ]
    symbols = dict.fromkeys([*mine["lots"], *venue["lots"]])
    for symbol in symbols:
        a, b = mine["lots"].get(symbol, 0), venue["lots"].get(symbol, 0)
        if a != b:
            found.append(f"{symbol} {a} lots here, {b} there")
    return found
