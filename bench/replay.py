"""The replay through the live core: beside the compiled fold, beside nautilus_trader, and by the number of fills.

Three parts. The fold of the same config bounds what a replay could reach; both take the same decisions. nautilus_trader
hears the same bars, prints and diffs in an environment of its own, made on demand; both count the same. An order's
cycle costs the same whether it is the thousandth or the twenty-thousandth. The last line is JSON; `ratio` is the
smallest of our events a second over theirs, null where there is no nautilus_trader, and `peer` says why.
"""

import argparse
import cProfile
import json
import math
import os
import pstats
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from engines import desk, nautilus
from engines.turns import Engine, serve, take_turns

HERE = Path(__file__).resolve()
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
FULL = {"bars": 43_200, "watched": 25_000, "order_bars": 5_000, "prints": 200_000, "diffs": 200_000, "rounds": 3}
QUICK = {"bars": 21_600, "watched": 10_000, "order_bars": 2_000, "prints": 50_000, "diffs": 50_000, "rounds": 2}
SMOKE = {"bars": 1_500, "watched": 600, "order_bars": 300, "prints": 2_000, "diffs": 2_000, "rounds": 1}
FILLS = {"full": (1_000, 5_000, 20_000), "quick": (1_000, 5_000, 20_000), "smoke": (200, 400)}
KINDS = {
    "bars": "bars",
    "orders": "bars, with orders",
    "trades": "prints",
    "deltas": "diffs of ten levels",
    "singles": "diffs of one level",
}
OURS_ALONE = {
    "trades_unread": "prints that no signal reads",
    "deltas_matched": "diffs of ten, book matching too",
}
DEPTH = 50


def main() -> None:
    """Runs the three parts and prints their figures, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="fewer events, two rounds")
    ask.add_argument("--profile", action="store_true", help="where a replay's time goes, instead of figures")
    ask.add_argument("--rounds", type=int, help="timed passes of each, turn by turn")
    ask.add_argument("--without-peer", action="store_true", help="do not look for nautilus_trader")
    ask.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        serve(desk.run_all(Path(given.child[1])))
        return
    name = "smoke" if given.smoke else "quick" if given.quick else "full"
    settings = dict({"smoke": SMOKE, "quick": QUICK, "full": FULL}[name])
    settings["rounds"] = given.rounds or settings["rounds"]
    if given.profile:
        profile(*market(settings["bars"]))
        return
    figures = {"rounds": settings["rounds"], **beside_the_fold(*market(settings["bars"]), settings["rounds"])}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        prepare(folder, settings)
        figures |= order_cycles(FILLS[name])
        figures |= beside_nautilus(folder, settings["rounds"], peer=not (given.smoke or given.without_peer))
    print(json.dumps(figures))


def market(bars: int) -> tuple[Any, Any]:
    """The seed strategy, every guard's input there but VPIN's, and its market."""
    from flea_lab import config as configs
    from flea_lab.data.sources.demo import synthetic_market
    from flea_lab.wiring import market_from_frames

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


def beside_the_fold(config: Any, loaded: Any, rounds: int) -> dict[str, Any]:
    """The seed strategy's replay and fold in turns; the first pass of each compiles and is not counted."""
    from flea_lab.backtest.fold import fold
    from flea_lab.backtest.result import metrics_of
    from flea_lab.wiring import build_cell, prepare, run_backtest, run_replay

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
    bars, rate = played.n, core_events(played, len(seen.fills)) / s["replay"]
    print(f"seed strategy, {bars:,} bars x 2 symbols, {len(seen.decisions):,} decisions, {len(seen.fills):,} fills")
    print(f"{'way':<28}{'CPU s':>9}{'bars/s':>12}{'us/bar':>9}")
    for name, text in (("fold", "compiled fold"), ("replay", "replay"), ("backtest", "with its frames")):
        print(f"{text:<28}{s[name]:>9.3f}{bars / s[name]:>12,.0f}{s[name] / bars * 1e6:>9.2f}")
    print(f"{rate:,.0f} events a second into the core (candles, settlements, order reports)\n")
    return {
        "seed": {name: {"cpu_s": value, "bars_per_s": bars / value} for name, value in s.items()},
        "seed_events_per_s": rate,
        "fold_ratio": s["fold"] / s["replay"],
    }


