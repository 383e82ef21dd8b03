"""Tiny markets on which the sweep's engine has to tell apart what drawn batches seldom bring.

Each is a batch like a drawn one: a handful of configurations, replayed, folded alone and folded together. The bars say
what to do, so that a reader can follow what happens: see `tests.backtest.tiny`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from flea_lab.wiring import prepare
from tests.backtest.tiny import NOON, Bar, config, tiny
from tests.parity.drawn import Drawn, Truth, truth_of

TEN = NOON + 10 * 3_600_000
"""ms UTC: two hours before midnight, so that bar 119 closes on it."""


def said(closes: dict[int, float], orders: dict[int, float], n: int, without: range = range(0)) -> list[Bar]:
    """`n` bars that close on the lines between `closes`, each opening where the last one closed; `orders` are the
    convictions that are not 0."""
    line = np.round(np.interp(range(n), list(closes), list(closes.values())), 2)
    return [(i, line[max(i - 1, 0)], line[i], orders.get(i, 0.0)) for i in range(n) if i not in without]


def a_fall_from_an_earlier_peak(block: int) -> Drawn:
    """A peak, then midnight, or a seam at bar 64; the account is beyond its drawdown from that peak, not from the
    highest equity since. What is asked for afterwards is refused."""
    closes = {0: 100.0, 5: 100.0, 40: 108.0, 60: 104.0, 119: 103.0, 150: 95.0, 200: 95.0}
    risk = {"max_drawdown": 0.1, "max_daily_loss": 1.0}
    market = tiny(config(risk=risk), {"X": said(closes, {2: 1.0, 170: 1.0, 180: -1.0}, 200)}, start_ms=TEN)
    return Drawn("tiny", (config(risk=risk),), market, 0, block, 1 << 20)


def a_midnight_without_a_bar() -> Drawn:
    """No bar closes at midnight: the day's base is the last close before, which is neither the first of the day nor the
    last one of a block. A block ends before the first bar of the day."""
    closes = {0: 100.0, 100: 100.0, 118: 110.0, 121: 107.0, 150: 105.0, 200: 105.0}
    risk = {"max_daily_loss": 0.04, "max_drawdown": 1.0}
    bars = said(closes, {2: 1.0, 170: 1.0, 180: -1.0}, 200, range(119, 122))
    market = tiny(config(risk=risk), {"X": bars}, start_ms=TEN)
    return Drawn("tiny", (config(risk=risk),), market, 0, 17, 1 << 20)


def cents(symbols: tuple[str, ...], mean: float) -> Drawn:
    """Accounts of some dollars, whose positions are a few cents from where they should be: what rounds to whole cents
    decides whether anything is done. Opinions stay for `mean` bars."""
    rng, n = np.random.default_rng([20_261_123, len(symbols), int(mean)]), 700
    bars = {}
    for symbol in symbols:
        line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n))), 2)
        changes = rng.random(n) < 1.0 / mean
        says = np.sin(np.cumsum(rng.normal(0.0, 0.05 * mean, n)))[np.maximum.accumulate(changes * np.arange(n))]
        bars[symbol] = [(i, line[max(i - 1, 0)], line[i], float(says[i])) for i in range(n)]
    grid = {"tick_size": "0.01", "lot_size": "0.0001" if len(symbols) == 1 else "0.000001"}

    def member(basis: str, band: float, fraction: float, mode: str = "target") -> Any:
        sizing = {"mode": mode, "basis": basis, "base_fraction": fraction, "rebalance_band": band}
        return config(symbols, grid, sizing=sizing, initial_cash_usd=20.0)

    configs = (
        member("live", 0.05, 0.1),
        member("initial", 0.05, 0.1),
        member("live", 0.3, 0.05),
        member("live", 1.0, 0.02, "increment"),
    )
    return Drawn("tiny", configs, tiny(configs[0], bars), 0, 200, 1 << 20)


def a_fortune() -> Drawn:
    """A position of more micro-dollars than floats hold one by one."""
    rng, n = np.random.default_rng([20_261_123, 52]), 150
    line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.001, 0.002, n))), 3)
    bars = [(i, line[max(i - 1, 0)], line[i], 1.0 if i < 60 else 0.0) for i in range(n)]
    run = config(
        grid={"tick_size": "0.001", "lot_size": "0.001"},
        sizing={"mode": "increment", "base_fraction": 0.6},
        risk={"max_concentration": 10.0, "max_order_usd": 1e9},
        initial_cash_usd=1e9,
    )
    return Drawn("tiny", (run,), tiny(run, {"X": bars}), 0, 64, 1 << 20)


def pulses() -> Drawn:
    """An opinion that is there for four bars and gone for four, as often as there are lanes."""
    bars = said({0: 100.0, 120: 110.0, 300: 90.0}, {at: 0.5 for at in range(300) if at % 8 < 4}, 300)
    run = config(sizing={"base_fraction": 0.01})
    return Drawn("tiny", (run,), tiny(run, {"X": bars}), 0, 200, 1 << 20)


def latched(symbols: tuple[str, ...]) -> Drawn:
    """Accounts of some dollars that lose more than a day may, hold what they have and lose more than they may at all;
    opinions that are nothing, next to nothing and something, settlements every seven minutes, a midnight."""
    rng, n = np.random.default_rng([20_261_123, len(symbols), 1]), 600
    bars, settled = {}, {}
    for symbol in symbols:
        line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, n))), 2)
        says = np.where(rng.random(n) < 0.02, 1.0, rng.choice([0.0, 0.0, 0.0005, 0.002, -0.3], n))
        bars[symbol] = [(i, line[max(i - 1, 0)], line[i], float(says[i])) for i in range(n)]
        settled[symbol] = [(at, float(rng.normal(0.0, 1e-5))) for at in range(0, n * 60_000, 7 * 60_000)]

    def member(mode: str, basis: str, band: float, daily: float, fall: float) -> Any:
        return config(
            symbols,
            sizing={"mode": mode, "basis": basis, "base_fraction": 0.8, "rebalance_band": band},
            combination={"min_conviction": 0.0},
            risk={"max_daily_loss": daily, "max_drawdown": fall},
            costs={"funding": True, "slippage_bps": 1.0},
            initial_cash_usd=20.0,
        )

    modes = ("increment", "live"), ("target", "live"), ("target", "initial")
    runs = [member(*mode, *case) for mode in modes for case in ((0.0, 0.01, 0.03), (0.05, 1.0, 0.01))]
    return Drawn("tiny", tuple(runs), tiny(runs[0], bars, settled, TEN), 0, 64, 1 << 20, len(runs))


def confidences() -> Drawn:
    """Two configurations of one alpha of weight 1, one of which leaves out what the other takes. On some bars its
    confidence is exactly the threshold."""
    orders = {at: (0.25, -0.25, 0.01, 0.81)[at // 3 % 4] for at in range(0, 200, 3)}
    least = ({"min_confidence": value, "min_conviction": 0.01} for value in (0.0, 0.5))
    both = tuple(config(combination=asked, sizing={"base_fraction": 0.1}) for asked in least)
    market = tiny(both[0], {"X": said({0: 100.0, 90: 110.0, 200: 90.0}, orders, 200)})
    return Drawn("tiny", both, market, 0, 64, 1 << 20)


def stacked() -> Drawn:
    """Windows of the past of windows, and averages of it, over two symbols of which one begins late: what a block keeps
    of columns that stand for others, and of averages of which some begin in it."""
    rng, n = np.random.default_rng([20_261_123, 53]), 400
    bars = {}
    for at, symbol in enumerate(("X", "Y")):
        line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n))), 2)
        bars[symbol] = [(i, line[max(i - 1, 0)], line[i], 0.0) for i in range(45 * at, n) if i % 40]

    def member(window: int, back: int) -> Any:
        kernel = {"kernel": "stacked", "params": {"window": window, "back": back}}
        return config(("X", "Y"), signals=[kernel], sizing={"mode": "target", "base_fraction": 0.3})

    runs = tuple(member(*asked) for asked in ((9, 4), (13, 2), (30, 30), (16, 3), (5, 60), (40, 30)))
    market = tiny(runs[0], bars)
    start = max(prepare(run, market)[1] for run in runs)
    return Drawn("tiny", runs, market, start, 64, 1 << 20, len(runs))


def undisturbed() -> Drawn:
    """An account that no latch ends: opinions for twenty bars, settlements, a midnight, minutes without a bar within a
    block and between two, orders that are too large; what slips and costs is not nothing."""
    rng, n = np.random.default_rng([20_261_123, 3]), 400
    line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, n))), 2)
    says = rng.choice([-1.0, -0.4, 0.0, 0.5, 1.0], n)[np.maximum.accumulate((rng.random(n) < 0.05) * np.arange(n))]
    lacks = {*range(70, 74), *range(127, 131), 300}
    bars = {"X": [(i, line[max(i - 1, 0)], line[i], float(says[i])) for i in range(n) if i not in lacks]}
    settled = {"X": [(at, float(rng.normal(0.0, 1e-3))) for at in range(0, n * 60_000, 7 * 60_000)]}

    def member(mode: str, basis: str, band: float, most: float) -> Any:
        return config(
            sizing={"mode": mode, "basis": basis, "base_fraction": 0.2, "rebalance_band": band},
            risk={"max_daily_loss": 1.0, "max_drawdown": 1.0, "max_order_usd": most, "max_concentration": 10.0},
            costs={"funding": True, "slippage_bps": 1.0, "fee_bps": 5.0},
        )

    modes = ("target", "live"), ("target", "initial"), ("increment", "live")
    runs = tuple(member(*mode, band, most) for mode in modes for band, most in ((0.3, 15_000.0), (1.0, 1e6)))
    return Drawn("tiny", runs, tiny(runs[0], bars, settled, TEN), 0, 64, 1 << 20, len(runs))


def columns_of_both_kinds() -> Drawn:
    """Opinions that change on every bar between some that seldom do: what one column leaves is another's place."""
    rng, n = np.random.default_rng([20_261_123, 7]), 400
    line = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.003, n))), 2)
    says = np.where(rng.random(n) < 0.02, 1.0, rng.choice([0.05, -0.1, 0.2, -0.3], n))
    bars = [(i, line[max(i - 1, 0)], line[i], float(says[i])) for i in range(n)]

    def member(threshold: float) -> Any:
        params = {"window": 1, "threshold": threshold, "full_scale": 1.0}
        sizing = {"mode": "target", "base_fraction": 0.5, "rebalance_band": 0.05}
        return config(signals=[{"kernel": "tick_imbalance", "params": params}], sizing=sizing)

    runs = tuple(member(threshold) for threshold in (0.0, 0.9, 0.25, 0.8, 0.4))
    return Drawn("tiny", runs, tiny(runs[0], {"X": bars}), 0, 200, 1 << 20)


STAGED: dict[str, Callable[[], Drawn]] = {
    "peak_before_midnight": lambda: a_fall_from_an_earlier_peak(1_024),
    "peak_before_a_seam": lambda: a_fall_from_an_earlier_peak(64),
    "midnight_without_a_bar": a_midnight_without_a_bar,
    "cents": lambda: cents(("X",), 1.5),
    "cents_for_long": lambda: cents(("X",), 40.0),
    "cents_of_two": lambda: cents(("X", "Y"), 10.0),
    "fortune": a_fortune,
    "confidences": confidences,
    "pulses": pulses,
    "undisturbed": undisturbed,
    "both_kinds": columns_of_both_kinds,
    "latched": lambda: latched(("X",)),
    "latched_two": lambda: latched(("X", "Y")),
    "stacked": stacked,
}


@functools.cache
def staged(name: str) -> tuple[Drawn, tuple[Truth, ...]]:
    """A tiny batch, and what its replays came to."""
    one = STAGED[name]()
    return one, truth_of(one)
