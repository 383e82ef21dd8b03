"""A slice of the campaign: every law holds, in scenarios that trade, die and halt."""

import pytest

from flea_lab.sim.campaign import ENOUGH, Found, Tally, run_campaign, run_seeds
from flea_lab.sim.corpus import SEEDS
from flea_lab.sim.swarm import KINDS
from flea_lab.sim.world import Violation


def test_every_law_holds_in_a_slice_of_the_campaign() -> None:
    tally = run_seeds([*SEEDS, *range(90_000, 90_060)])
    assert tally.found == []
    assert tally.scenarios == len(SEEDS) + 60
    assert tally.traded > 50
    assert tally.counts["kills"] > 20
    assert tally.counts["halts"] > 15
    assert len(tally.faults) > len(KINDS) - 8


def test_a_campaign_on_two_processes_counts_what_one_counts() -> None:
    one, two = (run_campaign(0, 11, workers=workers, corpus=False) for workers in (1, 2))
    assert (one.scenarios, one.counts, one.faults) == (12, two.counts, two.faults)


def test_a_kind_of_fault_that_never_occurred_fails_a_campaign() -> None:
    tally = Tally(scenarios=ENOUGH, traded=1, faults=dict.fromkeys(KINDS[1:], 1))
    assert tally.missing == KINDS[:1]
    assert not tally.good
    tally.faults[KINDS[0]] = 1
    assert tally.good


def test_a_violation_fails_a_campaign() -> None:
    tally = Tally(scenarios=1, traded=1, found=[Found(seed=1, violation=Violation("A1", 2.0, "twice"))])
    assert not tally.good


@pytest.mark.slow
def test_every_law_holds_in_three_thousand_scenarios() -> None:
    tally = run_campaign(0, 2_999)
    assert tally.found == []
    assert tally.missing == ()
    assert tally.counts["kills"] >= 2_000
    assert tally.counts["halts"] >= 1_000
