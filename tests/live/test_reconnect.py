"""A connection that goes, and what was missed meanwhile: fills and orders are asked for, nothing is sent twice."""

import asyncio
import json
from pathlib import Path

import pytest

from flea_lab.journal import EVENT
from flea_lab.live.heard import Heard
from flea_lab.live.journal import entries
from flea_lab.live.runner import OVER
from flea_lab.live.store import FILE
from flea_lab.model.market import MS_NS
from tests.backtest.tiny import config, tiny
from tests.live.session import (
    Gate,
    assert_whole,
    proxy,
    rows,
    running,
    until,
    with_live,
    world,
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
                async with asyncio.timeout(60):
                    assert await task == OVER
            assert_whole(here, folder)

    asyncio.run(play())


def test_bars_that_close_before_a_session_is_ready_warm_it_up_whole(folder: Path) -> None:
    run = with_live(config(["X", "Y"]), **LIVE)
    market = tiny(run, {"X": turns(60), "Y": turns(60)})

    async def play() -> None:
        async with world(run, market, pace=600.0) as here, proxy(here) as between:

            async def slow(method: str, path: str, body: bytes) -> None:
                if path == "/account" and here.stage.now_ms < here.closes(20):
                    await asyncio.sleep(0.35)

            between.rest = slow
            async with running(here, folder, url=between.url, ack=False) as task, asyncio.timeout(60):
                assert await task == OVER
            assert len(here.customer.orders) > 10

    asyncio.run(play())
    heard = Heard(run.symbols, run.interval_ms)
    for _, kind, entry in entries(folder / FILE):
        if kind == EVENT:
            heard.on(entry)
    for symbol in run.symbols:
        closes = [taken.candle.ts_event for taken in heard.taken if taken.candle.symbol == symbol]
        assert closes == sorted(closes) and len(closes) == (closes[-1] - closes[0]) // (60_000 * MS_NS) + 1


def test_an_order_that_the_venue_took_off_unheard_is_not_open_here_for_ever(folder: Path) -> None:
    resting = config(sizing={"market_above": 1.0, "base_fraction": 0.2})
    run = with_live(resting, **LIVE, limit_ttl_s=3_600.0)
    market = tiny(run, {"X": [(i, 100.0 + i, 101.0 + i, 0.6) for i in range(30)]})

    async def play() -> None:
        async with world(run, market, matching="book", steps=4) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(8))
            async with running(here, folder, url=between.url) as task:
                await here.at(8)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(8) * MS_NS)
                name = next(iter(here.customer.open))
                between.frames = lambda text: [] if is_private(text) and name in text else [text]
                assert await between.pass_on("DELETE", f"/orders/{name}", b"", here.key) == 200
                gate.open(here.closes(12))
                await here.at(12)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(12) * MS_NS and said["reconciled"])
                # a comparison may have been put off: one that was equal before says nothing of this order
                told = f"SELECT status FROM orders WHERE id='{name}'"
                await until(folder, lambda _: rows(folder, told) == [("cancelled",)])
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)

    asyncio.run(play())
