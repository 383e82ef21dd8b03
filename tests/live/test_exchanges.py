"""Where the orders of a dialect go, and what it must say for that."""

import importlib.util
from typing import Any

import pytest

from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError
from flea_lab.live.exchanges import open_exchange
from flea_lab.secret import Secret
from flea_lab.venue.ccxt_exchange import CcxtExchange
from flea_lab.venue.dialects import load_dialect
from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
from flea_lab.venue.published_exchange import PublishedExchange
from tests.venue.published_runs import GRIDS

ADDRESS = "0x" + "ab" * 20


def opened(name: str, **values: Any) -> Any:
    key = Secret(values.pop("key", "0x" + "12" * 32))
    return open_exchange(load_dialect({"name": name, **values}, "a test"), key, GRIDS, WallClock())


def test_each_dialect_has_the_exchange_that_speaks_it() -> None:
    assert isinstance(opened("purpleflea"), PublishedExchange)
    assert isinstance(opened("ccxt:okx"), CcxtExchange)
    if importlib.util.find_spec("ccxt") is not None:
        assert isinstance(opened("hyperliquid", address=ADDRESS), HyperliquidExchange)
        with pytest.raises(ConfigError, match="the key cannot sign: an API wallet's") as raised:
            opened("hyperliquid", address=ADDRESS, key="0xsecret")
        assert "0xsecret" not in str(raised.value)


def test_what_a_dialect_does_not_say_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="dialect 'hyperliquid': orders need the account's address"):
        opened("hyperliquid")
    with pytest.raises(
        ConfigError, match="'purpleflea-seed' tells its market and takes its orders over one connection"
    ):
        opened("purpleflea-seed")
    with pytest.raises(ConfigError, match="address = '0x12'"):
        opened("hyperliquid", address="0x12")
