"""The demo's market: recorded files where FLEA_DATA_DIR names a folder, else what an exchange answers quickly, else a
synthetic market that says so."""

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flea_lab.data.dataset import Dataset, Origin, check_name
from flea_lab.data.frames import interval_ms
from flea_lab.data.sources.files import read_candle_file, read_funding, source_label
from flea_lab.data.store import CandleStore
from flea_lab.data.synthetic import START_MS, synth, synth_funding
from flea_lab.errors import ConfigError, DataError
from flea_lab.model.instrument import KNOWN

SEED = 7
DAYS = 30
PRICES = {"BTCUSDT": (60_000.0, 20_000.0), "ETHUSDT": (3_000.0, 300_000.0)}
"""First price and base volume a day of the synthetic symbols; others start at 100 with 1 000 000 a day."""


@dataclass(frozen=True)
class DemoSource:
    """What the demo runs on: stored datasets in the order asked for, and what every report prints of them."""

    datasets: tuple[Dataset, ...]
    label: str
    synthetic: bool


@dataclass(frozen=True)
class DemoFiles:
    """Recorded files by symbol, each in order of name, and the funding files of their venue."""

    candles: dict[str, tuple[Path, ...]]
    funding: tuple[Path, ...]


def load_demo(
    store: CandleStore,
    symbols: Sequence[str],
    interval: str = "1m",
    *,
    venue: str = "binance_um",
    seed: int = SEED,
    fetched: Callable[[], bool] | None = None,
) -> DemoSource:
    """The demo's datasets, brought into `store` where they are not in it yet.

    Recorded data of `venue` when FLEA_DATA_DIR is set, with its funding; else what `fetched` brought into the store, if
    it says that it did (see `fetch_demo`); else a synthetic market of 30 days made from `seed`, venue "synthetic";
    another synthetic market stored under its name is refused, not overwritten. A file that is stored already is not
    read again, a store read checks it anyway.
    """
    interval_ms(interval, "demo")
    if not symbols:
        raise DataError("demo: no symbol given")
    for symbol in symbols:
        check_name(symbol, "symbol")
    named = os.environ.get("FLEA_DATA_DIR", "").strip()
    if not named and fetched is not None and fetched():
        datasets = tuple(Dataset(venue, symbol, interval) for symbol in symbols)
        return DemoSource(datasets, source_label(datasets[0], tuple(symbols)), synthetic=False)
    if not named:
        return _synthetic(store, tuple(symbols), interval, seed)
    files = find_demo(Path(named).expanduser(), symbols, venue, interval)
    for symbol, paths in files.candles.items():
        _import_candles(store, Dataset(venue, symbol, interval), paths)
    for path in files.funding:
        _import_funding(store, venue, set(symbols), path)
    datasets = tuple(Dataset(venue, symbol, interval) for symbol in symbols)
    return DemoSource(datasets, source_label(datasets[0], tuple(symbols)), synthetic=False)


def find_demo(data_dir: Path, symbols: Sequence[str], venue: str = "binance_um", interval: str = "1m") -> DemoFiles:
    """The recorded files below `data_dir`, at any depth.

    They are named <venue>_<SYMBOL>_<interval>_*.parquet and <venue>_funding*.parquet. A `DataError` names the folder or
    the symbol's file that is missing; funding may be.
    """
    if not data_dir.is_dir():
        raise DataError(f"FLEA_DATA_DIR: no folder {data_dir}")
    files = sorted(path for path in data_dir.rglob(f"{venue}_*.parquet") if path.is_file())
    candles = {}
    for symbol in symbols:
        stem = f"{venue}_{symbol}_{interval}"
        found = tuple(path for path in files if path.stem == stem or path.stem.startswith(f"{stem}_"))
        if not found:
            raise DataError(f"FLEA_DATA_DIR: no file {stem}_*.parquet below {data_dir}")
        candles[symbol] = found
    return DemoFiles(candles, tuple(path for path in files if path.stem.startswith(f"{venue}_funding")))


def _import_candles(store: CandleStore, key: Dataset, paths: tuple[Path, ...]) -> None:
    known = {one.sha256 for stored in store.list() if stored.dataset == key for one in stored.origins}
    for path in paths:
        if hashlib.sha256(path.read_bytes()).hexdigest() in known:
            continue
        found = read_candle_file(path, venue=key.venue, symbol=key.symbol, interval=key.interval)
        origin = Origin(source=source_label(key), synthetic=False, file=found.file, sha256=found.sha256)
        store.write(key, found.frame, origin)


def _import_funding(store: CandleStore, venue: str, symbols: set[str], path: Path) -> None:
    for symbol, frame in read_funding(path).frames.items():
        if symbol in symbols:
            store.write_funding(venue, symbol, frame)


def synthetic_market(
    symbol: str, *, kind: str = "mixed", seed: int = SEED, n_bars: int, interval: str = "1m"
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Candles, funding and label of the synthetic market of `symbol`, on the grid of its known instrument.

    Symbols differ for one seed. The label is "synthetic market (seed 7)", with the kind where it is not "mixed".
    """
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed ({seed}) of a synthetic market must be from 0 to 2**63 - 1")
    check_name(symbol, "symbol")
    grid = KNOWN["synthetic"].get(symbol, {"tick_size": "0.01", "lot_size": "0.01"})
    price, volume = PRICES.get(symbol, (100.0, 1_000_000.0))
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode())])
    tick, lot = float(grid["tick_size"]), float(grid["lot_size"])
    frame = synth(kind, rng, n_bars, interval=interval, price=price, tick=tick, lot=lot, volume=volume)
    # A stream of its own: funding belongs to the symbol, whatever interval its candles have.
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode()), 1])
    funding = synth_funding(rng, START_MS, START_MS + n_bars * interval_ms(interval, "synthetic market"))
    return frame, funding, f"synthetic {'' if kind == 'mixed' else kind + ' '}market (seed {seed})"


def _synthetic(store: CandleStore, symbols: tuple[str, ...], interval: str, seed: int) -> DemoSource:
    datasets = tuple(Dataset("synthetic", symbol, interval) for symbol in symbols)
    stored = {one.dataset: one.source for one in store.list()}
    n_bars = DAYS * 86_400_000 // interval_ms(interval, "demo")
    label = ""
    for key in datasets:
        frame, funding, label = synthetic_market(key.symbol, seed=seed, n_bars=n_bars, interval=interval)
        # A market under this label is the demo's, if of another release; under any other it is somebody's work.
        ours = stored.get(key) == label
        store.write(key, frame, Origin(source=label, synthetic=True), replace=ours)
        store.write_funding(key.venue, key.symbol, funding, replace=ours)
    return DemoSource(datasets, label, synthetic=True)
