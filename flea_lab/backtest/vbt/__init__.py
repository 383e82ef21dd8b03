"""The only home of vectorbt: a backtest's fills as its Portfolio, a kernel as its indicator. Importing this does not
import vectorbt."""

from flea_lab.backtest.vbt.indicator import indicator
from flea_lab.backtest.vbt.portfolio import Difference, Orders, equity_difference, orders, portfolio

__all__ = ["Difference", "Orders", "equity_difference", "indicator", "orders", "portfolio"]
