"""One life of the bot: the session that `flea run` would begin, over a simulated venue, disk and clock.

What is built here is what `flea_lab.live.bot.trade` builds, from the same parts and through the same opening; the lock,
the socket and the signals of a real process are left out.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flea_lab.clock import Clock
from flea_lab.config import LiveSettings, RunConfig
from flea_lab.core import TradingCore
from flea_lab.errors import WorkspaceError
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import Slicing
from flea_lab.ledger import Ledger
from flea_lab.live.alerts import Severity
from flea_lab.live.bot import _begin
from flea_lab.live.desk import Desk
from flea_lab.live.fold import recover, state_hash
from flea_lab.live.hearing import Hearing
from flea_lab.live.opening import About, Bot, checked, core_of
from flea_lab.live.pump import Pump
from flea_lab.live.runner import Runner
from flea_lab.risk.checks import RiskLimits
from flea_lab.risk.gate import Gate
from flea_lab.risk.order_checks import OrderChecks
from flea_lab.risk.tolerance import Doubts, Tolerance
from flea_lab.sim.loop import Process
from flea_lab.sim.market import BAR_NS, GRID, SYMBOLS
from flea_lab.sim.store import Disk, SimJournal
from flea_lab.sim.venue import DEAD_MAN_S, SimVenue
from flea_lab.sim.whim import Whim

STALE_S = 2.0
PATIENCE_S = 0.5
UNKNOWN_WAIT_S = 7.5
LIMIT_TTL_S = (4.0, 4.0, 60.0)
"""How long a limit order rests: in every third scenario for ever, so that only whoever halts takes it back."""

MAX_SKEW_S = 2.0
CONCENTRATION = 0.25
CASH_USD = 100_000.0
PARTICIPATION = 0.2
SLICINGS = (
    None,
    None,
    Slicing(above=2e-5, minutes=0.2, every_s=2.0, participation=PARTICIPATION, patience=2.0),
    Slicing(above=2e-5, style="iceberg", minutes=0.1, every_s=2.0, participation=PARTICIPATION, patience=3.0),
)
"""How larger orders are worked, by scenario: the first two give each at once."""


ABOUT = About(account="sim", venue="sandbox", config="whim", config_id="0" * 32, promoted=False, code="sim", key="sim")


class NoTape:
    """A tape that keeps nothing."""

    def append(self, record: Any) -> None:
        """As `Tape.append`."""

    def flush(self) -> None:
        """As `Tape.flush`."""

    def close(self) -> None:
        """As `Tape.close`."""


class SimAlerts:
    """As `flea_lab.live.alerts.Alerts`, told to `hear`."""

    said = held = 0

    def __init__(self, hear: Callable[[Severity, str], None]) -> None:
        self.put = hear


def config_of(seed: int) -> RunConfig:
    """The config of the scenario of `seed`. Its interval is that of its labels only: a bar takes `BAR_NS`."""
    live = LiveSettings(
        history_bars=5,
        reconcile_s=5.0,
        stale_s=STALE_S,
        max_skew_s=MAX_SKEW_S,
        unknown_wait_s=UNKNOWN_WAIT_S,
        limit_ttl_s=LIMIT_TTL_S[seed % len(LIMIT_TTL_S)],
        order_patience_s=PATIENCE_S,
        dead_man_s=DEAD_MAN_S,
    )
    return RunConfig(
        symbols=SYMBOLS,
        interval="1m",
        signals=(),
        name="whim",
        risk=RiskLimits(
            max_concentration=CONCENTRATION,
            max_daily_loss=0.5,
            max_drawdown=0.5,
            orders=OrderChecks(duplicate_s=0.0, burst_orders=100_000),  # bars are far shorter than a minute
        ),
        initial_cash_usd=CASH_USD,
        instruments=dict.fromkeys(SYMBOLS, GRID),
        live=live,
    )


class Life:
    """One process of the bot, from its start to its end. What is not there yet is None."""

    def __init__(
        self,
        process: Process,
        disk: Disk,
        venue: SimVenue,
        clock: Clock,
        folder: Path,
        seed: int,
        hear: Callable[[Severity, str], None],
    ) -> None:
        self.process, self.disk, self.venue, self.clock = process, disk, venue, clock
        self._folder, self._seed = folder, seed
        self.alerts = SimAlerts(hear)
        self.quiet = False
        self.core: TradingCore | None = None
        self.pump: Pump | None = None
        self.journal: SimJournal | None = None
        self.hearing: Hearing | None = None
        self.runner: Runner | None = None
        self.desk: Desk | None = None
        self.built: Callable[[Life], None] = lambda _: None

    async def run(self) -> str:
        """How the session ended, as `flea_lab.live.bot.trade`."""
        config = config_of(self._seed)
        bot = Bot(
            config, self._core, 1, self.venue, self.venue, self._folder, self.clock,
            self.alerts, ABOUT, "purpleflea-seed",  # type: ignore[arg-type]
        )  # fmt: skip
        time = await checked(bot)
        account = await self.venue.account()
        loop = asyncio.get_running_loop()
        journal = self.journal = SimJournal(self.disk, loop.call_later)
        core = self.core = await core_of(bot, journal, account, time)
        hearing = self.hearing = Hearing(bot.dialect, config.interval, core.fresh_features(), tolerance=Tolerance())
        hearing.watch._interval_ns = BAR_NS
        pump = self.pump = Pump(core, journal, self.clock)
        if self.quiet:
            self.hush()
        _begin(bot, journal)
        runner = self.runner = Runner(
            pump=pump,
            feed=self.venue,
            exchange=self.venue,
            settings=config.live,
            warmup_bars=1,
            wall_clock=True,
            clock=self.clock,
            folder=self._folder,
            alert=self.alerts.put,
            hearing=hearing,
            tape=NoTape(),
        )
        self.desk = Desk(bot, runner)
        self.built(self)
        try:
            return await runner.run()
        finally:
            journal.drop_waiting()
            journal.finish()

    def folded(self) -> tuple[str, str]:
        """The hash of the core's state, and that of the state to which the rows of its journal fold."""
        pump, journal = self.pump, self.journal
        assert pump is not None
        assert journal is not None
        pump.commit()
        prefix, cash_uusd = str(journal.get("prefix")), int(journal.get("cash_uusd") or 0)
        build = partial(self._core, prefix, cash_uusd)
        try:
            found = recover(journal.source(), build, int(journal.get("limit_ttl_ns") or 0) or None)
        except WorkspaceError as error:
            return state_hash(pump.core), str(error)
        return state_hash(pump.core), state_hash(found.core)

    def hush(self) -> None:
        """No new wishes from here on."""
        self.quiet = True
        if self.pump is not None and not self.pump.core.desk.quiet:  # type: ignore[attr-defined]
            self.pump.core.desk.hush()  # type: ignore[attr-defined]
            self.pump.core.dealer.working.stop(self.pump.core.decided_ns)  # its child ends as other orders do
            self.pump.rebase()

    def _core(self, prefix: str, cash_uusd: int, limit_ttl_ns: int | None) -> TradingCore:
        config = config_of(self._seed)
        desk = Whim(self._seed, cash_uusd)
        return TradingCore(
            symbols=SYMBOLS,
            instruments=config.instruments,
            desk=desk,
            gate=Gate(config.risk, cash_uusd),
            ledger=Ledger(SYMBOLS, config.instruments, cash_uusd),
            router=Router(config.instruments, prefix),
            doubts=Doubts(config.tolerance, SYMBOLS, BAR_NS),
            vpin={},
            slippage_e8=0,
            trade_from_ns=0,
            bar_ns=BAR_NS,
            limit_ttl_ns=limit_ttl_ns,
            slicing=SLICINGS[self._seed % len(SLICINGS)],
        )
