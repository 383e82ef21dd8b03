"""Bugs that a developer could have written, each planted into the real bot for as long as a campaign looks for it.

Rules. A mutant replaces functions or methods of `flea_lab` itself, never of the simulation, by what somebody could have
written in good faith; its docstring says what that is, `laws` which invariants it may break. Nothing of it knows of
seeds, scenarios or oracles. It is caught by the first scenario that any of its laws is violated in.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from flea_lab.sim import run_scenario

CAP = 300
"""Scenarios within which a mutant must be caught, where it names no other number."""


ABSENT = object()


class Swap:
    """Replaces attributes, and puts them back."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def __call__(self, owner: Any, name: str, other: Any) -> Any:
        """What `name` of `owner` was before it became `other`."""
        before = owner.__dict__.get(name, ABSENT)
        self._before.append((owner, name, before))
        setattr(owner, name, other)
        return before

    def undo(self) -> None:
        """Everything as it was."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


class Mutant(NamedTuple):
    """One planted bug. `cap` is the number of scenarios within which it must be caught."""

    name: str
    laws: tuple[str, ...]
    plant: Callable[[Swap], None]
    cap: int

    @property
    def text(self) -> str:
        """What the developer thought."""
        return " ".join((self.plant.__doc__ or "").split())

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bot with this bug."""
        swap = Swap()
        try:
            self.plant(swap)
            yield
        finally:
            swap.undo()


class Caught(NamedTuple):
    """The scenario that a mutant was caught in: which, by what law, after how many."""

    seed: int
    law: str
    tried: int
    text: str


def just(value: Any) -> Callable[..., Any]:
    """A function that gives `value`, whatever it is asked."""
    return lambda *_, **__: value


MUTANTS: dict[str, Mutant] = {}


def planted(*names: str) -> Callable[[Swap], None]:
    """Plants several bugs at once."""

    def plant(swap: Swap) -> None:
        for name in names:
            MUTANTS[name].plant(swap)

    return plant


def mutant(*laws: str, cap: int = CAP) -> Callable[[Callable[[Swap], None]], Callable[[Swap], None]]:
    """Takes a function that plants a bug into the list."""

    def take(plant: Callable[[Swap], None]) -> Callable[[Swap], None]:
        assert plant.__name__ not in MUTANTS, f"two mutants are called {plant.__name__}"
        MUTANTS[plant.__name__] = Mutant(plant.__name__, laws, plant, cap)
        return plant

    return take


def hunt(one: Mutant, seeds: Iterable[int]) -> Caught | None:
    """The first of `seeds` that catches a mutant by one of its laws; None where none does."""
    with one.planted():
        for tried, seed in enumerate(seeds, 1):
            for violation in run_scenario(seed).violations:
                if violation.invariant in one.laws:
                    return Caught(seed, violation.invariant, tried, violation.text)
    return None
