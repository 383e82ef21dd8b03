"""Random batches for the campaign: five configurations each of the same kernels and symbols, over a market of its own.

Each configuration is replayed, folded by itself through the general fold, folded by itself through the sweep's engine,
taken in the quick way of a single backtest where that can do it, and folded with the four others as a sweep folds them.
The replay is the truth: decisions and every metric, of the quick way fills and equity too, to the bit.
"""

import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flea_lab import config as configs
from flea_lab.backtest.features import feature_settings
from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.metrics import METRICS
from flea_lab.backtest.result import metrics_of
from flea_lab.config import RunConfig, alphas, with_values
from flea_lab.data.features import Featured
from flea_lab.data.synthetic import START_MS, synth
from flea_lab.decision import digest
from flea_lab.errors import ConfigError
from flea_lab.model.market import MS_NS
from flea_lab.research.parity import compare
from flea_lab.risk.checks import NAMES
from flea_lab.signal.kernel import FEATURES, Kernel
from flea_lab.signal.ranges import ranges
from flea_lab.signal.registry import builtin_kernels
from flea_lab.wiring import prepare, run_fold, run_replay
from tests.parity.campaign import random_changes, random_tolerance
from tests.parity.planting import Engine, engine

MEMBERS = 5
ROOT = Path(__file__).parents[2]
WRITTEN = sorted(path.stem for path in (ROOT / "bench" / "kernels" / "corpus").glob("*.py"))
SETS: dict[str, tuple[str, ...]] = {
    "seed": ("ema_momentum", "rsi_reversion"),
    "features": tuple(sorted(name for name, found in builtin_kernels().items() if found.is_alpha)),
    "lone": ("paced",),
    "crossing": ("ema_cross", "turning", "tick_imbalance"),
    "written": tuple(WRITTEN),
}
GRIDS = {
    "BTCUSDT": (60_000.0, "0.1", "0.001", 60.0),
    "ETHUSDT": (3_000.0, "0.01", "0.001", 900.0),
    "SOLUSDT": (150.0, "0.001", "0.0001", 9_000.0),  # a lot at a tick is a tenth of a micro-dollar
    "XRPUSDT": (2.0, "0.0001", "0.1", 300_000.0),
}
MINUTES = {"1m": 1, "5m": 5, "1h": 60, "4h": 240}
LONGEST = 150
"""Bars of a drawn window at most: markets are short."""


