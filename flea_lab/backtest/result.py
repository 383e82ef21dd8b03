"""What a backtest found: frames that a person reads, built from what the replay saw.

Times are ms UTC; a bar's `ts` here is its close, when it was decided on. Money in USD, quantities in base units.

::

    equity      ts, equity_usd, cash_usd, gross_usd, drawdown (fraction <= 0)          one row a bar, from trading start
    benchmark   ts, equity_usd                                 equal parts bought at the first traded close and held
    decisions   ts, symbol, side, size_usd, qty, price, conviction, order_type, urgency, code, check
    fills       ts, symbol, side, qty, price, fee_usd, slippage_usd, decision_price
    trades      symbol, side (long, short), entry_ts, exit_ts, qty, entry_price, exit_price, pnl_usd, fee_usd,
                return_frac
    positions   ts, symbol, qty, notional_usd
    signals     ts, symbol, source, direction, confidence
    funding     ts, symbol, rate, paid_usd
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flea_lab.backtest.market import Market
from flea_lab.backtest.metrics import METRICS, summarise_curve
from flea_lab.backtest.replay import Replayed
from flea_lab.backtest.trips import round_trips
from flea_lab.config import Alphas, RunConfig
from flea_lab.decision import Decisions, digest
from flea_lab.ledger import Book
from flea_lab.model.market import MS_NS
from flea_lab.money import CENT, USD, nearest
from flea_lab.risk.checks import NAMES
from flea_lab.risk.gate import guards
from flea_lab.signal.kernel import Floats
from flea_lab.strategy.sizing import order_type, urgency


@dataclass(frozen=True)
class BacktestResult:
    """One backtest: its config, the frames of the module docstring, its metrics and its decision stream."""

    config: RunConfig
    source: str
    synthetic: bool
    equity: pd.DataFrame
    benchmark: pd.DataFrame
    decisions: pd.DataFrame
    fills: pd.DataFrame
    trades: pd.DataFrame
    positions: pd.DataFrame
    signals: pd.DataFrame
    funding: pd.DataFrame
    candles: dict[str, pd.DataFrame]
    metrics: dict[str, float]
    guards: list[dict[str, Any]]
    quality: dict[str, dict[str, Any]]
    data: list[dict[str, Any]]
    stream: Decisions
    digest: str


def build_result(
    config: RunConfig,
    alphas: Alphas,
    market: Market,
    seen: Replayed,
    book: Book,
    start: int,
    candles: Mapping[str, pd.DataFrame],
    *,
    source: str,
    synthetic: bool,
    quality: Mapping[str, dict[str, Any]],
    data: list[dict[str, Any]],
) -> BacktestResult:
    """The result of one replay; bars before `start` are warm-up and in no frame."""
    fills = _fills(config, seen)
    return BacktestResult(
        config=config,
        source=source,
        synthetic=synthetic,
        equity=_equity(market, seen, start),
        benchmark=_benchmark(config, market, start),
        decisions=decisions_frame(config, seen.decisions),
        fills=fills,
        trades=round_trips(fills),
        positions=_positions(config, market, seen, start),
        signals=_signals(alphas, market, seen, start),
        funding=_funding(seen),
        candles=dict(candles),
        metrics=metrics_of(config, market, seen, book, start),
        guards=guards(config.risk, config.interval_ms * MS_NS),
        quality=dict(quality),
        data=data,
        stream=seen.decisions,
        digest=digest(seen.decisions, config.symbols),
    )


def metrics_of(config: RunConfig, market: Market, seen: Replayed, book: Book, start: int) -> dict[str, float]:
    """The metrics of a replay, bit-equal to those of the fold."""
    out = np.empty(len(METRICS))
    vetoes = np.bincount(seen.decisions["code"], minlength=len(NAMES)).astype(np.int64)
    first = round(config.initial_cash_usd * USD)
    summarise_curve(seen.equity[start:], seen.gross[start:], first, book, vetoes, market.bars_per_year, out)
    return dict(zip(METRICS, out.tolist(), strict=True))


def decisions_frame(config: RunConfig, stream: Decisions) -> pd.DataFrame:
    """A decision stream as a frame."""
    grids = [config.instruments[symbol] for symbol in config.symbols]
    row, lots, ticks = stream["symbol"], stream["lots"], stream["price_ticks"]
    return pd.DataFrame(
        {
            "ts": stream["ts_ns"] // MS_NS,
            "symbol": np.array(config.symbols, dtype=object)[row],
            "side": np.where(stream["side"] > 0, "buy", "sell"),
            "size_usd": stream["size_cents"] * CENT / USD,
            "qty": [grids[s].qty(n) for s, n in zip(row, lots, strict=True)],
            "price": [grids[s].price(t) for s, t in zip(row, ticks, strict=True)],
            "conviction": stream["conviction"],
            "order_type": [order_type(c, config.sizing.market_above) for c in stream["conviction"].tolist()],
            "urgency": [urgency(c, config.sizing.high_urgency_above) for c in stream["conviction"].tolist()],
            "code": stream["code"],
            "check": [NAMES[code] for code in stream["code"].tolist()],
        }
    )


def _close_ms(market: Market) -> Any:
    return market.open_ms + market.interval_ms


def _equity(market: Market, seen: Replayed, start: int) -> pd.DataFrame:
    equity = seen.equity[start:] / USD
    return pd.DataFrame(
        {
            "ts": _close_ms(market)[start:],
            "equity_usd": equity,
            "cash_usd": seen.cash[start:] / USD,
            "gross_usd": seen.gross[start:] / USD,
            "drawdown": equity / np.maximum.accumulate(equity) - 1.0,
        }
    )


def _benchmark(config: RunConfig, market: Market, start: int) -> pd.DataFrame:
    closes = pd.DataFrame(market.bars[:, start:, 3].T).ffill().bfill().to_numpy()
    growth = (closes / closes[0]).mean(axis=1)
    return pd.DataFrame({"ts": _close_ms(market)[start:], "equity_usd": config.initial_cash_usd * growth})


def _fills(config: RunConfig, seen: Replayed) -> pd.DataFrame:
    rows = []
    for fill, decided in zip(seen.fills, seen.decision_ticks, strict=True):
        grid = config.instruments[fill.symbol]
        moved = (fill.price_ticks - fill.reference_ticks) * (1 if fill.side == "buy" else -1)
        rows.append(
            (
                fill.ts_event // MS_NS,
                fill.symbol,
                fill.side,
                grid.qty(fill.lots),
                grid.price(fill.price_ticks),
                fill.fee_uusd / USD,
                nearest(fill.lots * moved * grid.unit_num, grid.unit_den) / USD,
                grid.price(decided),
            )
        )
    names = ["ts", "symbol", "side", "qty", "price", "fee_usd", "slippage_usd", "decision_price"]
    return pd.DataFrame(rows, columns=names)


def _positions(config: RunConfig, market: Market, seen: Replayed, start: int) -> pd.DataFrame:
    frames = []
    for s, symbol in enumerate(config.symbols):
        grid = config.instruments[symbol]
        lots = seen.lots[s, start:]
        closes = pd.Series(market.bars[s, :, 3]).ffill().to_numpy()[start:]
        qty = lots * float(grid.lot_size)
        notional = np.where(lots == 0, 0.0, qty * closes)
        frames.append(
            pd.DataFrame({"ts": _close_ms(market)[start:], "symbol": symbol, "qty": qty, "notional_usd": notional})
        )
    return pd.concat(frames, ignore_index=True)


def _signals(alphas: Alphas, market: Market, seen: Replayed, start: int) -> pd.DataFrame:
    frames = []
    for s, symbol in enumerate(market.symbols):
        here = market.close_ticks[s, start:] > 0
        for k, kernel in enumerate(alphas.kernels):
            opinions: Floats = seen.opinions[s, start:, k][here]
            frames.append(
                pd.DataFrame(
                    {
                        "ts": _close_ms(market)[start:][here],
                        "symbol": symbol,
                        "source": kernel.name,
                        "direction": opinions[:, 0],
                        "confidence": opinions[:, 1],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _funding(seen: Replayed) -> pd.DataFrame:
    frame = pd.DataFrame(seen.funding, columns=["ts", "symbol", "rate", "paid_usd"])
    frame["paid_usd"] = frame["paid_usd"].astype(float) / USD
    return frame
