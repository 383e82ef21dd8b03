"""A sweep's cell as a vectorbt Portfolio: run once more as a single backtest, whose fills it gets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from flea_lab.backtest.batch import batch_of
from flea_lab.backtest.found import SweepResult
from flea_lab.backtest.market import Market, require_market
from flea_lab.backtest.single import single
from flea_lab.backtest.vbt.portfolio import Orders, orders_on, portfolio_of
from flea_lab.config import RunConfig
from flea_lab.money import USD
from flea_lab.signal.kernel import Floats


def cell_portfolio(
    found: SweepResult, values: Mapping[str, Any], market: Market, *, extra_cash_usd: float = 0.0
) -> Any:
    """The `vectorbt.Portfolio` of one cell of a sweep over `market`: `cell_portfolio(found, found.best(), market)`.

    Refuses an account that borrowed as `portfolio` does, and takes `extra_cash_usd` as it does.
    """
    config = found.cell_config(values)
    fills = cell_fills(config, market, found.start)
    return portfolio_of(config, fills, _orders(config, market, found.start, fills), extra_cash_usd)


def cell_orders(found: SweepResult, values: Mapping[str, Any], market: Market) -> Orders:
    """The fills of one cell of a sweep over `market` on its grid of bars, from where the sweep's cells trade."""
    config = found.cell_config(values)
    return _orders(config, market, found.start, cell_fills(config, market, found.start))


def cell_fills(config: RunConfig, market: Market, start: int) -> pd.DataFrame:
    """Fills of one combination over `market`: ts (ms UTC, a bar's open), symbol, side, qty, price and fee_usd."""
    require_market(config, market)
    rows = []
    for fill in single(batch_of([config]), market, start).fills:
        symbol, lots = config.symbols[fill["symbol"]], int(fill["lots"])
        grid, at = config.instruments[symbol], int(market.open_ms[fill["bar"]])
        price, fee = grid.price(int(fill["price_ticks"])), int(fill["fee_uusd"]) / USD
        rows.append((at, symbol, "buy" if lots > 0 else "sell", grid.qty(abs(lots)), price, fee))
    return pd.DataFrame(rows, columns=["ts", "symbol", "side", "qty", "price", "fee_usd"])


def _orders(config: RunConfig, market: Market, start: int, fills: pd.DataFrame) -> Orders:
    return orders_on(config, market.open_ms[start:], _closes(config, market)[start:], fills)


def _closes(config: RunConfig, market: Market) -> Floats:
    """Close of every bar, the last known one over a hole, shape `(n, n_symbols)`."""
    grids = [config.instruments[symbol] for symbol in config.symbols]
    prices = [
        [grid.price(t) if t else np.nan for t in row]
        for grid, row in zip(grids, market.close_ticks.tolist(), strict=True)
    ]
    return pd.DataFrame(np.array(prices).T).ffill().bfill().to_numpy()
