"""A small seeded feed: what a venue would have said of a synthetic market, books, prints, bars and funding ahead."""

import zlib
from collections.abc import Iterator
from heapq import merge
from typing import Literal

import numpy as np
from msgspec.structs import replace

from flea_lab.data.sources.demo import SEED, synthetic_market
from flea_lab.model.instrument import Instrument, known_instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.sandbox.depth import DepthSettings, synthesise
from flea_lab.settings import load_settings

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
FUNDING_H = 8
EVERY_MS = 3_000
"""How often the rates ahead are told."""

Said = Candle | Trade | BookSnapshot | Funding


def synthetic_tape(symbol: str = "BTCUSDT", *, minutes: int = 8, seed: int = SEED, books: int = 120) -> Iterator[Said]:
    """The messages of `minutes` around a settlement of funding, in order of time; equal for equal arguments.

    The market is `synthetic_market`'s; inside a minute it is `sandbox.depth`'s, `books` of them. Books are whole ones,
    numbered without a gap, by the rules of "seed". Rates are the synthetic ones, told with noise that dies out until
    they settle. `ConfigError` for a symbol without a grid.
    """
    first = FUNDING_H * 60 - minutes // 2
    frame, rates, _ = synthetic_market(symbol, kind="toxic", seed=seed, n_bars=2 * FUNDING_H * 60 + 2)
    grid = load_settings(known_instrument("synthetic", symbol, "its grid"), Instrument, "synthetic tape")
    bars = frame.iloc[first : first + minutes]
    start_ms = int(bars["ts"].iloc[0])
    ahead = _rates(symbol, rates.set_index("ts")["funding_rate"].to_dict(), start_ms, minutes, seed)
    previous = float(frame["close"].iloc[first - 1])
    inside = _inside(symbol, bars.to_dict("records"), previous, grid, DepthSettings(steps=books, seed=seed))
    yield from merge(inside, ahead, key=lambda said: said.ts_recv)


def _inside(
    symbol: str, bars: list[dict[str, float]], previous: float, grid: Instrument, how: DepthSettings
) -> Iterator[Said]:
    seq = 0
    for bar in bars:
        close_ns = (int(bar["ts"]) + MINUTE_MS) * MS_NS
        candle = Candle(
            symbol=symbol,
            ts_event=close_ns,
            ts_recv=close_ns,
            open=bar["open"],
            high=bar["high"],
            low=bar["low"],
            close=bar["close"],
            volume=bar["volume"],
            buy_volume=bar["buy_volume"],
        )
        for said in synthesise(candle, previous, grid, how):
            if isinstance(said, BookSnapshot):
                seq += 1
                said = replace(said, seq=seq)
            yield said
        yield candle
        previous = candle.close


def _rates(symbol: str, settled: dict[int, float], start_ms: int, minutes: int, seed: int) -> Iterator[Funding]:
    """The current rate and the one after it, every few seconds, and the settlement where one is due."""
    rng = np.random.default_rng([seed, zlib.crc32(symbol.encode()), 2])
    step = FUNDING_H * HOUR_MS
    for ts in range(start_ms, start_ms + minutes * MINUTE_MS, EVERY_MS):
        if ts in settled:
            yield Funding(symbol=symbol, ts_event=ts * MS_NS, ts_recv=ts * MS_NS, rate=settled[ts])
        due = (ts // step + 1) * step
        told: tuple[tuple[Literal["current", "predicted"], int], ...] = (("current", due), ("predicted", due + step))
        for state, at in told:
            left = min((at - ts) / step, 1.0)
            rate = settled.get(at, 1e-4) + 2e-5 * left * float(rng.standard_normal())
            yield Funding(
                symbol=symbol, ts_event=ts * MS_NS, ts_recv=ts * MS_NS, rate=rate, state=state, due_ns=at * MS_NS
            )
