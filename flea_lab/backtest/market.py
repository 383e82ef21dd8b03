"""Several symbols' candles and funding on one time axis: what a sweep folds and a replay plays."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from flea_lab.backtest.features import Buckets, feature_array, require_buckets
from flea_lab.config import Alphas, RunConfig
from flea_lab.data.features import Featured
from flea_lab.errors import DataError
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS
from flea_lab.risk.checks import VpinGate
from flea_lab.signal.kernel import FEATURES, FIELDS, N_PLAIN, Floats
from flea_lab.trials import Tried

Ints = npt.NDArray[np.int64]
T = TypeVar("T")
OHLCV = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Market:
    """Aligned arrays of one run; all read-only.

    `grids` are the instruments in the order of `symbols`, `funded` whether settlements were taken in.
    `open_ms` `(n,)` is every bar open that any symbol has. `bars` `(n_symbols, n, N_PLAIN)` holds the fields of `Bar`
    up to its features, NaN where a symbol has no bar; `features` `(n_symbols, n, N_FEATURES)` the rest, or `(n_symbols,
    1, N_FEATURES)` where there are none; `buckets` how VPIN among them was measured. `open_ticks`, `close_ticks`
    `(n_symbols, n)`, 0 where a symbol has no bar. A funding settlement is charged just before the opens of the first
    bar at or after it: `fund_at` (bar), `fund_row` (symbol), `fund_rate` (fraction), `fund_ms` (its own time), sorted
    by bar, then time, then symbol.
    """

    symbols: tuple[str, ...]
    interval_ms: int
    grids: tuple[Instrument, ...]
    funded: bool
    open_ms: Ints
    bars: Floats
    open_ticks: Ints
    close_ticks: Ints
    fund_at: Ints
    fund_row: Ints
    fund_rate: Floats
    fund_ms: Ints
    features: Floats
    buckets: tuple[Buckets, ...]

    @property
    def n(self) -> int:
        return len(self.open_ms)

    @cached_property
    def close_ns(self) -> Ints:
        """Close of every bar, ns UTC."""
        found: Ints = (self.open_ms + self.interval_ms) * MS_NS
        found.flags.writeable = False
        return found

    @cached_property
    def whole(self) -> bool:
        """Whether every symbol has every bar."""
        return bool((self.close_ticks != 0).all())

    def column(self, place: int) -> Floats:
        """Field `place` of `FIELDS`, `(n_symbols, n)`, a symbol's bars side by side; kept once asked for."""
        return self.once(place, lambda market: _lined(market, place))

    def once(self, key: Any, work: "Callable[[Market], T]") -> T:
        """What `work` makes of this market, worked out the first time and kept with it under `key`."""
        if key not in self._kept:
            self._kept[key] = work(self)
        found: T = self._kept[key]
        return found

    @cached_property
    def _kept(self) -> dict[Any, Any]:
        """What `once` has worked out: arrays that cannot change need it once."""
        return {}

    @property
    def bars_per_year(self) -> float:
        """Bars in 365 days: crypto does not close."""
        return 365.0 * 86_400_000 / self.interval_ms

    def holds(self, s: int, name: str) -> bool:
        """Whether row `s` has this field of a bar: a feature or the funding rate somewhere, another on every bar."""
        if (s, name) not in self._held:
            column = _column(self, s, name)
            if name in FEATURES or name == "funding_rate":
                self._held[s, name] = not bool(np.isnan(column).all())
            else:
                self._held[s, name] = not bool(np.isnan(column[self.close_ticks[s] > 0]).any())
        return self._held[s, name]

    @cached_property
    def _held(self) -> dict[tuple[int, str], bool]:
        """What `holds` has found: arrays that cannot change need one look."""
        return {}


def build_market(
    config: RunConfig,
    candles: Mapping[str, pd.DataFrame],
    funding: Mapping[str, pd.DataFrame] | None = None,
    features: Mapping[str, Featured] | None = None,
) -> Market:
    """The market of `config` from canonical frames by symbol, already checked.

    `DataError` for a missing symbol, no bars at all, prices off the grid's range, or features measured otherwise.
    """
    for symbol in config.symbols:
        if symbol not in candles or len(candles[symbol]) == 0:
            raise DataError(f"no candles for {symbol}, config {config.name!r} needs {', '.join(config.symbols)}")
    frames = [candles[symbol] for symbol in config.symbols]
    open_ms = np.unique(np.concatenate([frame["ts"].to_numpy(np.int64) for frame in frames]))
    shape = (len(frames), len(open_ms))
    bars = np.full((*shape, N_PLAIN), np.nan)
    open_ticks, close_ticks = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for s, (symbol, frame) in enumerate(zip(config.symbols, frames, strict=True)):
        at = np.searchsorted(open_ms, frame["ts"].to_numpy(np.int64))
        for column, name in enumerate(OHLCV):
            bars[s, at, column] = frame[name].to_numpy(np.float64)
        if "buy_volume" in frame:
            bars[s, at, FIELDS.index("buy_volume")] = frame["buy_volume"].to_numpy(np.float64)
        grid = config.instruments[symbol]
        open_ticks[s] = grid.tick_array(bars[s, :, 0])
        close_ticks[s] = grid.tick_array(bars[s, :, 3])
    settlements = _settlements(config, open_ms, funding or {}) if config.costs.funding else _no_settlements()
    _carry_rates(bars, settlements)
    return _frozen(
        Market(
            config.symbols,
            config.interval_ms,
            _grids(config),
            config.costs.funding,
            open_ms,
            bars,
            open_ticks,
            close_ticks,
            *settlements,
            *feature_array(config, open_ms, features or {}),
        )
    )


