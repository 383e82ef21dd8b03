"""Orders go to a sandbox on this machine and nowhere else, whatever the config or the command line says."""

from pathlib import Path
from typing import Any

import pytest

from flea_lab import config as configs
from flea_lab.errors import ConfigError
from flea_lab.live.bot import run_bot
from flea_lab.live.opening import About

VENUE = "https://exchange.example/trading-api"


def start(venue: str, url: str | None = None, dialect: dict[str, Any] | None = None) -> None:
    """Starts a runner that can go no further than its connection."""
    values = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}
    config = configs.from_dict({**values, "live": {"dialect": dialect or {}}})
    about = About(account="main", venue=venue, config="c", config_id=config.id, promoted=True, code="", key="")
    run_bot(config, lambda *_: pytest.fail("no core is built"), 1, about, url)


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_HOME", str(tmp_path))
    monkeypatch.setenv("FLEA_API_KEY", "pf_test_key")


def test_a_runner_sends_no_order_to_another_machine() -> None:
    with pytest.raises(ConfigError, match=r"rest_url = 'https://exchange.example/trading-api': orders go to a sandbox"):
        start("sandbox", url=VENUE)
    with pytest.raises(ConfigError, match=r"rest_url = .* on this machine only"):
        start("sandbox", dialect={"rest_url": VENUE})
    with pytest.raises(ConfigError, match=r"ws_url = .* on this machine only"):
        start("sandbox", dialect={"ws_url": "wss://exchange.example/ws"})


def test_a_name_that_only_begins_like_this_machine_is_another() -> None:
    with pytest.raises(ConfigError, match="on this machine only"):
        start("sandbox", url="https://127.0.0.1.exchange.example/trading-api")
