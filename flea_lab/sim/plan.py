"""What a scenario plans by time: kills, blocked loops, wrong clocks, full disks, and what the operator does."""

from collections.abc import Callable
from contextvars import Context
from functools import partial

from flea_lab.execution.order import Order, Status
from flea_lab.sim.life import Life
from flea_lab.sim.world import World

FAULTS_S = 40.0
"""How long things go wrong."""

LATE_S = 43.0
"""When the bot is halted though nothing goes wrong: requests that hung have been given up by then."""

AT_ONCE_S = 1.5
"""How long the orders of a bot that is halted may stay open where nothing goes wrong."""


class Plan:
    """Draws and carries out what goes wrong by time in one scenario."""

    def __init__(self, world: World) -> None:
        self._world, self._dice = world, world.dice
        self._until_s = FAULTS_S - 1.0

    def make(self) -> None:
        """Puts everything onto the loop's timers."""
        world, dice = self._world, self._dice
        self._plan_kills()
        on = world.swarm.on
        if on("process.block") and dice.random() < 0.6:
            self._at(dice.uniform(1.0, self._until_s - 5.0), self._block)
        if on("clock.back_blocked") and dice.random() < 0.3:
            self._at(dice.uniform(6.0, self._until_s - 5.0), self._block_set_back)
        if on("clock.skew") and dice.random() < 0.5:
            world.clock.off_s = dice.uniform(-1.5, 1.5)
            world.swarm.note("clock.skew")
        if on("clock.step") and dice.random() < 0.15:
            self._at(dice.uniform(3.0, self._until_s), self._step_clock)
        for kind in ("disk.full", "disk.broken"):
            if on(kind) and dice.random() < 0.08:
                self._at(dice.uniform(3.0, self._until_s - 3.0), partial(self._spoil_disk, kind))
        if on("private.foreign") and dice.random() < 0.12:
            self._at(dice.uniform(3.0, self._until_s - 3.0), self._foreign)
        if on("private.foreign_away") and dice.random() < 0.15:
            self._at(dice.uniform(3.0, self._until_s - 8.0), self._foreign_away)
        self._plan_outages()
        if on("operator.halt") and dice.random() < 0.7:
            self._at(dice.uniform(4.0, self._until_s - 2.0), lambda: self._halt("operator.halt"))
        if on("operator.halt_late") and dice.random() < 0.5:
            self._at(dice.uniform(LATE_S, LATE_S + 0.9), self._halt_late)
        if on("operator.halt_in_fsync") and dice.random() < 0.25:
            self._at(dice.uniform(4.0, self._until_s - 8.0), self._arm)

    def _at(self, at_s: float, call: Callable[[], None]) -> None:
        self._world.loop.call_at(at_s, call, context=Context())

    def _plan_outages(self) -> None:
        dice, on, last_s = self._dice, self._world.swarm.on, self._until_s - 3.0
        if on("request.outage") and dice.random() < 0.2:
            self._at(dice.uniform(3.0, last_s), self._outage)
        if on("request.outage_after") and dice.random() < 0.15:
            self._at(dice.uniform(3.0, last_s), self._deafen)
        if on("request.blind") and dice.random() < 0.4:
            self._at(dice.uniform(3.0, last_s - 8.0), self._blind)

    def _plan_kills(self) -> None:
        world, dice = self._world, self._dice
        steps: list[int] = []
        if world.swarm.on("process.kill"):
            steps = [int(dice.expovariate(1 / 1200.0)) + 1 for _ in range(dice.choice((0, 1, 1, 2, 2, 4)))]
        if steps and world.swarm.on("process.kill_recovery"):
            for n in range(1, len(steps)):
                if dice.random() < 0.5:
                    steps[n] = dice.randint(1, 80)
                    world.swarm.note("process.kill_recovery")
        world.kill_steps = steps

    # ---- the machine

    def _block(self) -> None:
        world = self._world
        if world.life is not None:
            seconds = self._dice.uniform(0.5, 4.0)
            world.note("machine", f"blocks {world.life.process.name} for {seconds:.1f} s")
            world.swarm.note("process.block")
            world.loop.block(world.life.process, seconds)

    def _block_set_back(self) -> None:
        """The clock is set back while the loop is blocked: what waits seems to have come at once."""
        world = self._world
        if world.life is not None:
            world.swarm.note("clock.back_blocked")
            self._shift_clock(-3600.0)
            world.note("machine", f"blocks {world.life.process.name} meanwhile")
            world.loop.block(world.life.process, self._dice.uniform(2.7, 3.6))

    def _step_clock(self) -> None:
        self._world.swarm.note("clock.step")
        self._shift_clock(self._dice.choice((-3600.0, 3600.0)))

    def _shift_clock(self, by_s: float) -> None:
        world, dice = self._world, self._dice
        before = world.clock.off_s
        world.clock.off_s += by_s
        world.note("machine", f"the clock steps to {world.clock.off_s:+.1f} s")

        def back() -> None:
            world.clock.off_s = before
            world.note("machine", "the clock steps back")

        self._at(min(FAULTS_S, world.loop.time() + dice.uniform(1.0, 10.0)), back)

    def _spoil_disk(self, kind: str) -> None:
        world = self._world
        name = kind.removeprefix("disk.")
        setattr(world.disk.memory, name, True)
        world.note("machine", f"the disk is {name}")
        self._at(world.loop.time() + self._dice.uniform(0.5, 3.0), lambda: setattr(world.disk.memory, name, False))

    def _outage(self) -> None:
        world, seconds = self._world, self._dice.uniform(1.0, 14.0)
        world.note("venue", f"answers nothing but 503 for {seconds:.1f} s")
        world.swarm.note("request.outage")
        now_s = world.loop.time()
        world.exchange.outages.append((now_s, min(FAULTS_S, now_s + seconds)))

        if world.swarm.on("operator.halt_in_outage") and self._dice.random() < 0.5:
            self._in(self._dice.uniform(0.0, min(seconds, 3.0)), lambda: self._halt("operator.halt_in_outage"))

    def _deafen(self) -> None:
        world, seconds = self._world, self._dice.uniform(1.0, 14.0)
        world.note("venue", f"carries out what is asked and answers 503 for {seconds:.1f} s")
        world.swarm.note("request.outage_after")
        world.exchange.deaf_until_s = world.loop.time() + seconds

    def _blind(self) -> None:
        world, seconds = self._world, self._dice.uniform(6.0, 14.0)
        world.note("venue", f"says nothing of the account for {seconds:.1f} s")
        world.swarm.note("request.blind")
        world.exchange.blind_until_s = world.loop.time() + seconds

    def _foreign(self) -> None:
        self._world.swarm.note("private.foreign")
        self._world.give_foreign(trades=self._dice.random() < 0.5)

    def _foreign_away(self) -> None:
        """Somebody else trades on the account while nobody listens, as soon as that is so."""
        world = self._world
        if world.swarm.quiet or world.loop.time() > self._until_s:
            return
        if world.board.lines:
            self._in(0.05, self._foreign_away)
            return
        world.swarm.note("private.foreign_away")
        world.give_foreign(trades=True)

    # ---- the operator

    def _halt(self, kind: str) -> None:
        """Halts the bot, as soon as there is one to halt."""
        world, life = self._world, self._world.life
        if world.swarm.quiet:
            return
        if life is None or life.desk is None:
            self._at(world.loop.time() + 0.25, lambda: self._halt(kind))
            return
        world.swarm.note(kind)
        self.halt_now(life, kind)

    def _halt_late(self) -> None:
        """Halts a bot that trades, when all is healed: what is open must be gone at once."""
        world, life = self._world, self._world.life
        runner = None if life is None else life.runner
        if life is None or runner is None or not (runner.link and runner.ready) or runner.core.halted:
            return
        world.swarm.note("operator.halt_late")
        world.halt(life, "operator.halt_late")
        self._at(world.loop.time() + AT_ONCE_S, world.oracle.must_be_gone)

    def halt_now(self, life: Life, kind: str) -> None:
        """The control socket takes a halt, in its own thread: at any instant, whatever the loop does."""
        world, dice = self._world, self._dice
        world.halt(life, kind)
        if world.swarm.on("process.kill_halt") and dice.random() < 0.3 and not world.swarm.quiet:
            life.process.kill_at = life.process.steps + dice.randint(1, 60)
            world.swarm.note("process.kill_halt")
        if world.swarm.on("operator.clear_early") and dice.random() < 0.4:
            self._in(dice.uniform(0.0, 0.6), lambda: self._clear("operator.clear_early"))
        if world.swarm.on("operator.clear") and dice.random() < 0.6:
            self._in(dice.uniform(4.0, 10.0), lambda: self._clear("operator.clear"))

    def _arm(self) -> None:
        """From now on the next intent is halted while it becomes durable."""
        world = self._world

        def commits(orders: list[Order]) -> None:
            life = world.life
            fresh = [order for order in orders if order.status is Status.PENDING and not order.filled_lots]
            if fresh and life is not None and life.desk is not None:
                world.on_commit = None
                world.swarm.note("operator.halt_in_fsync")
                self.halt_now(life, "operator.halt_in_fsync")

        world.on_commit = commits

    def _in(self, seconds: float, call: Callable[[], None]) -> None:
        self._at(self._world.loop.time() + seconds, call)

    def _clear(self, kind: str) -> None:
        world, life = self._world, self._world.life
        if life is None or life.desk is None or not world.oracle.halted:
            return
        world.swarm.note(kind)
        world.loop.start(world.resume(life, kind), life.process, "resume")
