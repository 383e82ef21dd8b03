"""What is wrong with a venue, a key, a clock, a journal or a frame: one clear line, no order, nothing lost."""

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from flea_lab.config import RunConfig
from flea_lab.errors import FleaError, VenueError, VenueRefusal, WorkspaceError
from flea_lab.live.account import HALT
from flea_lab.live.journal import open_journal
from flea_lab.live.opening import require_grids
from flea_lab.live.runner import OVER
from flea_lab.live.store import FILE, SqliteStore
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS
from flea_lab.sandbox.server import SandboxServer
from tests.backtest.tiny import GRID, config, tiny
from tests.live.session import (
    CLOCK,
    Gate,
    Proxy,
    World,
    ask,
    assert_whole,
    changed,
    proxy,
    rows,
    running,
    session,
    until,
    with_live,
    world,
)  # fmt: skip
from tests.venue.hyperliquid_stand_in import Hand

LIVE: dict[str, Any] = {"history_bars": 1, "reconcile_pause_s": 0.0, "unknown_wait_s": 0.4}


def turning(n: int = 16) -> tuple[RunConfig, Any]:
    """A config and a market on which it buys and sells in turn."""
    run = with_live(config(), **LIVE)
    return run, tiny(run, {"X": [(i, 100.0 + i % 7, 101.0 + i % 5, 0.5 if i % 2 else -0.5) for i in range(n)]})


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return home / "journals" / "bad"


def refused(folder: Path, match: str, kind: type[FleaError] = VenueError, **named: Any) -> None:
    """A session that does not begin: one line that says why, no order, no journal row."""
    run, market = turning()

    async def play() -> None:
        async with world(run, market) as here:
            with pytest.raises(kind, match=match) as said:
                await session(here, folder, **named)
            assert "\n" not in str(said.value) and here.key not in str(said.value)
            assert not here.customer.orders and here.stage.now_ms == here.closes(0)

    asyncio.run(play())
    if (folder / FILE).exists():
        assert not rows(folder, "SELECT * FROM orders")


def test_a_wrong_key_is_named_and_not_shown(folder: Path) -> None:
    said = r"answered 401 invalid_key.* the key, or the way it is sent, is refused"
    refused(folder, said, VenueRefusal, key="wrong-key")


def test_a_sandbox_that_is_not_there_is_named(folder: Path) -> None:
    refused(
        folder, r"GET /candles/X: cannot connect to 127\.0\.0\.1:9: connection refused \(asked 2 times\)", VenueError,
        url="http://127.0.0.1:9/trading-api", dialect={"reads": 2},
    )  # fmt: skip


def test_a_wrong_way_to_send_the_key_is_named(folder: Path) -> None:
    refused(folder, r"the key, or the way it is sent, is refused", VenueRefusal, dialect={"auth": "bearer"})


def test_wrong_paths_are_a_mismatch_of_the_dialect(folder: Path) -> None:
    paths = {"paths": {"candles": "/v2/klines/{symbol}"}}
    refused(folder, r"dialect mismatch: http.* does not speak 'purpleflea-seed': .*404", VenueRefusal, dialect=paths)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"tick_size": "0.05"}, r"X: tick_size is 0\.01 at the venue, 0\.05 in the config"),
        ({"funding_interval_h": 1}, r"X: funding_interval_h is 8 at the venue, 1 in the config"),
    ],
)
def test_a_grid_that_is_not_the_venues_is_named(folder: Path, grid: dict[str, Any], said: str) -> None:
    run, _ = turning()
    other = config(grid={**GRID, **grid})
    refused(folder, said, VenueRefusal, config=msgspec.structs.replace(run, instruments=other.instruments))


def test_a_smallest_order_below_the_venues_is_named_and_one_above_it_is_not() -> None:
    def grids(least: str) -> dict[str, Instrument]:
        return dict(config(grid={**GRID, "min_notional_usd": least}).instruments)

    for least in ("5", "0"):
        require_grids(grids(least), grids("5"))
    said = r"X: min_notional_usd is 10 at the venue, 5 in the config: orders in between would be refused"
    with pytest.raises(VenueRefusal, match=said):
        require_grids(grids("10"), grids("5"))
    require_grids({}, grids("5"))  # a venue that states nothing


