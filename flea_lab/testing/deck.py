"""`check_venue`: the deck of cards that every venue passes before an order of ours goes there."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import pandas as pd

from flea_lab.errors import VenueError
from flea_lab.testing.bench import Bench, CardFailed, NotTried
from flea_lab.testing.cards import CARDS, Card
from flea_lab.venue.protocol import Capabilities, insufficient

Outcome = Literal["passed", "not supported", "not tried", "failed"]
Make = Callable[[], AbstractAsyncContextManager[Bench]]
"""Opens a fresh exchange, with an account that holds nothing, and what a test can make happen there."""


class Played(NamedTuple):
    """One card: what came of it, and what was seen."""

    card: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Deck:
    """What `check_venue` saw. `missing` is why orders could be lost or doubled there, none where they cannot."""

    venue: str
    cards: tuple[Played, ...]
    capabilities: Capabilities
    missing: tuple[str, ...]

    @property
    def failed(self) -> tuple[Played, ...]:
        """The cards that the venue did not keep."""
        return tuple(one for one in self.cards if one.outcome == "failed")

    def frame(self) -> pd.DataFrame:
        """The cards as a table: card, outcome, detail."""
        return pd.DataFrame(self.cards, columns=["card", "outcome", "detail"])

    def require(self) -> Self:
        """This deck, unless a card failed: `VenueError` names each of them."""
        if self.failed:
            told = "; ".join(f"{one.card}: {one.detail}" for one in self.failed)
            raise VenueError(f"venue {self.venue!r} failed {len(self.failed)} of {len(self.cards)} cards: {told}")
        return self


def check_venue(make_exchange: Make, *, name: str = "venue", cards: Sequence[str] | None = None) -> Deck:
    """The deck played at a venue, each card on an exchange that `make_exchange` opens afresh; `cards` names some only.

    Nothing is raised for a card that fails (`Deck.require` does). It runs in a loop of its own, also in a notebook.
    """
    found: list[Deck | BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(play_deck(make_exchange, name=name, cards=cards)))
        except BaseException as error:  # handed to the caller's thread, whatever it is
            found.append(error)

    thread = threading.Thread(target=run, name=f"deck {name}")
    thread.start()
    thread.join()
    [result] = found
    if isinstance(result, BaseException):
        raise result
    return result


async def play_deck(make_exchange: Make, *, name: str = "venue", cards: Sequence[str] | None = None) -> Deck:
    """As `check_venue`, in the loop that runs."""
    unknown = set(cards or ()) - {card.name for card in CARDS}
    if unknown:
        raise ValueError(f"there is no card {sorted(unknown)[0]!r}, there are {', '.join(c.name for c in CARDS)}")
    async with make_exchange() as bench:
        can = bench.exchange.capabilities
    played = [await _played(card, make_exchange, can) for card in CARDS if cards is None or card.name in cards]
    return Deck(name, tuple(played), can, insufficient(can))


async def _played(card: Card, make_exchange: Make, can: Capabilities) -> Played:
    lacks = card.needs(can)
    if lacks:
        return Played(card.name, "not supported", lacks)
    try:
        async with make_exchange() as bench, asyncio.TaskGroup() as group:
            listening = group.create_task(bench.exchange.run(bench.heard.append))
            try:
                return Played(card.name, "passed", await card.play(bench))
            finally:
                listening.cancel()
    except* NotTried as errors:
        result = Played(card.name, "not tried", str(_first(errors)))
    except* (CardFailed, VenueError) as errors:
        result = Played(card.name, "failed", str(_first(errors)))
    except* Exception as errors:  # a defect of the adapter is what the deck is there to tell
        error = _first(errors)
        result = Played(card.name, "failed", f"raised {type(error).__name__}: {error}")
    return result


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