class Drawn(NamedTuple):
    """A batch: its configurations, their market, the bar from which all of them trade; how its columns are cut."""

    kernels: str
    configs: tuple[RunConfig, ...]
    market: Market
    start: int
    block: int
    column_bytes: int
    together: int = MEMBERS
    """How many configurations go through the market together at most."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(alpha.kernel for alpha in self.configs[0].signals)


class Truth(NamedTuple):
    """What the replay of one configuration came to."""

    decisions: str
    metrics: tuple[float, ...]
    codes: tuple[int, ...]
    spoke: tuple[str, ...]
    account: str


def told(fills: Any, equity: Any) -> str:
    """The digest of fills (time, row of the symbol, signed lots, price, fee, reference) and of an equity curve."""
    return hashlib.sha256(repr([tuple(map(int, fill)) for fill in fills]).encode() + equity.tobytes()).hexdigest()


@contextmanager
def written_kernels(folder: Path) -> Iterator[None]:
    """A workspace in `folder` with the kernels that are not built in."""
    signals = folder / "signals"
    signals.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / "bench" / "kernels").rglob("*.py"), *(ROOT / "tests" / "kernels").glob("*.py")]:
        shutil.copy(path, signals)
    before = os.environ.get("FLEA_HOME")
    os.environ["FLEA_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("FLEA_HOME")
        os.environ |= {} if before is None else {"FLEA_HOME": before}


def base(rng: np.random.Generator, kernels: str, n_symbols: int) -> RunConfig:
    """What the configurations of a batch have in common."""
    names = [list(GRIDS)[at] for at in rng.permutation(len(GRIDS))[:n_symbols]]
    least = str(rng.choice([0, 5, 100]))
    risk: dict[str, Any] = {}
    if kernels == "features":
        buckets = {name: GRIDS[name][3] for name in names}
        risk = {"vpin": {"source": "trades", "window": 20, "limit": 0.7, "bucket_volume": buckets}}
    return configs.from_dict(
        {
            "name": f"drawn-{kernels}",
            "symbols": names,
            "interval": str(rng.choice(list(MINUTES), p=[0.4, 0.2, 0.3, 0.1])),
            "signals": [{"kernel": name} for name in SETS[kernels]],
            "instruments": {
                s: {"tick_size": GRIDS[s][1], "lot_size": GRIDS[s][2], "min_notional_usd": least} for s in names
            },
            "costs": {"funding": kernels == "features" or bool(rng.random() < 0.6)},
            "risk": risk,
            "data": {"venue": "synthetic"},
        }
    )


def parameters(rng: np.random.Generator, kernel: Kernel) -> dict[str, Any]:
    """Parameters of a kernel around its defaults, which it takes."""
    while True:
        values: dict[str, Any] = {}
        for one in ranges(kernel.params):
            if one.choices:
                values[one.name] = one.choices[int(rng.integers(len(one.choices)))]
                continue
            value = one.default * float(np.exp(0.6 * rng.normal())) if one.default else float(rng.uniform(0.0, 0.3))
            value = min(max(value, one.low), one.high)
            values[one.name] = min(round(value), LONGEST) if one.whole else value
        try:
            kernel.load(values, "drawn")
        except ConfigError:
            continue
        return values


def member(rng: np.random.Generator, common: RunConfig) -> RunConfig:
    """One configuration of a batch."""
    kernels, names = alphas(common).kernels, [alpha.kernel for alpha in common.signals]
    buckets = {symbol: GRIDS[symbol][3] for symbol in common.symbols}
    heads = (*SETS["seed"], "costs.funding")
    drawn = random_changes(rng, None if common.risk.vpin.source == "trades" else buckets)
    changes = {path: value for path, value in drawn.items() if not path.startswith(heads)}
    for kernel in kernels:
        changes |= {f"{kernel.name}.{name}": value for name, value in parameters(rng, kernel).items()}
    changes |= {f"{name}.weight": 1.0 if rng.random() < 0.3 else float(rng.uniform(0.1, 2.0)) for name in names}
    changes |= random_tolerance(int(rng.integers(2**31)))
    changes |= {
        path: 0.0 for path in ("combination.min_confidence", "combination.min_conviction") if rng.random() < 0.3
    }
    if common.risk.vpin.source == "trades":
        changes["risk.vpin.limit"] = float(rng.uniform(0.2, 0.9))
    if changes["risk.max_daily_loss"] > 0.02:  # loose guards let orders of any account pass
        changes["risk.max_order_usd"] = 10.0 * changes["initial_cash_usd"]
    kind = rng.random()
    if kind < 0.2:  # a stake that is held: long or short of a fixed sum
        changes |= {"sizing.mode": "target", "sizing.basis": "initial", "sizing.rebalance_band": 1.0}
    elif kind < 0.28:  # an account whose positions floats do not hold
        changes |= {"initial_cash_usd": 1e9, "risk.max_order_usd": 1e9, "risk.max_concentration": 10.0}
        changes |= {"sizing.mode": "increment", "sizing.base_fraction": 0.6, "risk.concentration_of": "equity"}
    return with_values(common, changes, "drawn")


def market(rng: np.random.Generator, config: RunConfig) -> Market:
    """A market of a few seams and days; in one of two, bars are missing and one symbol begins late, one ends early."""
    step, n = MINUTES[config.interval] * 60_000, int(rng.integers(700, 1_500))
    begin = START_MS + int(rng.integers(1_440)) * step
    holes, candles, funding = bool(rng.random() < 0.5), {}, {}
    volatility = float(rng.uniform(0.02, 0.5)) * (0.3 if step > 600_000 else 1.0)
    for at, symbol in enumerate(config.symbols):
        price, tick, _, bucket = GRIDS[symbol]
        kind = ("mixed", "jump", "gap", "toxic")[int(rng.integers(4))]
        frame = synth(
            kind, rng, n, config.interval, begin, price=price, tick=float(tick), volatility=volatility,
            volume=bucket * 100.0,
        )  # fmt: skip
        if holes:
            keep = rng.random(len(frame)) > 0.03
            keep[: 30 * at] = at == 0
            keep[len(frame) - 25 * (at % 2) :] = False
            frame = frame[keep].reset_index(drop=True)
        candles[symbol] = frame
        times = np.arange(begin, begin + n * step, 3_600_000 * int(rng.choice([1, 8]))) + int(rng.choice([0, 1_000]))
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 1e-3, len(times))})
    return build_market(config, candles, funding, features(rng, config, candles))


def features(rng: np.random.Generator, config: RunConfig, candles: dict[str, pd.DataFrame]) -> dict[str, Featured]:
    """Numbers for every feature, some of them missing; none where no kernel reads any."""
    if config.risk.vpin.source != "trades":
        return {}
    out = {}
    for symbol, frame in candles.items():
        n = len(frame)
        lean = np.tanh(np.cumsum(rng.normal(0.0, 0.2, n)) * 0.3)
        columns = {
            "imbalance": lean,
            "spread_bps": np.exp(rng.normal(0.0, 0.7, n)),
            "trades": rng.integers(0, 40, n).astype(float),
            "trade_imbalance": np.clip(lean + rng.normal(0.0, 0.3, n), -1.0, 1.0),
            "vpin": rng.random(n),
            "current_rate": rng.normal(0.0, 2e-3, n),
            "predicted_rate": rng.normal(0.0, 2e-3, n),
            "hours_to_funding": rng.uniform(0.0, 8.0, n),
        }
        table = pd.DataFrame({name: columns[name] for name in FEATURES}).mask(rng.random((n, len(FEATURES))) < 0.03)
        out[symbol] = Featured(pd.concat([frame[["ts"]], table], axis=1), feature_settings(config)[symbol])
    return out


@functools.lru_cache(maxsize=8)
def drawn(number: int) -> Drawn:
    """Batch `number`: kernels and count of symbols in turn, everything else at random."""
    rng = np.random.default_rng([20_261_123, number])
    kernels = list(SETS)[number % len(SETS)]
    common = base(rng, kernels, 1 + number // len(SETS) % len(GRIDS))
    found = market(rng, common)
    members = tuple(member(rng, common) for _ in range(MEMBERS))
    start = max(prepare(config, found)[1] for config in members)
    block, column_bytes = int(rng.choice([64, 200, 1_024])), int(rng.choice([1, 1 << 20]))
    return Drawn(kernels, members, found, start, block, column_bytes, 2 if number % 3 == 0 else MEMBERS)


@functools.cache
def truth(number: int) -> tuple[Truth, ...]:
    """What the replays of batch `number` came to."""
    return truth_of(drawn(number))


def truth_of(one: Drawn) -> tuple[Truth, ...]:
    """What the replay of each configuration of `one` came to."""
    out = []
    for config in one.configs:
        seen, core = run_replay(config, one.market, one.start)
        found = metrics_of(config, one.market, seen, core.ledger.book, one.start)
        spoke = (np.nan_to_num(seen.opinions[..., 1]) > 0.0).any(axis=(0, 1))
        names = tuple(name for name, said in zip(one.names, spoke.tolist(), strict=True) if said)
        codes = np.bincount(seen.decisions["code"].astype(np.int64), minlength=len(NAMES))
        metrics = tuple(float(found[name]) for name in METRICS)
        fills = [
            (f.ts_event, config.symbols.index(f.symbol), f.lots if f.side == "buy" else -f.lots, f.price_ticks,
             f.fee_uusd, f.reference_ticks) for f in seen.fills
        ]  # fmt: skip
        account = told(fills, seen.equity[one.start :])
        out.append(Truth(digest(seen.decisions, config.symbols), metrics, tuple(codes.tolist()), names, account))
    return tuple(out)


def differences(number: int, by: Engine | None = None) -> Iterator[str]:
    """Where the sweep's engine differs from the replays of batch `number`."""
    return parting(f"batch {number}", drawn(number), truth(number), by or engine())


