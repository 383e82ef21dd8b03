"""The only home of vectorbt: the fills of a backtest or of a sweep's cell as its Portfolio, a kernel as its indicator.
Importing this does not import vectorbt."""

from flea_lab.backtest.vbt.cell import cell_orders, cell_portfolio
from flea_lab.backtest.vbt.indicator import indicator
from flea_lab.backtest.vbt.portfolio import Difference, Orders, equity_difference, orders, portfolio

__all__ = [
    "Difference",
    "Orders",
    "cell_orders",
    "cell_portfolio",
    "equity_difference",
    "indicator",
    "orders",
    "portfolio",
]
