"""A venue whose cancels have to be signed, or that a library speaks to, as `flea kill` sees it.

Its client is the one that trades; what is used of it here is what lists and what takes back. It is loaded only where
the dialect needs it, and slower to be there than a bare connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TypeVar

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.live.exchanges import open_exchange
from flea_lab.live.kill_venue import OpenOrder
from flea_lab.model.instrument import Instrument
from flea_lab.secret import Secret
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.protocol import Exchange, OrderState

T = TypeVar("T")

ANSWER_S = 15.0
"""How long one question, connecting included, may take before it is asked again."""


class OverExchange:
    """The account of `key` at any venue that `open_exchange` opens; `instruments` are those that the runner traded."""

    def __init__(self, dialect: Dialect, key: Secret, instruments: Mapping[str, Instrument]) -> None:
        self.where = dialect.rest_url or dialect.name
        self._open = lambda: open_exchange(dialect, key, instruments, WallClock())
        self._loop = asyncio.Runner()
        self._held = AsyncExitStack()
        self._exchange: Exchange | None = None

    def open_orders(self) -> list[OpenOrder]:
        """As `CancelOnly.open_orders`."""
        found: list[OrderState] = self._ask(lambda exchange: exchange.open_orders())
        return [OpenOrder(one.client_order_id or "?", f"{one.symbol} {one.lots} lots") for one in found]

    def cancel_all(self) -> None:
        """As `CancelOnly.cancel_all`."""
        self._ask(lambda exchange: exchange.cancel_all())

    def positions(self) -> list[str]:
        """As `CancelOnly.positions`."""
        account = self._ask(lambda exchange: exchange.account())
        return [f"{symbol} {lots} lots" for symbol, lots in account.lots.items() if lots]

    def close(self) -> None:
        """As `CancelOnly.close`."""
        try:
            self._loop.run(self._held.aclose())
        except (VenueError, OSError):
            pass  # it is gone either way
        finally:
            self._loop.close()

    def _ask(self, question: Callable[[Exchange], Awaitable[T]]) -> T:
        async def asked() -> T:
            async with asyncio.timeout(ANSWER_S):
                if self._exchange is None:
                    self._exchange = await self._held.enter_async_context(self._open())
                return await question(self._exchange)

        try:
            return self._loop.run(asked())
        except TimeoutError:
            raise VenueError(f"{self.where}: no answer within {ANSWER_S:g} s") from None
        except ConfigError as error:  # it will not open, however often it is tried
            raise VenueRefusal(str(error)) from None
