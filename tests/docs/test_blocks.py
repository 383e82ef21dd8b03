"""Every block that is no command is accepted by what it is for, executed, or held against an answer."""

import ast
import json
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

import flea_lab.testing
from flea_lab.backtest.plan import plan_points
from flea_lab.backtest.sweep import load_grid, plan
from flea_lab.cli.sandbox import URL
from flea_lab.config import RunConfig, from_dict
from flea_lab.data.frames import iso
from flea_lab.errors import FleaError
from flea_lab.live.launcher import Session
from flea_lab.research.search import load_ranges, random_points
from flea_lab.sandbox.faults import FaultSettings
from flea_lab.schedule.job import schedule_of
from flea_lab.settings import load_settings
from flea_lab.testing.bench import Bench
from flea_lab.venue.dialects import load_dialect
from tests.docs.pages import SHELL, Block, blocks, of_page
from tests.docs.rules import DRAWINGS
from tests.docs.world import PARAMS
from tests.laws.source import ROOT
from tests.laws.test_floors import FLOORS
from tests.sandbox.client import Client, run
from tests.sandbox.stages import MINUTE, T0
from tests.venue.benches import GRID, paper_bench

ALL = [block for block in blocks(ROOT) if block.kind not in SHELL]
BASE = {"symbols": ["BTCUSDT"], "interval": "1m", "signals": [{"kernel": "ema_momentum"}]}
WIRE = "docs/sandbox.md"
NOW = T0 + 5 * MINUTE


def drawn(block: Block) -> bool:
    return any(f"{block.page}: {block.text.split(chr(10))[0].strip()}".startswith(begins) for begins in DRAWINGS)


def of_kind(*kinds: str) -> list[Any]:
    return [pytest.param(block, id=block.at) for block in ALL if block.kind in kinds and not drawn(block)]


def accepted(block: Block) -> str:
    """What took a TOML block: the loader that its tables are for."""
    values = tomllib.loads(block.text)
    if values.keys() & {"jobs", "watch"}:
        schedule_of(values, ROOT / "pipelines" / "schedule.toml")
        return "schedule"
    if "faults" in values:
        assert load_settings(values, FaultSettings, block.at).faults
        return "faults"
    if values.keys() <= {field.name for field in structs.fields(RunConfig)} and not grid(values):
        from_dict({**BASE, **values}, block.at)
        if block.page == "docs/schedules.md" and "alerts" in values:
            schedule_of(values, ROOT / "pipelines" / "schedule.toml")
        return "config"
    if "{ low = " in block.text:
        assert plan_points(from_dict(BASE, block.at), random_points(load_ranges(values, block.at), 500, 1)).n > 0
        assert values == tomllib.loads((PARAMS / "seed_ranges.toml").read_text()), "the file that the page names"
        return "ranges"
    assert plan(from_dict(BASE, block.at), load_grid(values, block.at))
    return "grid"


def grid(values: dict[str, Any]) -> bool:
    """Whether a table holds a signal's values to try: no configuration has one."""
    return any(isinstance(value, dict) and "fast" in value for value in values.values())


@pytest.mark.parametrize("block", of_kind("toml"))
def test_a_toml_block_is_accepted_by_what_it_is_for(block: Block) -> None:
    assert accepted(block)


def test_a_toml_block_with_a_typing_error_is_not() -> None:
    for text in (
        "[alerts]\nsevrity = 1\n",
        "[[jobs]]\nname = 'a'\n",
        "[faults]\ngab = {every = 1}\n",
        "[ema]\nfast = 1\n",
    ):
        with pytest.raises(FleaError, match=r"docs/x.md|schedule.toml|no such setting"):
            accepted(Block("docs/x.md", 1, "toml", text))


def of_the_wire(kind: str) -> list[Block]:
    return [block for block in ALL if block.page == WIRE and block.kind == kind]


