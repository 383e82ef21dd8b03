"""The process of a live bot: key, locks, alerts, connection and control socket around one runner."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from flea_lab.clock import Clock, WallClock, process_age_s
from flea_lab.config import RunConfig
from flea_lab.core import TradingCore
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.live.account import ready_folder
from flea_lab.live.alerts_channel import load_address, parts_of
from flea_lab.live.alerts_post import open_alerts
from flea_lab.live.alerts_telling import told
from flea_lab.live.control import ControlServer
from flea_lab.live.desk import Desk
from flea_lab.live.exchanges import open_exchange
from flea_lab.live.feeds import OpenFeed, needs_key, open_feed
from flea_lab.live.hearing import Hearing, reads_prints
from flea_lab.live.journal import LiveJournal
from flea_lab.live.keys import load_key
from flea_lab.live.kill import note_venue
from flea_lab.live.latch import forget_clearing, put_back, take_clearing
from flea_lab.live.lock import lock_account
from flea_lab.live.opening import About, Bot, BuildCore, account_and_journal, checked, core_of
from flea_lab.live.paper import PaperVenue
from flea_lab.live.pump import Pump
from flea_lab.live.report_watch import overseen
from flea_lab.live.runner import Runner
from flea_lab.live.secrecy import guard, mask_of, watch_loop
from flea_lab.live.stages import Stages
from flea_lab.model.trading import Reduce, Resume
from flea_lab.money import USD, rate_e8
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.protocol import Exchange, Feed
from flea_lab.venue.rest import KeyRefused
from flea_lab.venue.speech import PRIVATE, PUBLIC, Kind

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TICKS: tuple[Kind, ...] = (*PUBLIC, *PRIVATE)
"""Channels of a config that reads books or prints."""


def run_bot(
    config: RunConfig,
    build_core: BuildCore,
    warmup_bars: int,
    about: About,
    url: str | None = None,
    *,
    ticks: bool = False,
    other_code: bool = False,
) -> str:
    """How the session of one process ended. Key, locks, alerts and connection are its own; one runner an account.

    Venue "live" is wherever the config's dialect leads; that somebody agreed to it is the caller's to see to.
    `about.key` is filled in here: nobody above knows the key. `ticks` says that the config reads books or prints.
    """
    dialect = _dialect(config, url)
    if about.venue == "sandbox":
        _require_this_machine(dialect)
    key = load_key(about.account) if about.venue != "paper" or needs_key(dialect) else None
    folder, clock = ready_folder(about.account), WallClock()
    about = replace(about, key="paper" if about.venue == "paper" or key is None else key.fingerprint())
    addresses = {name: load_address(name) for name in config.alerts.channels}
    mask = mask_of(key, *(part for address in addresses.values() for part in parts_of(address)))
    guard(mask)
    with _held(folder, clock, key) as told, open_alerts(folder, clock, mask, config.alerts, addresses) as alerts:
        note_venue(folder, about.venue, dialect, config.instruments)

        async def connected() -> str:
            watch_loop(mask)
            stages = Stages(asyncio.get_running_loop().time, process_age_s())
            given = dialect, key, config.symbols, config.interval, config.instruments, clock
            skew_s = config.live.max_skew_s

            def warn(text: str) -> None:
                alerts.put("warning", text)

            async def on(feed: Feed, exchange: Exchange) -> str:
                rest = folder, clock, alerts, about, dialect.name, other_code
                return await trade(Bot(config, build_core, warmup_bars, feed, exchange, *rest), stages=stages)

            if about.venue == "paper" or dialect.speech != "purpleflea":
                feed = open_feed(*given, PUBLIC, ack=True, on_fault=warn, max_skew_s=skew_s)
                async with _opened(feed, dialect, about.account):
                    if about.venue == "paper":
                        paper = await _paper(config, feed)
                        return await on(paper, paper)
                    assert key is not None
                    async with open_exchange(
                        dialect, key, config.instruments, clock, config.risk.orders.collar_bps
                    ) as exchange:
                        return await on(feed, exchange)
            channels = TICKS if ticks else None
            client = PurpleFlea(*given, channels=channels, ack=True, on_fault=warn, max_skew_s=skew_s)
            async with _opened(client, dialect, about.account):
                return await on(client, client)

        told.append(asyncio.run(connected()))
        return told[0]


@contextmanager
def _held(folder: Path, clock: Clock, key: Secret | None) -> Iterator[list[str]]:
    """The account's locks; takes how its session ended, and says it before they go: who finds no runner reads it."""
    told: list[str] = []
    with lock_account(folder, clock, key):
        yield told
        print(f"stopped  {told[0]}", flush=True)


