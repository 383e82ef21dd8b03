"""The simulation catches what it is there to catch: bugs that are planted into the real bot, one at a time."""

import pytest

from flea_lab.sim import run_scenario
from tests.sim.hunting import GUARDED, hunt_all, known
from tests.sim.mutants import MUTANTS, hunt

QUICK = (
    "journal_after_send",
    "reposted_after_503",
    "halt_forgotten_at_restart",
    "limit_holds_for_one_order",
    "every_fill_counts",
)
"""Those that the quick tests plant, each in the scenario that caught it."""


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught_in_a_scenario_that_is_clean_without_it(name: str) -> None:
    before = known()[name]
    caught = hunt(MUTANTS[name], [before.seed])
    assert caught is not None
    assert caught.law in MUTANTS[name].laws
    assert run_scenario(before.seed).violations == ()


def test_a_planted_bug_says_what_somebody_thought_and_what_it_breaks() -> None:
    assert len(known()) >= 25
    assert known().keys() ^ GUARDED.keys() == MUTANTS.keys()
    assert known().keys() >= set(GUARDED.values())
    for one in MUTANTS.values():
        assert one.text.endswith(".")
        assert one.laws
    for name, row in known().items():
        assert row.law in MUTANTS[name].laws
        assert row.seed < MUTANTS[name].cap


def test_a_planted_bug_is_gone_afterwards() -> None:
    before = run_scenario(0)
    for one in MUTANTS.values():
        with one.planted():
            pass
    assert run_scenario(0).digest == before.digest
    assert before.violations == ()


@pytest.mark.slow
def test_every_planted_bug_is_caught_within_its_cap() -> None:
    found = hunt_all(list(known()))
    assert [name for name, caught in found.items() if caught is None] == []
    for seed in {caught.seed for caught in found.values() if caught is not None}:
        assert run_scenario(seed).violations == ()
