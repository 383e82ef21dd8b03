"""`flea record` refuses in one line what cannot be recorded."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flea_lab.cli import app
from flea_lab.errors import FleaError


def refused(*words: str) -> str:
    found = CliRunner().invoke(app, ["record", *words]).exception
    assert isinstance(found, FleaError) and "\n" not in str(found)
    return str(found)


def test_what_cannot_be_recorded_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_API_KEY", "k" * 20)
    some = ("--symbols", "BTCUSDT", "--url", "http://127.0.0.1:1")
    assert refused() == "nothing to record: name a CONFIG, or --symbols BTCUSDT,ETHUSDT"
    assert refused(*some, "--minutes", "1", "--until", "2030-01-01") == "--minutes and --until exclude each other"
    assert refused(*some, "--minutes", "0") == "minutes = 0.0: must be above 0 (in flea record)"
    assert refused(*some, "--until", "2020-01-01") == "until = '2020-01-01' is over already (in flea record)"
    assert "until = 'soon' is not an ISO date" in refused(*some, "--until", "soon")
    assert refused(*some, "--channels", "orders") == "channel 'orders' must be among candle, book, trades, funding"
    assert "keep = 'all': must be one of 'both', 'events', 'raw' (in flea record)" in refused(*some, "--keep", "all")
    assert "flush_s = 0.0: expected `float` > 0.0" in refused(*some, "--flush-s", "0")
    assert list(home.glob("tapes/*")) == []


def test_without_a_key_it_says_where_one_comes_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    assert "no key for account 'main': flea faucet" in refused("--symbols", "BTCUSDT", "--url", "http://127.0.0.1:1")


def test_a_venue_of_public_data_needs_no_key_and_ccxt_shows_no_frames(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLEA_API_KEY", raising=False)
    monkeypatch.setenv("FLEA_OFFLINE", "1")
    some = ("--symbols", "BTCUSDT", "--minutes", "1")
    found = refused(*some, "--dialect", "hyperliquid")
    assert found.startswith("FLEA_OFFLINE=1 forbids the connection of dialect 'hyperliquid' to api.hyperliquid.xyz")
    assert "dialect 'ccxt:okx' shows no raw frames: pass --keep events" in refused(*some, "--dialect", "ccxt:okx")
    assert "must be one of 'purpleflea-seed', 'purpleflea', 'hyperliquid', or 'ccxt:" in refused(
        *some, "--dialect", "binance"
    )
    assert list(home.glob("tapes/*")) == []
