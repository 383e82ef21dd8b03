"""A live session from its parts: checks before anything starts, the account taken up where it was left, the loop run.

Rules. What cannot be right is refused before the first subscription: other grids than the config's, a clock that is
off, a key that is not taken, an account that holds what the journal does not know. A journal belongs to one account and
one config; with another config it is put aside only where the account is flat and no latch is closed.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from flea_lab.clock import Clock, WallClock
from flea_lab.config import RunConfig
from flea_lab.core import TradingCore
from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.live.account import ready_folder
from flea_lab.live.alerts import Alerts
from flea_lab.live.control import ControlServer
from flea_lab.live.halt import remove_halt_file
from flea_lab.live.journal import FILE, LATCH_BITS, SqliteJournal
from flea_lab.live.keys import load_key
from flea_lab.live.lock import lock_account
from flea_lab.live.paper import PaperVenue
from flea_lab.live.pump import Pump
from flea_lab.live.runner import Runner
from flea_lab.live.status import status_of
from flea_lab.model.trading import Resume
from flea_lab.money import USD, rate_e8
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import Dialect, load_dialect
from flea_lab.venue.protocol import Exchange, Feed, VenueAccount, VenueClock

REPLY_S = 4.0
"""How long a request that the loop has to answer may take."""

BuildCore = Callable[[str, int, int | None], TradingCore]
"""A fresh core of the config, from the prefix of its client order ids, the micro-dollars that its account begins with,
and how long a limit order rests (ns)."""


class About(Struct, frozen=True, kw_only=True):
    """Who and what trades: in the journal, and in every status. `config` is the promotion's name, or the config's."""

    account: str
    venue: str
    config: str
    config_id: str
    promoted: bool
    code: str


class Bot(NamedTuple):
    """What a session is made of."""

    config: RunConfig
    build_core: BuildCore
    warmup_bars: int
    feed: Feed
    exchange: Exchange
    folder: Path
    clock: Clock
    alerts: Alerts
    about: About


def run_bot(config: RunConfig, build_core: BuildCore, warmup_bars: int, about: About, url: str | None = None) -> str:
    """How the session of one process ended. Key, locks, alerts and connection are its own; one runner an account."""
    folder, clock = ready_folder(about.account), WallClock()
    key = load_key(about.account)
    dialect = _dialect(config, url)
    with lock_account(folder, clock, key), Alerts(folder, clock) as alerts:

        async def connected() -> str:
            client = PurpleFlea(
                dialect,
                key,
                config.symbols,
                config.interval,
                config.instruments,
                clock,
                ack=True,
                on_fault=lambda text: alerts.put("warning", text),
            )
            async with client:
                venue = client if about.venue == "sandbox" else await _paper(config, client)
                return await trade(Bot(config, build_core, warmup_bars, venue, venue, folder, clock, alerts, about))

        return asyncio.run(connected())


def _dialect(config: RunConfig, url: str | None) -> Dialect:
    values = dict(config.live.dialect)
    if url is not None:
        base = url.rstrip("/")
        values |= {"rest_url": base, "ws_url": f"ws{base.removeprefix('http')}/ws"}
    return load_dialect(values, f"config {config.name!r}, [live.dialect]")


async def _paper(config: RunConfig, feed: PurpleFlea) -> PaperVenue:
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


async def trade(bot: Bot, *, signals: bool = True) -> str:
    """How the session ended. `FleaError` where it could not begin or could not go on.

    With `signals` SIGTERM and SIGINT stop it in order; only the main thread can have them.
    """
    time = await _checked(bot)
    account, journal = await _account_and_journal(bot)
    try:
        core = await _core(bot, journal, account, time)
        pump = Pump(core, journal, bot.clock, beside=_beside(bot.exchange))
        _begin(bot, journal)
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
        )
        how = "died"
        try:
            with ControlServer(bot.folder, _Desk(bot, runner), bot.clock):
                how = await (_until_the_end(runner) if signals else runner.run())
        except Exception as error:
            how = f"ended: {error}"
            raise
        finally:
            journal.end_run(bot.clock.now_ns(), how)
            journal.commit()
        return how
    finally:
        journal.close()


async def _until_the_end(runner: Runner) -> str:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runner.finish, f"stopped by {signal.Signals(number).name}")
    try:
        return await runner.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Desk:
    """What the control socket may ask of a runner; called in the socket's own thread."""

    def __init__(self, bot: Bot, runner: Runner) -> None:
        self._bot, self._runner = bot, runner
        self._loop = asyncio.get_running_loop()
        self._since_ns = bot.clock.now_ns()

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["verb"]:
            case "halt":
                self._runner.halt_asked = request.get("reason") or "halted by a person"
                self._loop.call_soon_threadsafe(self._runner.put, None)
            case "stop":
                self._loop.call_soon_threadsafe(self._runner.finish, "stopped by a person")
            case "resume":
                asyncio.run_coroutine_threadsafe(self._resume(request), self._loop).result(REPLY_S)
        return self.status()

    def status(self) -> dict[str, Any]:
        """The last published status, with who and what trades."""
        about = {**msgspec.to_builtins(self._bot.about), "pid": os.getpid(), "since_ns": self._since_ns}
        return {**about, **self._runner.status, "alerts": self._bot.alerts.said + self._bot.alerts.held}

    async def _resume(self, request: dict[str, Any]) -> None:
        runner = self._runner
        status = status_of(runner)
        if not status["reconciled"]:
            raise ConfigError("cannot resume: the account is not the venue's; see the last reconcile in the journal")
        if status["unknown_orders"]:
            raise ConfigError(f"cannot resume: {status['unknown_orders']} orders are of unknown fate")
        clears = tuple(request["clear"])
        if "kill_switch" in clears:
            runner.halt_asked = ""
            remove_halt_file(self._bot.folder)
        runner.put(Resume(ts_event=self._bot.clock.now_ns(), clears=clears, by=request["by"]))


