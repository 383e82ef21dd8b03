"""One scenario: 40 virtual seconds in which everything may go wrong, 20 in which nothing does, and then the laws."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context
from pathlib import Path

from msgspec import Struct

from flea_lab.clock import Dice
from flea_lab.sim.halting import Gone
from flea_lab.sim.loop import Deadlock, SimLoop
from flea_lab.sim.plan import FAULTS_S, Plan
from flea_lab.sim.world import Note, Patch, Violation, World

HUSH_S = 4.0
"""After all is healed, how long the desk still has wishes."""

END_S = 60.0
MEMORY = "/dev/shm"
LOOK_S = 0.1


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a scenario. `counts` has what happened, `faults` each fault by kind; `gone` how long after each
    halt the last order at the exchange was gone; `steps` is of the loop."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    counts: dict[str, int]
    faults: dict[str, int]
    timeline: tuple[Note, ...]
    gone: tuple[Gone, ...]
    steps: int
    virtual_s: float

    @property
    def traded(self) -> bool:
        """Whether anything was traded: a scenario without a fill proves nothing."""
        return self.counts.get("trades", 0) > 0


Act = tuple[float, Callable[[World], None]]
"""When, in virtual seconds, and what is done then."""


def run_scenario(seed: int, *, patch: Patch | None = None) -> Outcome:
    """The scenario of `seed`, to its end or its first violation; the same for the same seed, whatever the process.

    `patch` may change each life of the bot after it was built and before it runs: that is how bugs are planted.
    """
    return _run(seed, patch, None)


def run_directed(seed: int, acts: Sequence[Act], *, patch: Patch | None = None) -> Outcome:
    """A scenario in which nothing goes wrong but what `acts` do to it."""
    return _run(seed, patch, acts)


def _run(seed: int, patch: Patch | None, acts: Sequence[Act] | None) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="flea-sim-", dir=_memory()))
    dice = Dice(seed)
    loop = SimLoop(dice, shuffled=dice.random() < 0.5)
    try:
        world = World(seed, loop, folder, patch)
        try:
            loop.run_until_complete(_play(world, acts))
        except Deadlock as error:
            world.violate("X2", str(error))
        for text in loop.errors:
            world.violate("X1", text.replace(str(folder), "FOLDER"))
        return _outcome(world)
    finally:
        loop.bury()
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str | None:
    """A folder in memory for the HALT file, where the system has one: syncing it costs nothing."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None


async def _play(world: World, acts: Sequence[Act] | None) -> None:
    loop = world.loop
    market = loop.create_task(world.play())
    if acts is None:
        Plan(world).make()
    else:
        world.swarm.off()
    for at_s, act in acts or ():
        loop.call_at(at_s, act, world, context=Context())
    world.start()
    healed = False
    while loop.time() < END_S and not world.violations:
        await asyncio.sleep(LOOK_S)
        world.look()
        if not healed and loop.time() >= FAULTS_S:
            healed = True
            _heal(world)
        if not world.hushed and loop.time() >= FAULTS_S + HUSH_S:
            world.hushed = True
            if world.life is not None:
                if world.life.runner is not None:
                    world.oracle.folds(world.life)  # of what follows the fold begins anew
                world.life.hush()
    if not world.violations:
        world.oracle.at_the_end()
    world.over = True
    market.cancel()


def _heal(world: World) -> None:
    world.note("world", "all is healed")
    world.swarm.quiet = True
    world.board.heal()
    world.disk.heal()
    world.clock.off_s = max(-0.2, min(0.2, world.clock.off_s))
    world.on_commit = None
    world.kill_steps = []
    if world.life is not None:
        world.life.process.kill_at = None


def _outcome(world: World) -> Outcome:
    counts = Counter(world.counts)
    counts["posts"] = sum(world.oracle.sent.values())
    counts["trades"] = len(world.exchange.fills_told)
    counts["lives"] = world.lives
    counts["dead man lapses"] = world.exchange.lapses
    counts["requests"] = world.requests
    return Outcome(
        seed=world.seed,
        digest=world.digest(),
        violations=tuple(world.violations),
        counts=dict(counts),
        faults=dict(world.swarm.counts),
        timeline=tuple(world.timeline),
        gone=tuple(world.oracle.halting.gone),
        steps=world.loop.steps,
        virtual_s=world.loop.time(),
    )
