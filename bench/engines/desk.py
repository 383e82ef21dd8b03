"""The desk on the events of `bench/replay.py`: what every kind of event costs in the core and around it.

Timed is the work on events that are there already: the core with the features that a signal reads, the venue's book by
its numbers (`BookSync`), and the simulated exchange of the same kind as the other engine's, which hears every event.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MINUTE_NS = 60_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CASH_USD, STAKE_USD = 10_000_000.0, 100_000.0
LOOSE = {"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_concentration": 10.0, "max_order_usd": 1e8}


def config_of(kernel: str, symbols: tuple[str, ...] = SYMBOLS) -> Any:
    """A fixed stake on `kernel`, long or short, without costs; guards set too loose to act."""
    from flea_lab import config as configs

    return configs.from_dict(
        {
            "name": kernel.replace("_", "-"),
            "symbols": list(symbols),
            "interval": "1m",
            "signals": [{"kernel": kernel}],
            "sizing": {
                "mode": "target",
                "base_fraction": STAKE_USD / CASH_USD,
                "basis": "initial",
                "rebalance_band": 1.0,
            },
            "risk": LOOSE,
            "costs": {"fee_bps": 0.0, "slippage_bps": 0.0, "funding": False},
            "initial_cash_usd": CASH_USD,
        }
    )


def market_of(config: Any, folder: Path, bars: int | None = None) -> Any:
    """The market of `bars.npz`, its first `bars` bars."""
    from flea_lab.wiring import market_from_frames

    names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    frames = {}
    with np.load(folder / "bars.npz") as held:
        for row, symbol in enumerate(config.symbols):
            mine = held["row"] == row
            ts = (held["ts"][mine] - MINUTE_NS) // 1_000_000
            frames[symbol] = pd.DataFrame({"ts": ts} | {n: held[k][mine] for n, k in names.items()}).iloc[:bars]
    return market_from_frames(config, frames).market


def run_all(folder: Path) -> Any:
    """A pass over every kind of event; returns what each counted and its CPU seconds."""
    settings = json.loads((folder / "settings.json").read_text())
    works = {
        "bars": bars_work("watch_bars", folder, None),
        "orders": bars_work("ema_cross", folder, settings["order_bars"]),
        "trades": trades_work(folder),
        "trades_unread": trades_work(folder, read=False),
        "deltas": deltas_work(folder / "deltas.npz"),
        "singles": deltas_work(folder / "singles.npz"),
        "deltas_matched": deltas_work(folder / "deltas.npz", venue=True),
    }
    return lambda: {name: work() for name, work in works.items()}


def bars_work(kernel: str, folder: Path, bars: int | None) -> Any:
    """The replay as a backtest runs it: its messages are made, its curves and decisions noted inside the time."""
    from flea_lab.wiring import run_replay

    config = config_of(kernel)
    market = market_of(config, folder, bars)

    def work() -> dict[str, Any]:
        began = time.process_time()
        seen, _ = run_replay(config, market)
        cpu_s = time.process_time() - began
        events = int((market.close_ticks > 0).sum())
        return {"cpu_s": cpu_s, "events": events, "told": len(seen.decisions), "fills": len(seen.fills)}

    return work


def trades_work(folder: Path, *, read: bool = True) -> Any:
    """Prints through the matching of the sandbox's book mode and the core, and a candle a minute; whether a signal
    reads them."""
    from flea_lab.model.market import Trade

    with np.load(folder / "trades.npz") as held:
        rows = zip(*(held[n].tolist() for n in ("ts", "price", "qty", "buy")), strict=True)
        prints = [
            Trade(symbol="BTCUSDT", ts_event=ts, ts_recv=ts, price=price, qty=qty, side="buy" if buy else "sell")
            for ts, price, qty, buy in rows
        ]
    config = config_of("watch_trades" if read else "watch_bars", ("BTCUSDT",))
    events = list(with_candles(prints))

    def work() -> dict[str, Any]:
        core, matching = started(config)
        on, venue = core.on, matching.trade
        counted = 0.0
        began = time.process_time()
        for event in events:
            if type(event) is Trade:
                venue(event)
                on(event)
            else:
                on(event)
                if read:
                    counted += reading(core, event.ts_event, 2) * (1.0 + reading(core, event.ts_event, 3)) / 2.0
        return {"cpu_s": time.process_time() - began, "events": len(prints), "told": round(counted)}

    return work


def deltas_work(file: Path, *, venue: bool = False) -> Any:
    """Diffs through the book's own rules into a vouched book of 20 levels a side, whose bid and ask are looked at, and
    that into the core, at every message; `venue`: into the matching of the sandbox's book mode as well."""
    from flea_lab.data.book import BookSync
    from flea_lab.data.book_rules import book_rules
    from flea_lab.model.market import BookDelta

    whole, diffs = messages(file)
    config = config_of("watch_book", ("BTCUSDT",))
    events = list(with_candles(diffs))

    def work() -> dict[str, Any]:
        core, matching = started(config)
        sync = BookSync("BTCUSDT", book_rules("kraken_futures"))
        sync.on(whole)
        on, take = core.on, sync.on
        began = time.process_time()
        for event in events:
            if type(event) is not BookDelta:
                on(event)
                continue
            take(event)
            book = sync.book
            if book is None:
                raise SystemExit(f"the book cannot be vouched for at {event.seq}")
            if venue:
                matching.book(book)
            if not book.bid < book.ask:
                raise SystemExit(f"the book is crossed at {event.seq}")
            on(book)
        cpu_s = time.process_time() - began
        assert sync.book is not None
        return {"cpu_s": cpu_s, "events": len(diffs), "told": [sync.book.bid, sync.book.ask]}

    return work


