"""What a live session begins with: the venue checked, the account and its journal taken up, the core as it was left.

Rules. What cannot be right is refused before the first subscription: an exchange that cannot do what the rules for
orders need, unless the config names the weaker mode in which they hold; other grids than the config's, a larger
smallest order or other hours between settlements, a clock that is off, an account that holds what no journal explains.
A journal belongs to one account at the venue and one config; with another config it is put aside only where the account
is flat and no latch is closed, with another key only where no latch is closed.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from flea_lab.clock import Clock
from flea_lab.config import RunConfig
from flea_lab.core import TradingCore
from flea_lab.errors import ConfigError, VenueRefusal
from flea_lab.execution.order import Order
from flea_lab.ledger import LOTS
from flea_lab.live.alerts import Alerts
from flea_lab.live.journal import LiveJournal, open_journal
from flea_lab.live.paper import PaperVenue
from flea_lab.live.reconcile import FOREIGN
from flea_lab.live.recovery import Terms, resumed
from flea_lab.live.store import FILE
from flea_lab.model.instrument import Instrument
from flea_lab.venue.dialects import DEFAULT
from flea_lab.venue.one_in_flight import Adopts
from flea_lab.venue.protocol import Exchange, Feed, VenueAccount, VenueClock, insufficient

BuildCore = Callable[..., TradingCore]
"""A fresh core of the config, from the prefix of its client order ids, the micro-dollars that its account begins with,
and how long a limit order rests (ns); where its limits are not always the same, from the name of others as well."""


PLAY = ("sandbox", "paper")
"""Venues where no real money is: other code than the journal's goes on there unasked."""


class About(Struct, frozen=True, kw_only=True):
    """Who and what trades: in the journal, and in every status. `config` is the promotion's name, or the config's;
    `key` the beginning of the digest of the key that trades, "paper" for an account of our own; `seed` that of a
    simulation; `limits` names those that are not the config's own."""

    account: str
    venue: str
    config: str
    config_id: str
    promoted: bool
    code: str
    key: str
    seed: str = "none"
    limits: str = ""


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
    dialect: str = DEFAULT
    other_code: bool = False


async def checked(bot: Bot) -> VenueClock:
    """The venue's clock, once its promises, grids and clock are what they must be."""
    _require_capable(bot)
    require_grids(await bot.feed.instruments(), bot.config.instruments)
    time = await bot.feed.clock()
    skew_s = (time.now_ns - bot.clock.now_ns()) / 1e9
    if time.kind == "wall" and not abs(skew_s) <= bot.config.live.max_skew_s:
        limit = bot.config.live.max_skew_s
        raise VenueRefusal(f"the venue's clock is {skew_s:+.1f} s off this machine's, at most {limit:g} s may be")
    return time


def require_grids(stated: Mapping[str, Instrument], ours: Mapping[str, Instrument]) -> None:
    """Refuses a venue that states other grids than `ours`, other hours between settlements, or a larger smallest order;
    one that states nothing is believed."""
    for symbol, grid in ours.items() if stated else ():
        theirs = stated.get(symbol)
        if theirs is None:
            raise VenueRefusal(f"the venue has no symbol {symbol}, it has {', '.join(sorted(stated))}")
        for name in ("tick_size", "lot_size", "funding_interval_h"):
            if getattr(theirs, name) != getattr(grid, name):
                raise VenueRefusal(
                    f"{symbol}: {name} is {getattr(theirs, name)} at the venue, {getattr(grid, name)} in the config"
                )
        if theirs.min_notional_usd > grid.min_notional_usd:  # a config may ask for more than its venue does
            raise VenueRefusal(
                f"{symbol}: min_notional_usd is {theirs.min_notional_usd} at the venue, {grid.min_notional_usd} in the "
                "config: orders in between would be refused"
            )


