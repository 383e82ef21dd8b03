"""The only place that builds: a market from the store, a core, an exchange, a backtest, a sweep, a live session."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import msgspec
import numpy as np
import pandas as pd

from flea_lab.backtest.batch import batch_of
from flea_lab.backtest.cell import build_cell
from flea_lab.backtest.cells import fold_one
from flea_lab.backtest.features import feature_settings, features_needed
from flea_lab.backtest.fold import Folded, fold
from flea_lab.backtest.market import Market, build_market, require_inputs, require_market, tried_on
from flea_lab.backtest.playlist import playlist_of
from flea_lab.backtest.replay import Replayed, replay
from flea_lab.backtest.result import BacktestResult, build_result
from flea_lab.backtest.single import Single, single
from flea_lab.backtest.tape_replay import BarByBar, heard
from flea_lab.clock import WallClock
from flea_lab.config import Alphas, RunConfig, alphas, from_dict
from flea_lab.core import TradingCore
from flea_lab.data.dataset import Dataset, StoredFeatures
from flea_lab.data.features import Featured, features_of
from flea_lab.data.frames import check_candles, content_digest, iso
from flea_lab.data.quality import quality
from flea_lab.data.sources.demo import load_demo
from flea_lab.data.sources.demo_fetch import fetch_demo
from flea_lab.data.store import CandleStore
from flea_lab.data.tape_events import TapeEvents
from flea_lab.errors import DataError
from flea_lab.live.heard import Heard
from flea_lab.live.hearing import Hearing, reads_prints
from flea_lab.model.market import Candle, Funding, Heartbeat
from flea_lab.money import rate_e8
from flea_lab.runs import code_state
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.trials import note_trials
from flea_lab.wiring_live import build_core as build_core
from flea_lab.wiring_live import live_session as live_session
from flea_lab.workspace import workspace

if TYPE_CHECKING:
    from flea_lab.live.rehearsal import Progress


@dataclass(frozen=True)
class Loaded:
    """A market with what a report says of it: where it came from, how good it is, which partitions it was read from."""

    market: Market
    candles: dict[str, pd.DataFrame]
    source: str
    synthetic: bool
    quality: dict[str, dict[str, Any]]
    data: list[dict[str, Any]]


def store() -> CandleStore:
    """The candle store of this workspace."""
    return CandleStore(workspace().store)


def load_market(config: RunConfig) -> Loaded:
    """The market of `config` from the store, its digests checked; `DataError` says what is missing."""
    candles, funding, features, data = {}, {}, {}, []
    sources, synthetic, needed = [], False, features_needed(config, alphas(config))
    held = store()
    start, end = common_range(config, held)
    for symbol in config.symbols:
        key = Dataset(config.data.venue, symbol, config.interval)
        info = held.info(key)
        candles[symbol] = held.read(key, start, end)
        if config.costs.funding:
            funding[symbol] = held.read_funding(config.data.venue, symbol, start, end)
        measured = held.features_info(key) if needed else None
        if measured is not None:
            features[symbol] = held.read_features(key, start, end)
        sources.append(info.source)
        synthetic |= info.synthetic
        data.append(
            {
                "venue": key.venue,
                "symbol": symbol,
                "interval": key.interval,
                "rows": len(candles[symbol]),
                "first_ms": int(candles[symbol]["ts"].iloc[0]),
                "last_ms": int(candles[symbol]["ts"].iloc[-1]),
                "settlements": len(funding.get(symbol, ())),
                "partitions": {part.month: part.digest for part in info.partitions},
                "range_ms": [start, end],
                "content": {
                    name: content_digest(frame)
                    for name, frame in (("candles", candles[symbol]), ("funding", funding.get(symbol)))
                    if frame is not None
                },
            }
            | ({} if measured is None else {"features": {part.month: part.digest for part in measured.partitions}})
        )
    market = build_market(config, candles, funding, features)
    found = {symbol: quality(frame, config.interval).to_dict() for symbol, frame in candles.items()}
    return Loaded(market, candles, ", ".join(dict.fromkeys(sources)), synthetic, found, data)


def store_features(
    config: RunConfig,
    symbol: str,
    events: Iterable[Any],
    source: str,
    *,
    closed_by: Literal["candle", "clock"] = "candle",
    replace: bool = False,
) -> StoredFeatures:
    """What is stored of the features of `symbol` once those of `events` were added, measured as `config` does.

    `events` are the recorded messages in the order in which they came; `source` names them. See `features_of`.
    """
    how = feature_settings(config)[symbol]
    frame = features_of(events, config.interval, how, symbol, closed_by=closed_by)
    key = Dataset(config.data.venue, symbol, config.interval)
    return store().write_features(key, Featured(frame, how), source, replace=replace)


def common_range(config: RunConfig, held: CandleStore) -> tuple[int, int]:
    """The half-open range of bar opens, ms UTC, that every symbol's stored candles cover, within the config's own.

    A symbol that ended early would leave its position unmarked, so the account ends with the first to end. `DataError`
    where the symbols have no time in common.
    """
    stored = {s: held.info(Dataset(config.data.venue, s, config.interval)) for s in config.symbols}
    start = max(info.first_ms for info in stored.values())
    end = min(info.last_ms for info in stored.values()) + config.interval_ms
    if not start < end:
        spans = ", ".join(f"{s} {iso(info.first_ms)} to {iso(info.last_ms)}" for s, info in stored.items())
        raise DataError(f"the symbols of config {config.name!r} share no time: {spans}")
    asked_start, asked_end = config.data.start_ms, config.data.end_ms
    low = start if asked_start is None else max(start, asked_start)
    high = end if asked_end is None else min(end, asked_end)
    if not low < high:
        raise DataError(
            f"config {config.name!r} asks for {config.data.start or 'the first'} to {config.data.end or 'the last'}, "
            f"stored are {iso(start)} to {iso(end)}"
        )
    return low, high


def run_rehearsal(
    config: RunConfig, market: Market, start: int, folder: Path, *, console: TextIO, progress: "Progress | None" = None
) -> Path:
    """The journal, in `folder`, of a live session of `config` on a sandbox that plays `market` from bar `start`.

    What lies before `start` is the history that the session warms up on, all of it, as sweep and replay have it.
    """
    from flea_lab.live.rehearsal import rehearse  # a runner and its sockets: not for who only counts

    found, _ = prepare(config, market)
    first = str(np.datetime64(int(market.open_ms[start]), "ms"))
    days = (int(market.open_ms[-1]) + market.interval_ms - int(market.open_ms[start])) / 86_400_000
    settings = SandboxSettings(port=0, start=first, days=days, leverage=100.0, faucet_usd=config.initial_cash_usd)
    live = msgspec.structs.replace(config.live, history_bars=max(start, 1), reconcile_pause_s=1.0, dead_man_s=0.0)

    def core(prefix: str, cash_uusd: int, limit_ttl_ns: int | None) -> TradingCore:
        return build_core(config, found, 0, prefix=prefix, limit_ttl_ns=limit_ttl_ns, cash_uusd=cash_uusd)

    return rehearse(
        msgspec.structs.replace(config, live=live),
        core,
        found.warmup,
        playlist_of(market),
        with_costs(settings, config.costs.fee_bps, config.costs.slippage_bps),
        folder,
        console=console,
        code=code_state(config).digest,
        progress=progress,
    )


def build_exchange(config: RunConfig) -> NextOpenMatching:
    """The simulated exchange of the config's fill rule."""
    return NextOpenMatching(config.instruments, rate_e8(config.costs.fee_bps), rate_e8(config.costs.slippage_bps))


