"""What it costs to keep a book by the venue's numbers, over recorded captures: microseconds for a diff of 10 levels.

Needs the recorded data (FLEA_DATA_DIR). Decoding is not in it. `us_per_10_levels` is time over levels, the best of the
rounds; `read` is what reading the best 20 a side after every diff adds; `dict` is the same diffs into two plain dicts,
unsorted and unchecked: what no book can be faster than. The last line is JSON.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import RULES
from flea_lab.data.sources.captures import read_capture
from flea_lab.model.market import BookDelta, BookSnapshot

Events = list[BookSnapshot | BookDelta]

ROUNDS = 7
TAPES = {
    "binance_um": "fixtures/l2/binance_um_btcusdt_20240808.raw.gz",
    "binance_spot": "fixtures/l2/binance_spot_btcusdt_20240808_part1.raw.gz",
}


def main() -> None:
    """Measures every tape and prints a table, then one line of JSON."""
    folder = os.environ.get("FLEA_DATA_DIR", "")
    if not folder:
        sys.exit("recorded data is not here: FLEA_DATA_DIR is not set")
    figures = {venue: measure(venue, Path(folder) / path, ROUNDS) for venue, path in TAPES.items()}
    for venue, figure in figures.items():
        print(f"{venue:<14}" + "".join(f"{name} {value:<9}" for name, value in figure.items()))
    print(json.dumps(figures))


def measure(venue: str, path: Path, rounds: int) -> dict[str, Any]:
    """The figures of one tape."""
    events: Events = [event for event in read_capture(path) if isinstance(event, BookSnapshot | BookDelta)]
    levels = sum(len(event.bids) + len(event.asks) for event in events if isinstance(event, BookDelta))
    seconds = {name: min(run(venue, events) for _ in range(rounds)) for name, run in RUNS.items()}
    ten = {f"{name}_us_per_10_levels": round(took / levels * 1e7, 2) for name, took in seconds.items()}
    per_diff = round(seconds["sync"] / len(events) * 1e6, 2)
    return {"diffs": len(events), "levels": levels, **ten, "sync_us_per_diff": per_diff}


def sync(venue: str, events: Events) -> float:
    """Seconds for all events."""
    book = BookSync("BTCUSDT", RULES[venue])
    began = perf_counter()
    for event in events:
        book.on(event)
    return perf_counter() - began


def read(venue: str, events: Events) -> float:
    """Seconds for all events, the book read after each."""
    book = BookSync("BTCUSDT", RULES[venue])
    began = perf_counter()
    for event in events:
        book.on(event)
        if book.book is not None:
            _ = book.book.bids, book.book.asks
    return perf_counter() - began


def plain(_venue: str, events: Events) -> float:
    """Seconds for the same levels into two dicts."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    began = perf_counter()
    for event in events:
        for side, levels in ((bids, event.bids), (asks, event.asks)):
            for price, qty in levels:
                if qty:
                    side[price] = qty
                else:
                    side.pop(price, None)
    return perf_counter() - began


RUNS: dict[str, Callable[[str, Events], float]] = {"sync": sync, "read": read, "dict": plain}

if __name__ == "__main__":
    main()
