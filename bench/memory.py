"""Resident memory over a million messages: the path of a live session between wire and decision, without its journal.

Prints, diffs of ten levels and a candle a minute go through `Hearing` (every watch, the venue's book, the features) and
the core, made one at a time as a connection makes them. After a warm-up the process may not grow. The last line is
JSON; `ratio` is resident memory at the end over that after the warm-up.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from engines import desk
from engines.turns import resident_mib
from replay import DEPTH, prepare_kernels

MESSAGES, WARM_UP, QUICK, SMOKE = 1_000_000, 100_000, 200_000, 5_000
STEP_NS = 300_000_000
"""Between two messages: 200 a minute."""


def main() -> None:
    """Hears the messages and prints the memory, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="a fifth of the messages")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    given = ask.parse_args()
    count = SMOKE if given.smoke else QUICK if given.quick else MESSAGES
    with tempfile.TemporaryDirectory() as home:
        prepare_kernels(Path(home))
        print(json.dumps(measure(count, SMOKE if given.smoke else WARM_UP)))


def measure(count: int, warm_up: int) -> dict[str, Any]:
    """Memory in MiB after the warm-up, at the most since, and after `count` messages more."""
    from flea_lab.config import alphas
    from flea_lab.live.hearing import Hearing
    from flea_lab.model.market import Candle
    from flea_lab.wiring import build_core

    config = desk.config_of("watch_book", ("BTCUSDT",))
    core = build_core(config, alphas(config), 0)
    hearing = Hearing("kraken_futures", "1m", core.fresh_features(), prints=True)
    feed, told, bars = messages(warm_up + count), 0, 0
    before = most = 0.0
    began = time.process_time()
    for i, message in enumerate(feed):
        if isinstance(message, Candle):
            offered, found = hearing.bar(message)
            if offered is not None:
                core.on(offered)
            core.on(message)
            bars += 1
        else:
            found = hearing.on(message)
        told += len(found)
        if i == warm_up:
            gc.collect()
            before, began = resident_mib(), time.process_time()
        elif i > warm_up and i % 10_000 == 0:
            most = max(most, resident_mib())
    cpu_s = time.process_time() - began
    if told or core.toxicity.keys() != {"BTCUSDT"}:
        raise SystemExit(f"{told} faults were found in messages without any")
    gc.collect()
    after = resident_mib()
    print(
        f"{count:,} messages after {warm_up:,}, {bars:,} bars: {before:.1f} MiB, at most {most:.1f}, then {after:.1f}"
    )
    print(f"{cpu_s / count * 1e6:.2f} us a message, the making of it included")
    ratio = after / before
    return {"rounds": 1, "messages": count, "before_mib": before, "after_mib": after, "most_mib": most, "ratio": ratio}


def messages(count: int) -> Iterator[Any]:
    """A snapshot, then prints and diffs in turn at random, and every minute's candle."""
    from flea_lab.model.market import BookDelta, BookSnapshot, Candle, Trade

    rng = np.random.default_rng(3)
    ts = 1_735_689_600_000_000_000
    end = ts + desk.MINUTE_NS
    sides = [tuple((97_000.0 + sign * (1 + i) / 10.0, 1.0) for i in range(DEPTH)) for sign in (-1, 1)]
    yield BookSnapshot(symbol="BTCUSDT", ts_event=ts, ts_recv=ts, seq=0, bids=sides[0], asks=sides[1])
    shape = {"open": 97_000.0, "high": 97_000.0, "low": 97_000.0, "close": 97_000.0, "volume": 1.0}
    for seq in range(1, count):
        ts += STEP_NS
        if ts > end:
            yield Candle(symbol="BTCUSDT", ts_event=end, ts_recv=end, **shape)
            end += desk.MINUTE_NS
        stamp = {"symbol": "BTCUSDT", "ts_event": ts, "ts_recv": ts}
        if seq % 2:
            size = int(rng.integers(1, 2_000)) / 1_000.0
            yield Trade(**stamp, price=97_000.0, qty=size, side="buy" if seq % 3 else "sell", trade_id=seq // 2)
            continue
        levels = rng.integers(0, DEPTH, 10).tolist()
        sizes = (rng.integers(0, 10, 10) / 10.0).tolist()
        changes = [(97_000.0 - (1 + at) / 10.0, size) for at, size in zip(levels[:5], sizes[:5], strict=True)]
        others = [(97_000.0 + (1 + at) / 10.0, size) for at, size in zip(levels[5:], sizes[5:], strict=True)]
        yield BookDelta(**stamp, seq=seq // 2, bids=tuple(changes), asks=tuple(others))


if __name__ == "__main__":
    main()
