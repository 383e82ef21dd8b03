"""Hundreds of real SIGKILLs of the real bot, over real sockets, at a venue that has faults of its own.

    python -m tests.live.kill_campaign --forked 480 --cold 20 --seed 1

A parent imports and compiles everything once and forks every runner from itself: the bot as `flea run` runs it, its
journal on a real disk, an exchange behind real HTTP and websockets. It is killed after a seeded 15 to 400 ms from its
start, from ready or from its next order, or by the venue at the instant an order arrives, and started again in the same
folder. Some are halted before: by the socket, or by a HALT file with and without a runner there. The cold ones are
`python -m flea_lab run` from nothing. After every kill the market stands still, and the exchange's own books are held
against the journal that is left. The last lines say how long what took; with --strict a goal that is missed is an error
as well. Wall time, of a machine that has its two cores to itself.
"""

import argparse
import os
import random
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from flea_lab.backtest.market import Market
from flea_lab.clock import Stopwatch, WallClock
from flea_lab.config import RunConfig
from flea_lab.live.account import HALT, LOG, ready_folder
from flea_lab.live.control_client import ControlClient, Declined, NoRunner, Unanswered
from flea_lab.live.keys import store_key
from flea_lab.live.latch import lift_halt_file, write_halt_file
from flea_lab.live.phrase import clearing_phrase
from flea_lab.sandbox.faults import FaultSettings
from flea_lab.sandbox.settings import SandboxSettings
from flea_lab.secret import Secret
from flea_lab.settings import load_settings
from flea_lab.venue.quick import QuickReader
from flea_lab.wiring import load_market, run_replay
from tests.live.kill_mutants import PLANTED
from tests.live.kill_tally import Tally, figures, table
from tests.live.killed import (
    Forked,
    Promise,
    audit,
    broken,
    controls,
    equals,
    forked_runner,
    forked_sandbox,
    resting,
    sleep,
)
from tests.live.processes import Process, config_file, start_runner
from tests.live.test_kills import busy, claimed, store_market

DAYS, HISTORY = 6.0, 400
KILLS_A_SESSION, HALTING = 40, 0.2
SLOW_S = 3.0
READY_WITHIN_S, ENDS_WITHIN_S, GONE_WITHIN_S, RESUMES_WITHIN_S = 120.0, 240.0, 10.0, 100.0
BREACHES = 200
LATCH = ["kill_switch"]

CHANCES: dict[str, float] = {
    "rest_429": 0.0005, "rest_429_bare": 0.0005, "rest_500": 0.002, "rest_502": 0.002, "rest_503": 0.002,
    "rest_outage": 0.001, "upgrade_503": 0.03, "unacknowledged": 0.01, "close_1000": 0.0002, "close_1001": 0.0002,
    "reset": 0.0002, "gap": 0.0005, "duplicate": 0.0005, "out_of_order": 0.0005, "partial_resent": 0.001,
    "complete_omitted": 0.001, "late_correction": 0.001, "missing_minute": 0.0005, "price_spike": 0.0002,
}  # fmt: skip
"""By chance, of every occasion. Left out are those that end a session (401, 403), those that only time heals (silence,
deaf), and spoiled books and prints, which this config does not read."""

QUICK = {"backoff_first_s": 0.02, "backoff_last_s": 0.1, "connects_per_minute": 600, "steady_s": 0.0}


class Campaign:
    """One campaign of kills over as many sessions as it takes."""

    def __init__(self, seed: int, mutant: str = "", days: float = DAYS, faults: bool = True) -> None:
        self.seed, self.halting, self.faults, self.days = seed, HALTING, faults, days
        self.planted: Callable[[], None] | None = PLANTED[mutant] if mutant else None
        self.tally = Tally()
        self.config: RunConfig = busy(dialect=QUICK)
        store_market(round(days * 1440) + HISTORY)
        self.market: Market = load_market(self.config).market
        run_replay(self.config, self.market)  # compiles what a runner calls, and so does this
        QuickReader()

    def run(self, kills: dict[str, int], bar: Any) -> Tally:
        """The tally after `kills` ("forked", "cold") or at the first thing that is broken."""
        for how, count in kills.items():
            while self.tally.kills[how] < count and not self.tally.broken:
                self.tally.sessions += 1
                Session(self, how, min(KILLS_A_SESSION, count - self.tally.kills[how]), bar).play()
        return self.tally


