"""A client of the bench's venue in a process of its own: flea_lab's live bot, or one made of aiohttp and json alone.

A line in, `cpu`, is answered by the CPU seconds of the process so far; at the end it says what else it measured.
"""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flea_lab import config as configs
from flea_lab.config import RunConfig

SYMBOL = "BTCUSDT"
CHANNELS = {
    "messages": ["candle_1m", "orderbook_l2", "trades", "funding", "orders", "fills"],
    "orders": ["candle_1m", "funding", "orders", "fills"],
}


def config_of(phase: str) -> RunConfig:
    """For "messages" the seed strategy, which listens and never trades; for "orders" one that trades every bar."""
    values: dict[str, Any] = {"symbols": [SYMBOL], "interval": "1m", "costs": {"funding": False}}
    if phase == "messages":
        signals = [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}]
        values |= {"name": "silent", "signals": signals, "combination": {"min_conviction": 1.0}}
    else:
        loose = {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 10.0}
        sizing = {"base_fraction": 0.01, "basis": "initial"}
        values |= {"name": "busy", "signals": [{"kernel": "every_bar"}], "risk": loose, "sizing": sizing}
    return configs.from_dict(values)


def answer_cpu() -> None:
    """Answers the parent in a thread that sleeps in between."""

    def work() -> None:
        for _ in sys.stdin:
            print(json.dumps({"cpu_s": time.process_time()}), flush=True)

    threading.Thread(target=work, daemon=True).start()


async def bare(url: str, key: str, phase: str) -> None:
    """The least that a client can do: one socket, `json.loads`, the last of everything kept; an order at each candle.

    No journal, no risk, no account, and nothing that it reads is checked.
    """
    import aiohttp

    last: dict[str, Any] = {}
    count = 0
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": key}) as session,
        session.ws_connect(f"ws{url.removeprefix('http')}/ws", max_msg_size=0) as ws,
    ):
        asked = {"action": "subscribe", "channels": CHANNELS[phase], "symbols": [SYMBOL], "ack": True}
        await ws.send_str(json.dumps(asked))
        async for message in ws:
            frame = json.loads(message.data)
            if "symbol" in frame:
                last[frame["channel"]] = frame["data"]
                if phase == "orders" and frame["channel"] == "candle_1m" and frame["data"]["complete"]:
                    count += 1
                    order = {
                        "client_order_id": f"bare-{count}",
                        "symbol": SYMBOL,
                        "side": "buy" if count % 2 else "sell",
                        "type": "market",
                        "size": "0.010",
                    }
                    async with session.post(f"{url}/orders", json=order) as response:
                        if response.status != 201:
                            raise SystemExit(f"the order was answered {response.status}: {await response.text()}")
                        await response.json()
            elif frame["event"] == "heartbeat":
                await ws.send_str(json.dumps({"action": "ack", "ts": frame["ts"]}))
            elif frame["event"] == "played":
                return


async def flea(url: str, key: str, phase: str, commits: list[float], blocked: list[float]) -> Path:
    """The live bot as `flea run` builds it, on every channel of the phase; its journal."""
    from flea_lab.clock import WallClock
    from flea_lab.live.account import ready_folder
    from flea_lab.live.alerts import Alerts
    from flea_lab.live.bot import trade
    from flea_lab.live.opening import About, Bot
    from flea_lab.live.store import FILE
    from flea_lab.secret import Secret
    from flea_lab.venue.client import PurpleFlea
    from flea_lab.venue.dialects import load_dialect
    from flea_lab.venue.speech import KINDS
    from flea_lab.wiring import alphas, build_core

    config, clock = config_of(phase), WallClock()
    found, folder = alphas(config), ready_folder(f"bench-{phase}")
    dialect = load_dialect({"rest_url": url, "ws_url": f"ws{url.removeprefix('http')}/ws"}, "the bench")
    client = PurpleFlea(
        dialect,
        Secret(key),
        config.symbols,
        config.interval,
        config.instruments,
        clock,
        channels=KINDS if phase == "messages" else None,
        ack=True,
    )
    about = About(
        account=folder.name, venue="sandbox", config=config.name, config_id=config.id, promoted=False, code="", key=""
    )
    time_commits(commits, blocked)

    def core(prefix: str, cash_uusd: int, limit_ttl_ns: int | None) -> Any:
        return build_core(config, found, 0, prefix=prefix, limit_ttl_ns=limit_ttl_ns, cash_uusd=cash_uusd)

    with open(folder / "console", "w") as console, Alerts(folder, clock, console=console) as alerts:
        async with client:
            await trade(Bot(config, core, found.warmup, client, client, folder, clock, alerts, about), signals=False)
    return folder / FILE


def time_commits(took_us: list[float], blocked_us: list[float]) -> None:
    """Notes how long each batch takes that an order waits for, and for how much of it the loop stands still."""
    from flea_lab.journal import COMMAND, Ticket
    from flea_lab.live.journal import LiveJournal

    plain = LiveJournal.commit

    def timed(self: LiveJournal, snapshot: Any = None) -> Ticket:
        waits = any(kind == COMMAND for kind, *_ in self._rows)
        start = time.perf_counter_ns()
        ticket = plain(self, snapshot)
        if waits:
            blocked_us.append((time.perf_counter_ns() - start) / 1e3)
            ticket.then(lambda _: took_us.append((time.perf_counter_ns() - start) / 1e3))
        return ticket

    LiveJournal.commit = timed  # type: ignore[method-assign]


def core_us(journal: Path) -> list[float]:
    """From a candle's arrival in the runner's loop to the order that the core made of it, from the journal."""
    import sqlite3

    db = sqlite3.connect(journal)
    rows = db.execute("SELECT received, decided FROM timings ORDER BY decided").fetchall()
    db.close()
    return [(decided - received) / 1e3 for received, decided in rows]


def run(name: str, phase: str, url: str, key: str) -> None:
    """One client until the market is over."""
    answer_cpu()
    if name == "bare":
        asyncio.run(bare(url, key, phase))
        print(json.dumps({"commits_us": [], "blocked_us": [], "core_us": []}), flush=True)
        return
    commits: list[float] = []
    blocked: list[float] = []
    journal = asyncio.run(flea(url, key, phase, commits, blocked))
    said = {"commits_us": commits, "blocked_us": blocked, "core_us": core_us(journal)}
    print(json.dumps(said), flush=True)
