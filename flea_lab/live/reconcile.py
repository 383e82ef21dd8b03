"""The account as we have it beside the account as the venue has it.

Rules. They are compared when everything heard has been worked off: after every connect, after fills, and every
`live.reconcile_s`. A difference is first taken for something missed: the venue is asked for all that it could have
told. One that is still there, and the same, is adopted: the venue is right, both versions are kept, and only orders
that reduce pass until a person says otherwise. Reconciling never sends an order.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings
from flea_lab.core import TradingCore
from flea_lab.errors import VenueError
from flea_lab.execution.order import Status
from flea_lab.ledger import FEES, FUNDING, LOTS
from flea_lab.live.pump import Pump
from flea_lab.model.trading import Adopt
from flea_lab.venue.protocol import Exchange, VenueAccount

AGAIN_S = 1.0
"""How long to wait after a comparison that was not equal, at least."""

FOREIGN = "close it at the venue, or trade it on an account of its own"
"""What a person does about a position that no configuration of the account trades."""

PATIENT = 5
"""Differences in a row after which one is adopted, even if it is another each time."""


class Missed(VenueError):
    """The venue has told something that never came here: it has to be asked for."""


class Unexplained(VenueError):
    """The venue has an order open that is over here, and goes on saying so."""


class Reconciler:
    """Compares the two accounts when it is time to, and knows up to where every private frame was heard.

    `asked_seq` is the private frame up to which the venue was asked for all that it could have told. `equal` says how
    the last comparison ended.
    """

    def __init__(self, pump: Pump, exchange: Exchange, settings: LiveSettings, clock: Clock) -> None:
        self._pump, self._exchange, self._settings, self._clock = pump, exchange, settings, clock
        self.known_seq = int(pump.journal.get("known_seq") or 0)
        base = pump.journal.get("base")
        self._base: dict[str, int] = msgspec.json.decode(base) if base else {"fees_uusd": 0, "funding_uusd": 0}
        self.asked_seq = 0
        self.count = 0
        self.equal = False
        self.venue_ns = 0
        self.adopted = 0
        self._account: VenueAccount | None = None
        self._gap: dict[str, Any] = {}
        self._gaps = self._fills = 0
        self._at_s = self._behind_s = self._owed_s = self._odd_s = -1e9
        self._again_s = 0.0
        self._hurried = False

    def hurry(self) -> None:
        """Makes the next comparison due now: somebody waits for it."""
        self._hurried = True

    def due(self, venue_ns: int, ready: bool) -> bool:
        """Whether it is time: always until the first was equal, then by the venue's clock and after fills, and never
        too often."""
        now = asyncio.get_running_loop().time()
        if now - self._at_s < max(self._settings.reconcile_pause_s if ready else 0.0, self._again_s):
            return False
        if self._hurried or not ready or venue_ns - self.venue_ns >= self._settings.reconcile_s * 1e9:
            return True
        return self._pump.fills != self._fills and now - self._at_s >= self._settings.reconcile_fill_s

    async def compare(self, quiet: Callable[[], bool]) -> list[str] | None:
        """What differs, none if nothing does; None where it cannot be told yet.

        `quiet` says that everything heard has been worked off. A private stream that is not where the account is for
        longer than an unknown order may take, and other orders open here than there, are a `Missed`.
        """
        core, loop = self._pump.core, asyncio.get_running_loop()
        self._again_s = 0.0
        before, fills = self._heard(), self._pump.fills
        there = {order.client_order_id for order in await self._exchange.open_orders()}
        account = await self._exchange.account()
        self._at_s, heard = loop.time(), self._heard()
        if account.seq is not None and heard is not None and heard != account.seq:
            self._require_soon(heard, account.seq)
            return None
        self._behind_s = -1e9
        if before != heard or not quiet() or core.settling or self._fills_are_coming():
            return None
        self._require_same_orders(there)
        mine, venue = ours(core, self._base), theirs(account, core)
        found = differences(mine, venue)
        self._account, self._fills, self._hurried = account, fills, False
        self.count, self.equal, self.venue_ns = self.count + 1, not found, account.ts_event
        self._pump.journal.reconcile(self._clock.now_ns(), account.ts_event, not found, mine, venue)
        self._note_gap(mine, venue)
        if found:
            self._again_s = AGAIN_S
        elif account.seq is not None:
            self.known_seq = account.seq
            self._pump.journal.meta("known_seq", str(account.seq))
        return found

    @property
    def stands(self) -> bool:
        """Whether the last difference was there before, after the venue had been asked for what was missed."""
        return self._gaps >= 2 and (self._gap.get("same", False) or self._gaps >= PATIENT)

    def adoption(self) -> Adopt | None:
        """The account of the last comparison as one to take over; None where it holds what is not traded here."""
        account, core = self._account, self._pump.core
        if account is None or any(lots for symbol, lots in account.lots.items() if symbol not in core.symbols):
            return None
        if account.seq is not None:  # what the venue told up to here is in the figures that are taken over
            self.known_seq = account.seq
            self._pump.journal.meta("known_seq", str(account.seq))
        self.adopted, self._gaps = self.adopted + 1, 0
        return Adopt(
            ts_event=self._clock.now_ns(),
            cash_uusd=account.cash_uusd,
            fees_uusd=account.fees_uusd - self._base["fees_uusd"],
            funding_uusd=account.funding_uusd - self._base["funding_uusd"],
            lots={symbol: account.lots.get(symbol, 0) for symbol in core.symbols},
        )

    def _note_gap(self, mine: dict[str, Any], venue: dict[str, Any]) -> None:
        gap = {name: venue[name] - mine[name] for name in ("cash_uusd", "fees_uusd", "funding_uusd")}
        symbols = {*mine["lots"], *venue["lots"]}
        gap |= {symbol: venue["lots"].get(symbol, 0) - mine["lots"].get(symbol, 0) for symbol in symbols}
        same = gap == {name: value for name, value in self._gap.items() if name != "same"}
        self._gaps = self._gaps + 1 if any(gap.values()) else 0
        self._gap = {**gap, "same": same}

    def _fills_are_coming(self) -> bool:
        """Whether fills that the venue has named are waited for, and not for too long."""
        now = asyncio.get_running_loop().time()
        if not self._pump.core.router.blotter.owed_orders():
            self._owed_s = -1e9
            return False
        if self._owed_s < 0:
            self._owed_s = now
        self._again_s = min(AGAIN_S, self._settings.unknown_wait_s)
        return now - self._owed_s <= self._settings.unknown_wait_s

    def _heard(self) -> int | None:
        heard = self._exchange.private_seq
        return None if heard is None else max(heard, self.asked_seq)

    def _require_soon(self, heard: int, seq: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._behind_s < 0:
            self._behind_s = now
        if now - self._behind_s > self._settings.unknown_wait_s:
            self._behind_s, self._again_s = -1e9, AGAIN_S
            raise Missed(f"the private stream is at {heard}, the account at {seq}: frames are missing")
        self._again_s = min(AGAIN_S, self._settings.unknown_wait_s / 8)  # asking on and on spends what cancels need

    def _require_same_orders(self, there: set[str]) -> None:
        blotter, now = self._pump.core.router.blotter, asyncio.get_running_loop().time()
        orders = blotter.open_orders()
        here = {o.command.client_order_id for o in orders if o.status in (Status.WORKING, Status.CANCELLING)}
        if here == there:
            self._odd_s = -1e9
            return
        self._again_s = AGAIN_S
        over = sorted(name for name in there - here if name in blotter)
        if not over:
            self._odd_s = -1e9
        elif self._odd_s < 0:
            self._odd_s = now
        elif now - self._odd_s > self._settings.unknown_wait_s:
            status = blotter.get(over[0]).status.value
            raise Unexplained(f"order {over[0]} is {status} here and open at the venue")
        raise Missed(f"{len(here - there)} orders are open here only, {len(there - here)} there only")


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
        if symbol not in mine["lots"]:
            found.append(f"{symbol} is held there and not traded here: {FOREIGN}")
        elif a != b:
            found.append(f"{symbol} {a} lots here, {b} there")
    return found
