"""A backtest's fills as a vectorbt Portfolio: its trades, drawdowns and plots for what we traded, and a second opinion.

vectorbt dates a bar by its open, as candles are stored; so its orders carry the times of our fills, and the value in a
row is the equity at that bar's close, one interval later. It knows no funding and lends no cash.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flea_lab.backtest.market import Ints
from flea_lab.backtest.result import BacktestResult
from flea_lab.config import RunConfig
from flea_lab.errors import ConfigError, DataError
from flea_lab.model.instrument import Instrument
from flea_lab.signal.kernel import Floats


class Orders(NamedTuple):
    """Fills on the grid of bars, as `Portfolio.from_orders` takes them.

    Frames of shape `(n, n_symbols)`, one column a symbol in the config's order, indexed by bar open (UTC, without zone,
    nanoseconds). `close` is rounded to ticks, carried forward over a symbol's missing bars; `size` is signed, in base
    units; `size`, `price` and `fee` (USD) are NaN, NaN and 0 where nothing filled.
    """

    close: pd.DataFrame
    size: pd.DataFrame
    price: pd.DataFrame
    fee: pd.DataFrame


class Difference(NamedTuple):
    """The largest distance of two equity curves: as a share of equity, in USD, and the close (ms UTC) where it stands.

    `reasons` says what the two books do differently, one sentence each; none where they should agree to the rounding
    of floats.
    """

    relative: float
    usd: float
    ts: int
    reasons: tuple[str, ...]


def portfolio(result: BacktestResult, *, extra_cash_usd: float = 0.0) -> Any:
    """The `vectorbt.Portfolio` of the fills of `result`: one account over its symbols, at their prices and exact fees.

    vectorbt cuts a buy at the cash in hand. An account that borrowed is refused with a `ConfigError` that names the
    fill and the `extra_cash_usd` that would do; the portfolio's value then is our equity and that much more.
    """
    return portfolio_of(result.config, result.fills, orders(result), extra_cash_usd)


def portfolio_of(config: RunConfig, fills: pd.DataFrame, found: Orders, extra_cash_usd: float) -> Any:
    """The `vectorbt.Portfolio` of `fills`, a frame as a result has it, which `found` has on the grid of bars."""
    _require_cash(config, fills, extra_cash_usd)
    vectorbt = _vectorbt()
    made = vectorbt.Portfolio.from_orders(
        found.close,
        size=found.size,
        price=found.price,
        fees=0.0,
        fixed_fees=found.fee,
        slippage=0.0,
        size_type="amount",
        direction="both",
        min_size=0.0,
        size_granularity=np.nan,
        lock_cash=False,
        init_cash=config.initial_cash_usd + extra_cash_usd,
        cash_sharing=True,
        call_seq="default",  # the order of the columns, which is the order of our fills within a bar
        freq=pd.Timedelta(config.interval_ms, unit="ms"),
        attach_call_seq=True,
    )
    if len(made.order_records) != len(fills):
        raise DataError(f"vectorbt took {len(made.order_records)} of {len(fills)} fills: sizes below 1e-12 units")
    return made


def orders(result: BacktestResult) -> Orders:
    """The fills of `result` on its grid of bars; `DataError` for a fill off the grid or a second one in a bar."""
    open_ms = result.equity["ts"].to_numpy(np.int64) - result.config.interval_ms
    close = np.column_stack([_closes(result, symbol, open_ms) for symbol in result.config.symbols])
    return orders_on(result.config, open_ms, close, result.fills)


def orders_on(config: RunConfig, open_ms: Ints, close: Floats, fills: pd.DataFrame) -> Orders:
    """`fills` on bars that open at `open_ms` and close at `close`, shape `(n, n_symbols)`."""
    index = pd.DatetimeIndex(open_ms.astype("datetime64[ms]")).as_unit("ns")
    symbols = list(config.symbols)
    size, price, fee = np.full(close.shape, np.nan), np.full(close.shape, np.nan), np.zeros(close.shape)
    row, column = _rows(fills, open_ms), fills["symbol"].map(symbols.index).to_numpy(np.int64)
    size[row, column] = _signed(fills)
    price[row, column] = fills["price"]
    fee[row, column] = fills["fee_usd"]
    return Orders(*(pd.DataFrame(values, index=index, columns=symbols) for values in (close, size, price, fee)))


def equity_difference(result: BacktestResult, pf: Any) -> Difference:
    """How far the value of `pf`, a `portfolio` of `result`, is from our equity, funding put back.

    Funding is in our equity and not in vectorbt's, so it is compared net of what was paid until then. What remains is
    the rounding of money to micro-dollars, where a lot at a tick is no whole number of them, and of floats.
    """
    ours = result.equity["equity_usd"].to_numpy(np.float64)
    ts = result.equity["ts"].to_numpy(np.int64)
    extra = float(pf.init_cash) - result.config.initial_cash_usd
    theirs = pf.value().to_numpy(np.float64) - extra - _funding_paid(result, ts)
    gap = np.abs(ours - theirs)
    relative = gap / np.abs(ours)
    at = int(np.argmax(relative))
    return Difference(float(relative[at]), float(gap.max()), int(ts[at]), _reasons(result, extra))


def _vectorbt() -> Any:
    """vectorbt, set to draw plain figures: a stored report cannot hold live widgets."""
    import vectorbt

    vectorbt.settings.plotting["use_widgets"] = False
    return vectorbt


def _closes(result: BacktestResult, symbol: str, open_ms: Ints) -> Floats:
    """Close of every bar as it is marked here: in whole ticks, the last known one over a hole."""
    frame, grid = result.candles[symbol], result.config.instruments[symbol]
    ticks = grid.tick_array(frame["close"].to_numpy(np.float64))
    known = np.array([grid.price(t) for t in ticks.tolist()])
    last = np.searchsorted(frame["ts"].to_numpy(np.int64), open_ms, side="right") - 1
    return known[np.maximum(last, 0)]  # before a symbol's first bar nothing is held: any price will do


def _rows(fills: pd.DataFrame, open_ms: Ints) -> Ints:
    ts = fills["ts"].to_numpy(np.int64)
    row = np.searchsorted(open_ms, ts)
    off = (row == len(open_ms)) | (open_ms[np.minimum(row, len(open_ms) - 1)] != ts)
    if off.any():
        raise DataError(f"fill at {ts[off][0]} ms is at no bar's open: vectorbt's portfolio needs the next_open rule")
    twice = fills.duplicated(["ts", "symbol"])
    if twice.any():
        first = fills[twice].iloc[0]
        raise DataError(
            f"two fills of {first['symbol']} at {first['ts']} ms: vectorbt takes one order a bar and symbol"
        )
    return row


def _signed(fills: pd.DataFrame) -> Floats:
    signs = np.where(fills["side"] == "buy", 1.0, -1.0)
    return signs * fills["qty"].to_numpy(np.float64)


def _require_cash(config: RunConfig, fills: pd.DataFrame, extra: float) -> None:
    spent = _signed(fills) * fills["price"].to_numpy(np.float64) + fills["fee_usd"].to_numpy(np.float64)
    cash = config.initial_cash_usd + extra - np.cumsum(spent)
    short = (cash < 0.0) & (fills["side"] == "buy").to_numpy()
    if short.any():
        first = fills[short].iloc[0]
        need = extra + np.ceil(-cash[short].min())
        raise ConfigError(
            f"the buy of {first['qty']} {first['symbol']} at {first['ts']} ms takes cash to {cash[short][0]:,.2f} USD, "
            f"and vectorbt lends none: pass extra_cash_usd={need:.0f}"
        )


def _funding_paid(result: BacktestResult, ts: Ints) -> Floats:
    """Funding paid until each close, cumulative: a settlement is charged before the first open at or after it."""
    row = np.searchsorted(ts - result.config.interval_ms, result.funding["ts"].to_numpy(np.int64))
    paid = np.bincount(row, weights=result.funding["paid_usd"].to_numpy(np.float64), minlength=len(ts))
    return np.asarray(np.cumsum(paid))


def _reasons(result: BacktestResult, extra: float) -> tuple[str, ...]:
    reasons = []
    paid = result.funding["paid_usd"].sum()
    if len(result.funding):
        times = len(result.funding)
        reasons.append(f"vectorbt has no funding: compared net of {paid:,.2f} USD paid in {times} settlements")
    if extra:
        reasons.append(f"vectorbt lends no cash: compared net of {extra:,.2f} USD of extra cash")
    odd = [s for s in result.config.symbols if _rounds(result.config.instruments[s])]
    if odd:
        most = 0.5e-6 * (result.fills["symbol"].isin(odd).sum() + len(odd))
        reasons.append(
            f"a lot of {', '.join(odd)} at a tick is no whole micro-dollar: up to {most:.1e} USD of rounding"
        )
    return tuple(reasons)


def _rounds(grid: Instrument) -> bool:
    return grid.unit_den != 1
