"""What the simulation taught: each a scenario in which only that goes wrong."""

from flea_lab.sim.scenario import run_directed
from flea_lab.sim.world import World


def _halt(world: World) -> None:
    assert world.life is not None
    world.halt(world.life, "a person")


def test_a_strangers_order_after_a_verified_halt_is_taken_back() -> None:
    outcome = run_directed(9, [(5.0, _halt), (10.0, World.give_foreign)])
    assert "says that no order is open" in [note.text for note in outcome.timeline]
    assert outcome.violations == ()
