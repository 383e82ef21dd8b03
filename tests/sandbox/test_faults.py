"""What shall go wrong goes wrong when it is due, is counted, and touches no account."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from flea_lab.cli.sandbox import _faults
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError
from flea_lab.sandbox.api import Frame
from flea_lab.sandbox.fault_line import FaultLine
from flea_lab.sandbox.faults import KINDS, FaultPlan, FaultSettings
from flea_lab.sandbox.server import SandboxServer
from flea_lab.settings import load_settings
from tests.sandbox.stages import a_stage

BAR = {"t": 60_000, "o": 100.0, "h": 102.0, "l": 99.0, "c": 101.0, "v": 4.0, "complete": True}
LEVELS = {"type": "snapshot", "bids": ((100.0, 1.0), (99.0, 2.0)), "asks": ((101.0, 1.0), (102.0, 2.0))}
PRINT = {"id": 7, "price": 100.0, "size": 1.0, "side": "buy", "ts": 120_000}


def plan(seed: int = 1, **rules: Any) -> FaultPlan:
    return FaultPlan(load_settings({"seed": seed, "faults": rules}, FaultSettings, "a test"))


def frames(channel: str, count: int, data: dict[str, Any]) -> list[Frame]:
    return [Frame(channel, "X", n, 120_000 + n, data) for n in range(1, count + 1)]


def sent(faults: FaultPlan, told: list[Frame]) -> list[Frame]:
    line = FaultLine(faults)
    return [out for frame in told for out in line.frames(frame, frame.ts_ms / 1_000)]


def test_a_rule_says_when_by_number_time_or_chance() -> None:
    for rule, due in [
        ({"every": 3}, [3, 6, 9]),
        ({"at": [2, 7]}, [2, 7]),
        ({"at_s": [2.5, 2.6, 8.0]}, [3, 4, 8]),
        ({"every": 1, "most": 2}, [1, 2]),
        ({"probability": 0.0}, []),
    ]:
        faults = plan(gap=rule)
        assert [n for n in range(1, 11) if faults.due("gap", float(n))] == due
        assert faults.counts == {"gap": len(due)}


def test_chance_is_the_seeds_own() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = plan(seed, gap={"probability": 0.5}, reset={"probability": 0.5})
        return [faults.due(kind, 0.0) for _ in range(100) for kind in ("gap", "reset")]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 60 < sum(drawn(1)) < 140


def test_one_occasion_has_one_fault_and_the_other_comes_next() -> None:
    faults = plan(gap={"at": [1]}, duplicate={"at": [1]})
    assert [faults.first(("gap", "duplicate"), 0.0) for _ in range(3)] == ["gap", "duplicate", ""]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"faults": {"gap": {}}}, r"faults.gap: a fault needs exactly one of probability, every, at, at_s \(in a test"),
        ({"faults": {"gap": {"every": 1, "at": [1]}}}, "exactly one of"),
        ({"faults": {"gab": {"every": 1}}}, "faults.gab: unknown field, did you mean 'gap'?"),
        ({"faults": {"gap": {"every": 0}}}, "faults.gap.every = 0: expected `int` >= 1"),
        ({"faults": {"gap": {"probability": 1.5}}}, "faults.gap.probability = 1.5: expected `float` <= 1.0"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_settings(values, FaultSettings, "a test")


def test_a_file_of_faults_is_read_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text("seed = 3\n[faults]\ngap = {every = 5}\n")
    assert (_faults(file).seed, _faults(file).faults.gap.every) == (3, 5)
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        _faults(tmp_path / "none.toml")
    file.write_text("[faults\n")
    with pytest.raises(ConfigError, match=r"faults.toml: Expected"):
        _faults(file)


@pytest.mark.parametrize(
    ("kind", "channel", "seqs"),
    [
        ("gap", "trades", [1, 3, 4]),
        ("duplicate", "trades", [1, 2, 2, 3, 4]),
        ("out_of_order", "trades", [1, 3, 2, 4]),
        ("time_regress", "trades", [1, 2, 3, 4]),
        ("partial_resent", "candle_1m", [1, 2, 3, 4, 5]),
        ("missing_minute", "candle_1m", [1, 2, 3]),
        ("late_correction", "candle_1m", [1, 2, 3, 4, 5]),
        ("late_close", "candle_1m", [1, 2, 3, 4]),
        ("complete_omitted", "candle_1m", [1, 2, 3, 4]),
        ("frozen", "orderbook_l2", [1, 2, 3, 4]),
        ("book_deep", "orderbook_l2", [1, 2, 3, 4]),
    ],
)
def test_only_what_is_meant_to_shows_in_the_numbers(kind: str, channel: str, seqs: list[int]) -> None:
    data = {"candle_1m": BAR, "orderbook_l2": LEVELS, "trades": PRINT}[channel]
    faults = plan(**{kind: {"at": [2]}})
    told = sent(faults, frames(channel, 4, data))
    assert [frame.seq for frame in told] == seqs
    assert faults.counts == {kind: 1}
    assert data == {"candle_1m": BAR, "orderbook_l2": LEVELS, "trades": PRINT}[channel]


def spoiled(kind: str, channel: str, data: dict[str, Any], **rule: Any) -> list[Frame]:
    return sent(plan(**{kind: {"at": [1], **rule}}), frames(channel, 2, data))


def test_candles_are_bent_as_named() -> None:
    assert spoiled("partial_resent", "candle_1m", BAR)[1].data["complete"] is False
    assert "complete" not in spoiled("complete_omitted", "candle_1m", BAR)[0].data
    late = [Frame("candle_1m", "X", n, 120_000, {**BAR, "t": 60_000 * n}) for n in (1, 2)]
    assert [f.data["t"] for f in sent(plan(late_close={"at": [1]}), late)] == [120_000, 60_000]
    corrected = sent(plan(late_correction={"at": [1]}), late)
    assert [(f.data["t"], f.data["c"]) for f in corrected] == [(60_000, 101.0), (120_000, 101.0), (60_000, 102.0)]


def test_books_are_bent_as_named() -> None:
    found = {kind: spoiled(f"book_{kind}", "orderbook_l2", LEVELS)[0].data for kind in (
        "crossed", "empty", "zero", "deep", "unsorted", "strings")}  # fmt: skip
    assert found["crossed"]["bids"][0][0] > found["crossed"]["asks"][0][0]
    assert found["empty"]["bids"] == [] and found["zero"]["asks"][0][1] == 0.0
    assert len(found["deep"]["asks"]) > 20 and found["unsorted"]["bids"][0][0] == 99.0
    assert found["strings"]["bids"][0] == ["100.0", "1.0"]


def test_prices_clocks_and_bursts_are_bent_as_named() -> None:
    prices = [
        spoiled(f"price_{kind}", "trades", PRINT)[0].data["price"] for kind in ("spike", "zero", "negative", "nan")
    ]
    assert prices == [1_000.0, 0.0, -100.0, "NaN"]
    assert spoiled("price_spike", "candle_1m", BAR, amount=2.0)[0].data["h"] == 202.0
    assert spoiled("time_regress", "trades", PRINT, amount=3.0)[0].ts_ms == 117_001
    skewed = spoiled("clock_skew", "trades", PRINT, lasts=1)
    assert [(f.ts_ms, f.data["ts"]) for f in skewed] == [(125_001, 125_000), (120_002, 120_000)]
    assert spoiled("time_seconds", "candle_1m", BAR, lasts=1)[0].data["t"] == 60.0
    burst = spoiled("burst", "trades", PRINT, amount=3)
    assert [(f.seq, f.data["id"]) for f in burst] == [(1, 7), (2, 8), (3, 9), (4, 10), (5, 10)]
    frozen = sent(plan(frozen={"at": [1], "lasts": 2}), [*frames("trades", 2, PRINT), *frames("trades", 3, PRINT)[2:]])
    assert [f.ts_ms for f in frozen] == [120_001, 120_001, 120_003]


def test_private_frames_are_never_touched() -> None:
    every = {kind: {"every": 1} for kind in KINDS}
    mine = Frame("fills", "X", 1, 0, {"price": "1"}, "a")
    assert FaultLine(plan(**every)).frames(mine, 0.0) == [mine]


async def answers(faults: dict[str, Any], asks: int) -> tuple[list[tuple[int, str, str]], Any]:
    stage = a_stage(faults=load_settings({"faults": faults}, FaultSettings, "a test"))
    server = SandboxServer(stage, WallClock())
    found = []
    async with server.listening() as url, aiohttp.ClientSession() as session:
        for _ in range(asks):
            async with session.get(f"{url}/instruments") as response:
                retry = response.headers.get("Retry-After", "")
                found.append((response.status, response.content_type, retry))
        async with session.get(f"{url}/faults") as response:
            return found, await response.json()


def test_requests_fail_as_named_and_the_counts_are_served() -> None:
    kinds = ["rest_429", "rest_429_bare", "rest_500", "rest_502", "rest_503", "rest_outage"]
    found, told = asyncio.run(answers({kind: {"at": [n]} for n, kind in enumerate(kinds, 1)}, 7))
    json = "application/json"
    assert found == [
        (429, json, "1"), (429, json, ""), (500, json, ""), (502, "text/html", ""), (503, json, ""), (400, json, ""),
        (200, json, ""),
    ]  # fmt: skip
    assert told == {"seed": 1, "faults": dict.fromkeys(kinds, 1)}
