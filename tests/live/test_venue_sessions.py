"""Whole sessions of the runner at the stand-ins for the published server, in the weaker mode, and for Hyperliquid.

Their market comes from a sandbox in lockstep. The venue's clock is moved by hand, and what it carries out late it does
before the clock goes on: nothing here depends on how fast the machine is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from flea_lab.config import RunConfig, from_dict
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.errors import VenueError, VenueRefusal
from flea_lab.live.alerts import Alerts
from flea_lab.live.bot import trade
from flea_lab.live.journal import FILE
from flea_lab.live.opening import About, Bot
from flea_lab.live.session import read_session
from flea_lab.model.market import Candle
from flea_lab.secret import Secret
from flea_lab.testing.stand_in.hazards import Hazards, every
from flea_lab.venue import info, published_exchange
from flea_lab.venue.budget import Budget
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from flea_lab.venue.published_exchange import PublishedExchange
from flea_lab.wiring import market_from_frames
from tests.live.session import CLOCK, QUICK, World, with_live, world
from tests.venue.benches import unsigned
from tests.venue.published_runs import GRIDS, Here, S, here

BARS, START = 140, 90


@pytest.fixture(autouse=True)
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of the hand's clock are none of the loop's, by which limits count."""
    monkeypatch.setattr(info, "Budget", lambda _: Budget(10**9))
    monkeypatch.setattr(published_exchange, "ORDERS_PER_MINUTE", 1_000_000)
    monkeypatch.setattr(published_exchange, "WINDOW_S", 0.001)


def config(**live: Any) -> RunConfig:
    values = {
        "name": "published",
        "symbols": list(GRIDS),
        "interval": "1m",
        "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
        "sizing": {"mode": "target", "market_above": 0.0, "base_fraction": 0.05},
        "combination": {"min_conviction": 0.05},
        "costs": {"funding": False},
        "instruments": {symbol: msgspec.to_builtins(grid) for symbol, grid in GRIDS.items()},
    }
    mode = {"weaker_mode": "one_in_flight", "unknown_wait_s": 0.05, "reconcile_pause_s": 0.0, "history_bars": 60}
    return with_live(from_dict(values), **(mode | live))


class Moving:
    """The sandbox's market, after which the exchange behind the server has the price of every close."""

    def __init__(self, feed: PurpleFlea, at: Here) -> None:
        self._feed, self._at = feed, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    async def run(self, deliver: Any) -> None:
        def hear(said: Any) -> None:
            if isinstance(said, Candle) and said.complete:
                self._at.exchange.move(said.symbol.removesuffix("USDT"), str(Decimal(str(said.close))))
            deliver(said)

        await self._feed.run(hear)


@dataclass
class Desk:
    """A session's surroundings, and what went wrong with exposure meanwhile."""

    at: Here
    sandbox: World
    folder: Path
    kind: str = "purpleflea"

    def exchange(self) -> Any:
        """What the session orders at."""
        at, grids = self.at, self.sandbox.config.instruments
        if self.kind == "purpleflea":
            return PublishedExchange(load_dialect(at.dialect, "a test"), Secret(at.server.key), grids, at.clock)
        fast = {"back_off_first_s": 0.0001, "back_off_last_s": 0.0001}
        spoken = load_dialect({"name": "hyperliquid", **at.dialect["data"], "limits": fast, "poll_s": 0.002}, "a test")
        return HyperliquidExchange(spoken, at.server.address, unsigned, grids, at.clock)

    async def session(self) -> str:
        run, at = self.sandbox.config, self.at
        spoken = load_dialect(
            {"rest_url": self.sandbox.url, "ws_url": f"ws{self.sandbox.url[4:]}/ws", **QUICK}, "a test"
        )
        feed = PurpleFlea(
            spoken, Secret(self.sandbox.key), run.symbols, "1m", run.instruments, CLOCK,
            channels=("candle",), ack=True,
        )  # fmt: skip
        about = About(
            account="test", venue="live", config=run.name, config_id=run.id, promoted=False, code="", key="0" * 8
        )
        with Alerts(self.folder, CLOCK, console=self.sandbox.console) as alerts:
            async with feed, self.exchange() as exchange:
                moving: Any = Moving(feed, at)
                bot = Bot(
                    run, self.sandbox.core, self.sandbox.warmup, moving, exchange, self.folder, CLOCK, alerts, about,
                    self.kind,
                )  # fmt: skip
                return await trade(bot, signals=False)


async def time_passes(at: Here) -> None:
    """What is late is carried out, and then the clock goes on."""
    while True:
        at.server.release()
        at.clock.ns += 7 * S
        await asyncio.sleep(0.003)


@asynccontextmanager
async def desk(folder: Path, hazards: Hazards, run: RunConfig | None = None) -> AsyncIterator[Desk]:
    run = run or config()
    frames = {symbol: synthetic_market(symbol, n_bars=BARS)[0] for symbol in run.symbols}
    market = market_from_frames(run, frames, {}).market
    folder.mkdir(parents=True, exist_ok=True)
    async with here(hazards) as at, world(run, market, START) as sandbox:
        passing = asyncio.create_task(time_passes(at))
        try:
            yield Desk(at, sandbox, folder)
        finally:
            passing.cancel()
            with suppress(asyncio.CancelledError):
                await passing


