"""A session looks after the schedule: a report that is missing past its deadline is told and demotes, where asked."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flea_lab.config import ReportWatch, RunConfig, with_values
from flea_lab.live.report_watch import AGAIN_NS, Overseer
from flea_lab.live.runner import OVER
from flea_lab.overdue import standing
from flea_lab.workspace import workspace
from tests.backtest.tiny import config, tiny
from tests.live.session import CLOCK, Gate, rows, running, session, until, with_live, world
from tests.schedule.test_timing import ns
from tests.schedule.world import S_NS, Does, World

NINE = ns("2026-10-20T09:00")
MINUTE_NS = 60 * S_NS
DAY: dict[str, Any] = {"name": "day", "command": "flea runs", "cron": "0 9 * * *", "artefact": "runs/day/report.html"}


class Told:
    """An overseer of the workspace, what it told and what it demoted for."""

    def __init__(self, clock: Any, **settings: Any) -> None:
        self.said: list[tuple[str, str]] = []
        self.demoted: list[str] = []
        watch = ReportWatch(due="day", deadline_s=600.0, **settings)
        self.overseer = Overseer(
            watch, workspace(), clock, lambda severity, text, _: self.said.append((severity, text)), self.demoted.append
        )


@pytest.fixture
def schedule(home: Path) -> World:
    found = World(home, {"jobs": [DAY]}, ns("2026-10-20T08:50"), lambda *_: Does(30))
    page = home / "runs" / "day" / "report.html"
    page.parent.mkdir()
    page.write_text("there")
    return found


def test_a_report_that_is_there_is_nothing_to_tell(schedule: World) -> None:
    told = Told(schedule.clock, demote=True)
    for text in ("09:00:20", "09:05", "09:20", "23:00"):
        schedule.until(ns(f"2026-10-20T{text}"))
        told.overseer.look()
    assert told.said == [] and told.demoted == []
    assert standing(workspace(), "day", 600.0, schedule.clock.ns).owed_ns == NINE


def test_a_dead_scheduler_is_told_within_a_look_and_its_report_at_the_deadline(schedule: World) -> None:
    told, mild = Told(schedule.clock, demote=True), Told(schedule.clock)
    told.overseer.look()
    schedule.until(ns("2026-10-20T08:59:58"))
    schedule.kill()
    for _ in range(20):  # a look a minute
        schedule.clock.on(MINUTE_NS)
        told.overseer.look()
        mild.overseer.look()
    missing = "the report 'day' of the schedule is missing: it was never started"
    assert told.said == [
        ("critical", "no scheduler has been heard of for more than 120 s: flea schedule list"),
        ("critical", missing),
    ]
    assert told.demoted == [missing], "once"
    assert mild.said == told.said and mild.demoted == [], "its config does not ask for it"
    schedule.clock.on(AGAIN_NS)
    told.overseer.look()
    assert len(told.said) == 4 and len(told.demoted) == 1, "told again after an hour; what was cleared stays cleared"
    schedule.begin()
    schedule.until(schedule.clock.ns + 2 * MINUTE_NS)
    told.overseer.look()
    assert [text for _, text in told.said[4:]] == [
        "a scheduler is there again",
        "the report 'day' of the schedule is there",
    ]


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("failed", "its run is failed"),
        ("running", "its run is running"),
        ("gone", "its report runs/day/report.html is gone"),
    ],
)
def test_a_report_that_failed_or_still_runs_or_was_removed_is_missing(home: Path, what: str, why: str) -> None:
    does = {"failed": Does(30, code=1), "running": Does(10_000.0), "gone": Does(30)}[what]
    schedule = World(home, {"jobs": [DAY]}, ns("2026-10-20T08:50"), lambda *_: does)
    page = home / "runs" / "day" / "report.html"
    page.parent.mkdir()
    page.write_text("there")
    schedule.until(ns("2026-10-20T09:09:59"))
    if what == "gone":
        page.unlink()
    told = Told(schedule.clock, demote=True)
    told.overseer.look()
    assert told.demoted == [], "the deadline is at 09:10"
    schedule.until(ns("2026-10-20T09:10"))
    told.overseer.look()
    assert told.demoted == [f"the report 'day' of the schedule is missing: {why}"]


@pytest.mark.parametrize("what", ["no ledger", "no such job", "no database", "a folder"])
def test_what_nobody_can_tell_is_said_at_once_and_counts_as_missing_after_the_deadline(home: Path, what: str) -> None:
    schedule = World(home, {"jobs": [] if what == "no such job" else [DAY]}, ns("2026-10-20T08:00"))
    schedule.until(ns("2026-10-20T08:01"))
    schedule.kill()
    if what == "no ledger":
        schedule.file.unlink()
    elif what == "no database":
        schedule.file.write_bytes(b"x" * 10_000)
    elif what == "a folder":
        schedule.file.rename(home / "aside")
        schedule.file.mkdir()
    told = Told(schedule.clock, demote=True)
    told.overseer.look()
    assert [severity for severity, text in told.said if "the report 'day'" in text] == ["warning"]
    schedule.clock.on(599 * S_NS)
    told.overseer.look()
    assert told.demoted == []
    schedule.clock.on(S_NS)
    told.overseer.look()
    [why] = told.demoted
    assert why.startswith("the report 'day' of the schedule is missing: for 600 s nobody can tell: ")


def asks(run: RunConfig, **reports: Any) -> RunConfig:
    values = {"due": "day", "deadline_s": 600.0, "every_s": 0.02, **reports}
    return with_values(with_live(run, history_bars=1), {"live.reports": values})


@pytest.mark.parametrize("demote", [True, False])
def test_a_session_is_demoted_where_its_config_asks_for_that_and_the_latch_stands_after_a_restart(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demote: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long_ago = World(home, {"jobs": [DAY]}, CLOCK.now_ns() - 40 * 86_400 * S_NS)
    long_ago.keeper.step()  # type: ignore[union-attr]
    long_ago.kill()  # its next report is overdue since more than a month
    run = asks(config(), demote=demote)
    market = tiny(run, {"X": [(i, 100.0, 100.0, 0.5) for i in range(12)]})
    folder = home / "journals" / "watched"

    async def play() -> None:
        async with world(run, market, 1) as here:
            gate = Gate(here.server, here.closes(4))
            async with running(here, folder) as task:
                file = folder / "alerts.jsonl"
                await until(folder, lambda said: said["state"] == "trading" and "is missing" in file.read_text(), 60.0)
                wanted = ("reducing",) if demote else ()
                await until(folder, lambda said: tuple(said["latches"]) == wanted, 60.0)
                before = dict(rows(folder, "SELECT id, status FROM orders"))
                gate.open()
                assert await task == OVER
            after = dict(rows(folder, "SELECT id, status FROM orders"))
            assert (after.keys() == before.keys()) == demote, "nothing that adds to a position was sent any more"
            if demote:
                async with running(here, folder) as task:
                    found = await until(folder, lambda said: bool(said["latches"]), 60.0)
                    assert tuple(found["latches"]) == ("reducing",)

    folder.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(play())
    told = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert any("is missing: it was never started" in one["text"] for one in told)


def test_a_config_that_names_no_report_looks_at_nothing(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    run = with_live(config(), history_bars=1)
    assert run.live.reports == ReportWatch() and run.live.reports.due == ""
    folder = home / "journals" / "free"

    async def play() -> None:
        async with world(run, tiny(run, {"X": [(i, 100.0, 100.0, 0.5) for i in range(4)]}), 1) as here:
            assert await session(here, folder) == OVER

    folder.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(play())
    assert "schedule" not in (folder / "alerts.jsonl").read_text()