class Session:
    """One account at one exchange, killed until there were enough, or until its market is over."""

    def __init__(self, campaign: Campaign, how: str, kills: int, bar: Any) -> None:
        self.campaign, self.tally, self.how, self.kills, self.bar = campaign, campaign.tally, how, kills, bar
        number = self.tally.sessions
        self.dice = random.Random(campaign.seed * 1_000 + number)
        self.account = f"{how}-{number}"
        self.folder = ready_folder(self.account)
        self.mark = self.folder / "posts"
        self.promise: Promise | None = None  # of a halt, until the journal has its resume
        self.unsure = False  # of a resume that got no answer: the journal knows once this life is over
        self.posted_at_halt = -1
        self.since_halt: Stopwatch | None = None  # while orders may be left of a halt that a kill cut short
        self.equals = 0
        self.url = ""

    @property
    def halted(self) -> bool:
        """Whether a halt was promised, and no resume of it is in the journal."""
        return self.promise is not None and self.promise.stands(self.folder)

    def play(self) -> None:
        """The whole session."""
        config, market = self.campaign.config, self.campaign.market
        given = {kind: {"probability": share} for kind, share in CHANCES.items()} if self.campaign.faults else {}
        seed = self.campaign.seed * 1_000 + self.tally.sessions
        faults = load_settings({"seed": seed, "faults": given}, FaultSettings, "kills")
        days = self.campaign.days
        settings = SandboxSettings(
            port=0, matching="book", latency_ms=1_500, days=days, leverage=100.0, steps=4, seed=seed, faults=faults
        )
        with forked_sandbox(config, market, settings, self.folder / "sandbox.log", self.mark) as self.url:
            store_key(self.account, Secret(claimed(self.url)))
            file = config_file(config, self.folder)
            alive = True
            while alive and self.kills > 0 and not self.tally.broken:
                alive = self._life(self._start(file))
            if alive and not self.tally.broken:
                self._last(self._start(file))
            there = audit(self.url)
            self._hold(there, at_rest=not self.tally.broken)
            self.tally.orders += len(there["orders"])
            self.tally.fills += len(there["fills"])
            self.tally.compared += equals(self.folder)
            self.tally.faults.update(there["faults"])

    def _start(self, file: Path) -> "Forked | Process":
        if self.how == "cold":
            if (self.folder / HALT).exists():
                self._refuses(file)
            return start_runner(file, self.url, self.account)
        return forked_runner(self.campaign.config, self.url, self.account, self.folder, self.campaign.planted)

    def _refuses(self, file: Path) -> None:
        """Holds `flea run` to refusing a HALT file; then a person lifts it, and what the journal has stands."""
        refused = start_runner(file, self.url, self.account)
        if refused.wait(READY_WITHIN_S) == 0 or "is halted by" not in refused.said():
            self.tally.broken.append(f"forgotten halt: {self.account} started beside its HALT file")
        lift_halt_file(self.folder, "kills", "on with it", WallClock())
        if self.promise is not None and self.promise.broken(self.folder):
            self.promise = None  # there was the file alone, and a person lifted it

    def _life(self, runner: "Forked | Process") -> bool:
        """Whether there is a next life: False where the market is over."""
        dice, moment = self.dice, self.dice.choices(["start", "ready", "order", "send"], [0.15, 0.3, 0.3, 0.25])[0]
        pause_s = dice.uniform(0.015, 0.4)
        if moment == "start":
            sleep(pause_s * (6 if self.how == "cold" else 1))
        elif self._ready(runner):
            if self.halted:
                self._stays_halted(runner)
            elif dice.random() < self.campaign.halting:
                moment = f"halted by {self._halt(runner)}"
            if moment in ("order", "send") and not self.halted:
                self._next_order(runner, moment == "send")
            at_once = moment == "send" or (moment.startswith("halted") and dice.random() < 0.5)
            sleep(0.0 if at_once else pause_s)
        ended = runner.ended
        if ended in (None, -signal.SIGKILL):
            runner.kill()
            ended = None
            self._count(moment)
        elif ended != 0:
            self._gave_up(runner)
        self._hold(audit(self.url), at_rest=False)
        self._look_for_the_rest()
        now = equals(self.folder)
        self.tally.restarts += now > self.equals
        self.equals = now
        if not self.halted and ended is None and dice.random() < self.campaign.halting / 3:
            self._latch("a file while nobody ran")
        return ended != 0

    def _count(self, moment: str) -> None:
        self.tally.kills[self.how] += 1
        self.tally.moments[moment] += 1
        self.kills -= 1
        self.bar.update(1)

    def _ready(self, runner: "Forked | Process") -> bool:
        """Whether it became ready, its account compared and equal; False where it ended first."""
        while runner.watch.elapsed_s() < READY_WITHIN_S:
            if runner.ended is not None:
                return False
            said = self._status()
            if said.get("state") in ("trading", "halted") and said["reconciled"]:
                self._note_ready(runner, said["start_s"])
                if self.halted:
                    self._says_halted(said)
                return True
            sleep(0.003)
        self.tally.broken.append(f"{self.account}: not ready in {READY_WITHIN_S:g} s: {self._status()}")
        return False

    def _says_halted(self, said: dict[str, Any]) -> None:
        """Holds a runner that is ready to a halt that was promised: it says so, and its journal has it by then."""
        journalled = [one.halts for one in controls(self.folder)][-1:] == [True]
        if said["state"] != "halted" or not journalled:
            where = "is" if journalled else "is not"
            what = f"{self.account} is {said['state']}, {said['latches']}, and the halt {where} in its journal"
            self.tally.broken.append(f"forgotten halt: {what}")

    def _note_ready(self, runner: "Forked | Process", parts: dict[str, float]) -> None:
        """Notes how long a start took, and what a slow one had to wait for, as its log has it."""
        took = runner.watch.elapsed_s()
        self.tally.ready_s[self.how].append(took)
        self.tally.parts_s[self.how].append(parts)
        if took <= SLOW_S:
            return
        last = [line for line in runner.said().splitlines() if "warning:" in line or "critical:" in line][-2:]
        said = "; ".join(line[21:160] for line in last) or "nothing said"
        where = ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())
        self.tally.slow.append(f"{self.how} {took:.1f} s ({where}): {said}")

    def _status(self) -> dict[str, Any]:
        try:
            return ControlClient(self.folder).status()
        except (NoRunner, Unanswered, Declined):
            return {}

    def _posted(self) -> int:
        return self.mark.stat().st_size if self.mark.exists() else 0

    def _next_order(self, runner: "Forked | Process", kills: bool) -> None:
        """Returns after the next order has arrived at the venue, which kills the runner at that instant if asked to."""
        before, target, watch = self._posted(), self.mark.with_suffix(".kill"), Stopwatch()
        if kills:
            target.with_suffix(".part").write_text(str(runner.pid))
            target.with_suffix(".part").rename(target)
        while self._posted() == before and runner.ended is None and watch.elapsed_s() < 3.0:
            sleep(0.002)
        if kills and self._posted() != before:
            while runner.ended is None and watch.elapsed_s() < 30.0:
                sleep(0.002)
        target.unlink(missing_ok=True)

    # ---- halts

    def _halt(self, runner: "Forked | Process") -> str:
        """How it was halted; from here on it is promised."""
        ways = ["the socket"] if self.how == "cold" else ["the socket", "the socket", "a file"]
        way = self.dice.choice(ways)
        if way == "a file":
            self._latch(way)
            return way
        promise = Promise.now(self.folder)
        watch = Stopwatch()
        try:
            said = ControlClient(self.folder).halt("kills")
        except (NoRunner, Unanswered, Declined):
            return "the socket, unanswered"
        if said["halt_durable"]:
            self.tally.durable_s.append(watch.elapsed_s())
        self._promised(way, promise)
        if self.dice.random() < 0.5:
            self._until_gone(runner, watch)
        else:
            self.since_halt = watch
        if self.how == "cold":  # `flea run` would refuse the file: wait until the journal has it
            while (self.folder / HALT).exists() and runner.ended is None:
                sleep(0.005)
        return way

    def _until_gone(self, runner: "Forked | Process", watch: Stopwatch) -> None:
        """Notes when the last order that rested is gone; who is dead by then takes none back."""
        while resting(self.url):
            if runner.ended is not None or watch.elapsed_s() > GONE_WITHIN_S * 3:
                self.since_halt = watch
                return
            sleep(0.003)
        self.tally.gone_s.append(watch.elapsed_s())

    def _look_for_the_rest(self) -> None:
        """The same of a halt that a kill cut short: a later life takes them back."""
        if self.since_halt is not None and not resting(self.url):
            self.tally.gone_later_s.append(self.since_halt.elapsed_s())
            self.since_halt = None

    def _latch(self, way: str) -> None:
        promise = Promise.now(self.folder)
        write_halt_file(self.folder, "kills", WallClock())
        self._promised(way, promise)

    def _promised(self, way: str, promise: Promise) -> None:
        self.tally.halts[way] += 1
        self.promise = promise
        self.posted_at_halt = -1

    def _stays_halted(self, runner: "Forked | Process") -> None:
        """Holds a halted life to its word; most are then resumed by a person."""
        while self.since_halt is not None and runner.ended is None:
            self._look_for_the_rest()
            sleep(0.003)
        if self.dice.random() < 0.4:
            self.tally.halts["outlived another kill"] += 1
            return
        watch = Stopwatch()
        while watch.elapsed_s() < RESUMES_WITHIN_S and not self.tally.broken:
            try:
                self._no_order_since()
                phrase = clearing_phrase(self.account, LATCH)
                ControlClient(self.folder).resume(LATCH, "kills", phrase, "on with it")  # type: ignore[arg-type]
                self.unsure = True
                return
            except Declined:
                sleep(0.05)
            except Unanswered:  # whether it was resumed is for the journal to say
                self.unsure = True
                return
            except NoRunner:
                return
        self.tally.broken.append(f"{self.account}: cannot be resumed: {self._status()}")

    def _no_order_since(self) -> None:
        if not self.unsure and self.posted_at_halt >= 0 and self._posted() != self.posted_at_halt:
            more = self._posted() - self.posted_at_halt
            self.tally.broken.append(f"forgotten halt: {more} orders of {self.account} were sent")

    # ---- the venue's books beside the journal

    def _hold(self, there: dict[str, Any], *, at_rest: bool) -> None:
        self.tally.broken += [f"{self.account}: {one}" for one in broken(there, self.folder, at_rest=at_rest)]
        if at_rest and self.tally.broken:
            log = (self.folder / LOG).read_text(errors="replace").splitlines()
            self.tally.broken += [f"its log: {line}" for line in log[-12:]]
        if self.promise is None:
            return
        if not self.halted:  # a person's resume is in the journal
            self.promise = None
        elif forgotten := self.promise.broken(self.folder):
            self.tally.broken.append(f"forgotten halt: {self.account}: {forgotten}")
        else:
            self.unsure = False
            self._no_order_since()
            self.posted_at_halt = self._posted()  # whoever could have sent before the halt is dead
        self.unsure = False

    def _gave_up(self, runner: "Forked | Process") -> None:
        lines = [line for line in runner.said().splitlines() if line.strip()]
        why = lines[-1] if lines else "nothing said"
        self.tally.gave_up[why.split(":")[1].strip() if why.startswith("flea:") else why] += 1
        if "Traceback" in runner.said():
            self.tally.broken.append(f"{self.account}: ended ({runner.ended}): {why} ({runner.log})")
        if self.tally.gave_up.total() > 10 + self.tally.kills.total() // 4:
            self.tally.broken.append(f"too many starts gave up: {dict(self.tally.gave_up)}")

    def _last(self, runner: "Forked | Process") -> None:
        """The last life is stopped in order, and journal and venue are then the same."""
        if self._ready(runner):
            if self.halted:
                self._stays_halted(runner)
            sleep(0.2)
            with suppress(NoRunner, Unanswered):  # it ended by itself: the market may be over
                ControlClient(self.folder).stop()
        try:
            ended = runner.wait(ENDS_WITHIN_S)
        except AssertionError:
            self.tally.broken.append(f"{self.account}: hangs at its end: {self._status()}")
            runner.kill()
            return
        if ended != 0:
            self._gave_up(runner)
            self._last(self._start(self.folder / f"{self.campaign.config.name}.toml"))