def tried_on(config: RunConfig, market: Market) -> Tried:
    """The data of a market as trials are counted on it."""
    return Tried(config.data.venue, market.symbols, int(market.open_ms[0]), int(market.open_ms[-1]))


def require_market(config: RunConfig, market: Market) -> None:
    """Refuses a market of other symbols, another order, other bars, other grids or other funding than `config` asks."""
    if (market.symbols, market.interval_ms) != (config.symbols, config.interval_ms):
        raise DataError(
            f"the market holds {', '.join(market.symbols)} in bars of {market.interval_ms} ms, "
            f"config {config.name!r} trades {', '.join(config.symbols)} in bars of {config.interval_ms} ms"
        )
    for symbol, held, asked in zip(config.symbols, market.grids, _grids(config), strict=True):
        if held != asked:
            raise DataError(f"the market holds {symbol} on {held}, config {config.name!r} trades it on {asked}")
    if market.funded != config.costs.funding:
        raise DataError(
            f"the market was built with costs.funding = {market.funded}, not as config {config.name!r} asks"
        )
    require_buckets(config, market.buckets)


def _grids(config: RunConfig) -> tuple[Instrument, ...]:
    return tuple(config.instruments[symbol] for symbol in config.symbols)


def require_inputs(market: Market, alphas: Alphas, vpin: VpinGate) -> None:
    """Refuses a market that lacks a bar field some kernel or the VPIN guard reads. `DataError` names field, who and
    symbol."""
    guard = {"bars": ["buy_volume"], "trades": ["vpin"]}.get(vpin.source, [])
    needs: Iterable[tuple[str, str]] = [(k.name, name) for k in alphas.kernels for name in k.inputs]
    for who, name in [*needs, *(("the VPIN guard", name) for name in guard)]:
        for s, symbol in enumerate(market.symbols):
            if market.holds(s, name):
                continue
            if name == "funding_rate":
                raise DataError(f"{who} needs funding, which for {symbol} is not stored or left out by costs.funding")
            if name in FEATURES:
                raise DataError(f"{who} needs the feature {name!r}, which for {symbol} is not stored")
            raise DataError(f"{who} needs {name!r}, which the candles of {symbol} do not have")


def _column(market: Market, s: int, name: str) -> Floats:
    if name in FEATURES:
        return market.features[s, :, FEATURES.index(name)]
    return market.bars[s, :, FIELDS.index(name)]


def _lined(market: Market, place: int) -> Floats:
    source = market.bars[:, :, place] if place < N_PLAIN else market.features[:, :, place - N_PLAIN]
    found = np.ascontiguousarray(np.broadcast_to(source, (len(market.symbols), market.n)))
    found.flags.writeable = False
    return found


def window(market: Market, start: int, stop: int) -> Market:
    """Bars `start` to `stop` of a market, with the settlements that fall in them."""
    inside = (market.fund_at >= start) & (market.fund_at < stop)
    settlements = (
        market.fund_at[inside] - start,
        market.fund_row[inside],
        market.fund_rate[inside],
        market.fund_ms[inside],
    )
    bars = market.bars[:, start:stop].copy()
    bars[:, :, FIELDS.index("funding_rate")] = np.nan  # a window knows no rate that was settled before it
    _carry_rates(bars, settlements)
    ticks = market.open_ticks[:, start:stop], market.close_ticks[:, start:stop]
    open_ms = market.open_ms[start:stop]
    at, row, rate, ms = settlements
    same = market.symbols, market.interval_ms, market.grids, market.funded
    features = market.features if market.features.shape[1] == 1 else market.features[:, start:stop]
    return _frozen(Market(*same, open_ms, bars, *ticks, at, row, rate, ms, features, market.buckets))


def _no_settlements() -> tuple[Ints, Ints, Floats, Ints]:
    none = np.zeros(0, np.int64)
    return none, none, np.zeros(0), none


def _settlements(
    config: RunConfig, open_ms: Ints, funding: Mapping[str, pd.DataFrame]
) -> tuple[Ints, Ints, Floats, Ints]:
    rows: list[tuple[int, int, int, float]] = []
    for s, symbol in enumerate(config.symbols):
        frame = funding.get(symbol)
        if frame is None or len(frame) == 0:
            continue
        ts = frame["ts"].to_numpy(np.int64)
        rates = frame["funding_rate"].to_numpy(np.float64)
        if not np.isfinite(rates).all():
            raise DataError(f"funding of {symbol} at {ts[~np.isfinite(rates)][0]} ms is not a number")
        at = np.searchsorted(open_ms, ts)
        inside = (ts >= open_ms[0]) & (at < len(open_ms))
        rows += zip(
            at[inside].tolist(), ts[inside].tolist(), [s] * int(inside.sum()), rates[inside].tolist(), strict=True
        )
    rows.sort(key=lambda row: row[:3])
    if not rows:
        return _no_settlements()
    at, ms, row, rate = (np.array(column) for column in zip(*rows, strict=True))
    return at.astype(np.int64), row.astype(np.int64), rate.astype(np.float64), ms.astype(np.int64)


def _carry_rates(bars: Floats, settlements: tuple[Ints, Ints, Floats, Ints]) -> None:
    """Writes into every bar the rate last settled at or before its open."""
    at, row, rate, _ = settlements
    column = FIELDS.index("funding_rate")
    for s in range(bars.shape[0]):
        mine = row == s
        starts, rates = at[mine], rate[mine]
        known = np.searchsorted(starts, np.arange(bars.shape[1]), side="right") - 1
        if len(rates):
            bars[s, :, column] = np.where(known >= 0, rates[np.maximum(known, 0)], np.nan)


def _frozen(market: Market) -> Market:
    for value in vars(market).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return market
