"""The journal: every event a core was given and every command it gave, in order.

Played back into a fresh core, its events give its commands. A driver appends an event before the core sees it, and a
command before it is carried out.
"""

from typing import Protocol

from flea_lab.core import Event, TradingCore
from flea_lab.model.market import BookSnapshot, Candle, Features, Funding, Heartbeat, Trade
from flea_lab.model.trading import Alert, CancelOrder, Command, Control, NewOrder, Refused, Report

Entry = Candle | Trade | BookSnapshot | Features | Funding | Heartbeat | Report | Control | Command
"""A row of a journal: what the core was given, or what it said."""


class Journal(Protocol):
    """Where a driver writes down what happens."""

    def append(self, entry: Event | Entry) -> None:
        """Takes an entry; once this returns, it is as durable as the journal promises."""


class MemoryJournal:
    """A journal that lasts as long as the process: for replays and tests."""

    def __init__(self) -> None:
        self.entries: list[Event | Entry] = []

    def append(self, entry: Event | Entry) -> None:
        self.entries.append(entry)

    def events(self) -> list[Event]:
        """What the core was given."""
        return [entry for entry in self.entries if not isinstance(entry, NewOrder | CancelOrder | Refused | Alert)]

    def commands(self) -> list[Command]:
        """What the core said to do."""
        return [entry for entry in self.entries if isinstance(entry, NewOrder | CancelOrder | Refused | Alert)]


def play_back(events: list[Event], core: TradingCore) -> list[Command]:
    """The commands that a fresh core gives to a journal's events; those of the journal, if nothing has changed."""
    return [command for event in events for command in core.on(event)]
