"""Many scenarios on several processes, until the first violation: what happened in them, counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context

from msgspec import Struct
from tqdm import tqdm

from flea_lab.clock import Stopwatch
from flea_lab.sim.corpus import SEEDS
from flea_lab.sim.halting import CLASSES, Class, Gone
from flea_lab.sim.scenario import run_scenario
from flea_lab.sim.swarm import KINDS
from flea_lab.sim.world import Violation

PIECE = 5
"""Scenarios that a worker runs before it reports."""

ENOUGH = 1_000
"""From so many scenarios on, a kind of fault that never occurred is a failure of the campaign."""


class Found(Struct, frozen=True, kw_only=True):
    """The first violation of a seed."""

    seed: int
    violation: Violation


class Tally(Struct, kw_only=True):
    """What happened in scenarios: how many, in how many something was traded, what, and what was violated."""

    scenarios: int = 0
    traded: int = 0
    virtual_s: float = 0.0
    elapsed_s: float = 0.0
    counts: dict[str, int] = {}
    faults: dict[str, int] = {}
    gone: list[Gone] = []
    found: list[Found] = []

    def add(self, other: "Tally") -> None:
        """Takes in another's."""
        self.scenarios += other.scenarios
        self.traded += other.traded
        self.virtual_s += other.virtual_s
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        self.gone = self.gone + other.gone
        self.found = sorted((*self.found, *other.found), key=lambda one: one.seed)

    def halts(self) -> dict[Class, list[float]]:
        """How long it took until the last order was gone, in seconds, shortest first, by what the times are of."""
        return {kind: sorted(one.after_s for one in self.gone if one.kind == kind) for kind in CLASSES}

    @property
    def missing(self) -> tuple[str, ...]:
        """Kinds of faults that never occurred, where there were scenarios enough."""
        return tuple(kind for kind in KINDS if not self.faults.get(kind)) if self.scenarios >= ENOUGH else ()

    @property
    def good(self) -> bool:
        """Whether every law held, and everything was tried."""
        return not self.found and not self.missing and self.traded > 0


def run_seeds(seeds: Iterable[int]) -> Tally:
    """What happened in the scenarios of `seeds`, one after the other, until the first violation."""
    tally = Tally()
    for seed in seeds:
        outcome = run_scenario(seed)
        one = Tally(
            scenarios=1,
            traded=int(outcome.traded),
            virtual_s=outcome.virtual_s,
            counts=outcome.counts,
            faults=outcome.faults,
            gone=list(outcome.gone),
        )
        if outcome.violations:
            one.found = [Found(seed=seed, violation=outcome.violations[0])]
        tally.add(one)
        if tally.found:
            break
    return tally


def run_campaign(first: int, last: int, *, workers: int = 2, progress: bool = False, corpus: bool = True) -> Tally:
    """What happened in the scenarios from `first` to `last`, both included, after those of the corpus.

    It ends at the first violation that any worker finds.
    """
    watch, tally = Stopwatch(), Tally()
    seeds = [*(SEEDS if corpus else ()), *range(first, last + 1)]
    pieces = [seeds[at : at + PIECE] for at in range(0, len(seeds), PIECE)]
    with tqdm(total=len(seeds), unit="scenario", disable=not progress, smoothing=0.05) as bar:
        for part in _in_parallel(pieces, workers):
            tally.add(part)
            bar.update(part.scenarios)
            bar.set_postfix(
                kills=tally.counts.get("kills", 0), halts=tally.counts.get("halts", 0), violations=len(tally.found)
            )
            if tally.found:
                break
    tally.elapsed_s = watch.elapsed_s()
    return tally


def _in_parallel(pieces: Sequence[Sequence[int]], workers: int) -> Iterator[Tally]:
    """The tallies of `pieces` as they come; what was not begun when the caller stops is not begun any more."""
    if workers == 1:
        yield from map(run_seeds, pieces)
        return
    left = iter(pieces)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[Tally]] = set()
        try:
            while True:
                with suppress(StopIteration):
                    while len(running) < 2 * workers:
                        running.add(pool.submit(run_seeds, next(left)))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            for one in running:
                one.cancel()
