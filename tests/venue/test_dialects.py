"""A dialect is data: what is published, what a configuration may change, what it may not."""

import copy
import pickle
from typing import Any

import pytest

from flea_lab.errors import ConfigError
from flea_lab.secret import Secret
from flea_lab.venue.dialects import load_dialect

CANARY = "pf_canary_9f8e7d6c5b4a"


def test_the_seed_is_the_default_and_points_at_the_sandbox() -> None:
    dialect = load_dialect({}, "a test")
    assert dialect == load_dialect({"name": "purpleflea-seed"}, "a test")
    assert dialect.rest_url == "http://127.0.0.1:8712/trading-api"
    assert dialect.ws_url == "ws://127.0.0.1:8712/trading-api/ws"
    assert dialect.header("k") == {"X-API-Key": "k"}
    assert dialect.theirs("BTCUSDT") == "BTCUSDT"


def test_the_venues_own_address_is_set_by_config() -> None:
    public = {"rest_url": "https://purpleflea.com/trading-api", "ws_url": "wss://purpleflea.com/trading-api/ws"}
    assert load_dialect(public, "a test").rest_url == public["rest_url"]


@pytest.mark.parametrize(
    ("values", "header"),
    [
        ({"auth": "bearer"}, {"Authorization": "Bearer k"}),
        ({"auth": "x-pf-key"}, {"X-PF-Key": "k"}),
        ({"auth": "none"}, {}),
        ({"auth_header": "X-Key"}, {"X-Key": "k"}),
    ],
)
def test_the_key_goes_where_the_dialect_says(values: dict[str, Any], header: dict[str, str]) -> None:
    assert load_dialect(values, "a test").header("k") == header


@pytest.mark.parametrize(
    ("values", "ours", "theirs"),
    [
        ({"symbol": "{base}"}, "BTCUSDT", "BTC"),
        ({"symbol": "{base}-PERP"}, "ETHUSDC", "ETH-PERP"),
        ({"symbol": "xyz:{base}"}, "TSLA", "xyz:TSLA"),
        ({"symbol": "{base}", "symbols": {"PEPEUSDT": "kPEPE"}}, "PEPEUSDT", "kPEPE"),
    ],
)
def test_our_symbol_becomes_theirs(values: dict[str, Any], ours: str, theirs: str) -> None:
    assert load_dialect(values, "a test").theirs(ours) == theirs


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (
            {"name": "purplefly"},
            r"name = 'purplefly': must be one of 'purpleflea-seed', 'purpleflea', 'hyperliquid', or 'ccxt:",
        ),
        ({"rest_ulr": "x"}, r"rest_ulr: unknown field, did you mean 'rest_url'\? \(in a test\)"),
        ({"paths": {"candle": "/c"}}, r"paths.candle: unknown field, did you mean 'candles'\?"),
        ({"paths": {"candles": "no slash"}}, "paths.candles = 'no slash'"),
        ({"request_timeout_s": 0}, "request_timeout_s = 0: expected `float` > 0.0"),
        ({"connects_per_minute": 0}, "connects_per_minute = 0"),
        ({"rest_url": "ftp://host/x"}, "rest_url = 'ftp://host/x': must be an address with https:// or http://"),
        ({"ws_url": "https://host/x"}, "ws_url = 'https://host/x': must be an address with wss:// or ws://"),
        ({"rest_url": "https://[x/"}, "rest_url = 'https://\\[x/': must be an address"),
        ({"rest_url": "http://purpleflea.com/x"}, "rest_url = .*: would send the key in clear, use https://"),
        ({"ws_url": "ws://purpleflea.com/x"}, "ws_url = .*: would send the key in clear, use wss://"),
        ({"rest_url": f"https://me:{CANARY}@h/x"}, "rest_url: must carry neither a user nor a query"),
        ({"rest_url": f"https://h/x?key={CANARY}"}, "rest_url: must carry neither a user nor a query"),
        ({"backoff_first_s": 31.0}, r"backoff_first_s \(31.0\) must be at most backoff_last_s \(30.0\)"),
        ({"symbol": "BTC"}, "symbol = 'BTC': must hold {symbol} or {base}"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused_in_one_line(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as raised:
        load_dialect(values, "a test")
    assert CANARY not in str(raised.value) and "\n" not in str(raised.value)


def test_a_key_without_auth_may_go_to_any_plain_host() -> None:
    assert load_dialect({"auth": "none", "rest_url": "http://h/x", "ws_url": "ws://h/x"}, "a test").header("k") == {}


def test_a_secret_is_masked_wherever_python_could_show_or_store_it() -> None:
    secret = Secret(CANARY)
    assert f"{secret} {secret!r} {secret:>40} %s" % secret == "*** Secret(***) *** ***"
    assert repr([secret]) == "[Secret(***)]"
    assert secret.reveal() == CANARY and secret.masked_in(f"a {CANARY} b") == "a *** b"
    assert secret == Secret(CANARY) != Secret("other") and secret != CANARY
    assert len({secret, Secret(CANARY)}) == 1
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize(
    "store", [pickle.dumps, lambda s: s.__getstate__(), lambda s: s.__reduce_ex__(2), lambda s: s.__reduce__()]
)
def test_a_secret_is_not_stored(store: Any) -> None:
    with pytest.raises(TypeError, match="a secret is not stored"):
        store(Secret(CANARY))


def test_a_secret_does_not_change() -> None:
    with pytest.raises(AttributeError, match="a secret does not change"):
        Secret(CANARY)._value = "x"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="a secret does not change"):
        del Secret(CANARY)._value  # type: ignore[misc]


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX-Other: b", "schlüssel", None, 7])
def test_what_could_not_travel_in_a_header_is_no_key(value: Any) -> None:
    with pytest.raises(ConfigError, match="a key must be a text of printable ASCII") as raised:
        Secret(value)
    assert str(value) not in str(raised.value) or value == ""
