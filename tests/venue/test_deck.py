"""The deck of cards: every venue of this machine passes it, and one that does not is told by the card it breaks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from flea_lab.errors import VenueError
from flea_lab.model.trading import CancelOrder, NewOrder, Rejected
from flea_lab.testing.bench import Bench
from flea_lab.testing.cards import CARDS
from flea_lab.testing.deck import check_venue
from tests.venue.benches import ccxt_bench, hyperliquid_bench, paper_bench, published_bench, sandbox_bench

RESTING = {"a resting order is taken back", "cancel-all leaves nothing open", "the dead man's switch fires"}
NAMED = {"the same id trades once", "an order never sent is not found"}
VOID, REDUCE = {"a request of an hour ago is void"}, {"reduce-only opens nothing"}
LINE = {"a lost answer is found out", "a lost order is found out", "the rate limit is obeyed"}

VENUES: dict[str, tuple[Any, set[str], set[str]]] = {
    "purpleflea-seed": (sandbox_bench, set(), set()),
    "paper": (paper_bench, {"the dead man's switch fires"} | VOID | REDUCE, LINE),
    "purpleflea": (published_bench, RESTING | NAMED | VOID | REDUCE, set()),
    "ccxt": (ccxt_bench, {"the same id trades once", "the dead man's switch fires"} | VOID, set()),
    "hyperliquid": (hyperliquid_bench, {"the same id trades once"}, set()),
}
"""Each venue, what it declares that it cannot do, and what cannot happen to it: a paper account has no line."""


@pytest.mark.parametrize("name", VENUES)
def test_every_venue_passes_the_deck(name: str) -> None:
    make, unsupported, untried = VENUES[name]
    deck = check_venue(make, name=name).require()
    told = {
        outcome: {one.card for one in deck.cards if one.outcome == outcome}
        for outcome in ("not supported", "not tried")
    }
    assert (told["not supported"], told["not tried"]) == (unsupported, untried)
    assert len(deck.cards) == len(CARDS) and (deck.missing == ()) is (name != "purpleflea")
    frame = deck.frame()
    assert list(frame.columns) == ["card", "outcome", "detail"] and len(frame) == len(CARDS)


class Broken:
    """An exchange in front of another that gets one thing wrong."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Inferring(Broken):
    """The request failed, so the order does not exist."""

    async def send(self, command: Any) -> Any:
        try:
            return await self._real.send(command)
        except VenueError as error:
            return (Rejected(client_order_id=command.client_order_id, ts_event=command.ts_event, reason=str(error)),)


class Insisting(Broken):
    """A second request where the first was not answered, under another id."""

    async def send(self, command: Any) -> Any:
        try:
            return await self._real.send(command)
        except VenueError:
            return await self._real.send(replace(command, client_order_id=f"{command.client_order_id}-again"))


class Renaming(Broken):
    """Another fill id at every question."""

    asked = 0

    async def fills(self, after: int) -> Any:
        self.asked += 1
        return [
            (seq, replace(fill, fill_id=f"{fill.fill_id}-{self.asked}")) for seq, fill in await self._real.fills(after)
        ]


class Deaf(Broken):
    """Cancels that are acknowledged and not carried out."""

    async def cancel_all(self) -> None:
        return None


class Careless(Broken):
    """Sends a price that is none as a market order."""

    async def send(self, command: Any) -> Any:
        if isinstance(command, NewOrder) and command.order_type == "limit" and not command.intent.limit_price:
            command = replace(command, order_type="market")
        return await self._real.send(command)


class Raising(Broken):
    """A defect of the adapter."""

    async def send(self, command: Any) -> Any:
        if isinstance(command, CancelOrder):
            raise KeyError(command.client_order_id)
        return await self._real.send(command)


def spoiled(kind: Callable[[Any], Any]) -> Any:
    @asynccontextmanager
    async def make() -> AsyncIterator[Bench]:
        async with sandbox_bench() as bench:
            bench.exchange = kind(bench.exchange)
            yield bench

    return make


@pytest.mark.parametrize(
    ("kind", "card", "detail"),
    [
        (Inferring, "a lost answer is found out", "which nobody can know"),
        (Insisting, "a lost answer is found out", "which nobody can know"),
        (Renaming, "a fill told twice has one name", "answered in two ways"),
        (Careless, "a price that is no number never leaves", "was answered Accepted"),
        (Raising, "a resting order is taken back", "raised KeyError: 'deck-1'"),
    ],
)
def test_what_a_venue_breaks_is_told_by_its_card(kind: Any, card: str, detail: str) -> None:
    deck = check_venue(spoiled(kind), name="broken", cards=[card])
    [failed] = deck.failed
    assert failed.card == card and detail in failed.detail
    with pytest.raises(VenueError, match=f"venue 'broken' failed 1 of 1 cards: {card}: "):
        deck.require()


def test_a_card_that_waits_in_vain_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flea_lab.testing.bench.PATIENCE_S", 0.2)
    [failed] = check_venue(spoiled(Deaf), cards=["cancel-all leaves nothing open"]).failed
    assert failed.detail == "an empty list of open orders did not come within 0.2 s"


def test_a_card_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no card 'nonsense', there are an order is acknowledged and fills"):
        check_venue(sandbox_bench, cards=["nonsense"])
