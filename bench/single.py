"""One backtest of a year of minutes to its trade list, warm, beside vectorbt on the same candles and the same trades.

Each engine is a process of its own, turn by turn. A pass goes from candles that lie ready in memory to the statistics,
the equity at every close, the list of fills and the list of round trips; every fill and every trip must be the same
before a figure is printed. Once it ends with these lists as records, and once more ("table") with the frame of round
trips that a person reads. The last line is JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sweep
from engines.turns import Engine, serve, take_turns

HERE = Path(__file__).resolve()
CROSS = {"fast": [9], "slow": [21]}
BARS = 525_600
CASH_USD = 100e6
"""Enough to pay a year's fees: an account that is ruined stops trading in one engine and not in the other."""


TABLE = "-table"


class Job(NamedTuple):
    """An engine's backtest: `run`, whose first value are its statistics; of what that returns `listed` the fills, trips
    and equity as arrays, and `table` the P&L column, closed trips only, of the frame that a person reads."""

    run: Callable[[], Any]
    listed: Callable[[Any], dict[str, Any]]
    table: Callable[[Any], Any]


def main() -> None:
    """Runs the engines in turns and prints the table, then one line of JSON."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--quick", action="store_true", help="vectorbt's default engine only, five rounds")
    ask.add_argument("--rounds", type=int, default=15, help="timed passes of each engine, the first not counted")
    ask.add_argument("--bars", type=int, default=BARS)
    ask.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.child:
        child(*given.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLEA_HOME"] = folder
        sweep.prepare(Path(folder), {**CROSS, "bars": given.bars})
        names = ["vectorbt-auto"] if given.quick else ["vectorbt-auto", "vectorbt-numba"]
        run(Path(folder), names, given.bars, 5 if given.quick else given.rounds)


def run(folder: Path, others: list[str], bars: int, rounds: int) -> None:
    """The turns, the check and the figures."""
    names = ["flea", *others]
    engines = {name: Engine(HERE, name, folder) for name in (*names, *(name + TABLE for name in names))}
    found = take_turns(list(engines.values()), rounds)
    gaps = [check_same(folder, name, found) for name in others]
    for name in names:
        if found[name + TABLE][1] != found["flea" + TABLE][1]:
            raise SystemExit(f"{name}: the tables differ: {found[name + TABLE][1]} and {found['flea' + TABLE][1]}")
    peaks = {name: engine.end() for name, engine in engines.items()}
    fills, trips = (len(np.load(folder / f"flea-{what}.npy")) for what in ("fills", "trips"))
    print(f"EMA cross on {bars:,} bars to statistics, equity, {fills:,} fills and {trips:,} round trips")
    print(f"every fill and every trip is the same, largest difference of a statistic {max(gaps):.1e}")
    print(f"{'engine':<16}{'CPU ms':>9}{'ns a bar':>10}{'peak MiB':>10}")
    figures: dict[str, Any] = {"bars": bars, "fills": fills, "rounds": rounds, "vectorbt": version("vectorbt")}
    for name, engine in engines.items():
        cpu = engine.median_s
        print(f"{name:<16}{cpu * 1e3:>9.1f}{cpu / bars * 1e9:>10.1f}{peaks[name]:>10.0f}")
        figures[name] = {"cpu_s": cpu, "peak_mib": peaks[name]}
    for key, end, what in (("ratio", "", "records"), ("ratio_table", TABLE, "the table")):
        fastest = min((name + end for name in others), key=lambda name: engines[name].median_s)
        figures[key] = engines[fastest].median_s / engines["flea" + end].median_s
        print(f"to {what}: ratio {figures[key]:.1f} in CPU to {fastest}")
    print(json.dumps(figures))


def check_same(folder: Path, name: str, found: dict[str, Any]) -> float:
    """The largest difference of a statistic; ends where a fill, a trip or the equity at a close is another.

    Fees are whole micro-dollars here, so money is held to that times the number of fills.
    """
    gap = sweep.check_equal(found["flea"], found[name], name)
    ours, theirs = ({w: np.load(folder / f"{n}-{w}.npy") for w in ("fills", "trips", "equity")} for n in ("flea", name))
    for what, exact in (("fills", 3), ("trips", 4)):
        a, b = ours[what], theirs[what]
        if a.shape != b.shape or not np.allclose(a[:, :exact], b[:, :exact], rtol=1e-12, atol=0.0):
            raise SystemExit(f"{name}: {what} differ: {len(a)} and {len(b)}")
        if not np.allclose(a[:, exact:], b[:, exact:], rtol=0.0, atol=1e-5):
            raise SystemExit(f"{name}: money of {what} differs by {np.abs(a[:, exact:] - b[:, exact:]).max()}")
    if not np.allclose(ours["equity"], theirs["equity"], rtol=1e-9, atol=0.0):
        raise SystemExit(f"{name}: the equity differs")
    return gap


def child(name: str, folder: str) -> None:
    """Serves one engine; what a pass lists is written down after the first, outside of any time that counts."""
    import pandas as pd

    array = np.load(Path(folder) / "candles.npy")
    frame = pd.DataFrame(array, columns=["ts", "open", "high", "low", "close", "volume"]).astype({"ts": np.int64})
    engine, end, _ = name.partition(TABLE)
    ours = engine == "flea"
    job = flea(frame) if ours else with_vectorbt(frame, engine.removeprefix("vectorbt-"), CASH_USD)
    if end:
        serve(lambda: told(job))
        return
    for what, rows in job.listed(job.run()).items():
        np.save(Path(folder) / f"{name}-{what}.npy", rows)
    serve(lambda: job.run()[0])


def told(job: Job) -> list[Any]:
    """A pass with its table: the statistics, and the table's closed trips and their P&L in cents."""
    passed = job.run()
    table = job.table(passed)
    return [passed[0], [len(table), round(float(table.sum()), 2)]]