def breaches(count: int) -> list[float]:
    """Seconds from a bar that breaches a limit to the word that its halt is on the disk, `count` times."""
    bench = Path(__file__).resolve().parents[2] / "bench" / "halt.py"
    found: list[float] = runpy.run_path(str(bench))["breaches"](count)["breach_to_durable"]
    return found


def main() -> int:
    """Exit status 1 where anything is broken."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--forked", type=int, default=480, help="kills of runners that are forked")
    ask.add_argument("--cold", type=int, default=20, help="kills of whole processes")
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--days", type=float, default=DAYS, help="how long the market of a session is")
    ask.add_argument("--no-faults", action="store_true", help="a venue that does what it should")
    ask.add_argument("--strict", action="store_true", help="a goal that is missed is an error")
    ask.add_argument("--mutant", choices=sorted(PLANTED), default="", help="a bug, planted in every forked runner")
    given = ask.parse_args()
    tqdm.monitor_interval = 0  # a thread of its own, and this process forks
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        os.environ |= {"FLEA_HOME": f"{place}/home", "XDG_RUNTIME_DIR": place}
        os.environ.pop("FLEA_API_KEY", None)
        Path(place, "home").mkdir(mode=0o700)
        campaign = Campaign(given.seed, given.mutant, given.days, faults=not given.no_faults)
        with tqdm(total=given.forked + given.cold, desc="kills", unit="kill", disable=None) as bar:
            tally = campaign.run({"forked": given.forked, "cold": given.cold}, bar)
        if not given.mutant:
            tally.breach_s = breaches(BREACHES)
        lines, missed = figures(tally)
        print("\n".join([table(tally), *missed, *lines, "BROKEN" if tally.broken else "nothing is broken"]))
    return 1 if tally.broken or (given.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