def test_a_symbol_that_the_venue_lacks_is_named(folder: Path) -> None:
    run = with_live(config(["Y"]), **LIVE)
    refused(folder, r"unknown_symbol: no symbol 'Y', known are X", VenueRefusal, config=run)


@pytest.mark.parametrize("skew_s", [-3.0, 3.0])
def test_a_clock_that_is_off_is_named(folder: Path, skew_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    run, market = turning()
    monkeypatch.setattr("tests.live.session.CLOCK", Hand())  # it stands: an answer that takes its time is no skew

    async def play() -> None:
        async with world(run, market, clock="wall", clock_skew_s=skew_s) as here:
            with pytest.raises(VenueRefusal, match=rf"the venue's clock is \{skew_s:+.1f} s off .* at most 2 s may be"):
                await session(here, folder)

    asyncio.run(play())


def order(name: str, side: str = "buy") -> dict[str, str]:
    return {"client_order_id": name, "symbol": "X", "side": side, "type": "market", "size": "1.000"}


async def submit(here: World, name: str) -> None:
    """An order of somebody else, in the account's name."""
    between = Proxy(here.url)
    assert await between.pass_on("POST", "/orders", json.dumps(order(name)).encode(), here.key) == 201


def test_an_account_that_holds_something_without_a_journal_is_refused(folder: Path) -> None:
    run, market = turning()

    async def play() -> None:
        async with world(run, market) as here:
            await submit(here, "stranger")
            with pytest.raises(VenueRefusal, match="the account already has 1 open orders, and no journal says why"):
                await session(here, folder)

    asyncio.run(play())


@pytest.mark.parametrize("when", ["meanwhile", "while down"])
def test_an_order_that_was_not_given_here_halts_and_is_taken_back(folder: Path, when: str) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder, url=between.url) as task:
                await here.at(6)
                await until(folder, lambda said: said["last_bar_ns"] == here.closes(6) * MS_NS)
                if when == "while down":
                    await between.close()
                    await until(folder, lambda said: said["link"] == "down")
                await submit(here, "stranger")
                if when == "while down":
                    await between.open()
                said = await until(folder, lambda said: said["halt_verified"])
                assert said["latches"] == ["kill_switch"] and not here.customer.open
                before = len(here.customer.orders)
                gate.open()
                assert await task == OVER
            assert len(here.customer.orders) == before and "stranger" in here.console.getvalue()

    asyncio.run(play())


def test_a_key_that_is_revoked_ends_the_session_halted(folder: Path) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here:
            Gate(here.server, here.closes(6))
            async with running(here, folder) as task:
                await here.at(6)
                here.server._accounts.clear()
                await here.server.audience.connections[1].socket.close()
                with pytest.raises(VenueRefusal, match=r"\b401\b.*: the key, or the way it is sent, is refused"):
                    async with asyncio.timeout(10):
                        await task
        said = here.console.getvalue()
        assert "the runner ends: " in said and "open orders could not be taken back" in said
        (how,) = rows(folder, "SELECT how FROM runs")[0]
        # the websocket and the questions over REST try again at once: whoever is first hears it
        assert re.match(r"ended: (websocket upgrade|(GET|POST|DELETE) /\S+) answered 401\b", how), how
        db = open_journal(folder)
        assert db.last_latches() == ("kill_switch",)
        db.close()

    asyncio.run(play())


def test_a_sandbox_that_dies_is_waited_for_and_found_again(folder: Path) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder, url=between.url) as task:
                await here.at(6)
                await between.close()
                await until(folder, lambda said: said["link"] == "down" and said["state"] == "warming")
                before = len(here.customer.orders)
                await asyncio.sleep(0.3)
                assert len(here.customer.orders) == before
                await between.open()
                await until(folder, lambda said: said["link"] == "up" and said["state"] == "trading")
                gate.open()
                assert await task == OVER
            assert_whole(here, folder)
            assert "the connection is down" in here.console.getvalue() and len(here.customer.orders) > before

    asyncio.run(play())


