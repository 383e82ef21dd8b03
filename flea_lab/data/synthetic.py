"""Seeded markets that look like one: for tests, for demonstrations without data, and to show what a strategy misses.

A market is a sequence of log-price steps, several per bar, with AR(1) log-volatility and a daily rhythm. Bars are built
from their steps, so an open need not be the close before it. Prices are whole ticks and volumes whole lots, each the
float nearest to that decimal. The aggressor's side leans with the price move and shows in `buy_volume`.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import Meta

from flea_lab.data.frames import canonical, interval_ms
from flea_lab.errors import ConfigError
from flea_lab.settings import Settings, load_settings

START_MS = 1_735_689_600_000
"""2025-01-01 00:00 UTC."""

DAY_MS = 86_400_000
STEPS = 12
REGIMES = ("trend", "chop", "jump", "toxic")

KINDS = {
    "trend": "drifts that last for hours in both directions: momentum earns, mean reversion bleeds",
    "chop": "swings around a slow anchor: mean reversion earns, momentum is whipsawed",
    "jump": "sudden moves of 1 to 4 % about once in 720 bars: daily loss and drawdown guards, slippage",
    "gap": "a quiet market with outages of 5 to 120 bars, real missing rows: what a hole does to a window",
    "toxic": "bursts of one-sided aggressor volume that drive the price: VPIN rises above 0.75 and its gate must act",
    "mixed": "trend, chop, jump and toxic chained in random order, without holes: the demo's market",
}
"""What each kind of market is meant to expose."""

Floats = npt.NDArray[np.float64]


class Market(Settings, frozen=True, kw_only=True):
    """A synthetic market's numbers. `volatility` and `volume` are per day and scaled to the interval."""

    kind: str
    n_bars: Annotated[int, Meta(ge=1, le=5_000_000, description="bars")]
    interval: str = "1m"
    start_ms: Annotated[int, Meta(ge=0, le=4_102_444_800_000, description="ms UTC of the first bar's open")] = START_MS
    price: Annotated[float, Meta(gt=0.0, le=1e9, description="quote currency, of the first step")] = 60_000.0
    tick: Annotated[float, Meta(gt=0.0, le=1e6, description="quote currency")] = 0.1
    lot: Annotated[float, Meta(gt=0.0, le=1e6, description="base currency")] = 0.001
    volatility: Annotated[float, Meta(gt=0.0, le=0.5, description="log return, standard deviation of a day")] = 0.025
    volume: Annotated[float, Meta(gt=0.0, le=1e12, description="base currency a day")] = 20_000.0


class Flow(NamedTuple):
    """What a kind of market makes of raw noise: `steps` (n_bars, STEPS) log-price, the rest of shape (n_bars,).

    `lean` is the taker's net side in [-1, 1] on top of the price's own, `surge` multiplies the volume.
    """

    steps: Floats
    lean: Floats
    surge: Floats


def synth(
    kind: str,
    rng: np.random.Generator,
    n_bars: int,
    interval: str = "1m",
    start_ms: int = START_MS,
    price: float = 60_000.0,
    tick: float = 0.1,
    lot: float = 0.001,
    volatility: float = 0.025,
    volume: float = 20_000.0,
) -> pd.DataFrame:
    """A canonical candle frame with buy_volume of a market of `kind` (see `KINDS`); equal for equal `rng` and settings.

    `n_bars` counts the bars of the grid; a "gap" market lacks some of them. `start_ms` is moved down to the grid.
    Refuses an unknown kind and settings out of range with a `ConfigError`.
    """
    values = {"kind": kind, "n_bars": n_bars, "interval": interval, "start_ms": start_ms, "price": price}
    values |= {"tick": tick, "lot": lot, "volatility": volatility, "volume": volume}
    market = load_settings(values, Market, "synthetic market")
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r} of a synthetic market is unknown, known are {', '.join(KINDS)}")
    step_ms = interval_ms(interval, "synthetic market")
    ts = market.start_ms // step_ms * step_ms + step_ms * np.arange(n_bars, dtype=np.int64)
    day = 2.0 * np.pi * (ts % DAY_MS) / DAY_MS
    bar_vol = market.volatility * np.sqrt(step_ms / DAY_MS) * _clustering(rng, n_bars) * (1 + 0.2 * np.sin(day))
    flow = _FLOWS[kind](rng, bar_vol)
    frame = _bars(market, ts, flow.steps)
    rhythm = market.volume * step_ms / DAY_MS * (1 + 0.4 * np.sin(day))
    frame["volume"], frame["buy_volume"] = _volumes(rng, market, rhythm, bar_vol, flow)
    return canonical(_with_outages(rng, frame) if kind == "gap" else frame)


