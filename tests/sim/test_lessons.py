"""What the simulation taught: each a scenario in which only that goes wrong."""

import asyncio
from typing import Any

from flea_lab.journal import done_ticket
from flea_lab.live.sender import Sender
from flea_lab.model.trading import Cancelled, CancelOrder, OrderReport
from flea_lab.sim.life import Life
from flea_lab.sim.scenario import run_directed
from flea_lab.sim.world import World


def _halt(world: World) -> None:
    assert world.life is not None
    world.halt(world.life, "a person")


def test_a_strangers_order_after_a_verified_halt_is_taken_back() -> None:
    outcome = run_directed(9, [(5.0, _halt), (10.0, World.give_foreign)])
    assert "says that no order is open" in [note.text for note in outcome.timeline]
    assert outcome.violations == ()


def _resume(world: World) -> None:
    assert world.life is not None
    world.loop.start(world.resume(world.life, "a person"), world.life.process)


def _silence(world: World) -> None:
    for line in world.board.lines:
        line.silent = True


def _break_disk(world: World) -> None:
    world.disk.memory.broken = True


def test_the_word_that_nothing_is_open_does_not_outlive_the_halt_it_was_of() -> None:
    """Cleared while the connection was down, it was said again of the next halt, whose orders stayed open."""
    acts = [(5.0, _halt), (6.0, _silence), (8.8, _resume), (15.0, _break_disk)]
    outcomes = [run_directed(seed, acts) for seed in range(8)]
    assert all(outcome.violations == () for outcome in outcomes)
    assert sum("resumes (a person)" in [note.text for note in outcome.timeline] for outcome in outcomes) >= 4


def _set_back(world: World) -> None:
    assert world.life is not None
    world.clock.off_s = -3_600.0
    world.loop.block(world.life.process, 3.4)


def test_a_clock_that_is_set_back_makes_no_candle_young() -> None:
    outcomes = [run_directed(seed, [(10.5, _set_back)]) for seed in range(8)]
    assert all(outcome.violations == () for outcome in outcomes)


def _block(world: World) -> None:
    assert world.life is not None
    world.loop.block(world.life.process, 3.0)


def test_an_order_that_waited_for_its_turn_is_not_sent_on_old_prices() -> None:
    refused: list[str] = []

    def listen(life: Life) -> None:
        sender = life.runner._sender
        old = sender._old
        sender._old = lambda order: refused.append(old(order)) or refused[-1]

    outcomes = [
        run_directed(seed, [(at_s, _block) for at_s in (10.01, 15.02, 20.03)], patch=listen) for seed in range(8)
    ]
    assert all(outcome.violations == () for outcome in outcomes)
    assert any(why.startswith("it was decided on prices that are 3") for why in refused)


class _Slow:
    """An exchange that takes every order back, in its time."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def send(self, command: CancelOrder) -> tuple[OrderReport, ...]:
        self.asked.append(command.client_order_id)
        await asyncio.sleep(0.001)
        return (Cancelled(client_order_id=command.client_order_id, ts_event=2),)


def test_a_cancel_does_not_wait_twice_in_the_line() -> None:
    """Each bar gave another for every order that was too old: no comparison found the sender at rest."""

    async def run() -> list[str]:
        exchange, said = _Slow(), asyncio.Queue[Any]()
        sender = Sender(exchange, said.put_nowait, lambda: 1, str, lambda: 0, 1.0)  # type: ignore[arg-type]
        lane = asyncio.create_task(sender.send_cancels())
        for name in ("a", "b", "a", "a"):
            sender.give(CancelOrder(client_order_id=name, symbol="X", ts_event=1), done_ticket())
        while not sender.idle:
            await said.get()
        sender.give(CancelOrder(client_order_id="a", symbol="X", ts_event=2), done_ticket())
        while not sender.idle:
            await said.get()
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)
        return exchange.asked

    assert asyncio.run(run()) == ["a", "b", "a"]


def _slow_disk(world: World) -> None:
    world.disk.memory.sync_s = lambda: 0.8


def _step(world: World) -> None:
    world.clock.off_s = 3_600.0


def _heal(world: World) -> None:
    world.disk.memory.sync_s = lambda: 0.002
    world.clock.off_s = 0.0


def test_a_clock_that_is_set_by_an_hour_makes_no_disk_slow() -> None:
    for seed in range(4):
        outcome = run_directed(seed, [(9.9, _slow_disk), (10.4, _step), (13.0, _heal)])
        assert outcome.violations == ()
        assert outcome.counts["lives"] == 1


def _go_blind(world: World) -> None:
    world.exchange.blind_until_s = world.loop.time() + 12.0


def _forget(world: World) -> None:
    order = world.exchange.order
    world.exchange.order = lambda name: None if world.exchange.filled_by[name] else order(name)  # type: ignore[method-assign]


def test_an_order_that_the_venue_has_fills_of_did_arrive_though_it_says_that_it_never_saw_it() -> None:
    """A venue may forget an order that is over. While nothing was said of the account, its answer had been lost."""
    for seed in range(4):
        outcome = run_directed(seed, [(5.0, _forget), (6.0, _go_blind)])
        assert outcome.violations == ()
        assert outcome.counts["trades"] > 10
