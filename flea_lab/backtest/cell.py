"""One combination of parameters as the flat numbers that the fold reads."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flea_lab.config import Alphas, RunConfig
from flea_lab.errors import ConfigError
from flea_lab.ledger import Book, empty_book
from flea_lab.model.market import MS_NS
from flea_lab.money import USD, rate_e8
from flea_lab.risk.tolerance import longest_hole_ns
from flea_lab.settings import Settings
from flea_lab.signal.ensemble import Ensemble
from flea_lab.signal.kernel import Floats, Kernel
from flea_lab.signal.registry import builtin_kernels
from flea_lab.strategy.desk import MODES


class Rules(NamedTuple):
    """Everything but the signals, as floats; whole numbers stay exact below 2**53. Money in micro-dollars."""

    min_confidence: float
    min_conviction: float
    mode: float
    live_basis: float
    base_fraction: float
    band: float
    max_daily_loss: float
    max_drawdown: float
    max_concentration: float
    of_exposure: float
    max_order: float
    vpin_applied: float
    vpin_limit: float
    fee_e8: float
    slippage_e8: float
    initial: float
    longest_hole_ns: float
    settle_bars: float


N_RULES = len(Rules._fields)
VPIN_ON_TRADES = 2.0
"""`vpin_applied` where VPIN is a feature of the bar; 1 where it is measured on the bars, 0 where it is not applied."""

VPIN_APPLIED = {"absent": 0.0, "bars": 1.0, "trades": VPIN_ON_TRADES}


class Cell(NamedTuple):
    """One combination as the fold reads it.

    Rules `(N_RULES,)`, weights `(k,)`, parameters `(k, p)`, start states `(k, width)` and their sizes `(k,)`; for the
    VPIN guard parameters `(n_symbols, 2)` and start states; the empty book.
    """

    rules: Floats
    weights: Floats
    prow: Floats
    mem: Floats
    sizes: npt.NDArray[np.int64]
    vpin_prow: Floats
    vpin_mem: Floats
    book: Book


def vpin_kernel() -> Kernel:
    """The kernel whose value the VPIN guard reads."""
    return builtin_kernels()["vpin"]


def vpin_params(config: RunConfig) -> dict[str, Settings]:
    """Parameters of the VPIN guard by symbol; empty when it does not measure VPIN on the bars."""
    gate = config.risk.vpin
    if gate.source != "bars":
        return {}
    values = {s: {"bucket_volume": gate.bucket_volume[s], "window": gate.window} for s in config.symbols}
    return {s: vpin_kernel().load(v, f"risk.vpin of {s}") for s, v in values.items()}


def require_held(config: RunConfig) -> None:
    """`ConfigError` where a config checks orders in a way that the fold does not hold."""
    unheld = config.risk.orders.acts_on_bars(config.interval_ms / 1_000)
    if unheld:
        raise ConfigError(
            f"risk.orders.{unheld} may refuse orders of config {config.name!r}, and the sweep's fold does not hold it: "
            "use the replay, or its default"
        )


def rules_of(config: RunConfig) -> Floats:
    """`Rules` of a config as an array `(N_RULES,)`."""
    sizing, risk, costs = config.sizing, config.risk, config.costs
    rules = Rules(
        min_confidence=config.combination.min_confidence,
        min_conviction=config.combination.min_conviction,
        mode=MODES[sizing.mode],
        live_basis=sizing.basis == "live",
        base_fraction=sizing.base_fraction,
        band=sizing.rebalance_band,
        max_daily_loss=risk.max_daily_loss,
        max_drawdown=risk.max_drawdown,
        max_concentration=risk.max_concentration,
        of_exposure=risk.concentration_of == "exposure",
        max_order=risk.max_order_usd * 1e6,
        vpin_applied=VPIN_APPLIED[risk.vpin.source],
        vpin_limit=risk.vpin.limit,
        fee_e8=rate_e8(costs.fee_bps),
        slippage_e8=rate_e8(costs.slippage_bps),
        initial=round(config.initial_cash_usd * USD),
        longest_hole_ns=longest_hole_ns(config.tolerance, config.interval_ms * MS_NS),
        settle_bars=config.tolerance.settle_bars,
    )
    return np.array([float(value) for value in rules])


def vpin_start(config: RunConfig) -> tuple[Floats, Floats]:
    """Parameters `(n_symbols, 2)` and start states of the VPIN guard."""
    kernel, params = vpin_kernel(), vpin_params(config)
    rows = [kernel.row(p) for p in params.values()] or [np.zeros(kernel.n_params)] * len(config.symbols)
    starts = [kernel.start(p) for p in params.values()] or [np.zeros(kernel.n_state)] * len(config.symbols)
    return np.array(rows), np.array(starts)


def book_of(config: RunConfig) -> Book:
    """The empty book of the symbols of a config."""
    return empty_book([config.instruments[symbol] for symbol in config.symbols])


def build_cell(config: RunConfig, alphas: Alphas) -> Cell:
    """The numbers of `config`; `ConfigError` where it checks orders in a way that the fold does not hold."""
    require_held(config)
    ensemble = Ensemble(alphas.kernels)
    mem, sizes = ensemble.start(alphas.params)
    vpin_prow, vpin_mem = vpin_start(config)
    return Cell(
        rules=rules_of(config),
        weights=alphas.weights,
        prow=ensemble.rows(alphas.params),
        mem=mem,
        sizes=sizes,
        vpin_prow=vpin_prow,
        vpin_mem=vpin_mem,
        book=book_of(config),
    )