def _require_capable(bot: Bot) -> None:
    """Refuses a venue at which orders could be lost or doubled, unless the config names the mode in which they cannot,
    and the exchange keeps to it; with real money also one at which orders rest that nobody would take back."""
    can, live = bot.exchange.capabilities, bot.config.live
    if bot.about.venue == "live" and can.limit_orders and live.dead_man_s > 0 and not can.dead_man_s:
        raise VenueRefusal(
            f"venue {bot.dialect!r} has no dead man's switch: orders stay open if this process dies. "
            "dead_man_s = 0 in [live] takes it without"
        )
    reasons = insufficient(can)
    if not reasons:
        return
    if bot.config.live.weaker_mode == "none":
        raise VenueRefusal(
            f"venue {bot.dialect!r} cannot hold what orders need: {'; '.join(reasons)}. "
            'weaker_mode = "one_in_flight" in [live] takes it with one order in flight'
        )
    if not isinstance(bot.exchange, Adopts):
        raise VenueRefusal(f"venue {bot.dialect!r} has no mode of one order in flight: {'; '.join(reasons)}")


async def account_and_journal(bot: Bot) -> tuple[VenueAccount, LiveJournal]:
    """The venue's account, and the journal to go on with: one of another config is put aside where that is safe."""
    post = asyncio.get_running_loop().call_soon_threadsafe
    journal = open_journal(bot.folder, post)
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
            if journal.get("key") in (None, bot.about.key):
                return account, journal
            _require_unlatched(bot, journal)
            bot.alerts.put("warning", "the key is of another account than the journal's, which is put aside")
        else:
            _require_put_aside(bot, journal, account, await bot.exchange.open_orders(), str(before))
    except BaseException:
        journal.close()
        raise
    journal.close()
    _put_aside(bot.folder)
    return account, open_journal(bot.folder, post)


def _require_unlatched(bot: Bot, journal: LiveJournal) -> None:
    closed = journal.last_latches()
    if closed:
        raise ConfigError(
            f"account {bot.about.account!r} is halted ({', '.join(closed)}) and its key was replaced since: "
            "resume it with the key it had, or take another account name"
        )


def _require_put_aside(bot: Bot, journal: LiveJournal, account: VenueAccount, orders: Any, before: str) -> None:
    held = [symbol for symbol, lots in account.lots.items() if lots]
    closed = journal.last_latches()
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


async def core_of(bot: Bot, journal: LiveJournal, account: VenueAccount, time: VenueClock) -> TradingCore:
    """The core as its journal leaves it, or a fresh one for a flat account."""
    ttl_ns = None if time.matching == "next_open" else round(bot.config.live.limit_ttl_s * 1e9)
    prefix = journal.get("prefix") or f"{bot.about.config_id[:6]}-{bot.clock.new_id()}"
    if journal.begun:
        began_uusd = int(journal.get("cash_uusd") or account.cash_uusd)  # what a fixed stake is a share of
        about, limits = bot.about, journal.get("limits") or ""
        terms = Terms(about.code, ttl_ns, bot.other_code or about.venue in PLAY, about.limits)
        build = partial(bot.build_core, prefix, began_uusd)
        before = build if limits == about.limits else partial(_within, bot, prefix, began_uusd, limits)
        core = resumed(journal, build, terms, partial(bot.alerts.put, "warning"), before)
        if isinstance(bot.exchange, Adopts):
            _adopt(bot.exchange, core, core.router.blotter.orders(), int(journal.get("known_seq") or 0))
        return core
    held = [symbol for symbol, lots in account.lots.items() if lots]
    orders = await bot.exchange.open_orders()
    strange = [symbol for symbol in held if symbol not in bot.config.symbols]
    if strange:
        raise VenueRefusal(f"the account holds {', '.join(strange)}, not traded by this config: {FOREIGN}")
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


def _within(bot: Bot, prefix: str, cash_uusd: int, limits: str, rests_ns: int | None) -> TradingCore:
    """A core within other limits than this session's."""
    return bot.build_core(prefix, cash_uusd, rests_ns, limits)


def _adopt(exchange: Adopts, core: TradingCore, orders: Sequence[Order], known_seq: int) -> None:
    """Tells an exchange that infers the fate of orders what was known of them before."""
    names = {fill_id: order.command.client_order_id for order in orders for fill_id in order.fill_ids}
    held = {symbol: int(core.ledger.book[row, LOTS]) for symbol, row in core.ledger.row.items()}
    exchange.adopt([order.command for order in core.router.blotter.open_orders()], names, held, known_seq)
