"""Feed and Exchange: all that a driver may know of a venue.

What an implementation raises is a `VenueError`; anything else is a defect of ours.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from flea_lab.model.market import Candle, MarketEvent
from flea_lab.model.trading import Account, CancelOrder, NewOrder, OrderReport


class Feed(Protocol):
    """Market data of one venue."""

    def events(self) -> AsyncIterator[MarketEvent]:
        """Everything the venue says about its market, in order of arrival; ends when the feed is closed."""

    async def refresh(self, symbol: str) -> None:
        """Asks for a new book snapshot of `symbol`; it arrives as an event."""

    async def history(self, symbol: str, start_ns: int, end_ns: int) -> list[Candle]:
        """Complete candles that close in (start_ns, end_ns], oldest first, as the venue has them: holes stay holes."""


class Exchange(Protocol):
    """Orders of one account at one venue."""

    def reports(self) -> AsyncIterator[OrderReport]:
        """Everything the venue says about this account's orders, in the order in which it arrives."""

    async def send(self, command: NewOrder | CancelOrder) -> None:
        """Sends once. A return says nothing about the order's fate: reports do. A failure means that it is unknown."""

    async def account(self) -> Account:
        """The account as the venue has it."""