def trading_start(market: Market, found: Alphas, place: str) -> int:
    """Position of the first bar that may be decided on: the last of the warm-up. `DataError` if the market is
    shorter."""
    start = found.warmup - 1
    if start >= market.n - 1:
        raise DataError(f"{market.n} bars are too few: the signals of {place} need {found.warmup} to warm up and more")
    return start


def prepare(config: RunConfig, market: Market) -> tuple[Alphas, int]:
    """The alphas of `config` and the first bar it may decide on; refuses another's market, and a missing input."""
    require_market(config, market)
    found = alphas(config)
    features_needed(config, found)
    require_inputs(market, found, config.risk.vpin)
    return found, trading_start(market, found, f"config {config.name!r}")


def _start(market: Market, own: int, asked: int | None) -> int:
    """The bar from which a run trades: the one asked for, else the end of its own warm-up."""
    if asked is None:
        return own
    if not 0 <= asked < market.n:
        raise DataError(f"start = {asked}: the market has bars 0 to {market.n - 1}")
    return asked


def run_fold(config: RunConfig, market: Market, start: int | None = None, *, curves: bool = False) -> Folded:
    """One config through the compiled fold, its decisions recorded."""
    found, first = prepare(config, market)
    start = _start(market, first, start)
    if not curves:
        return fold_one(batch_of([config]), market, start)
    return fold(market, found.kernels, build_cell(config, found), start, curves=True)


def run_single(config: RunConfig, market: Market, start: int | None = None) -> Single:
    """One config to its statistics, equity, fills and round trips, the fastest way: to the bit what fold and replay
    find, without what a person reads of it (`run_backtest`). It counts among what was tried on its data."""
    found, first = prepare(config, market)
    note_trials(workspace(), tried_on(config, market), [config.id])
    return single(batch_of([config], [found]), market, _start(market, first, start))


def run_replay(
    config: RunConfig, market: Market, start: int | None = None, *, progress: bool = False
) -> tuple[Replayed, TradingCore]:
    """One config through the core; the core as it stands after the last event."""
    found, first = prepare(config, market)
    core = build_core(config, found, int(market.close_ns[_start(market, first, start)]))
    return replay(market, core, build_exchange(config), progress=progress), core