def flea_config() -> Any:
    """The sweep's config with more cash and the same stake."""
    from flea_lab.config import with_values

    values = {"initial_cash_usd": CASH_USD, "sizing.base_fraction": sweep.STAKE_USD / CASH_USD}
    return with_values(sweep.flea_config("ema_cross"), values, "bench")


def flea(frame: Any) -> Job:
    """The backtest as a user runs it, and what it lists: (bar, side, price; fee), (side, entry, exit, ...; P&L)."""
    from flea_lab.wiring import market_from_frames, run_single

    config = flea_config()
    market = market_from_frames(config, {"BTCUSDT": frame}).market

    def job() -> Any:
        found = run_single(config, market)
        row = [[found.metric(name) for name in sweep.COLUMNS]]
        return row, found, found.fills, found.trips, found.equity

    def listed(passed: Any) -> dict[str, Any]:
        _, _, fills, trips, equity = passed
        grid = config.instruments["BTCUSDT"]
        price = np.array([grid.price(int(ticks)) for ticks in fills["price_ticks"]])
        return {
            "fills": np.column_stack([fills["bar"], np.sign(fills["lots"]), price, fills["fee_uusd"] / 1e6]),
            "trips": np.column_stack(
                [trips["side"], trips["entry_bar"], trips["exit_bar"], trips["entry_price"], trips["pnl_usd"]]
            ),
            "equity": equity / 1e6,
        }

    return Job(job, listed, lambda passed: passed[1].trades["pnl_usd"])


def with_vectorbt(frame: Any, engine: str, cash_usd: float) -> Job:
    """The same in vectorbt's idiom, see `sweep.with_vectorbt`; its lists are its records, its table the readable frame
    that it makes of its trades."""
    import pandas as pd
    import vectorbt

    vectorbt.settings["engine"] = engine
    frame = frame.set_axis(pd.to_datetime(frame["ts"], unit="ms"))
    start, close = CROSS["slow"][0] - 1, frame["close"]
    lots = np.floor(sweep.STAKE_USD / (close * sweep.LOT) + 1e-9) * sweep.LOT

    def job() -> Any:
        fast = vectorbt.MA.run(close, window=CROSS["fast"][0], ewm=True, short_name="fast")
        slow = vectorbt.MA.run(close, window=CROSS["slow"][0], ewm=True, short_name="slow")
        up, down = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
        above = bool(fast.ma.iloc[start] > slow.ma.iloc[start])
        up, down = up.iloc[start:].copy(), down.iloc[start:].copy()
        up.iloc[0], down.iloc[0] = above, not above
        pf = vectorbt.Portfolio.from_signals(
            close.iloc[start:],
            entries=up.vbt.signals.fshift(1),
            short_entries=down.vbt.signals.fshift(1),
            price=frame["open"].iloc[start:],
            size=lots.shift(1).iloc[start:],
            fees=sweep.FEE_BPS / 1e4,
            init_cash=cash_usd,
            freq=pd.Timedelta(1, unit="min"),
        )
        return sweep.statistics(pf), pf, pf.orders.values, pf.trades.values, pf.value()

    def listed(passed: Any) -> dict[str, Any]:
        _, _, orders, trades, value = passed
        closed = trades[trades["status"] == 1]
        return {
            "fills": np.column_stack(
                [orders["idx"] + start, np.where(orders["side"] == 0, 1, -1), orders["price"], orders["fees"]]
            ),
            "trips": np.column_stack(
                [
                    np.where(closed["direction"] == 0, 1, -1),
                    closed["entry_idx"] + start,
                    closed["exit_idx"] + start,
                    closed["entry_price"],
                    closed["pnl"],
                ]
            ),
            "equity": value.to_numpy(),
        }

    def table(passed: Any) -> Any:
        readable = passed[1].trades.records_readable
        return readable.loc[readable["Status"] == "Closed", "PnL"]

    return Job(job, listed, table)


if __name__ == "__main__":
    sys.exit(main())
