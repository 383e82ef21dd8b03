"""Planted bugs that are none by themselves, since a second guard holds: with both guards gone they must be caught."""

from typing import Any

from flea_lab.data.book import BookSync
from flea_lab.live.reconcile import Reconciler
from flea_lab.model.market import BookSnapshot
from tests.sim.mutants import Swap, just, mutant, planted

GUARDED: dict[str, str] = {
    "crossed_book_is_used": "crossed_book_is_served",
    "missing_fills_are_not_asked_for": "missing_fills_are_nobodys",
    "no_fills_after_reconnect": "missing_fills_are_nobodys",
    "first_difference_is_adopted": "difference_is_not_looked_into",
}
"""Bugs that change nothing that can be seen from outside, each with that in which its second guard is gone as well."""


@mutant("E1")
def crossed_book_is_served(swap: Swap) -> None:
    """A bid above the ask is a chance, not a fault, and a book has its best prices as they come."""
    planted("crossed_book_is_used")(swap)
    snapshot = BookSync._snapshot

    def taken(self: Any, event: BookSnapshot) -> Any:
        told = snapshot(self, event)
        if self.book is None and self._synced:
            self._whole(event.bids, event.asks, event)
        return told

    swap(BookSync, "_snapshot", taken)


@mutant("B3", "B5", "A5", "L1")
def missing_fills_are_nobodys(swap: Swap) -> None:
    """Fills come by themselves: they are asked for neither order by order nor after a reconnect."""
    planted("missing_fills_are_not_asked_for", "no_fills_after_reconnect")(swap)


@mutant("B3", "B1", "B5")
def difference_is_not_looked_into(swap: Swap) -> None:
    """Two accounts are compared by what is in them, and the venue's is right at once."""
    planted("first_difference_is_adopted")(swap)
    swap(Reconciler, "_heard", just(None))
