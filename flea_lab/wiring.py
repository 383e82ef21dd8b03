"""The only place that builds: a core, an exchange, a market from a config."""

from flea_lab.backtest.cell import vpin_kernel, vpin_params
from flea_lab.config import Alphas, RunConfig
from flea_lab.core import TradingCore
from flea_lab.execution.router import Router
from flea_lab.ledger import Ledger
from flea_lab.money import USD, rate_e8
from flea_lab.risk.gate import Gate
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.signal.kernel import Stream
from flea_lab.strategy.desk import Desk


def build_core(config: RunConfig, alphas: Alphas, trade_from_ns: int, *, prefix: str = "replay") -> TradingCore:
    """A core before its first event. Candles before `trade_from_ns` (their close) only warm the signals."""
    cash = round(config.initial_cash_usd * USD)
    desk = Desk(config.symbols, alphas.kernels, alphas.params, alphas.weights, config.combination, config.sizing, cash)
    return TradingCore(
        symbols=config.symbols,
        instruments=config.instruments,
        desk=desk,
        gate=Gate(config.risk, cash),
        ledger=Ledger(config.symbols, config.instruments, cash),
        router=Router(config.instruments, prefix),
        vpin={symbol: Stream(vpin_kernel(), params) for symbol, params in vpin_params(config).items()},
        slippage_e8=rate_e8(config.costs.slippage_bps),
        trade_from_ns=trade_from_ns,
    )


def build_exchange(config: RunConfig) -> NextOpenMatching:
    """The simulated exchange of the config's fill rule."""
    return NextOpenMatching(config.instruments, rate_e8(config.costs.fee_bps), rate_e8(config.costs.slippage_bps))