def test_the_addresses_of_the_sandbox_are_the_product_s() -> None:
    [block] = [one for one in of_the_wire("text") if one.text.startswith("REST")]
    dialect = load_dialect({}, "a test")
    assert block.text.split() == ["REST", URL, "websocket", f"{URL.replace('http', 'ws')}/ws"]
    assert (dialect.rest_url, dialect.ws_url) == (block.text.split()[1], block.text.split()[3])


def shape(value: Any) -> Any:
    """Names and types of a JSON value, numbers as one type; a list by its first element."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_a_key_is_claimed_as_the_page_shows() -> None:
    [block] = [one for one in of_the_wire("text") if one.text.startswith("POST")]
    asked, answered = block.text.splitlines()
    path, body = asked.removeprefix("POST ").split(maxsplit=1)
    status, told = answered.split(maxsplit=1)

    async def client(one: Client) -> None:
        got, found = await one.call("POST", path.removeprefix("/trading-api"), json.loads(body))
        shown = json.loads(told)
        assert got == int(status) and shape(found) == shape(shown) and found["credited"] == shown["credited"]

    run(client)


def test_history_and_subscription_are_what_the_page_shows() -> None:
    history, subscription = (json.loads(block.text) for block in of_the_wire("json"))

    async def client(one: Client) -> None:
        status, found = await one.call("GET", "/candles/X", interval="1m", limit=2)
        bar = found["candles"][0]
        assert status == 200 and shape({"candles": [{name: bar[name] for name in "tohlcv"}]}) == shape(history)
        assert set(bar) <= {*history["candles"][0], "bv"}
        async with one.session.ws_connect(one.url + "/ws", headers=one.headers) as ws:
            await ws.send_str(json.dumps({**subscription, "symbols": ["X", "Y"]}))
            said = json.loads((await ws.receive()).data)
            assert said == {"event": "subscribed", "channels": subscription["channels"], "symbols": ["X", "Y"]}

    run(client, start=iso(NOW))


def steps(text: str) -> list[str]:
    """What the two sides of the drawn conversation say, in order."""
    found = [re.split(r"\s(?:->|<-)", line)[0].strip() or line.split("<-")[1].strip() for line in text.splitlines()[1:]
             if "->" in line or "<-" in line]  # fmt: skip
    return [re.sub(r"12:0(\d)", lambda at: str(NOW + int(at[1]) * MINUTE), step) for step in found]


def told(frame: dict[str, Any]) -> str:
    """A frame in the words of the page."""
    if frame.get("event") == "subscribed":
        return '{"event": "subscribed", ...}'
    if "event" in frame:
        return json.dumps({"event": frame["event"], "ts": frame["ts"]})
    if frame["channel"] == "candle_1m":
        assert frame["data"]["complete"]
        return f"candle_1m, t = {frame['data']['t']}, complete"
    return "fills" if frame["channel"] == "fills" else f'orders, "status": "{frame["data"]["status"]}"'


def test_the_lockstep_conversation_goes_as_it_is_drawn() -> None:
    [block] = [one for one in of_the_wire("text") if one.text.startswith("client")]
    wanted = steps(block.text)

    async def client(one: Client) -> None:
        seen = ["upgrade, X-API-Key", "subscribe candle_1m, fills, orders, ack"]
        async with one.stream("candle_1m", "fills", "orders", ack=True, symbols=["X"]) as stream:
            seen += [told(await stream.hear()), told(await stream.hear())]
            _, found = await one.call("GET", "/candles/X", limit=200)
            seen.append("GET /candles/BTCUSDT?limit=200")
            assert found["candles"][-1]["t"] + MINUTE == NOW
            seen.append(f"200 bars, the last one closed at {NOW}")
            for at in (NOW, NOW + MINUTE):
                if at > NOW:
                    seen.append("POST /orders")
                    status, answer = await one.order("a")
                    seen += [
                        told(await stream.hear()),
                        f'{status} {{"order": {{... "status": "{answer["order"]["status"]}"}}}}',
                    ]
                await stream.ack(at)
                seen.append(json.dumps({"action": "ack", "ts": at}))
                seen += [told(frame) for frame in await stream.until("heartbeat")]
        assert seen == wanted

    run(client, start=iso(NOW))


def test_the_floors_that_are_drawn_are_those_that_are_held() -> None:
    [block] = [one for one in ALL if one.page == "docs/architecture.md" and not drawn(one)]
    floors: dict[int, str] = {}
    number = 0
    for line in block.text.splitlines():
        number = int(line[:2]) if line[:2].strip() else number
        floors[number] = f"{floors.get(number, '')} {line[4:]}"
    assert floors.keys() == FLOORS.keys()
    for floor, names in FLOORS.items():
        packages = {name for name in names if (ROOT / "flea_lab" / name).is_dir()}
        assert packages - set(floors[floor].split()) == set(), floor


def test_the_deck_of_cards_is_played_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [one for one in ALL if one.page == "docs/venues.md"]
    opened: list[Any] = []

    @asynccontextmanager
    async def mine(*_: object) -> AsyncIterator[Any]:
        async with paper_bench() as bench:
            opened.append(bench)
            yield bench.exchange

    def bench_of(*given: Any, **named: Any) -> Bench:
        made = Bench(*given, **named)  # as the page makes it; the market behind this one moves when it is acknowledged
        made.trade, made.executions, made.heard = opened[-1].trade, opened[-1].executions, opened[-1].heard
        return made

    monkeypatch.setattr(flea_lab.testing, "Bench", bench_of)
    clock = SimpleNamespace(now_ns=lambda: opened[-1].now_ns())
    space: dict[str, Any] = {"MyExchange": mine, "grid": GRID, "clock": clock}
    exec(compile(block.text, block.at, "exec"), space)
    assert len(opened) >= 8 and len(space["deck"].frame()) > len(opened) / 2


def test_what_a_session_is_asked_for_exists() -> None:
    for block in (one for one in ALL if one.page == "docs/live.md" and one.kind == "python"):
        asked = {
            node.attr
            for node in ast.walk(ast.parse(block.text))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "session"
        }
        assert asked and [name for name in asked if not hasattr(Session, name)] == []


def test_every_block_is_tried_or_listed() -> None:
    tried = {block.at for block in ALL if block.kind == "toml"}
    tried |= {block.at for block in ALL if block.page == WIRE and block.kind in ("text", "json")}
    tried |= {block.at for block in ALL if block.kind == "python" and block.page in ("docs/live.md", "docs/venues.md")}
    tried |= {block.at for block in ALL if block.page == "docs/architecture.md"}
    assert sorted({block.at for block in ALL} - tried) == []
    assert [
        begins for begins in DRAWINGS if not any(drawn(block) for block in ALL if begins.startswith(block.page))
    ] == []


def test_the_files_beside_the_pages_are_those_that_have_tests() -> None:
    files = {path.name for folder in ("examples", "systemd") for path in (ROOT / "docs" / folder).iterdir()}
    units = {"flea-schedule.service", "flea-schedule-once.service", "flea-schedule-once.timer"}
    assert files == {"crontab", "airflow_dag.py"} | units, "tests/schedule/test_examples.py reads them"


def test_blocks_are_found_wherever_they_are() -> None:
    text = "a\n```sh\nx # y\n```\n- b\n\n  ```toml\n  c = 1\n  ```\n~~~\n```\n~~~\n"
    assert [(one.line, one.kind, one.text) for one in of_page("p", text)] == [
        (2, "sh", "x # y\n"),
        (7, "toml", "c = 1\n"),
        (10, "", "```\n"),
    ]
    with pytest.raises(AssertionError, match="p:1: a block that is never closed"):
        of_page("p", "```sh\nx\n")
