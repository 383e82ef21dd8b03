"""Tiny markets whose bars say what to do: the taker share of a bar is the conviction decided at its close."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flea_lab.backtest.fold import Folded
from flea_lab.backtest.market import Market, build_market
from flea_lab.backtest.replay import Replayed
from flea_lab.config import RunConfig, from_dict
from flea_lab.core import TradingCore
from flea_lab.decision import digest
from flea_lab.risk.checks import NAMES
from flea_lab.wiring import run_fold, run_replay

MINUTE = 60_000
DAY = 86_400_000
NOON = 20_000 * DAY + DAY // 2
"""ms UTC of the open of bar 0."""

Bar = tuple[int, float, float, float]
"""(bar number, open, close, conviction in [-1, 1])."""

PLAIN: dict[str, Any] = {
    "name": "tiny",
    "interval": "1m",
    "signals": [{"kernel": "tick_imbalance", "params": {"window": 1, "threshold": 0.0, "full_scale": 1.0}}],
    "combination": {"min_confidence": 0.0, "min_conviction": 0.01},
    "sizing": {"base_fraction": 1.0},
    "risk": {
        "max_daily_loss": 1.0,
        "max_drawdown": 1.0,
        "max_concentration": 10.0,
        "max_order_usd": 1e6,
    },
    "costs": {"fee_bps": 0.0, "slippage_bps": 0.0},
    "initial_cash_usd": 10_000.0,
    "data": {"venue": "test"},
}
GRID = {"tick_size": "0.01", "lot_size": "0.001"}


def config(symbols: Sequence[str] = ("X",), grid: Mapping[str, Any] = GRID, **sections: Mapping[str, Any]) -> RunConfig:
    """A config of `symbols` that decides what the bars say; `sections` are laid over the plain one's."""
    values = {**PLAIN, "symbols": list(symbols), "instruments": {symbol: dict(grid) for symbol in symbols}}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, Mapping) else section
    return from_dict(values)


def frame(bars: Sequence[Bar], start_ms: int = NOON) -> pd.DataFrame:
    """Canonical candles; the direction is the square root of what the conviction (direction x confidence) shall be."""
    rows = []
    for i, open_, close, say in bars:
        share = (1.0 + (abs(say) ** 0.5) * (1 if say > 0 else -1)) / 2.0 if say else 0.5
        high, low = max(open_, close), min(open_, close)
        rows.append((start_ms + i * MINUTE, open_, high, low, close, 1.0, share))
    names = ["ts", "open", "high", "low", "close", "volume", "buy_volume"]
    return pd.DataFrame(rows, columns=names).astype({"ts": "int64"})


def funding(rows: Sequence[tuple[int, float]], start_ms: int = NOON) -> pd.DataFrame:
    """Settlements as (ms after the first open, rate)."""
    return pd.DataFrame([(start_ms + ms, rate) for ms, rate in rows], columns=["ts", "funding_rate"])


def tiny(
    run: RunConfig,
    bars: Mapping[str, Sequence[Bar]],
    settled: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    start_ms: int = NOON,
) -> Market:
    """The market of `bars` by symbol."""
    return build_market(
        run,
        {symbol: frame(rows, start_ms) for symbol, rows in bars.items()},
        {symbol: funding(rows, start_ms) for symbol, rows in (settled or {}).items()},
    )


def both(run: RunConfig, market: Market, start: int = 0) -> tuple[Replayed, TradingCore, Folded]:
    """The market replayed and folded, their decisions held equal."""
    seen, core = run_replay(run, market, start)
    folded = run_fold(run, market, start, curves=True)
    assert digest(seen.decisions, run.symbols) == digest(folded.decisions, run.symbols)
    return seen, core, folded


def codes(seen: Replayed) -> list[str]:
    """The check of every decision, by name."""
    return [NAMES[int(code)] for code in seen.decisions["code"]]
