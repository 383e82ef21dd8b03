"""What the guards read beside the account, as columns over a block of bars: VPIN, and whether a symbol is unsettled."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from flea_lab.backtest.cell import VPIN_ON_TRADES, vpin_kernel
from flea_lab.backtest.market import Ints, Market
from flea_lab.compiled import compiled, compiled_afresh
from flea_lab.risk.tolerance import DOUBT_COLUMNS, LEFT, DoubtRows, take_bar
from flea_lab.signal.kernel import FEATURES, N_FEATURES, N_PLAIN, Floats, joined_bar

Flags = npt.NDArray[np.uint8]


class VpinColumns:
    """VPIN of every distinct guard: `out` `(n, n_symbols, width)`, written over by every `advance`."""

    def __init__(
        self, market: Market, guards: Sequence[tuple[Floats, Floats]], applied: Sequence[float], width: int
    ) -> None:
        """`guards` are parameters `(n_symbols, 2)` and start states, `applied` how each is measured."""
        self.out = np.full((len(guards), len(market.symbols), width), np.nan)
        self._market, self._applied = market, tuple(applied)
        self._guards = [(np.ascontiguousarray(row), mem.copy()) for row, mem in guards]

    def advance(self, first: int, last: int) -> None:
        """Steps on bars `first` to `last`, which is not among them."""
        market = self._market
        for (row, mem), applied, out in zip(self._guards, self._applied, self.out, strict=True):
            if applied == VPIN_ON_TRADES:
                offered = market.features.shape[1] > 1
                at = slice(first, last) if offered else slice(0, 1)
                out[:, : last - first] = market.features[:, at, FEATURES.index("vpin")]
            elif applied != 0.0:
                _vpin()(mem, row, market.bars, market.features, market.close_ticks, first, last, out)


@functools.cache
def _vpin() -> Callable[..., None]:
    run, column = vpin_kernel().run, vpin_kernel().columns[0]

    @compiled_afresh
    def advance(
        mem: Floats, row: Floats, bars: Floats, features: Floats, closes: Ints, first: int, last: int, out: Floats
    ) -> None:
        n, offered, size = closes.shape[1], features.shape[1], mem.shape[1]
        for s in range(closes.shape[0]):
            for i in range(first, last):
                if closes[s, i] > 0:
                    features_at = (s * offered + (i if offered > 1 else 0)) * N_FEATURES
                    bar = joined_bar(bars, (s * n + i) * N_PLAIN, features, features_at)
                    run(mem, s * size, size, bar, row, s * row.shape[1])
                out[s, i - first] = mem[s, column]

    return advance


class Unsettled:
    """Whether a symbol stays out at a bar, for every distinct (longest hole in ns, settle bars): `out` `(n, n_symbols,
    width)`."""

    def __init__(self, market: Market, rules: Sequence[tuple[int, int]], width: int) -> None:
        """Nothing is in doubt yet."""
        self.out = np.zeros((len(rules), len(market.symbols), width), np.uint8)
        self._rules, self._closes, self._close_ns = tuple(rules), market.close_ticks, market.close_ns
        self._states = np.zeros((len(rules), len(market.symbols), DOUBT_COLUMNS), np.int64)

    def advance(self, first: int, last: int) -> None:
        """Takes bars `first` to `last`, which is not among them."""
        for (longest, settle), state, out in zip(self._rules, self._states, self.out, strict=True):
            _unsettled(state, self._closes, self._close_ns, longest, settle, first, last, out)


@compiled
def _unsettled(
    state: DoubtRows, closes: Ints, close_ns: Ints, longest: int, settle: int, first: int, last: int, out: Flags
) -> None:
    for s in range(closes.shape[0]):
        for i in range(first, last):
            if closes[s, i] > 0:
                take_bar(state, s, close_ns[i], longest, settle)
            out[s, i - first] = state[s, LEFT] > 0