def parting(place: str, one: Drawn, truths: tuple[Truth, ...], by: Engine) -> Iterator[str]:
    """Where `by` differs from the replays of `one`: alone with decisions, then all together."""
    for at, (config, right) in enumerate(zip(one.configs, truths, strict=True)):
        alone = by.fold_one(by.batch_of([config]), one.market, one.start)
        if digest(alone.decisions, config.symbols) != right.decisions:
            yield f"{place} config {at}: decisions"
        yield from _metrics(f"{place} config {at}", alone.metrics, right)
        yield from _quick(f"{place} config {at} the quick way", config, one, right, by)
    kept = by.cells.BLOCK, by.cells.COLUMN_BYTES, by.cells.most_cells
    by.cells.BLOCK, by.cells.COLUMN_BYTES, most = one.block, one.column_bytes, by.cells.most_cells
    by.cells.most_cells = lambda batch, n_symbols: min(one.together, most(batch, n_symbols))
    try:
        together = by.fold_batch(by.batch_of(one.configs), one.market, one.start)
    finally:
        by.cells.BLOCK, by.cells.COLUMN_BYTES, by.cells.most_cells = kept
    for at, (row, right) in enumerate(zip(together, truths, strict=True)):
        yield from _metrics(f"{place} config {at} with the others", row, right)


