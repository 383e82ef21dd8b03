"""Planted bugs of larger orders that are worked slice by slice."""

from typing import Any

from msgspec.structs import replace

from flea_lab.execution import parents
from flea_lab.execution.parents import Parents
from flea_lab.live import opening
from tests.sim.mutants import Swap, mutant


@mutant("H5")
def missed_slices_go_at_once(swap: Swap) -> None:
    """What should have been given by now and was not is given now: the schedule is kept."""

    def due(self: Any, ts_event: int, participation: float, least: dict[str, int]) -> list[Any]:
        found = []
        for one in self.active():
            ask = one.command
            slices = (ts_event - ask.ts_event) // ask.every_ns + 1
            lots = min(self.left(one), slices * ask.slice_lots - one.filled_lots)
            if not one.child and ts_event - one.last_ns >= ask.every_ns and lots >= least[ask.symbol]:
                found.append(parents.Wanted(one, lots))
        return found

    swap(Parents, "due", due)


@mutant("H5")
def slices_by_the_clock(swap: Swap) -> None:
    """A slice is small: it goes when its time has come, whatever trades."""

    def release(unreleased: int, slice_lots: int, traded: float, participation: float, least: int) -> int:
        size = min(unreleased, slice_lots)
        return size if size >= least else 0

    swap(parents, "release", release)


@mutant("H2", "H3")
def replaced_before_the_cancel_is_answered(swap: Swap) -> None:
    """A slice that had its time is cancelled, and what is left of it is given again."""
    stale = Parents.stale

    def replaced(self: Any, ts_event: int) -> Any:
        cancels = stale(self, ts_event)
        gone = {cancel.client_order_id for cancel in cancels}
        for one in self.active():
            if one.child in gone:
                self._active[one.command.parent_id] = replace(one, child="")
        return cancels

    swap(Parents, "stale", replaced)


@mutant("H2", "B7")
def parents_begin_again_at_the_restart(swap: Swap) -> None:
    """A restart takes up every larger order by its schedule, which begins with its first slice."""
    resumed = opening.resumed

    def begun(*args: Any, **kwargs: Any) -> Any:
        core = resumed(*args, **kwargs)
        known = core.router.parents
        known.load([replace(one, filled_lots=0, child="", slices=0) for one in known.active()])
        return core

    swap(opening, "resumed", begun)


@mutant("H2")
def fills_of_slices_are_theirs(swap: Swap) -> None:
    """A slice is an order of its own: what it fills is in the position, not in the parent."""
    on = Parents.on

    def kept(self: Any, before: Any, after: Any) -> int:
        name = after.command.parent
        filled = self._active[name].filled_lots if name in self._active else 0
        back = on(self, before, after)
        if name in self._active:
            self._active[name] = replace(self._active[name], filled_lots=filled)
        return back

    swap(Parents, "on", kept)
