"""One small market and one backtest on it, made once and shared by the tests of a report's pieces."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flea_lab.backtest.result import BacktestResult
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.wiring import market_from_frames, run_backtest

BARS = 3_000


def small_config(*symbols: str, **changes: object) -> RunConfig:
    values = {
        "name": "small",
        "symbols": list(symbols),
        "interval": "1m",
        "signals": [{"kernel": "ema_momentum"}, {"kernel": "rsi_reversion", "weight": 0.7}],
        "risk": {"max_daily_loss": 0.004},
    }
    return from_dict({**values, **changes})


@pytest.fixture(scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def result(own_home: None) -> BacktestResult:
    """Two symbols over two days of the synthetic market, with a daily loss limit that trips."""
    config = small_config("BTCUSDT", "ETHUSDT")
    found = {symbol: synthetic_market(symbol, n_bars=BARS) for symbol in config.symbols}
    candles = {symbol: market[0] for symbol, market in found.items()}
    funding = {symbol: market[1] for symbol, market in found.items()}
    loaded = market_from_frames(config, candles, funding, source="synthetic market (seed 7)")
    return replace(run_backtest(config, loaded), synthetic=True)