async def _checked(bot: Bot) -> VenueClock:
    """The venue's clock, once grids and clock are what they must be."""
    stated = await bot.feed.instruments()
    for symbol, grid in bot.config.instruments.items() if stated else ():
        theirs = stated.get(symbol)
        if theirs is None:
            raise VenueRefusal(f"the venue has no symbol {symbol}, it has {', '.join(sorted(stated))}")
        for name in ("tick_size", "lot_size"):
            if getattr(theirs, name) != getattr(grid, name):
                raise VenueRefusal(
                    f"{symbol}: {name} is {getattr(theirs, name)} at the venue, {getattr(grid, name)} in the config"
                )
    time = await bot.feed.clock()
    skew_s = (time.now_ns - bot.clock.now_ns()) / 1e9
    if time.kind == "wall" and not abs(skew_s) <= bot.config.live.max_skew_s:
        limit = bot.config.live.max_skew_s
        raise VenueRefusal(f"the venue's clock is {skew_s:+.1f} s off this machine's, at most {limit:g} s may be")
    return time


async def _account_and_journal(bot: Bot) -> tuple[VenueAccount, SqliteJournal]:
    """The venue's account, and the journal to go on with: one of another config is put aside where that is safe."""
    journal = SqliteJournal(bot.folder)
    try:
        saved = journal.get("paper")
        if isinstance(bot.exchange, PaperVenue) and saved and journal.get("config_id") == bot.about.config_id:
            bot.exchange.restore(json.loads(saved))
        account = await bot.exchange.account()
        before = journal.get("config_id")
        if before in (None, bot.about.config_id):
            if journal.get("venue") not in (None, bot.about.venue):
                raise ConfigError(
                    f"account {bot.about.account!r} traded on venue {journal.get('venue')!r}, "
                    f"not {bot.about.venue!r}: take another account name"
                )
            return account, journal
        _require_put_aside(bot, journal, account, await bot.exchange.open_orders(), str(before))
    except BaseException:
        journal.close()
        raise
    journal.close()
    _put_aside(bot.folder)
    return account, SqliteJournal(bot.folder)


