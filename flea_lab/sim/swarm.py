"""What goes wrong in a scenario, and how often: a random part of all faults, each with a likelihood of its own.

A scenario in which everything goes wrong hides what only a quiet one shows, and the other way round; so each draws
about 70 % of the faults, and turns the others off (swarm testing: Groce et al., 2012).
"""

from collections import Counter

from flea_lab.clock import Dice

CHANCES: dict[str, float] = {
    "request.drop": 0.02,
    "request.slow": 0.04,
    "request.unsent": 0.02,
    "request.refused_before": 0.02,
    "request.failed_after": 0.03,
    "request.answer_lost": 0.03,
    "request.malformed": 0.02,
    "request.too_many": 0.01,
    "request.slow_cancel": 0.3,
    "request.slow_match": 0.1,
    "read.lag": 0.5,
    "read.forgets": 0.3,
    "private.drop": 0.02,
    "private.twice": 0.05,
    "private.late": 0.03,
    "private.stall": 0.004,
    "private.replay": 0.5,
    "private.status_first": 0.3,
    "private.fill_first": 0.3,
    "private.cancel_race": 0.5,
    "private.overfill": 0.02,
    "public.drop": 0.01,
    "public.twice": 0.02,
    "public.resent": 0.01,
    "public.late": 0.01,
    "public.mute": 0.003,
    "public.half_open": 0.003,
    "public.close": 0.003,
    "public.not_a_number": 0.01,
    "public.crossed": 0.01,
    "public.backlog": 0.006,
    "disk.slow": 0.01,
}
"""Likelihood of every fault at each of its occasions, where it is on."""

PLANNED = (
    "request.outage",
    "request.outage_after",
    "request.blind",
    "private.foreign",
    "private.foreign_away",
    "clock.skew",
    "clock.step",
    "clock.back_blocked",
    "clock.midnight",
    "disk.full",
    "disk.broken",
    "disk.lost",
    "disk.torn",
    "process.kill",
    "process.kill_recovery",
    "process.kill_halt",
    "process.power",
    "process.block",
    "operator.halt",
    "operator.halt_in_fsync",
    "operator.halt_late",
    "operator.halt_in_outage",
    "operator.clear_early",
    "operator.clear",
)
"""Faults that a scenario plans by time instead of by occasion."""

KINDS = (*CHANCES, *PLANNED)
ON = 0.7


class Swarm:
    """The faults of one scenario. `counts` says how often each occurred."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self.counts: Counter[str] = Counter()
        self.quiet = False
        self._chance = {
            kind: min(0.9, chance * dice.uniform(0.3, 2.0)) if dice.random() < ON else 0.0
            for kind, chance in CHANCES.items()
        }
        self.planned = {kind: dice.random() < ON for kind in PLANNED}

    def off(self) -> None:
        """Turns every fault off."""
        self._chance = dict.fromkeys(self._chance, 0.0)
        self.planned = dict.fromkeys(self.planned, False)

    def hits(self, kind: str) -> bool:
        """Whether the fault occurs at this occasion; counted if it does. Never once all is healed."""
        chance = self._chance[kind]
        if chance == 0.0 or self.quiet or self._dice.random() >= chance:
            return False
        self.counts[kind] += 1
        return True

    def on(self, kind: str) -> bool:
        """Whether the fault can occur in this scenario at all."""
        return self.planned[kind] if kind in self.planned else self._chance[kind] > 0.0

    def note(self, kind: str) -> None:
        """Counts a planned fault that occurred."""
        self.counts[kind] += 1
