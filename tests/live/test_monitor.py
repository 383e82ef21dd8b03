"""The monitor shows and halts, for this machine and whoever has its address; runners and journals never wait for it."""

import asyncio
import io
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner

from flea_lab.cli.commands import app
from flea_lab.clock import WallClock
from flea_lab.errors import ConfigError, WorkspaceError
from flea_lab.live.account import account_folder, ready_folder
from flea_lab.live.alerts import Alerts
from flea_lab.live.control import ControlServer
from flea_lab.live.format import SCHEMA
from flea_lab.live.latch import is_latched
from flea_lab.live.lock import lock_account
from flea_lab.live.monitor import Monitor, metrics
from flea_lab.live.monitor_state import state_of
from flea_lab.overdue import ledger_file
from flea_lab.schedule.ledger import Ledger
from flea_lab.workspace import workspace
from tests.live.fake_runner import FakeRunner
from tests.live.hooks import hook


@pytest.fixture
def runner(home: Path) -> Iterator[FakeRunner]:
    found = FakeRunner("main", "c" * 64, 2)
    with ExitStack() as held:
        folder = ready_folder("main")
        held.enter_context(lock_account(folder, WallClock()))
        held.enter_context(ControlServer(folder, found))
        yield found


def journal(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA)
        db.execute("INSERT INTO curve VALUES (1, 100000000, 0, 0, 0), (2, 95000000, 0, 0, 0)")
        db.commit()


def visit(
    look: Callable[[aiohttp.ClientSession, Monitor, str], Awaitable[None]], *accounts: str, balances: bool = False
) -> None:
    async def run() -> None:
        monitor = Monitor(accounts, WallClock(), balances=balances)
        served = await monitor.start(0)
        try:
            async with aiohttp.ClientSession() as session:
                await look(session, monitor, f"http://127.0.0.1:{monitor.port}")
        finally:
            await served.cleanup()

    asyncio.run(run())


def test_the_page_its_data_and_metrics_show_the_account(runner: FakeRunner) -> None:
    folder = account_folder("main")
    journal(folder)
    with Alerts(folder, WallClock(), console=io.StringIO()) as alerts:
        alerts.put("critical", "halted by <b>daily_loss</b>")

    async def look(session: aiohttp.ClientSession, monitor: Monitor, base: str) -> None:
        page = await session.get(monitor.url)
        text = await page.text()
        assert page.status == 200 and "HALT" in text and "@TOKEN@" not in text
        assert "script-src 'nonce-" in page.headers["Content-Security-Policy"]
        state = await (await session.get(f"{base}/api/state", headers={"X-Token": monitor.token})).json()
        [one] = state["accounts"]
        assert one["status"]["state"] == "trading" and one["equity_usd"] == 95.0
        assert one["drawdown"] == pytest.approx(-0.05)
        assert one["alerts"][0]["text"] == "halted by <b>daily_loss</b>"
        said = await (await session.get(f"{base}/metrics")).text()
        assert 'flea_up{account="main"} 1.0' in said and 'flea_state{account="main",state="trading"} 1.0' in said
        assert "equity" not in said.replace("equity over its peak", "") and "flea_position" not in said

    visit(look)
    rich = metrics([state_of("main")], balances=True).decode()
    assert 'flea_equity_usd{account="main"} 100000.0' in rich
    assert 'flea_position{account="main",symbol="BTCUSDT"} 0.5' in rich


def test_a_halt_needs_the_token_the_page_and_this_machines_name(runner: FakeRunner) -> None:
    async def look(session: aiohttp.ClientSession, monitor: Monitor, base: str) -> None:
        own: dict[str, str] = {"X-Token": monitor.token, "Origin": base}
        wrong: list[tuple[dict[str, str], int]] = [
            ({"Origin": base}, 403),
            ({**own, "X-Token": "0" * 24}, 403),
            ({**own, "Origin": "http://evil.example"}, 403),
            ({"X-Token": monitor.token}, 403),
            ({**own, "Host": "evil.example"}, 403),
        ]
        for headers, status in wrong:
            answer = await session.post(f"{base}/halt", json={"account": "main"}, headers=headers)
            assert answer.status == status, headers
        for path in ("/", "/?token=0", "/api/state"):
            assert (await session.get(f"{base}{path}")).status == 403
        assert (await session.post(f"{base}/halt", json={"account": "other"}, headers=own)).status == 404
        assert [one["verb"] for one in runner.asked if one["verb"] != "status"] == []
        said: dict[str, Any] = await (await session.post(f"{base}/halt", json={"account": "main"}, headers=own)).json()
        assert said == {"said": "halted: no open order at the exchange", "outcome": "verified"}
        assert [one["verb"] for one in runner.asked].count("halt") == 1

    visit(look, "main")


