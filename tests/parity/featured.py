"""A market with its books, prints and funding ahead: synthetic candles, filled in by the sandbox's depth, seeded."""

import functools
import math
from collections.abc import Iterator
from heapq import merge
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from flea_lab import config as configs
from flea_lab.backtest.features import feature_settings
from flea_lab.backtest.market import Market, build_market
from flea_lab.config import RunConfig
from flea_lab.data.features import Featured, features_of
from flea_lab.data.synthetic import START_MS, synth
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.sandbox.depth import DepthSettings, synthesise

MINUTE = 60_000
BARS = 1_500
GRIDS = {"BTCUSDT": (60_000.0, 0.1), "ETHUSDT": (3_000.0, 0.01)}
BUCKETS = {"BTCUSDT": 20.0, "ETHUSDT": 300.0}
WINDOW = 20
KERNELS = ("book_imbalance", "spread_regime", "funding_carry", "trade_tick_imbalance", "toxic_flow")
VPIN: dict[str, Any] = {"source": "trades", "limit": 0.6, "window": WINDOW, "bucket_volume": BUCKETS}

Frames = dict[str, pd.DataFrame]
Said = BookSnapshot | Trade | Funding | Candle


@functools.cache
def featured_config() -> RunConfig:
    """The two seed signals and every kernel that reads features, VPIN on trades."""
    return configs.from_dict(
        {
            "name": "featured",
            "symbols": list(GRIDS),
            "interval": "1m",
            "signals": [{"kernel": name} for name in ("ema_momentum", "rsi_reversion", *KERNELS)],
            "combination": {"min_confidence": 0.05, "min_conviction": 0.02},
            "risk": {"vpin": VPIN},
            "data": {"venue": "synthetic"},
        }
    )


@functools.cache
def frames() -> tuple[Frames, Frames]:
    """Candles with a hole, and settlements every hour."""
    candles, funding = {}, {}
    for seed, (symbol, (price, tick)) in enumerate(GRIDS.items()):
        rng = np.random.default_rng([17, seed])
        frame = synth("mixed", rng, BARS, price=price, tick=tick, start_ms=START_MS)
        candles[symbol] = frame.drop(index=range(400 + 50 * seed, 404 + 50 * seed)).reset_index(drop=True)
        times = np.arange(START_MS, START_MS + BARS * MINUTE, 3_600_000)
        funding[symbol] = pd.DataFrame({"ts": times, "funding_rate": rng.normal(0, 2e-3, len(times))})
    return candles, funding


def candle_of(symbol: str, row: Any) -> Candle:
    close = (int(row.ts) + MINUTE) * MS_NS
    bar = {name: float(getattr(row, name)) for name in ("open", "high", "low", "close", "volume", "buy_volume")}
    return Candle(symbol=symbol, ts_event=close, ts_recv=close, **bar)


def inside(symbol: str, seed: int) -> Iterator[Said]:
    """What is heard of `symbol`, in order; of every bar the complete candle last. Some books are lost, some prints come
    early or late, rates come now and then."""
    grid, rng = featured_config().instruments[symbol], np.random.default_rng([23, seed])
    previous, lean = float("nan"), 0.0
    held: list[Said] = []
    for row in frames()[0][symbol].itertuples():
        candle = candle_of(symbol, row)
        depth = DepthSettings(steps=6, levels=5, spread_bps=float(rng.choice([0.5, 1.0, 4.0], p=[0.5, 0.4, 0.1])))
        whole = synthesise(candle, previous, grid, depth)
        lean = 0.8 * lean + rng.normal(0.0, 0.3)
        said: list[Said] = [leaning(e, lean) for e in whole if isinstance(e, BookSnapshot)]
        said += [e for e in whole if isinstance(e, Trade) and (e.side == "buy" or rng.random() > lean)]
        said.sort(key=lambda event: event.ts_event)
        if rng.random() < 0.1:
            said = [event for event in said if not isinstance(event, BookSnapshot)]
        if rng.random() < 0.2:
            when = int(row.ts) * MS_NS + int(rng.integers(60)) * 10**9
            for state, rate in (("current", rng.normal(0, 2e-3)), ("predicted", rng.normal(0, 2e-3))):
                if state == "current" or rng.random() < 0.5:
                    said.append(Funding(symbol=symbol, ts_event=when, ts_recv=when, rate=float(rate), state=state))
            said.sort(key=lambda event: event.ts_event)
        late = said[-1:] if rng.random() < 0.1 else []
        yield from held + said[: len(said) - len(late)]
        held, previous = late, candle.close
        yield candle


def leaning(book: BookSnapshot, lean: float) -> BookSnapshot:
    """`book` with its bids `exp(lean)` times as deep."""
    return replace(book, bids=tuple((price, qty * math.exp(lean)) for price, qty in book.bids))


@functools.cache
def featured_market() -> Market:
    candles, funding = frames()
    return build_market(featured_config(), candles, funding, features())


@functools.cache
def features() -> dict[str, Featured]:
    """Measured offline, from what is heard."""
    how = feature_settings(featured_config())
    return {
        symbol: Featured(features_of(inside(symbol, seed), "1m", how[symbol], symbol), how[symbol])
        for seed, symbol in enumerate(GRIDS)
    }


def heard() -> Iterator[Said]:
    """What is heard of both symbols, candles of one close one after the other."""
    streams = []
    for seed, symbol in enumerate(GRIDS):
        at, stream = 0, []
        for event in inside(symbol, seed):
            at = max(at, event.ts_event)  # what came late stays behind what it came after
            stream.append(((at, isinstance(event, Candle), seed), event))
        streams.append(stream)
    yield from (event for _, event in merge(*streams, key=lambda item: item[0]))
