"""The desk: closed candles in, order intents out."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from flea_lab.compiled import compiled_as, direct
from flea_lab.model.trading import OrderIntent, Signal
from flea_lab.money import USD
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Ensemble, Sizes
from flea_lab.signal.kernel import N_FIELDS, Bar, Floats, Kernel, bar_at, pack_bar
from flea_lab.strategy.combine import combine
from flea_lab.strategy.params import Combination, Sizing
from flea_lab.strategy.sizing import INCREMENT, TARGET, intent_uusd, order_type, urgency

BAR_BYTES = N_FIELDS * 8
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
        ensemble, n = Ensemble(kernels), len(symbols)
        self._kernels, self._steps, self._params = (
            ensemble.kernels,
            _steps(ensemble.step, ensemble.key),
            ensemble.rows(params),
        )
        start, self._sizes = ensemble.start(params)
        self._row = {symbol: s for s, symbol in enumerate(symbols)}
        self._mem = np.stack([start] * n)
        self.bars = np.full((n, N_FIELDS), np.nan)
        # convictions, then opinions: one array, so that both are noted at once
        self.told = np.full(n + 2 * n * len(kernels), np.nan)
        self.convictions = self.told[:n]
        self._opinions = self.told[n:].reshape(n, len(kernels), 2)
        self._weights = weights
        self.combination = combination
        self.sizing = sizing
        self._mode = MODES[sizing.mode]
        self._initial_uusd = initial_uusd

    def step(self, symbol: str, bar: Bar) -> float:
        """Steps every alpha of `symbol` once; returns the conviction in [-1, 1], NaN while an alpha is not ready."""
        s = self._row[symbol]
        pack_bar(self.bars, s * BAR_BYTES, *bar)
        self.step_rows(s, s + 1)
        return float(self.convictions[s])

    def step_rows(self, first: int, stop: int) -> bool:
        """Steps the symbols from row `first` up to `stop` on their rows of `bars`; whether any has something to say.

        What they say stays in `convictions`.
        """
        speaking: bool = self._run(first, stop)
        return speaking

    @functools.cached_property
    def _run(self) -> Callable[[int, int], bool]:
        """The compiled step of the rows between two, on the arrays of this desk."""
        arrays = self._mem, self._sizes, self._params, self.bars, self._weights, self.told, self._opinions
        limits = self.combination.min_confidence, self.combination.min_conviction
        return functools.partial(direct(self._steps, *arrays, *limits, 0, 1), *arrays, *limits)

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
        opinions = self._opinions[self._row[symbol]].tolist()
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
        return self._opinions[self._row[symbol]]

    def memory(self, symbol: str) -> Floats:
        """State and windows of every alpha, shape `(n_alphas, width)`; the array itself, to be kept and put back."""
        return self._mem[self._row[symbol]]

    def signals(self, symbol: str) -> tuple[Signal, ...]:
        """Every alpha's last opinion as a message, rounded to 4 places; those not ready are left out."""
        found = []
        for k, kernel in enumerate(self._kernels):
            state = kernel.state(*self.memory(symbol)[k, : kernel.n_state].tolist())
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
def _steps(step: Callable[..., None], key: str) -> Callable[..., bool]:
    """The alphas of several symbols and their combinations in one compiled call: crossing into it costs more than
    a symbol's step. `key` names `step` for other processes."""

    @compiled_as(key)
    def steps(
        mem: Floats,
        sizes: Sizes,
        prow: Floats,
        bars: Floats,
        weights: Floats,
        told: Floats,
        opinions: Floats,
        min_confidence: float,
        min_conviction: float,
        first: int,
        stop: int,
    ) -> bool:
        speaking, width = False, mem.shape[2]
        for s in range(first, stop):
            said = opinions[s]
            step(mem, s * mem.shape[1] * width, width, sizes, prow, bar_at(bars, s * bars.shape[1]), said)
            conviction = combine(said, weights, min_confidence)
            told[s] = conviction
            speaking |= abs(conviction) >= min_conviction
        return speaking

    return steps
