"""The replay through the live core, beside the same config through the compiled fold: what the messages cost.

The seed strategy on two symbols of a seeded synthetic market. The fold bounds what a replay could reach; both take the
same decisions, which is asserted before a figure is printed. The last line is JSON; `ratio` is fold time / replay time.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from flea_lab import config as configs
from flea_lab.backtest.fold import fold
from flea_lab.backtest.market import Market
from flea_lab.backtest.result import metrics_of
from flea_lab.config import RunConfig
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.wiring import Loaded, build_cell, market_from_frames, prepare, run_backtest, run_replay

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
BARS, QUICK, SMOKE = 43_200, 21_600, 1_500


def main() -> None:
    """Replays and folds turn by turn and prints the figures, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="half the bars, two rounds")
    ask.add_argument("--profile", action="store_true", help="where a replay's time goes, instead of figures")
    ask.add_argument("--rounds", type=int, default=5, help="timed passes of each, turn by turn")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    given = ask.parse_args()
    config, loaded = market(SMOKE if given.smoke else QUICK if given.quick else BARS)
    if given.profile:
        profile(config, loaded)
        return
    measure(config, loaded, 1 if given.smoke else 2 if given.quick else given.rounds)


def market(bars: int) -> tuple[RunConfig, Loaded]:
    """The seed strategy, every guard's input there but VPIN's, and its market."""
    config = configs.from_dict(
        {
            "name": "seed",
            "symbols": SYMBOLS,
            "interval": "1m",
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            # loose, so that it trades to the end
            "risk": {"max_daily_loss": 1.0, "max_drawdown": 1.0},
        }
    )
    made = {symbol: synthetic_market(symbol, n_bars=bars) for symbol in SYMBOLS}
    candles, funding = ({s: found[i] for s, found in made.items()} for i in (0, 1))
    return config, market_from_frames(config, candles, funding)


def measure(config: RunConfig, loaded: Loaded, rounds: int) -> None:
    """The turns and the figures; the first pass of each compiles and is not counted."""
    played = loaded.market
    found, start = prepare(config, played)
    cell = build_cell(config, found)
    works: dict[str, Callable[[], Any]] = {
        "fold": lambda: fold(played, found.kernels, cell, start),
        "replay": lambda: run_replay(config, played, start),
        "backtest": lambda: run_backtest(config, loaded, start=start),
    }
    folded, (seen, core) = works["fold"](), works["replay"]()
    replayed = metrics_of(config, played, seen, core.ledger.book, start)
    if not (
        np.array_equal(folded.decisions, seen.decisions) and list(folded.metrics[:1]) == [replayed["total_return"]]
    ):
        raise SystemExit("the fold and the replay differ: run the parity tests")
    works["backtest"]()
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.process_time()
            work()
            took[name].append(time.process_time() - began)
    s = {name: statistics.median(values) for name, values in took.items()}
    n_events = core_events(played, len(seen.fills))
    bars = played.n
    print(f"seed strategy, {bars:,} bars x 2 symbols, {len(seen.decisions):,} decisions, {len(seen.fills):,} fills")
    print(f"{'way':<28}{'CPU s':>9}{'bars/s':>12}{'us/bar':>9}")
    for name, text in (
        ("fold", "compiled fold"),
        ("replay", "replay through the core"),
        ("backtest", "with its frames"),
    ):
        print(f"{text:<28}{s[name]:>9.3f}{bars / s[name]:>12,.0f}{s[name] / bars * 1e6:>9.2f}")
    rate = n_events / s["replay"]
    print(f"{n_events:,} events into the core (candles, settlements, order reports): {rate:,.0f} a second")
    figures = {name: {"cpu_s": value, "bars_per_s": bars / value} for name, value in s.items()}
    more = {"bars": bars, "symbols": 2, "rounds": rounds, "events_per_s": rate, "ratio": s["fold"] / s["replay"]}
    print(json.dumps({**more, **figures}))


def core_events(played: Market, fills: int) -> int:
    """Events that the core takes in: candles, heartbeats for holes, settlements, an acceptance and a fill an order."""
    here = played.close_ticks > 0
    return int(here.sum()) + int((~here).any(axis=0).sum()) + len(played.fund_at) + 2 * fills


def profile(config: RunConfig, loaded: Loaded) -> None:
    """The 25 functions in which a replay spends its own time."""
    run_replay(config, loaded.market)
    profiler = cProfile.Profile()
    profiler.runcall(run_replay, config, loaded.market)
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
