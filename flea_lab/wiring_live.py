"""The part of the wiring that a live session waits for: a core, and the session around it. No frame, no store."""

from flea_lab.backtest.cell import vpin_kernel, vpin_params
from flea_lab.backtest.features import feature_settings, features_needed
from flea_lab.clock import WallClock
from flea_lab.config import Alphas, RunConfig, alphas
from flea_lab.core import TradingCore
from flea_lab.data.features import BarFeatures
from flea_lab.errors import ConfigError
from flea_lab.execution.router import Router
from flea_lab.ledger import Ledger
from flea_lab.live.account import account_folder
from flea_lab.live.consent import LIVE, Consent, require_consent, terms_of
from flea_lab.live.first_run import CAPPED, capped, is_first
from flea_lab.model.market import MS_NS
from flea_lab.money import USD, rate_e8
from flea_lab.risk.gate import Gate
from flea_lab.risk.tolerance import Doubts
from flea_lab.runs import code_state
from flea_lab.signal.kernel import Stream
from flea_lab.strategy.desk import Desk


def build_core(
    config: RunConfig,
    found: Alphas,
    trade_from_ns: int,
    *,
    prefix: str = "replay",
    limit_ttl_ns: int | None = None,
    cash_uusd: int | None = None,
) -> TradingCore:
    """A core before its first event. Candles before `trade_from_ns` (their close) only warm the signals.

    A limit order still working `limit_ttl_ns` after it was given is taken back at the next bar, and large orders are
    worked in slices; None, for a market where all orders fill at the next open, does neither.
    `cash_uusd` is what the account begins with, by default the config's.
    """
    cash = round(config.initial_cash_usd * USD) if cash_uusd is None else cash_uusd
    measured = feature_settings(config) if features_needed(config, found) else {}
    desk = Desk(config.symbols, found.kernels, found.params, found.weights, config.combination, config.sizing, cash)
    return TradingCore(
        symbols=config.symbols,
        instruments=config.instruments,
        desk=desk,
        gate=Gate(config.risk, cash),
        ledger=Ledger(config.symbols, config.instruments, cash),
        router=Router(config.instruments, prefix),
        doubts=Doubts(config.tolerance, config.symbols, config.interval_ms * MS_NS),
        vpin={symbol: Stream(vpin_kernel(), params) for symbol, params in vpin_params(config).items()},
        slippage_e8=rate_e8(config.costs.slippage_bps),
        trade_from_ns=trade_from_ns,
        bar_ns=config.interval_ms * MS_NS,
        limit_ttl_ns=limit_ttl_ns,
        slicing=None if limit_ttl_ns is None else config.slicing,
        features={symbol: BarFeatures(config.interval_ms * MS_NS, how) for symbol, how in measured.items()},
    )


def live_session(
    config: RunConfig,
    promotion: str | None,
    *,
    venue: str,
    account: str,
    url: str | None = None,
    consent: Consent | None = None,
    other_code: bool = False,
) -> int:
    """Runs the live bot of `config` on `account` until it is stopped; the exit status of its process.

    `promotion` is the name it was promoted under, None where it was not. `url` overrides the REST base of the dialect;
    the websocket is below it. Venue "live" needs a promotion and a `consent` to just this, given now; `other_code`
    says that code may go on which is not the journal's. `FleaError` says in one line why it cannot begin or go on.
    """
    from flea_lab.live.bot import run_bot  # a runner and its sockets: not for who only builds a core
    from flea_lab.live.opening import About

    found, code = alphas(config), code_state(config).digest
    first = False
    if venue == LIVE:
        if promotion is None:
            raise ConfigError(f"config {config.name!r} is not promoted: real money needs a promotion")
        require_consent(consent, terms_of(config, account, url, code), WallClock())
        first = is_first(config, account_folder(account))

    now = CAPPED if first else ""

    def core(prefix: str, cash_uusd: int, limit_ttl_ns: int | None, limits: str = now) -> TradingCore:
        used = capped(config, cash_uusd) if limits == CAPPED else config
        return build_core(used, found, 0, prefix=prefix, limit_ttl_ns=limit_ttl_ns, cash_uusd=cash_uusd)

    if first:
        most, count = config.live.first_order_usd, config.live.first_orders
        print(f"the first {count} orders: none is larger than {most:g} USD until the start after them")
    about = About(
        account=account,
        venue=venue,
        config=promotion or config.name,
        config_id=config.id,
        promoted=promotion is not None,
        code=code,
        key="",
        limits=now,
    )
    ticks = bool(features_needed(config, found))
    run_bot(config, core, found.warmup, about, url, ticks=ticks, other_code=other_code)
    return 0