def synth_funding(rng: np.random.Generator, start_ms: int, end_ms: int, interval_h: int = 8) -> pd.DataFrame:
    """Funding settled every `interval_h` hours in [start_ms, end_ms): AR(1) around 1 bp per 8 hours, within 30 bp."""
    if not (1 <= interval_h <= 24 and 24 % interval_h == 0):
        raise ConfigError(f"interval_h ({interval_h}) must divide a day of 24 hours")
    step = interval_h * 3_600_000
    ts = np.arange(-(-start_ms // step) * step, end_ms, step, dtype=np.int64)
    around = np.array(list(accumulate(rng.normal(0.0, 3e-5, len(ts)), lambda last, new: 0.85 * last + new)))
    rate = np.clip((1e-4 + around.reshape(len(ts))) * interval_h / 8, -3e-3, 3e-3)
    return pd.DataFrame({"ts": ts, "funding_rate": np.round(rate, 8) + 0.0})


def _clustering(rng: np.random.Generator, n_bars: int) -> Floats:
    """AR(1) log-volatility with persistence 0.98 and mean square 1."""
    noise = rng.normal(0.0, 0.4 * np.sqrt(1 - 0.98**2), n_bars)
    log_vol = np.array(list(accumulate(noise, lambda last, new: 0.98 * last + new)))
    return np.asarray(np.exp(log_vol - 0.4**2))


def _diffusion(rng: np.random.Generator, bar_vol: Floats) -> Floats:
    """Steps whose sum over a bar has the deviation `bar_vol`; a bar's first is small: it opens near the last close."""
    weight = np.ones(STEPS)
    weight[0] = 0.1
    weight /= np.sqrt((weight**2).sum())
    return np.asarray(rng.normal(0.0, 1.0, (len(bar_vol), STEPS)) * weight * bar_vol[:, None])


def _plain(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    n_bars = len(bar_vol)
    return Flow(_diffusion(rng, bar_vol), np.zeros(n_bars), np.ones(n_bars))


def _trend(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    flow = _plain(rng, bar_vol)
    lengths = rng.integers(120, 480, len(bar_vol) // 120 + 1)
    slope = np.repeat(rng.choice([-1.0, 1.0], len(lengths)) * rng.uniform(0.1, 0.25, len(lengths)), lengths)
    drift = slope[: len(bar_vol)] * bar_vol
    return flow._replace(steps=flow.steps + drift[:, None] / STEPS, lean=0.4 * slope[: len(bar_vol)])


def _chop(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    flow = _plain(rng, bar_vol)
    keep = 0.5 ** (1.0 / (10 * STEPS))
    swing = np.array(list(accumulate(flow.steps.ravel(), lambda last, new: keep * last + new)))
    return flow._replace(steps=np.diff(swing, prepend=0.0).reshape(flow.steps.shape))


def _jump(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    flow = _plain(rng, bar_vol)
    struck = rng.random(len(bar_vol)) < 1.0 / 720
    size = rng.uniform(0.01, 0.04, len(bar_vol)) * rng.choice([-1.0, 1.0], len(bar_vol)) * struck
    steps = flow.steps.copy()
    steps[np.arange(len(bar_vol)), rng.integers(0, STEPS, len(bar_vol))] += size
    return Flow(steps, 0.5 * np.sign(size), np.where(struck, 5.0, 1.0))


def _toxic(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    flow = _plain(rng, bar_vol)
    side: Floats = np.zeros(len(bar_vol))
    at = int(rng.integers(60, 180))
    while at < len(bar_vol):
        length = int(rng.integers(60, 180))
        side[at : at + length] = rng.choice([-1.0, 1.0])
        at += length + int(rng.integers(240, 720))
    burst = side != 0
    steps = flow.steps + (0.3 * side * bar_vol)[:, None] / STEPS
    return Flow(steps, side, np.where(burst, 5.0, 1.0))


def _mixed(rng: np.random.Generator, bar_vol: Floats) -> Flow:
    parts, at = [], 0
    while at < len(bar_vol):
        length = int(rng.integers(720, 2_880))
        regime = REGIMES[int(rng.integers(len(REGIMES)))]
        parts.append(_FLOWS[regime](rng, bar_vol[at : at + length]))
        at += length
    return Flow(*(np.concatenate(column) for column in zip(*parts, strict=True)))


_FLOWS: dict[str, Callable[[np.random.Generator, Floats], Flow]] = {
    "trend": _trend,
    "chop": _chop,
    "jump": _jump,
    "gap": _plain,
    "toxic": _toxic,
    "mixed": _mixed,
}


def _grid(whole: Floats, step: float) -> Floats:
    """`whole` steps as the floats nearest to those decimals."""
    exact = Fraction(Decimal(repr(step)))
    return np.asarray(whole * exact.numerator / exact.denominator)


def _bars(market: Market, ts: npt.NDArray[np.int64], steps: Floats) -> pd.DataFrame:
    path = market.price * np.exp(np.cumsum(steps.ravel())).reshape(steps.shape)
    ticks = np.maximum(np.rint(path / market.tick), 1.0)
    whole = {"open": ticks[:, 0], "high": ticks.max(axis=1), "low": ticks.min(axis=1), "close": ticks[:, -1]}
    return pd.DataFrame({"ts": ts} | {name: _grid(values, market.tick) for name, values in whole.items()})


def _volumes(
    rng: np.random.Generator, market: Market, rhythm: Floats, bar_vol: Floats, flow: Flow
) -> tuple[Floats, Floats]:
    """Volume and taker-buy volume: larger on large moves, at least one lot; the buyers' share leans with the move."""
    move = flow.steps.sum(axis=1) / bar_vol
    size = rhythm * np.exp(rng.normal(-0.125, 0.5, len(move))) * (0.7 + 0.3 * np.abs(np.clip(move, -5, 5))) * flow.surge
    lots = np.maximum(np.rint(size / market.lot), 1.0)
    noise = 0.08 * rng.normal(0.0, 1.0, len(move))
    own = 0.5 + 0.12 * np.tanh(move) + noise
    one_sided = 0.5 + 0.48 * np.sign(flow.lean) - 0.1 * np.sign(flow.lean) * np.abs(noise)
    share = own + np.abs(flow.lean) * (one_sided - own)
    buys = np.rint(np.clip(share, 0.0, 1.0) * lots)
    return _grid(lots, market.lot), _grid(buys, market.lot)


def _with_outages(rng: np.random.Generator, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` without the bars of random outages, about one in 720 bars; the first and last bar stay."""
    keep = np.ones(len(frame), bool)
    for at in np.flatnonzero(rng.random(len(frame)) < 1 / 720):
        keep[at : at + int(rng.integers(5, 120))] = False
    if len(frame) >= 20 and keep.all():
        keep[len(frame) // 2 : len(frame) // 2 + 5] = False
    keep[[0, -1]] = True
    return frame[keep]