def test_a_halt_that_no_runner_takes_leaves_the_file(home: Path) -> None:
    folder = ready_folder("main")

    async def look(session: aiohttp.ClientSession, monitor: Monitor, base: str) -> None:
        own = {"X-Token": monitor.token, "Origin": base}
        said = await (await session.post(f"{base}/halt", json={"account": "main"}, headers=own)).json()
        assert said["outcome"] == "unreached" and "the HALT file is written" in said["said"]

    visit(look)
    assert is_latched(folder / "HALT")


def test_looking_locks_no_journal(runner: FakeRunner) -> None:
    folder = account_folder("main")
    journal(folder)
    with closing(sqlite3.connect(folder / "journal.sqlite", timeout=0.0, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO curve VALUES (3, 90000000, 0, 0, 0)")
        assert state_of("main")["equity_usd"] == 95.0, "read beside a writer, which had not committed"
        db.execute("COMMIT")
    assert state_of("main")["equity_usd"] == 90.0


def test_a_port_that_is_taken_and_a_name_that_is_none_are_refused(home: Path) -> None:
    async def look(_: aiohttp.ClientSession, monitor: Monitor, base: str) -> None:
        with pytest.raises(WorkspaceError, match=r"port \d+ of 127\.0\.0\.1: .*--port picks another"):
            await Monitor((), WallClock()).start(monitor.port)

    visit(look)
    with pytest.raises(ConfigError, match=r"account = '\.\./x'"):
        Monitor(("../x",), WallClock())


def test_a_channel_is_tried_and_alerts_are_listed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as phone:
        monkeypatch.setenv("FLEA_ALERT_PHONE", f"json://127.0.0.1:{phone.port}/x")
        assert CliRunner().invoke(app, ["alerts", "test", "phone"]).output == "sent to phone\n"
        assert phone.texts == "a test: this channel works"
        phone.manner = "fails"
        failed = CliRunner().invoke(app, ["alerts", "test", "phone"])
        assert failed.exit_code == 1 and failed.output == (
            "alert channel phone was not told: its service took no message, or could not be reached\n"
        )
    error = CliRunner().invoke(app, ["alerts", "list", "main"]).exception
    assert str(error) == "account 'main': nothing has run there"
    folder = ready_folder("main")
    assert CliRunner().invoke(app, ["alerts", "list", "main"]).output == "no alert of account main\n"
    with Alerts(folder, WallClock(), console=io.StringIO()) as alerts:
        alerts.put("info", "ready")
        alerts.put("critical", "halted by drawdown")
    first, second = CliRunner().invoke(app, ["alerts", "list", "main"]).output.splitlines()
    assert first.endswith("  info      system    ready") and second.endswith("  critical  halt      halted by drawdown")


def test_metrics_say_how_long_no_scheduler_was_heard_of(home: Path) -> None:
    file = ledger_file(workspace())

    def silent(lines: str) -> list[float]:
        return [float(line.split()[1]) for line in lines.splitlines() if line.startswith("flea_schedule_silent_s ")]

    async def look(session: aiohttp.ClientSession, monitor: Monitor, base: str) -> None:
        assert silent(await (await session.get(f"{base}/metrics")).text()) == [], (
            "where none ever was there is no number"
        )
        file.parent.mkdir(parents=True)
        ledger = Ledger(file)
        ledger.hello(1, WallClock().now_ns() - 300 * 10**9, file)
        ledger.close()
        [found] = silent(await (await session.get(f"{base}/metrics")).text())
        assert 300.0 <= found < 400.0

    visit(look)
