"""Deterministic simulation: the real runner against a venue, a disk and a clock that go wrong by seed.

::

    from flea_lab.sim import run_scenario
    outcome = run_scenario(17)                  # 60 virtual seconds, the same for ever
    outcome.violations                          # (Violation(invariant, at_s, text), ...), empty where every law held
    outcome.counts, outcome.faults              # posts, trades, kills, halts; every fault by kind
    run_scenario(17, patch=lambda life: ...)    # `life` is one process of the bot, built and about to run:
                                                # life.runner, .core, .journal, .hearing, .desk, .venue, .disk

A planted bug either changes the parts of a `life` in `patch`, or is a change to a class while `run_scenario` runs; the
scenario stops at its first violation.
"""

from flea_lab.sim.scenario import Outcome, run_scenario
from flea_lab.sim.world import Violation

__all__ = ["Outcome", "Violation", "run_scenario"]
