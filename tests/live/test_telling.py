"""A session tells its fills, its drawdown and every order's turn; where its loop hung, no position of it grows."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flea_lab.config import RunConfig, with_values
from flea_lab.live import alerts_telling
from flea_lab.live.account import account_folder
from flea_lab.live.alerts_post import without_amounts
from flea_lab.live.monitor_state import state_of
from flea_lab.live.runner import OVER
from flea_lab.live.store import FILE
from flea_lab.live.telemetry_lag import Lag
from tests.backtest.tiny import tiny
from tests.live.session import session, with_live, world
from tests.live.test_guards_live import config, flat


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return account_folder("told")


def lived(folder: Path, run: RunConfig, bars: Any) -> None:
    async def play() -> None:
        async with world(run, tiny(run, {"X": bars}), 1) as here:
            assert await session(here, folder) == OVER

    folder.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(play())


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_fills_drawdown_steps_and_orders_are_told(folder: Path) -> None:
    falling = [*flat(3), *[(i, 102.0 - i, 102.0 - i, 0.5) for i in range(3, 12)]]
    run = with_values(
        with_live(config(), history_bars=1),
        {"alerts.channels": {"phone": {"severity": "info"}}, "alerts.drawdown_steps": [0.01, 0.02, 0.9]},
    )
    lived(folder, run, falling)
    alerts = rows(folder / "alerts.jsonl")
    steps = [one["key"] for one in alerts if one.get("kind") == "drawdown"]
    assert steps == ["drawdown 0.01", "drawdown 0.02"], "each once, though it falls on"
    [first] = [one for one in alerts if one["key"] == "drawdown 0.01"]
    assert first["severity"] == "warning" and "past 1%" in first["text"]
    assert without_amounts(first["text"]).endswith("now *** USD")
    fills = [one for one in alerts if one.get("kind") == "fill"]
    assert fills and fills[0]["text"].startswith("bought ") and " X at 100" in fills[0]["text"]
    log = rows(folder / "telemetry.jsonl")
    kinds = [one["kind"] for one in log]
    assert kinds[0] == "begins" and kinds[-1] == "ends" and {"NewOrder", "Accepted", "Fill"} <= set(kinds)
    sent = {one["client_order_id"] for one in log if one["kind"] == "NewOrder"}
    filled = {one["client_order_id"] for one in log if one["kind"] == "Fill"}
    assert filled and filled <= sent
    assert not any("intent" in one for one in log)
    shown = state_of("told")
    assert (folder / FILE).exists() and shown["equity_usd"] > 0 > shown["drawdown"] and "journal" not in shown


def test_a_loop_that_hung_lets_no_position_grow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hung:
        now, why_not = Lag(0.0, 2.0, 2.0, 200), "the trading loop hung"

        def __init__(self, *_: Any, **__: Any) -> None:
            """Has seen it hang."""

        def close(self) -> None:
            """Nothing to end."""

    monkeypatch.setattr(alerts_telling, "LoopLag", Hung)
    lived(folder, with_live(config(), history_bars=1), flat(6))
    log = rows(folder / "telemetry.jsonl")
    rejected = [one for one in log if one["kind"] == "Rejected"]
    assert rejected and all("the trading loop hung" in one["reason"] for one in rejected)
    assert not [one for one in log if one["kind"] == "Fill"]
