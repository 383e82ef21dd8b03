"""Everything of one scenario: venue, machine and the bot's lives on it, what is noted and what is violated."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from flea_lab.clock import Dice
from flea_lab.errors import FleaError
from flea_lab.execution.order import Order
from flea_lab.live.phrase import clearing_phrase
from flea_lab.model.market import DAY_NS, Heartbeat
from flea_lab.sim.clock import SimClock
from flea_lab.sim.exchange import ModelExchange
from flea_lab.sim.life import ABOUT, CASH_USD, CONCENTRATION, Life
from flea_lab.sim.line import Board
from flea_lab.sim.loop import Process, SimLoop
from flea_lab.sim.market import BAR_NS, BAR_S, BOOK_S, SYMBOLS, Market
from flea_lab.sim.oracle import Oracle
from flea_lab.sim.store import Disk
from flea_lab.sim.swarm import Swarm
from flea_lab.sim.venue import SimVenue

NOON_NS = 1_790_000_000_000_000_000 // DAY_NS * DAY_NS + DAY_NS // 2
SLACK = 1.08
"""What a symbol may be worth beyond its share of the first equity: prices and equity move within a scenario."""


class Violation(NamedTuple):
    """An invariant that was broken, when (virtual seconds) and how."""

    invariant: str
    at_s: float
    text: str


class Note(NamedTuple):
    """One line of the timeline."""

    at_s: float
    who: str
    text: str


Patch = Callable[[Life], None]
"""Changes a life of the bot right before it begins to run."""


class World:
    """One scenario while it runs. `life` is the bot's newest, None between two."""

    def __init__(self, seed: int, loop: SimLoop, folder: Path, patch: Patch | None = None) -> None:
        self.seed, self.loop, self.folder, self._patch = seed, loop, folder, patch
        self.dice = Dice(seed * 7919 + 1)
        self.swarm = Swarm(self.dice)
        self.counts: Counter[str] = Counter()
        self.timeline: list[Note] = []
        self.violations: list[Violation] = []
        start_ns = NOON_NS - NOON_NS % BAR_NS
        if self.swarm.on("clock.midnight") and self.dice.random() < 0.3:
            start_ns = NOON_NS + DAY_NS // 2 - 20 * BAR_NS
            self.swarm.note("clock.midnight")
        cash_uusd = round(CASH_USD * 1e6)
        self.market = Market(self.dice, start_ns)
        self.exchange = ModelExchange(loop, self.dice, self.swarm, self.market, cash_uusd, self.violate)
        self.exchange.most_uusd = round(cash_uusd * CONCENTRATION * SLACK)
        self.board = Board(loop, self.dice, self.swarm)
        self.disk = Disk(self._sync_s)
        self.clock = SimClock(loop, self.dice, start_ns)
        self.oracle = Oracle(self)
        self.board.blind = lambda: self.exchange.blind
        self.exchange.listen = self._private
        self.exchange.accepted = self._accepted
        self.life: Life | None = None
        self.over = self.hushed = self.usurped = False
        self.lives = self.requests = self.strangers = 0
        self.kill_steps: list[int] = []
        self.power_fails = False
        self.on_commit: Callable[[list[Order]], None] | None = None
        self.on_start: Callable[[Life], None] = lambda _: None

    # ---- what is noted

    def note(self, who: str, text: str) -> None:
        """Puts a line onto the timeline."""
        self.timeline.append(Note(self.loop.time(), who, text))

    def violate(self, invariant: str, text: str) -> None:
        """An invariant is broken."""
        self.note("ORACLE", f"{invariant} violated: {text}")
        self.violations.append(Violation(invariant, round(self.loop.time(), 6), text))

    def digest(self) -> str:
        """Of all that happened: two runs of one seed have the same."""
        told = blake2b(digest_size=16)
        for at_s, who, text in self.timeline:
            told.update(f"{at_s:.9f} {who} {text}\n".encode())
        account = self.exchange.account()
        told.update(f"{self.loop.steps} {account} {sorted(self.counts.items())}".encode())
        return told.hexdigest()

    # ---- the venue

    async def play(self) -> None:
        """The market goes on, bar after bar."""
        bar = 0
        while True:
            for half in range(round(BAR_S / BOOK_S)):
                await asyncio.sleep(max(0.0, bar * BAR_S + half * BOOK_S - self.loop.time()))
                for symbol in SYMBOLS:
                    self.board.public("book", symbol, self.market.quote(symbol, self.exchange.now_ns))
            bar += 1
            await asyncio.sleep(max(0.0, bar * BAR_S - self.loop.time()))
            close_ns = self.market.start_ns + bar * BAR_NS
            for candle in self.market.close_bar(close_ns):
                self.board.public("candle", candle.symbol, candle)
            self.board.public("heartbeat", "", Heartbeat(ts_event=close_ns))

    def _private(self, frame: tuple[int, Any]) -> None:
        seq, said = frame
        self.note("venue", f"{seq} {type(said).__name__} {said.client_order_id} {getattr(said, 'lots', '')}".rstrip())
        self.board.private(seq, said)

    def _accepted(self, one: Any) -> None:
        self.counts["accepted"] += 1
        self.oracle.accepted(one)

    # ---- the machine

    def start(self) -> None:
        """Begins a life of the bot."""
        if self.over:
            return
        self.lives += 1
        process = Process(f"bot-{self.lives}", self._died)
        if self.kill_steps and not self.swarm.quiet:
            process.kill_at = self.kill_steps.pop(0)
        venue = SimVenue(
            self.loop, self.dice, self.swarm, self.exchange, self.market, self.board, self.clock, self.oracle
        )
        life = Life(process, self.disk, venue, self.clock, self.folder, self.seed, self._heard)
        life.quiet = self.hushed
        life.built = self._built
        self.life = life
        self.note("machine", f"starts {process.name}")
        task = self.loop.start(life.run(), process)
        task.add_done_callback(lambda done: self._ended(life, done), context=Context())

    def _built(self, life: Life) -> None:
        self.oracle.begins(life)
        journal = life.journal
        assert journal is not None
        journal.booked = self.oracle.booked
        journal.before_commit = self._commits
        if self._patch is not None:
            self._patch(life)
        self.on_start(life)

    def _commits(self, orders: list[Order]) -> None:
        if self.on_commit is not None:
            self.on_commit(orders)
        if self.disk.memory.full:
            self.swarm.note("disk.full")
        if self.disk.memory.broken:
            self.swarm.note("disk.broken")

    def _sync_s(self) -> float:
        """How long the next sync takes."""
        if self.swarm.hits("disk.slow"):
            return self.dice.uniform(0.2, 2.0)
        return self.dice.uniform(0.0005, 0.004)

    def _heard(self, severity: str, text: str) -> None:
        self.counts[f"alerts {severity}"] += 1
        self.note("alert", f"{severity}: {text.replace(str(self.folder), 'FOLDER')}")

    def _died(self, process: Process) -> None:
        self.counts["kills"] += 1
        power = self.swarm.planned["process.power"] and self.dice.random() < 0.5
        self.swarm.note("process.power" if power else "process.kill")
        lost, torn = self.disk.lost, self.disk.torn
        self.disk.crash(self.dice, power=power)
        for kind, count in (("disk.lost", self.disk.lost - lost), ("disk.torn", self.disk.torn - torn)):
            if count:
                self.swarm.note(kind)
        self.note("machine", f"{process.name} is killed at its step {process.steps}{', power lost' if power else ''}")
        self._gone(self.dice.uniform(0.05, 3.0))

    def _gone(self, back_s: float) -> None:
        life, self.life = self.life, None
        if life is not None:
            self.board.drop(life.venue)
            self.requests += life.venue.requests
        self.oracle.verified = False
        self.loop.call_later(back_s, self.start, context=Context())

    def _ended(self, life: Life, task: "asyncio.Task[str]") -> None:
        if self.over or task.cancelled() or self.life is not life:
            return
        life.process.alive = False
        error = task.exception()
        text = f"{type(error).__name__}: {error}" if error is not None else task.result()
        self.note("machine", f"{life.process.name} ends: {text.replace(str(self.folder), 'FOLDER')}")
        self.counts["ends"] += 1
        if error is not None and not isinstance(error, FleaError):
            self.violate("X1", f"the bot ends with {text}")
        if error is not None and life.runner is not None and life.runner.state != "starting":
            self.oracle.ended(text)
        self._gone(self.dice.uniform(0.5, 2.0))

    # ---- people

    def give_foreign(self, *, trades: bool = False) -> None:
        """Somebody else gives an order on this account; it trades at once, or rests."""
        self.note("venue", "somebody else gives an order on this account")
        self.strangers += 1
        name = f"foreign-{self.strangers}"
        self.usurped |= not self.disk.begun
        self.exchange.place_foreign(name, self.dice.choice(SYMBOLS), self.dice.choice((1, -1)), 50, trades=trades)

    def halt(self, life: Life, kind: str) -> None:
        """The control socket takes a halt, in its own thread: at any instant, whatever the loop does."""
        assert life.desk is not None
        self.note("operator", f"halts ({kind})")
        life.process.context().run(life.desk._halt, {"reason": kind, "received_ns": self.clock.now_ns()})
        self.oracle.halts(kind)
        self.counts["halts"] += 1

    async def resume(self, life: Life, kind: str) -> None:
        """A person asks to clear the halt."""
        assert life.desk is not None
        clears = ["kill_switch"]
        request = {
            "clear": clears,
            "by": "operator",
            "why": kind,
            "phrase": clearing_phrase(ABOUT.account, clears),
            "received_ns": self.clock.now_ns(),
        }
        try:
            await life.desk._resume(request)
        except FleaError as error:
            self.note("operator", f"may not resume: {error}")
            return
        self.note("operator", f"resumes ({kind})")
        self.oracle.cleared(life)

    def look(self) -> None:
        """Looks at what the runner says of itself."""
        self.oracle.look()
        life = self.life
        if life is not None and life.runner is not None:
            runner = life.runner
            self.oracle.said_verified(bool(runner.core.halted and runner.brake.verified))