def messages(file: Path) -> tuple[Any, list[Any]]:
    """The snapshot that message 0 is, and the diffs."""
    from flea_lab.model.market import BookDelta, BookSnapshot

    sides: list[tuple[int, list[Any], list[Any]]] = []
    with np.load(file) as held:
        names = ("message", "ts", "buy", "price", "qty")
        for message, ts, buy, price, qty in zip(*(held[name].tolist() for name in names), strict=True):
            if message == len(sides):
                sides.append((ts, [], []))
            sides[message][1 if buy else 2].append((price, qty))
    told = [
        {"symbol": "BTCUSDT", "ts_event": ts, "ts_recv": ts, "seq": seq, "bids": tuple(bids), "asks": tuple(asks)}
        for seq, (ts, bids, asks) in enumerate(sides)
    ]
    return BookSnapshot(**told[0]), [BookDelta(**one) for one in told[1:]]


def started(config: Any) -> tuple[Any, Any]:
    """A core before its first event, and the matching of a venue with a book."""
    from flea_lab.config import alphas
    from flea_lab.sandbox.book import BookMatching
    from flea_lab.wiring import build_core

    core = build_core(config, alphas(config), 0)
    return core, BookMatching(config.instruments, 0, 0)


def reading(core: Any, ts: int, column: int) -> float:
    """One feature of the bar that closed at `ts`; 0 where it is not known."""
    value = core._features["BTCUSDT"].row(ts)[column]
    return value if value == value else 0.0


def with_candles(events: list[Any]) -> Iterator[Any]:
    """The events and, after each minute, its candle."""
    from flea_lab.model.market import Candle

    end = (events[0].ts_event // MINUTE_NS + 1) * MINUTE_NS
    shape = {"open": 97_000.0, "high": 97_000.0, "low": 97_000.0, "close": 97_000.0, "volume": 1.0}
    for event in events:
        while event.ts_event > end:
            yield Candle(symbol="BTCUSDT", ts_event=end, ts_recv=end, **shape)
            end += MINUTE_NS
        yield event
    yield Candle(symbol="BTCUSDT", ts_event=end, ts_recv=end, **shape)


if __name__ == "__main__":
    raise SystemExit("run by bench/replay.py")