@asynccontextmanager
async def _opened(client: OpenFeed, dialect: Dialect, account: str) -> AsyncIterator[None]:
    """The client, open. Where this machine's sandbox is not there or knows no such key, the error says what helps."""
    here = dialect.speech == "purpleflea" and urlsplit(dialect.rest_url).hostname in LOOPBACK
    async with AsyncExitStack() as opened:
        try:
            await opened.enter_async_context(client)
        except KeyRefused as error:
            claim = f"flea faucet --account {account} --replace"
            hint = f" (a sandbox that was started again knows no earlier key: {claim})" if here else ""
            raise KeyRefused(f"{error}{hint}") from None
        except VenueRefusal:
            raise
        except VenueError as error:
            hint = " (is `flea sandbox CONFIG` running?)" if here else ""
            raise VenueError(f"{error}{hint}") from None
        yield


def _dialect(config: RunConfig, url: str | None) -> Dialect:
    values = dict(config.live.dialect)
    if url is not None:
        base = url.rstrip("/")
        values |= {"rest_url": base, "ws_url": f"ws{base.removeprefix('http')}/ws"}
    return load_dialect(values, f"config {config.name!r}, [live.dialect]")


def _require_this_machine(dialect: Dialect) -> None:
    """Refuses to send orders to anything but a sandbox on this machine, however it is spoken to."""
    if dialect.speech != "purpleflea":
        raise ConfigError(f"dialect {dialect.name!r} is no sandbox's: venue 'paper' trades on its market, 'live' there")
    for name, url in (("rest_url", dialect.rest_url), ("ws_url", dialect.ws_url)):
        if urlsplit(url).hostname not in LOOPBACK:
            raise ConfigError(
                f"{name} = {url!r}: orders go to a sandbox on this machine only; venue 'paper' may listen"
            )


async def _paper(config: RunConfig, feed: OpenFeed) -> PaperVenue:
    """A paper account over `feed`, filling as the feed's own venue fills."""
    return PaperVenue(
        feed,
        config.instruments,
        config.interval_ms,
        fee_e8=rate_e8(config.costs.fee_bps),
        slippage_e8=rate_e8(config.costs.slippage_bps),
        cash_uusd=round(config.initial_cash_usd * USD),
        funding=config.costs.funding,
        matching=(await feed.clock()).matching,
    )


