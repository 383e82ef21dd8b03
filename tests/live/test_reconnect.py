"""A connection that goes, and what was missed meanwhile: fills and orders are asked for, nothing is sent twice."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from flea_lab.live.runner import OVER
from flea_lab.model.market import MS_NS
from tests.backtest.tiny import config, tiny
from tests.live.session import (
    Gate, World, account, ask, assert_whole, proxy, rows, running, until, with_live, world,
)  # fmt: skip

LIVE = {"history_bars": 1, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.4}


def turns(n: int) -> list[tuple[int, float, float, float]]:
    """Bars that buy and sell in turn."""
    return [(i, 100.0 + i % 7, 101.0 + i % 5, 0.5 if i % 2 else -0.5) for i in range(n)]


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "reconnect"


def is_private(text: str) -> bool:
    return json.loads(text).get("channel") in ("orders", "fills")


@pytest.mark.parametrize("lost", ["all", "fills", "orders"])
def test_private_frames_lost_with_a_connection_are_made_up_for(folder: Path, lost: str) -> None:
    run = with_live(config(), **LIVE)
    market = tiny(run, {"X": turns(12)})

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder, url=between.url) as task:
                await here.at(3)

                def deaf(text: str) -> list[str]:
                    said = json.loads(text)
                    gone = is_private(text) and (lost == "all" or said["channel"] == lost)
                    return [] if gone else [text]

                between.frames = deaf
                gate.open(here.closes(6))
                await asyncio.sleep(0.3)
                between.frames = lambda text: [text]
                await between.cut()
                await until(folder, lambda said: said["link"] == "up" and said["state"] == "trading")
                gate.open()
                async with asyncio.timeout(8):
                    assert await task == OVER
            assert_whole(here, folder)

    asyncio.run(play())