def core_events(played: Any, fills: int) -> int:
    """Events that the core takes in: candles, heartbeats for holes, settlements, an acceptance and a fill an order."""
    here = played.close_ticks > 0
    return int(here.sum()) + int((~here).any(axis=0).sum()) + len(played.fund_at) + 2 * fills


def prepare_kernels(folder: Path) -> None:
    """Makes `folder` the workspace of this process, with the kernels of the benchmarks in it."""
    os.environ["FLEA_HOME"] = str(folder)
    shutil.copytree(HERE.parent / "kernels", folder / "signals")


def prepare(folder: Path, settings: dict[str, int]) -> None:
    """Writes the events that both engines hear, and the kernels into the workspace."""
    from flea_lab.data.synthetic import synth

    prepare_kernels(folder)
    (folder / "settings.json").write_text(json.dumps(settings))
    rng, columns = np.random.default_rng(20_261_122), ("open", "high", "low", "close", "volume")
    rows = []
    for row, (price, tick) in enumerate(((60_000.0, 0.1), (3_000.0, 0.01))):
        frame = synth("mixed", rng, settings["watched"], price=price, tick=tick)
        ts = (frame["ts"].to_numpy() + 60_000) * 1_000_000
        rows.append(np.column_stack([ts, np.full(len(ts), row), *(frame[c].round(3) for c in columns)]))
    order = np.argsort(np.concatenate([one[:, 0] for one in rows]), kind="stable")
    bars = np.concatenate(rows)[order]
    np.savez(
        folder / "bars.npz",
        ts=bars[:, 0].astype(np.int64),
        row=bars[:, 1].astype(np.int64),
        **{name: bars[:, 2 + i] for i, name in enumerate("ohlcv")},
    )
    n, start = settings["prints"], int(bars[0, 0])
    ticks = 970_000 + np.cumsum(rng.integers(-3, 4, n))
    np.savez(
        folder / "trades.npz",
        ts=start + np.sort(rng.integers(1, n * 20_000_000, n)),
        price=ticks / 10.0,
        qty=rng.integers(1, 2_000, n) / 1_000.0,
        buy=rng.random(n) < 0.5,
    )
    write_diffs(folder / "deltas.npz", rng, settings["diffs"], 10, start)
    write_diffs(folder / "singles.npz", rng, settings["diffs"], 1, start)