def _require_put_aside(bot: Bot, journal: SqliteJournal, account: VenueAccount, orders: Any, before: str) -> None:
    held = [symbol for symbol, lots in account.lots.items() if lots]
    closed = [name for i, name in enumerate(LATCH_BITS) if journal.last_latches() >> i & 1]
    reasons = [f"it holds {', '.join(held)}"] * bool(held) + [f"{len(orders)} orders are open"] * bool(orders)
    reasons += [f"the latch {name} is closed" for name in closed]
    if reasons:
        raise ConfigError(
            f"account {bot.about.account!r} traded config {before[:10]}, not {bot.about.config_id[:10]}, and "
            f"{' and '.join(reasons)}: run that config, or take another account"
        )


def _put_aside(folder: Path) -> None:
    """Renames the journal and what belongs to it, under the first free number."""
    n = next(n for n in range(1, 10_000) if not (folder / f"{n}-{FILE}").exists())
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", "market.tape"):
        if (folder / name).exists():
            (folder / name).rename(folder / f"{n}-{name}")


async def _core(bot: Bot, journal: SqliteJournal, account: VenueAccount, time: VenueClock) -> TradingCore:
    """The core as it was left, or a fresh one for a flat account."""
    ttl_ns = None if time.matching == "next_open" else round(bot.config.live.limit_ttl_s * 1e9)
    saved = journal.saved()
    prefix = journal.get("prefix") or f"{bot.about.config_id[:6]}-{bot.clock.new_id()}"
    if saved is not None:
        core = bot.build_core(prefix, account.cash_uusd, ttl_ns)
        core.load(saved.state)
        for order in saved.orders:
            core.router.blotter.restore(order)
        return core
    held = [symbol for symbol, lots in account.lots.items() if lots]
    orders = await bot.exchange.open_orders()
    if held or orders:
        what = ", ".join(held) or f"{len(orders)} open orders"
        raise VenueRefusal(
            f"the account already has {what}, and no journal says why: close them, or take another account"
        )
    if account.cash_uusd <= 0:
        raise VenueRefusal(f"the account holds {account.cash_uusd / 1e6:,.2f} USD: nothing to trade with")
    base = {"fees_uusd": account.fees_uusd, "funding_uusd": account.funding_uusd}
    journal.meta("base", json.dumps(base))
    journal.meta("cash_uusd", str(account.cash_uusd))
    journal.meta("known_seq", str(account.seq or 0))
    journal.meta("limit_ttl_ns", str(ttl_ns or 0))
    journal.meta("prefix", prefix)
    return bot.build_core(prefix, account.cash_uusd, ttl_ns)


def _begin(bot: Bot, journal: SqliteJournal) -> None:
    for key, value in msgspec.to_builtins(bot.about).items():
        journal.meta(key if key != "config" else "config_name", value if isinstance(value, str) else json.dumps(value))
    journal.meta("config", msgspec.json.encode(bot.config.to_dict()).decode())
    code = bot.about.code
    last = journal.last_code()
    if last is not None and last != code:
        bot.alerts.put("warning", "the code is another than that of the last run on this account")
    journal.begin_run(bot.clock.now_ns(), os.getpid(), code)
    journal.commit()


def _beside(exchange: Exchange) -> Callable[[], Mapping[str, str]] | None:
    """What becomes durable beside the core's state: the account of a paper venue, which nobody else keeps."""
    if not isinstance(exchange, PaperVenue):
        return None
    paper, kept = exchange, -1

    def changed() -> Mapping[str, str]:
        nonlocal kept
        if paper.changes == kept:
            return {}
        kept = paper.changes
        return {"paper": json.dumps(paper.state())}

    return changed
