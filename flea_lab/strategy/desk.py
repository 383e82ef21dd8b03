"""The desk: closed candles in, order intents out."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from flea_lab.compiled import compiled_afresh
from flea_lab.model.trading import OrderIntent, Signal
from flea_lab.money import USD
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Ensemble, Sizes
from flea_lab.signal.kernel import N_FIELDS, Bar, Floats, Kernel, bar_at, pack_bar
from flea_lab.strategy.combine import combine
from flea_lab.strategy.params import Combination, Sizing
from flea_lab.strategy.sizing import INCREMENT, TARGET, intent_uusd, order_type, urgency

MODES = {"increment": INCREMENT, "target": TARGET}


class Desk:
    """Alphas over several symbols, combined per symbol, sized on one account."""

    def __init__(
        self,
        symbols: Sequence[str],
        kernels: Sequence[Kernel],
        params: Sequence[Settings],
        weights: Floats,
        combination: Combination,
        sizing: Sizing,
        initial_uusd: int,
    ) -> None:
        ensemble = Ensemble(kernels)
        self._kernels, self._step, self._rows = ensemble.kernels, _conviction(ensemble.step), ensemble.rows(params)
        self._sizes = ensemble.start(params)[1]
        self._mem = {symbol: ensemble.start(params)[0] for symbol in symbols}
        self._opinions = {symbol: np.full((len(kernels), 2), np.nan) for symbol in symbols}
        self._weights, self._bar = weights, np.full(N_FIELDS, np.nan)
        self.combination = combination
        self.sizing = sizing
        self._mode = MODES[sizing.mode]
        self._initial_uusd = initial_uusd

    def step(self, symbol: str, bar: Bar) -> float:
        """Steps every alpha of `symbol` once; returns the conviction in [-1, 1], NaN while an alpha is not ready."""
        pack_bar(self._bar, 0, *bar)
        return self._step(
            self._mem[symbol],
            self._sizes,
            self._rows,
            self._bar,
            self._opinions[symbol],
            self._weights,
            self.combination.min_confidence,
        )

    def intent(
        self, symbol: str, conviction: float, ts_event: int, price_ticks: int, equity: int, position: int
    ) -> OrderIntent | None:
        """What the desk wants at `conviction`, or None. `equity` and signed `position` in micro-dollars."""
        sizing = self.sizing
        size = intent_uusd(
            self._mode,
            equity if sizing.basis == "live" else self._initial_uusd,
            sizing.base_fraction,
            sizing.rebalance_band,
            conviction,
            self.combination.min_conviction,
            position,
        )
        if size == 0:
            return None
        confident = self.combination.min_confidence
        opinions = self._opinions[symbol].tolist()
        return OrderIntent(
            symbol=symbol,
            side="buy" if size > 0 else "sell",
            size_usd=abs(size) / USD,
            order_type=order_type(conviction, sizing.market_above),
            urgency=urgency(conviction, sizing.high_urgency_above),
            signal_sources=tuple(
                [kernel.name for kernel, (_, told) in zip(self._kernels, opinions, strict=True) if told >= confident]
            ),
            ts_event=ts_event,
            price_ticks=price_ticks,
            size_uusd=abs(size),
            conviction=conviction,
        )

    def opinions(self, symbol: str) -> Floats:
        """Direction and confidence of every alpha after the last bar, shape `(n_alphas, 2)`; a view, not a copy."""
        return self._opinions[symbol]

    def memory(self, symbol: str) -> Floats:
        """State and windows of every alpha, shape `(n_alphas, width)`; the array itself, to be kept and put back."""
        return self._mem[symbol]

    def signals(self, symbol: str) -> tuple[Signal, ...]:
        """Every alpha's last opinion as a message, rounded to 4 places; those not ready are left out."""
        found = []
        for k, kernel in enumerate(self._kernels):
            state = kernel.state(*self._mem[symbol][k, : kernel.n_state].tolist())
            if state.direction != state.direction:
                continue
            found.append(
                Signal(
                    symbol=symbol,
                    direction=round(state.direction, 4),
                    confidence=round(state.confidence, 4),
                    source=kernel.name,
                    metadata={name: round(getattr(state, name), 4) for name in kernel.shown},
                )
            )
        return tuple(found)


@functools.cache
def _conviction(step: Callable[..., None]) -> Callable[..., float]:
    """Every alpha's step and their combination in one compiled call: crossing into it costs more than either."""

    @compiled_afresh
    def conviction(
        mem: Floats, sizes: Sizes, prow: Floats, row: Floats, opinions: Floats, weights: Floats, min_confidence: float
    ) -> float:
        step(mem, 0, mem.shape[1], sizes, prow, bar_at(row, 0), opinions)
        return combine(opinions, weights, min_confidence)

    return conviction
