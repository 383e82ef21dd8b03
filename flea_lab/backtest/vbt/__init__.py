"""The only home of vectorbt: a backtest's fills as its Portfolio. Importing this does not import vectorbt."""

from flea_lab.backtest.vbt.portfolio import Difference, Orders, equity_difference, orders, portfolio

__all__ = ["Difference", "Orders", "equity_difference", "orders", "portfolio"]
