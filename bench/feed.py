"""From the socket to a book that can be vouched for: flea_lab's client beside aiohttp and json, in one run.

The venue is a process of its own that sends the same recorded frames to each client in turn: books of 20 levels a side
and prints, numbered. Ours reads, checks and vouches for every book. Two bare clients stand beside it: one checks the
same in plain Python, the other checks nothing and keeps the last frame. The last line is JSON; `ratio` is CPU per
message of the bare client that checks over ours, above 1 where ours costs less; `ratio_unchecked` of the other.
"""

import argparse
import asyncio
import json
import math
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
CLIENTS = ("flea", "bare", "bare_unchecked")
FULL = {"rounds": 5, "messages": 40_000, "seconds": 60}
QUICK = {"rounds": 3, "messages": 20_000, "seconds": 5}
SMOKE = {"rounds": 1, "messages": 1_000, "seconds": 1}
PER_SECOND, BURST = 10_000, 20_000
SYMBOL = "BTCUSDT"


def main() -> None:
    """Measures CPU per message, then lag at a pace and after a burst, and prints both, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="three rounds, 5 s at pace")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        serve()
        return
    settings = SMOKE if given.smoke else QUICK if given.quick else FULL
    with subprocess.Popen(
        [sys.executable, str(HERE), "--child", "venue"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as venue:
        try:
            assert venue.stdout is not None
            port = int(venue.stdout.readline())
            figures: dict[str, Any] = {**settings, **cost(port, settings), **lag(port, settings, smoke=given.smoke)}
        finally:
            venue.kill()
    print(json.dumps(figures))


def cost(port: int, settings: dict[str, int]) -> dict[str, Any]:
    """CPU per message of each client, medians of rounds that take turns."""
    us: dict[str, list[float]] = {name: [] for name in CLIENTS}
    found: dict[str, Any] = {}
    for turn in range(settings["rounds"] + 1):
        for name in CLIENTS:
            found[name] = asyncio.run(hear(port, name, {"count": settings["messages"]}))
            if turn:  # the first warms up
                us[name].append(found[name]["us"])
    assert found["flea"]["books"] == found["bare"]["books"] > 0, found
    assert found["flea"]["book"] == found["bare"]["book"], "the last books differ"
    ours, bare, unchecked = (median(us[name]) for name in CLIENTS)
    print(f"CPU of the client per message, socket to book, {settings['rounds']} rounds of {settings['messages']:,}")
    print(f"  flea, every book vouched for          {ours:6.1f} us")
    print(f"  aiohttp + json, the same checks       {bare:6.1f} us   {bare / ours:.2f} of ours")
    print(f"  aiohttp + json, nothing checked       {unchecked:6.1f} us   {unchecked / ours:.2f} of ours")
    return {
        "flea_us": ours,
        "bare_us": bare,
        "unchecked_us": unchecked,
        "ratio": bare / ours,
        "ratio_unchecked": unchecked / ours,
    }


def lag(port: int, settings: dict[str, int], *, smoke: bool) -> dict[str, Any]:
    """How old a message is when it has been worked off: at a steady pace, and after a burst."""
    pace = 1_000 if smoke else PER_SECOND
    told = {"pace": pace, "count": pace * settings["seconds"]}
    steady = asyncio.run(hear(port, "flea", told))
    assert steady["heard"] == told["count"] and steady["missed"] == 0, steady
    p50, p95, p99, most = np.percentile(steady["lag_ms"], [50, 95, 99, 100]).tolist()
    print(f"{pace:,} messages a second for {settings['seconds']} s: none lost")
    print(f"  lag ms                                p50 {p50:.2f}  p95 {p95:.2f}  p99 {p99:.2f}  most {most:.1f}")
    burst = asyncio.run(hear(port, "flea", {"count": BURST, "burst": True}))
    assert burst["heard"] == BURST and burst["missed"] == 0, burst
    recovered = float(max(burst["lag_ms"])) / 1_000
    print(f"a burst of {BURST:,} at once: the last is worked off {recovered:.2f} s later, none lost")
    return {"lag_ms": {"p50": p50, "p95": p95, "p99": p99, "max": most}, "burst_s": recovered}


async def hear(port: int, name: str, told: dict[str, Any]) -> dict[str, Any]:
    """What one client made of what it was told to ask for."""
    url = f"127.0.0.1:{port}/trading-api"
    return await (flea(url, told) if name == "flea" else bare(url, told, checks=name == "bare"))


async def flea(url: str, told: dict[str, Any]) -> dict[str, Any]:
    """The client as the product builds it, and the keeper of books behind it."""
    from flea_lab.clock import WallClock
    from flea_lab.data.book import BookSync
    from flea_lab.data.book_rules import book_rules
    from flea_lab.model.market import BookSnapshot, Trade
    from flea_lab.venue.client import PurpleFlea
    from flea_lab.venue.dialects import load_dialect
    from flea_lab.venue.protocol import Link, Played

    dialect = load_dialect({"rest_url": f"http://{url}", "ws_url": f"ws://{url}/ws"}, "the bench")
    sync, over, faults = BookSync(SYMBOL, book_rules("seed")), asyncio.Event(), list[str]()
    books = heard = 0
    lag_ms: list[float] = []
    timed = "pace" in told or "burst" in told

    def take(said: Any) -> None:
        nonlocal books, heard
        if type(said) is BookSnapshot:
            sync.on(said)
            if sync.book is not None:
                books += 1
        elif type(said) is not Trade:
            if isinstance(said, Played):
                over.set()
            elif isinstance(said, Link) and not said.up:
                raise SystemExit(f"the connection was lost: {said.reason}")
            return
        heard += 1
        if timed:
            lag_ms.append(time.time_ns() / 1e6 - said.ts_event / 1e6)

    client = PurpleFlea(
        dialect, None, [SYMBOL], "1m", {}, WallClock(), channels=("book", "trades"), on_fault=faults.append
    )
    async with client:
        await told_to(url, told)
        start = time.process_time()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(client.run(take))
            await over.wait()
            reading.cancel()
        took_s = time.process_time() - start
    book = sync.book
    assert book is not None
    top = [list(book.bids[0]), list(book.asks[0])]
    missed = len([text for text in faults if "seq" in text])
    us = took_s / told["count"] * 1e6
    return {"us": us, "books": books, "heard": heard, "book": top, "lag_ms": lag_ms, "missed": missed}


async def bare(url: str, told: dict[str, Any], *, checks: bool) -> dict[str, Any]:
    """aiohttp and json; with `checks` every book's numbers, order and levels are looked at, and its number."""
    import aiohttp

    last: dict[str, Any] = {}
    seqs: dict[str, int] = {}
    books = 0
    await told_to(url, told)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{url}/ws") as ws:
        start = time.process_time()
        asked = {"action": "subscribe", "channels": ["orderbook_l2", "trades"], "symbols": [SYMBOL]}
        await ws.send_str(json.dumps(asked))
        async for message in ws:
            frame = json.loads(message.data)
            if "symbol" not in frame:
                if frame["event"] == "played":
                    break
                continue
            channel, data = frame["channel"], frame["data"]
            if checks:
                if frame["seq"] != seqs.get(channel, frame["seq"] - 1) + 1:
                    raise SystemExit("a frame is missing")
                seqs[channel] = frame["seq"]
                if channel == "orderbook_l2":
                    books += sound(data)
            last[channel] = data
        took_s = time.process_time() - start
    book = last["orderbook_l2"]
    us = took_s / told["count"] * 1e6
    return {"us": us, "books": books, "book": [book["bids"][0], book["asks"][0]]}


def sound(data: dict[str, Any]) -> bool:
    """Whether a book is sorted, positive, finite, two-sided, not crossed and at most 20 levels deep."""
    bids, asks = data["bids"], data["asks"]
    if not (bids and asks and bids[0][0] < asks[0][0] and len(bids) <= 20 and len(asks) <= 20):
        return False
    last = math.inf
    for price, size in bids:
        if not (0.0 < price < last and 0.0 < size < math.inf):
            return False
        last = price
    last = 0.0
    for price, size in asks:
        if not (last < price < math.inf and 0.0 < size < math.inf):
            return False
        last = price
    return True


async def told_to(url: str, told: dict[str, Any]) -> None:
    """Tells the venue what the next connection shall hear."""
    import aiohttp

    async with aiohttp.ClientSession() as session, session.post(f"http://{url}/next", json=told) as answer:
        assert answer.status == 200


def serve() -> None:
    """The venue: prints its port, then plays to each connection what it was told to."""
    from engines.feed_venue import play

    with suppress(KeyboardInterrupt):
        asyncio.run(play())


if __name__ == "__main__":
    main()