async def trade(bot: Bot, *, signals: bool = True, stages: Stages | None = None) -> str:
    """How the session ended. `FleaError` where it could not begin or could not go on.

    With `signals` SIGTERM, SIGINT and a closed terminal stop it in order; only the main thread can have them.
    `stages` has what came before this.
    """
    stages = stages or Stages(asyncio.get_running_loop().time)
    time = await checked(bot)
    stages.ended("venue")
    account, journal = await account_and_journal(bot)
    try:
        core = await core_of(bot, journal, account, time)
        stages.ended("journal")
        hearing = _hearing(bot, core, journal, wall_clock=time.kind == "wall")
        pump = Pump(core, journal, bot.clock, beside=_beside(bot.exchange, hearing))
        _begin(bot, journal)
        if put_back(bot.folder):
            bot.alerts.put("warning", "the HALT file is back: whoever lifted it died over it")
        _note_clearing(bot, pump)
        runner = Runner(
            pump=pump,
            feed=bot.feed,
            exchange=bot.exchange,
            settings=bot.config.live,
            warmup_bars=bot.warmup_bars,
            wall_clock=time.kind == "wall",
            clock=bot.clock,
            folder=bot.folder,
            alert=bot.alerts.put,
            hearing=hearing,
            stages=stages,
        )
        how = "died"
        try:
            with (
                told(bot, runner, wall_clock=time.kind == "wall"),
                overseen(bot.config.live.reports, bot.clock, bot.alerts.put, _from_a_thread(runner)),
                ControlServer(bot.folder, Desk(bot, runner), bot.clock) as control,
            ):
                runner.vitals.append(control.fault)
                how = await (_until_the_end(runner) if signals else runner.run())
        except Exception as error:
            how = f"ended: {error}"
            raise
        finally:
            journal.drop_waiting()
            journal.end_run(bot.clock.now_ns(), how)
            journal.finish()
        return how
    finally:
        journal.close()


def _hearing(bot: Bot, core: TradingCore, journal: LiveJournal, *, wall_clock: bool) -> Hearing:
    """What the session listens with, as it stood when the journal ended."""
    hearing = Hearing(
        bot.dialect,
        bot.config.interval,
        core.fresh_features(),
        wall_clock=wall_clock,
        tolerance=bot.config.tolerance,
        prints=reads_prints(bot.config),
        frozen_after=bot.config.live.frozen_after,
    )
    heard = journal.get("heard")
    if heard:
        hearing.load(heard)
    return hearing


def _from_a_thread(runner: Runner) -> Callable[[Reduce], None]:
    """Puts a control into the runner's inbox, from any thread; where its loop has ended, nowhere."""
    loop = asyncio.get_running_loop()

    def put(control: Reduce) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(runner.put, control)

    return put


async def _until_the_end(runner: Runner) -> str:
    loop = asyncio.get_running_loop()
    ends = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup a closed terminal changes nothing
        ends.append(signal.SIGHUP)
    for number in ends:
        loop.add_signal_handler(number, runner.finish, f"stopped by {number.name}")
    try:
        return await runner.run()
    finally:
        for number in ends:
            loop.remove_signal_handler(number)


def _note_clearing(bot: Bot, pump: Pump) -> None:
    """Takes into the journal who lifted the HALT file while no runner was there. No latch opens by it."""
    said = take_clearing(bot.folder)
    if said is None:
        return
    why = f"the HALT file ({said.reason or 'no reason given'}) was lifted: {said.why or 'no reason given'}"
    pump.on(Resume(ts_event=said.ts_ns or bot.clock.now_ns(), clears=(), by=said.by, why=why))
    bot.alerts.put("warning", f"{why}, by {said.by}")
    pump.journal.finish()  # on the disk before the file that says it goes
    forget_clearing(bot.folder)


def _begin(bot: Bot, journal: LiveJournal) -> None:
    if journal.repaired:
        bot.alerts.put("critical", f"the journal was damaged, and is halted: {journal.repaired}")
    for key, value in msgspec.to_builtins(bot.about).items():
        journal.meta(key if key != "config" else "config_name", value if isinstance(value, str) else json.dumps(value))
    journal.meta("config", msgspec.json.encode(bot.config.to_dict()).decode())
    journal.begin_run(bot.clock.now_ns(), os.getpid(), bot.about.code)
    journal.finish()


def _beside(exchange: Exchange, hearing: Hearing) -> Callable[[], Mapping[str, str]]:
    """What becomes durable beside the core's state: a paper venue's account, which nobody else keeps, and what was
    measured between the bars."""
    kept = -1

    def changed() -> Mapping[str, str]:
        nonlocal kept
        facts = {"heard": text} if (text := hearing.dump()) else {}
        if isinstance(exchange, PaperVenue) and exchange.changes != kept:
            kept = exchange.changes
            facts["paper"] = json.dumps(exchange.state())
        return facts

    return changed
