"""A paper account over a venue that fills in depth hears the books and prints that its orders meet."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flea_lab import config as configs
from flea_lab.backtest.playlist import playlist_of
from flea_lab.clock import WallClock
from flea_lab.config import RunConfig
from flea_lab.data.sources.demo import synthetic_market
from flea_lab.live.account import account_folder
from flea_lab.live.session_frames import fills_of
from flea_lab.live.store import FILE
from flea_lab.sandbox.server import SandboxServer
from flea_lab.sandbox.settings import SandboxSettings, with_costs
from flea_lab.sandbox.stage import Stage
from flea_lab.wiring import live_session, market_from_frames

BARS, PLAYED = 400, 150


@contextmanager
def sandbox_in_depth(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Address and key of a sandbox that fills in depth, in a thread of its own."""
    frame, *_ = synthetic_market("BTCUSDT", n_bars=BARS)
    market = market_from_frames(config, {"BTCUSDT": frame}).market
    settings = with_costs(SandboxSettings(port=0, days=PLAYED / 1_440, matching="book"), 5.0, 1.0)
    found: list[tuple[str, str]] = []
    ready, end = threading.Event(), threading.Event()

    async def serve() -> None:
        server = SandboxServer(Stage(playlist_of(market), settings), WallClock())
        async with server.running() as url:
            opened = server.open_account("paper", 1_000.0)
            assert isinstance(opened, tuple)
            found.append((url, opened[0]))
            ready.set()
            while not end.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(100.0)
        yield found[0]
    finally:
        end.set()
        thread.join()


def test_a_paper_order_fills_against_the_books_of_the_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEA_HOME", str(tmp_path))
    values = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "rsi_reversion"}]}
    config = configs.from_dict({**values, "costs": {"funding": False}})
    with sandbox_in_depth(config) as (url, key):
        monkeypatch.setenv("FLEA_API_KEY", key)
        assert live_session(config, None, venue="paper", account="main", url=url) == 0
    assert len(fills_of(account_folder("main") / FILE)) > 0