def test_a_stop_while_the_venue_is_silent_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flea_lab.live.brake.STOP_WAIT_S", 0.5)
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            Gate(here.server, here.closes(6))

            async def silent(method: str, path: str, body: bytes) -> str | None:
                await asyncio.sleep(60)
                return None

            async with running(here, folder, url=between.url) as task:
                await here.at(6)
                between.rest = silent
                await between.cut()
                await until(folder, lambda said: said["link"] == "up" and said["state"] == "warming")
                await ask(folder, "stop")
                async with asyncio.timeout(5):
                    how = "stopped by a person, without the venue's word that no order is open"
                    assert await task == how
            assert "stopped without the venue's word that no order is open" in here.console.getvalue()
            assert rows(folder, "SELECT how FROM runs") == [(how,)]

    asyncio.run(play())


GARBAGE: dict[str, str] = {
    "no JSON": "garbage",
    "cut off": '{"channel":"candle_1m","symbol":"X","data":{"t":17280',
    "empty": "",
    "a list": "[]",
    "a number": "1e999",
    "deep": "[" * 2_000 + "]" * 2_000,
    "other symbol": '{"channel":"candle_1m","symbol":"Y","data":{"t":1,"o":1,"h":1,"l":1,"c":1,"v":1,"complete":true}}',
    "a heartbeat of nothing": '{"event":"heartbeat","ts":null}',
    "a fill of nothing": '{"channel":"fills","symbol":"X","data":{}}',
}


def candle(here: World, **values: Any) -> str:
    """A candle that has not been yet, with these values."""
    row = {"t": here.stage.now_ms, "o": 100.0, "h": 101.0, "l": 99.0, "c": 100.0, "v": 1.0, "complete": True}
    return json.dumps({"channel": "candle_1m", "symbol": "X", "data": {**row, **values}})


BAD_CANDLES: dict[str, dict[str, Any]] = {
    "NaN": {"c": float("nan")},
    "infinite": {"h": float("inf")},
    "zero": {"c": 0.0},
    "negative": {"o": -1.0},
    "text": {"c": "cheap"},
    "null": {"c": None},
    "high below low": {"h": 1.0},
    "negative volume": {"v": -1.0},
    "no time": {"t": None},
    "far future": {"t": 10**17},
    "a list": {"c": [100.0]},
}


def fed(folder: Path, what: Callable[[World], list[str]]) -> str:
    """What a session said that was told `what`, one bar after the other; the accounts are equal in the end."""
    run, market = turning(60)

    async def play() -> str:
        async with world(run, market) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder, url=between.url) as task:
                await here.at(4)
                for bar, text in enumerate(what(here), 5):
                    at = here.closes(bar - 1) * MS_NS
                    await until(
                        folder,
                        lambda said, at=at: (said["state"], said["link"], said["last_bar_ns"]) == ("trading", "up", at),
                    )
                    await between.push(text)
                    await asyncio.sleep(0.05)
                    gate.open(here.closes(bar))
                    await here.at(bar)
                gate.open()
                async with asyncio.timeout(10):
                    assert await task == OVER
            assert_whole(here, folder)
            said = here.console.getvalue()
            assert "Traceback" not in said
            if "halted" not in said:
                assert len(here.customer.orders) > 40
            return said

    return asyncio.run(play())


def test_a_frame_that_is_garbage_is_said_and_changes_nothing(folder: Path) -> None:
    said = fed(folder, lambda _: list(GARBAGE.values()))
    assert "warning: frame: cannot be read (JSON is malformed" in said and "halted" not in said
    for part in ("Number out of range", "a push that was not asked for", "ts is missing", "missing required field"):
        assert part in said, part


def test_an_impossible_candle_is_said_and_never_traded_on(folder: Path) -> None:
    said = fed(folder, lambda here: [candle(here, **values) for values in BAD_CANDLES.values()])
    assert "halted" not in said
    for part in ("c = 0.0: must be a number above 0", "expected float, got str", "do not span", "beyond the year 2255"):
        assert part in said, part


def test_a_price_that_history_does_not_have_is_said_and_never_traded_on(folder: Path) -> None:
    said = fed(folder, lambda here: [candle(here, c=1e300, h=1e300)])
    assert "halted" not in said and "warning: a candle of X closes at 1e+300, history has none" in said