def market_of_tape(config: RunConfig, path: Path, *, progress: bool = False) -> tuple[Loaded, TapeEvents]:
    """The bars and settlements on a tape that a desk of `config` would have used, and all else that it would have
    heard. What came late or twice is not among them.
    """
    events = TapeEvents(path, config.symbols, config.interval, progress=progress)
    heard = Heard(config.symbols, config.interval_ms)
    for event in events:
        if isinstance(event, Heartbeat | Funding) or (isinstance(event, Candle) and event.complete):
            heard.on(event)
    candles = {
        symbol: frame.dropna(axis="columns") if len(frame) else frame for symbol, frame in heard.candles().items()
    }
    funding = {symbol: frame for symbol, frame in heard.funding().items() if len(frame)}
    return market_from_frames(config, candles, funding, source=f"tape {path.name}"), events


def replay_tape(
    config: RunConfig, path: Path, start: int | None = None, *, progress: bool = False
) -> tuple[Replayed, TradingCore]:
    """One config through the core on what a tape says, prints and books included, with the simulated exchange; the
    core as it stands after the last event. `start` as in `run_replay`. What a live session would not have decided on,
    by what was wrong with the data, this does not either."""
    loaded, events = market_of_tape(config, path, progress=progress)
    market, found = loaded.market, alphas(config)
    features_needed(config, found)
    told = replace(
        market, features=np.zeros_like(market.features)
    )  # they are measured of prints and books, as they are live
    require_inputs(told, found, config.risk.vpin)
    first = trading_start(market, found, f"config {config.name!r} on {path.name}")
    core = build_core(config, found, int(market.close_ns[_start(market, first, start)]))
    ear = Hearing(
        events.rules,
        config.interval,
        core.fresh_features(),
        wall_clock=events.wall_clock,
        tolerance=config.tolerance,
        prints=reads_prints(config),
        frozen_after=config.live.frozen_after,
    )
    piece = BarByBar(heard(events.told(), ear), path.name)
    return replay(market, core, build_exchange(config), heard=piece, progress=progress), core


def run_backtest(
    config: RunConfig, loaded: Loaded | None = None, *, start: int | None = None, progress: bool = False
) -> BacktestResult:
    """The whole backtest of `config`, through the core, on the stored market unless one is given.

    `start` is the bar from which it may trade; by default the end of its own warm-up. It counts among what was tried on
    these data.
    """
    loaded = load_market(config) if loaded is None else loaded
    found, first = prepare(config, loaded.market)
    note_trials(workspace(), tried_on(config, loaded.market), [config.id])
    first = max(_start(loaded.market, first, start), first)
    core = build_core(config, found, int(loaded.market.close_ns[first]))
    seen = replay(loaded.market, core, build_exchange(config), progress=progress)
    return build_result(
        config,
        found,
        loaded.market,
        seen,
        core.ledger.book,
        first,
        loaded.candles,
        source=loaded.source,
        synthetic=loaded.synthetic,
        quality=loaded.quality,
        data=loaded.data,
    )


def market_from_frames(
    config: RunConfig,
    candles: Mapping[str, pd.DataFrame],
    funding: Mapping[str, pd.DataFrame] | None = None,
    features: Mapping[str, Featured] | None = None,
    *,
    source: str = "given frames",
) -> Loaded:
    """A market from frames in hand, for notebooks and tests; nothing is stored. `DataError` for a faulty frame."""
    for symbol, frame in candles.items():
        check_candles(frame, config.interval, f"the frame of {symbol}")
    found = {symbol: quality(frame, config.interval).to_dict() for symbol, frame in candles.items()}
    return Loaded(build_market(config, candles, funding, features), dict(candles), source, False, found, [])


def demo_config(
    symbols: Sequence[str] = ("BTCUSDT",), interval: str = "1m", days: int = 30, *, online: bool = False
) -> RunConfig:
    """The seed strategy on the demo's market, which is brought into the store where it is not there yet.

    Recorded candles where `FLEA_DATA_DIR` names them; else, with `online`, what an exchange answers at once; else the
    synthetic market; at most the last `days` days.
    """
    held = CandleStore(workspace().ready().store)

    def fetched() -> bool:
        return fetch_demo(held, symbols, interval, WallClock())

    demo = load_demo(held, symbols, interval, fetched=fetched if online else None)
    venue = demo.datasets[0].venue
    ends = [store().info(dataset).last_ms for dataset in demo.datasets]
    day = 86_400_000
    start = (min(ends) - days * day) // day * day
    first = max(store().info(dataset).first_ms for dataset in demo.datasets)
    data = {"venue": venue}
    if start > first:
        data["start"] = str(np.datetime64(start, "ms"))
    return from_dict(
        {
            "name": "demo",
            "symbols": list(symbols),
            "interval": interval,
            "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
            "data": data,
        },
        "the demo's config",
    )
