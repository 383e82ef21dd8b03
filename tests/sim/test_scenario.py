"""A scenario is the same for the same seed, and something happens in it."""

from flea_lab.sim import run_scenario


def test_a_scenario_is_the_same_for_the_same_seed() -> None:
    first, second = run_scenario(1), run_scenario(1)
    assert first.timeline == second.timeline
    assert first.digest == second.digest


def test_another_seed_is_another_scenario() -> None:
    assert run_scenario(1).digest != run_scenario(2).digest


def test_something_is_traded() -> None:
    assert sum(run_scenario(seed).traded for seed in range(4)) >= 2