def quick(config: RunConfig, one: Drawn, by: Engine) -> Any:
    """What the quick way of a single backtest came to, its blocks as long as the batch says; None where it can't."""
    batch, bars = by.batch_of([config]), by.alone.BARS
    by.alone.BARS = one.block
    try:
        return by.alone.play(batch, one.market, one.start) if by.alone.fits(batch, one.market) else None
    finally:
        by.alone.BARS = bars


def _quick(place: str, config: RunConfig, one: Drawn, right: Truth, by: Engine) -> Iterator[str]:
    found = quick(config, one, by)
    if found is None:
        return
    if digest(found.folded.decisions, config.symbols) != right.decisions:
        yield f"{place}: decisions"
    fills = [(one.market.open_ms[row[0]] * MS_NS, *row[1:6]) for row in found.fills]
    if told(fills, found.equity) != right.account:
        yield f"{place}: fills or equity"
    yield from _metrics(place, found.folded.metrics, right)


def parted(number: int) -> list[str]:
    """Where the general fold of each configuration of batch `number` parts from its replay, curves and opinions too."""
    one, out = drawn(number), []
    for at, (config, right) in enumerate(zip(one.configs, truth(number), strict=True)):
        folded = run_fold(config, one.market, one.start, curves=True)
        report = compare(config, one.market, one.start, folded, run_replay(config, one.market, one.start)[0])
        out += [] if report.equal else [f"batch {number} config {at}, general fold: {report.text()}"]
        out += _metrics(f"batch {number} config {at}, general fold", folded.metrics, right)
    return out


def _metrics(place: str, found: Any, right: Truth) -> list[str]:
    pairs = zip(METRICS, np.asarray(found).tolist(), right.metrics, strict=True)
    return [
        f"{place}: {name} is {a!r}, in the replay {b!r}" for name, a, b in pairs if a != b and not (a != a and b != b)
    ]