def write_diffs(file: Path, rng: Any, messages: int, levels: int, start: int) -> None:
    """Message 0 is a book of 50 levels a side; each after it changes `levels` levels near its touch, every tenth of
    them a removal."""
    depth, n = np.arange(DEPTH), messages * levels
    buy = np.concatenate([np.ones(DEPTH, bool), np.zeros(DEPTH, bool), rng.random(n) < 0.5])
    level = np.concatenate([depth, depth, np.minimum(rng.geometric(0.15, n) - 1, DEPTH - 1)])
    qty = rng.integers(1, 5_000, len(level)) / 1_000.0
    qty[2 * DEPTH :][rng.random(n) < 0.1] = 0.0
    message = np.concatenate([np.zeros(2 * DEPTH, np.int64), 1 + np.arange(n) // levels])
    times = np.concatenate([[0], np.sort(rng.integers(1, messages * 10_000_000, messages))])
    np.savez(
        file,
        message=message,
        ts=start + times[message],
        buy=buy,
        price=np.where(buy, 970_000 - 1 - level, 970_000 + 1 + level) / 10.0,
        qty=qty,
    )


def order_cycles(counts: tuple[int, ...]) -> dict[str, Any]:
    """CPU of a bar with an order, from its candle to its fill, by how many fills there were; its exponent."""
    from flea_lab.data.synthetic import synth
    from flea_lab.wiring import market_from_frames, run_replay

    config = desk.config_of("every_bar", ("BTCUSDT",))
    frame = synth("chop", np.random.default_rng(7), max(counts) + 1)
    us: dict[int, float] = {}
    for count in (counts[0], *counts):  # the first pass compiles
        played = market_from_frames(config, {"BTCUSDT": frame.iloc[: count + 1]}).market
        took = []
        for _ in range(3):
            began = time.process_time()
            seen, _ = run_replay(config, played)
            took.append(time.process_time() - began)
        if len(seen.fills) != count:
            raise SystemExit(f"{count} orders were due, {len(seen.fills)} filled")
        us[count] = min(took) / count * 1e6
    first, last = counts[0], counts[-1]
    exponent = math.log(us[last] / us[first]) / math.log(last / first)
    print("an order's cycle  " + "   ".join(f"{n:,} fills {cost:.1f} us each" for n, cost in us.items()))
    print(f"its cost grows with the number of fills to the power {exponent:+.3f}\n")
    return {"order_cycle_us": us, "order_cycle_exponent": exponent}


def beside_nautilus(folder: Path, rounds: int, *, peer: bool) -> dict[str, Any]:
    """Our events a second and theirs, kind by kind, in turns; `ratio` is the smallest."""
    python, why = nautilus.environment(cache()) if peer else (None, "not asked for")
    engines = [Engine(HERE, "flea", folder)]
    if python is not None:
        engines.append(Engine(Path(nautilus.__file__), "nautilus", folder, python))
    found = {engine.name: [] for engine in engines}
    for _ in range(rounds + 1):
        for name, told in take_turns(engines, 0).items():
            found[name].append(told)
    for engine in engines:
        engine.end()
    rates = {name: rates_of(passes[1:]) for name, passes in found.items()}
    ours, theirs = rates["flea"], rates.get("nautilus", {})
    if theirs:
        check_equal(folder, found["flea"][0], found["nautilus"][0])
    version = found["nautilus"][0]["version"] if theirs else ""
    print(f"nautilus_trader {version}" if theirs else f"nautilus_trader is not here: {why}")
    print(f"{'events a second':<32}{'flea':>12}{'nautilus':>12}{'ratio':>8}")
    for kind, text in (KINDS | OURS_ALONE).items():
        peers = f"{theirs[kind]:>12,.0f}{ours[kind] / theirs[kind]:>8.1f}" if kind in theirs else f"{'-':>12}{'-':>8}"
        print(f"{text:<32}{ours[kind]:>12,.0f}{peers}")
    ratios = {kind: ours[kind] / theirs[kind] for kind in theirs}
    least = min(ratios.values(), default=None)
    said = f"nautilus_trader {version}" if theirs else why
    return {"events_per_s": ours, "nautilus": theirs, "ratios": ratios, "ratio": least, "peer": said}


def rates_of(passes: list[dict[str, Any]]) -> dict[str, float]:
    """Events a second of every kind: the median of the passes."""
    kinds = [kind for kind in passes[0] if kind != "version"]
    return {kind: statistics.median(one[kind]["events"] / one[kind]["cpu_s"] for one in passes) for kind in kinds}


def check_equal(folder: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Both heard every event and told the same of it: crossings, prints bought, the book's touch at the end."""
    with np.load(folder / "trades.npz") as held:
        first = (held["ts"] - 1) // desk.MINUTE_NS == held["ts"][0] // desk.MINUTE_NS
        begun = int(held["buy"][first].sum())  # a bar whose prints were not heard from its open has no count
    told = {
        "orders": (ours["orders"]["told"], theirs["orders"]["told"]),
        "trades": (ours["trades"]["told"] + begun, theirs["trades"]["told"]),
        "deltas": (ours["deltas"]["told"], theirs["deltas"]["told"]),
        "singles": (ours["singles"]["told"], theirs["singles"]["told"]),
    }
    for kind, (a, b) in told.items():
        if a != b or theirs[kind]["seen"] != theirs[kind]["events"]:
            raise SystemExit(f"{kind}: flea tells {a}, nautilus_trader {b} of {theirs[kind]['seen']} events")


def cache() -> Path:
    """Where the peer's environment is kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flea_lab" / "bench"


def profile(config: Any, loaded: Any) -> None:
    """The 25 functions in which a replay spends its own time."""
    from flea_lab.wiring import run_replay

    run_replay(config, loaded.market)
    profiler = cProfile.Profile()
    profiler.runcall(run_replay, config, loaded.market)
    pstats.Stats(profiler, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