async def one(folder: Path, seed: int, kills: int = 0, share: float = 0.4) -> tuple[Desk, str]:
    """A session at the ill server; killed `kills` times, and begun anew on its journal."""
    hazards = msgspec.structs.replace(every(share, seed), limits=False, infos={"stale": 0.05, "502": 0.05})
    async with desk(folder, hazards) as at:
        draws = np.random.default_rng(seed)
        for _ in range(kills):
            task = asyncio.create_task(begun(at))
            sent = at.at.server.asked["POST /trade/open"] + int(draws.integers(1, 4))
            while not task.done() and at.at.server.asked["POST /trade/open"] < sent:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(200):
            how = await begun(at)
        at.at.server.dice.quiet = True
        return at, how


async def begun(at: Desk) -> str:
    """A session; a server that is too ill at the start is asked again."""
    while True:
        try:
            return await at.session()
        except VenueRefusal:
            raise
        except VenueError:
            continue


def judged(at: Desk, how: str) -> tuple[int, int]:
    """Nothing is doubled, lost or invented: what the server carried out is what the journal says, order by order."""
    session = read_session(at.folder / FILE)
    carried, filled = len(at.at.server.carried_out), session.fills["client_order_id"].nunique()
    assert carried == filled, (how, carried, filled)
    for symbol in GRIDS:
        mine = session.fills[session.fills["symbol"] == symbol]
        signed = (mine["qty"] * mine["side"].map({"buy": 1, "sell": -1})).sum() if len(mine) else 0.0
        there = float(at.at.exchange.account(at.at.server.address).held.get(symbol.removesuffix("USDT"), 0))
        assert signed == pytest.approx(there, abs=1e-9), symbol
    posts = sum(at.at.server.asked[f"POST /trade/{what}"] for what in ("open", "close"))
    assert posts <= len(session.orders), "an order was sent more than once"
    assert how == "the recorded market is over"
    return carried, posts


def test_a_session_at_an_ill_server_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """Killed once in the middle, and begun anew on its journal."""
    carried, posts = judged(*asyncio.run(one(tmp_path / "killed", seed=2, kills=1)))
    assert carried >= 3 and posts > carried


@pytest.mark.slow
def test_a_dozen_sessions_with_kills_double_and_lose_nothing(tmp_path: Path) -> None:
    told = [judged(*asyncio.run(one(tmp_path / str(seed), seed, kills=seed % 4))) for seed in range(12)]
    print(f"{len(told)} sessions: {sum(n for n, _ in told)} orders carried out of {sum(n for _, n in told)} sent")


def test_the_runner_refuses_the_server_unless_the_weaker_mode_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with desk(tmp_path / "refused", Hazards(), config(weaker_mode="none")) as at:
            await at.session()

    with pytest.raises(VenueRefusal, match="venue 'purpleflea' cannot hold what orders need: its orders bear no id"):
        asyncio.run(run())


def ill_line(seed: int) -> Any:
    """What goes wrong with an action and with a question at Hyperliquid, by seed."""
    draws, told = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])

    def ill(what: str) -> str:
        if what in ("order", "cancel", "cancelByCloid"):
            return str(draws.choice(["", "", "lost", "lost_answer", "502"]))
        return str(told.choice(["", "502", "stale"], p=[0.9, 0.05, 0.05]))

    return ill


async def at_hyperliquid(folder: Path, seed: int) -> tuple[Desk, str]:
    async with desk(folder, Hazards(), config(weaker_mode="none")) as at:
        at.kind, at.at.info.ill = "hyperliquid", ill_line(seed)
        async with asyncio.timeout(200):
            return at, await begun(at)


def sound(at: Desk, how: str) -> int:
    """What the exchange carried out is what the journal says, and no id was sent twice."""
    session = read_session(at.folder / FILE)
    book = at.at.exchange.account(at.at.server.address)
    assert how == "the recorded market is over"
    assert at.at.exchange.executions == session.fills["client_order_id"].nunique()
    ids = [order.cloid for order in book.orders.values()]
    assert len(set(ids)) == len(ids)
    for symbol in GRIDS:
        mine = session.fills[session.fills["symbol"] == symbol]
        signed = (mine["qty"] * mine["side"].map({"buy": 1, "sell": -1})).sum() if len(mine) else 0.0
        assert signed == pytest.approx(float(book.held.get(symbol.removesuffix("USDT"), 0)), abs=1e-9), symbol
    return at.at.exchange.executions


def test_a_session_at_hyperliquids_stand_in_doubles_and_loses_nothing(tmp_path: Path) -> None:
    assert sound(*asyncio.run(at_hyperliquid(tmp_path / "hyperliquid", seed=1))) >= 3


@pytest.mark.slow
def test_six_sessions_at_hyperliquids_stand_in(tmp_path: Path) -> None:
    told = [sound(*asyncio.run(at_hyperliquid(tmp_path / str(seed), seed))) for seed in range(6)]
    print(f"6 sessions at Hyperliquid's stand-in: {sum(told)} orders carried out")