def test_a_journal_that_is_damaged_is_named(folder: Path) -> None:
    run, market = turning()

    async def play() -> None:
        async with world(run, market) as here:
            folder.mkdir(parents=True)
            (folder / FILE).write_bytes(b"no database" * 1_000)
            with pytest.raises(WorkspaceError, match=r"journal .*journal\.sqlite: file is not a database"):
                await session(here, folder)
            shutil.rmtree(folder)
            async with running(here, folder):
                Gate(here.server, here.closes(6))
                await here.at(6)
            with closing(sqlite3.connect(folder / FILE)) as db, db:
                db.execute("UPDATE entries SET body=x'93' WHERE seq=3")
            sent = len(here.customer.orders)
            with pytest.raises(WorkspaceError, match=r"journal\.sqlite: row 3 is damaged and rows after .* by hand"):
                await session(here, folder)
            assert len(here.customer.orders) == sent

    asyncio.run(play())


def test_a_full_disk_halts_before_the_order_that_it_does_not_take(folder: Path) -> None:
    run, market = turning(30)
    insert = SqliteStore._insert
    full = False

    def refusing(self: SqliteStore, batches: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        insert(self, batches)

    async def play() -> None:
        nonlocal full
        async with world(run, market) as here:
            with changed(SqliteStore, "_insert", refusing):
                gate = Gate(here.server, here.closes(6))
                async with running(here, folder) as task:
                    await here.at(6)
                    # what the bar decided has reached the venue as well: after that nothing is on its way
                    await until(
                        folder,
                        lambda said: (
                            said["last_bar_ns"] == here.closes(6) * MS_NS
                            and said["orders"] == len(here.customer.orders)
                        ),
                    )
                    full, before = True, set(here.customer.orders)
                    gate.open()
                    with pytest.raises(WorkspaceError, match="disk is full"):
                        await task
                full = False
                assert set(here.customer.orders) == before and not here.customer.open
            assert (folder / HALT).exists() and "the halt is not in the journal" in here.console.getvalue()
            gate.open(here.closes(12))
            async with running(here, folder) as task:
                said = await until(folder, lambda said: said["halt_verified"] and said["reconciled"])
                assert said["latches"] == ["kill_switch"]
                gate.open()
                await task
            assert_whole(here, folder)

    asyncio.run(play())


def test_a_port_in_use_is_named() -> None:
    run, market = turning()

    async def play() -> None:
        async with world(run, market) as here:
            settings = msgspec.structs.replace(here.server.settings, port=here.server.port)
            here.server.stage.settings = settings
            with pytest.raises(VenueError, match=rf"port {here.server.port} on 127\.0\.0\.1 is in use: .* --port"):
                async with SandboxServer(here.server.stage, CLOCK).listening():
                    pass

    asyncio.run(play())


def test_what_a_session_says_of_a_bad_venue_is_no_storm(folder: Path) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            gate = Gate(here.server, here.closes(6))
            async with running(here, folder, url=between.url) as task:
                await here.at(6)
                for _ in range(300):
                    await between.push("garbage")
                    await between.push(candle(here, c=-1.0))
                gate.open()
                assert await task == OVER
            lines = (folder / "alerts.jsonl").read_text().splitlines()
            assert len(lines) < 30
            assert len(rows(folder, "SELECT 1 FROM entries")) < 2_000

    asyncio.run(play())


def answer(status: int, body: str = "{}") -> web.Response:
    return web.Response(status=status, text=body, content_type="application/json")


@pytest.mark.parametrize("said", [answer(500), answer(200, "garbage"), answer(400)])
def test_an_answer_that_says_nothing_leaves_the_order_unknown_until_it_is_asked_for(
    folder: Path, said: web.Response
) -> None:
    run, market = turning(30)

    async def play() -> None:
        async with world(run, market) as here, proxy(here) as between:
            count = 0

            async def unclear(method: str, path: str, body: bytes) -> web.Response | None:
                nonlocal count
                if method != "POST" or path != "/orders":
                    return None
                count += 1
                if count % 4 == 0:  # one taken and not confirmed, one lost
                    if count % 8 == 0:
                        await between.pass_on(method, path, body, here.key)
                    return answer(said.status, said.text or "")
                return None

            between.rest = unclear
            async with asyncio.timeout(30):
                assert await session(here, folder, url=between.url) == OVER
            assert_whole(here, folder)
            assert count >= 16 and count == len(rows(folder, "SELECT 1 FROM orders"))

    asyncio.run(play())
