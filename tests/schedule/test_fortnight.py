"""A fortnight of schedules on a virtual clock: both changes of the clock, and everything that can go wrong with a job,
its scheduler or its disk. The oracle knows the planned times by walking the minutes, and holds one row for each."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flea_lab.errors import WorkspaceError
from flea_lab.overdue import GOOD
from flea_lab.runs import to_toml
from flea_lab.schedule.wording import moment
from tests.schedule.test_timing import MINUTE_NS, ns, walked
from tests.schedule.world import FOREVER, S_NS, Does, Told, World

FLEA = "flea runs"
HOUR_NS, DAY_NS = 60 * MINUTE_NS, 1440 * MINUTE_NS
START, DAYS = "2026-10-20", 15  # Berlin changes on 25 October, New York on 1 November
JOBS: list[dict[str, Any]] = [
    {"name": "berlin", "command": FLEA, "cron": "30 2 * * *", "zone": "Europe/Berlin"},
    {"name": "york", "command": FLEA, "cron": "30 1 * * *", "zone": "America/New_York"},
    {"name": "midnight", "command": FLEA, "cron": "0 0 * * *"},
    {"name": "often", "command": FLEA, "every_s": 1200, "deadline_s": 600},
    {"name": "hangs", "command": FLEA, "cron": "0 5 * * *", "timeout_s": 600, "retries": 1, "backoff_s": 60},
    {"name": "crashes", "command": FLEA, "cron": "0 6 * * *", "retries": 2, "backoff_s": 30},
    {"name": "overlaps", "command": FLEA, "cron": "0 * * * *", "timeout_s": 86_400},
    {"name": "skips", "command": FLEA, "cron": "15 3 * * *", "misfire": "skip"},
]


def day(at_ns: int) -> int:
    return datetime.fromtimestamp(at_ns / S_NS, UTC).day


def plays(job: str, at_ns: int, attempt: int) -> Does:
    match job:
        case "hangs" if day(at_ns) % 2 == 0:
            return Does(FOREVER, deaf=day(at_ns) % 4 == 0)
        case "crashes" if day(at_ns) == 23:
            return Does(code=7)
        case "crashes" if day(at_ns) == 24:
            return Does(code=7 if attempt < 3 else 0)
        case "overlaps" if at_ns == ns("2026-10-26T08:00"):
            return Does(2.5 * 3600)
    return Does(30)


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    found = World(home, {"jobs": JOBS}, ns(START), plays)
    yield found
    found.end()


def live_through(world: World) -> None:
    world.until(ns("2026-10-22T00:00:10"))  # the run of midnight is at work
    world.kill()
    world.until(ns("2026-10-22T00:00:20"))
    world.begin()
    world.until(ns("2026-10-24T12:00"))
    world.kill()
    world.until(ns("2026-10-26T07:30"))  # two nights without a scheduler, one of them that of the change
    world.begin()
    world.until(ns("2026-10-28T23:05"))
    world.sleep(9 * HOUR_NS)
    world.until(ns("2026-10-30T23:30"))
    world.fill_disk()
    world.until(ns("2026-10-31T01:10"))
    world.kill()
    world.begin()  # whoever made room has started it again
    world.until(ns(START) + DAYS * DAY_NS)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The fortnight, once for all tests that only look at it."""
    found = World(tmp_path_factory.mktemp("lived"), {"jobs": JOBS}, ns(START), plays)
    live_through(found)
    yield found
    found.end()


def expected(world: World) -> dict[str, list[int]]:
    start, end = ns(START), ns(START) + DAYS * DAY_NS
    daily = {"berlin": (2, 30, "Europe/Berlin"), "york": (1, 30, "America/New_York"), "midnight": (0, 0, "UTC"),
             "hangs": (5, 0, "UTC"), "crashes": (6, 0, "UTC"), "skips": (3, 15, "UTC")}  # fmt: skip
    found = {
        name: [at for at in walked(hour, minute, zone, "2026-10-18", DAYS + 3) if start < at <= end]
        for name, (hour, minute, zone) in daily.items()
    }
    found["often"] = list(range(start + 20 * MINUTE_NS, end + 1, 20 * MINUTE_NS))
    found["overlaps"] = list(range(start + HOUR_NS, end + 1, HOUR_NS))
    return found


def unsaid(world: World, told: list[Told]) -> list[str]:
    """The absences about which none of `told` was said before the next planned time was over."""
    rows = {(run.job, run.planned_ns): run for run in world.runs()}
    away = ((ns("2026-10-24T12:00"), ns("2026-10-26T07:30")), (ns("2026-10-28T23:05"), ns("2026-10-29T08:05")))
    found = []
    for job, times in expected(world).items():
        for at, following in pairwise(times):
            run = rows[job, at]
            if run.status in GOOD and run.ended_ns is not None and run.ended_ns <= following:
                continue  # it was there within its interval
            back = next((end for begin, end in away if begin <= at <= end), None)
            limit = max(following, back or 0)  # nobody was there to tell; a runner watches the scheduler itself
            if not any(f"job {job}" in one.text and at <= one.ns <= limit for one in told):
                found.append(f"{job} {moment(at)} {run.status}")
    return found


def test_each_planned_time_has_one_row_and_every_absence_is_told_within_one_interval(lived: World) -> None:
    world = lived
    rows = {(run.job, run.planned_ns): run for run in world.runs()}
    planned = expected(world)
    assert sorted(rows) == sorted((job, at) for job, times in planned.items() for at in times)
    assert unsaid(world, world.told) == []
    assert not [run for run in world.runs() if run.active and run.planned_ns < ns(START) + (DAYS - 1) * DAY_NS]


def test_a_fortnight_does_what_the_page_says(lived: World) -> None:
    world = lived
    story = {job["name"]: dict(world.story(job["name"])) for job in JOBS}
    # the clock of Berlin shows 02:30 twice on the 25th, when no scheduler was there: missed once, not twice
    assert story["berlin"]["2026-10-25T00:30:00Z"] == "missed" and "2026-10-25T01:30:00Z" not in story["berlin"]
    assert story["berlin"]["2026-10-26T01:30:00Z"] == "caught_up"
    assert story["york"]["2026-11-01T05:30:00Z"] == "ok" and "2026-11-01T06:30:00Z" not in story["york"]
    # the run of midnight outlived its scheduler; the next one took it over, and it was not run again
    [taken] = [run for run in world.runs("midnight") if run.planned_ns == ns("2026-10-22")]
    assert taken.status == "ok" and "it still ran, and scheduler 3 took it over" in taken.note
    assert len([one for one in world.processes.all if one.run == taken.id]) == 1
    # missed by two nights: the latest once, the others never, all told
    assert story["midnight"]["2026-10-25T00:00:00Z"] == "missed"
    assert story["midnight"]["2026-10-26T00:00:00Z"] == "caught_up"
    assert story["skips"]["2026-10-26T03:15:00Z"] == "missed", "its policy is not to make up for it"
    assert story["skips"]["2026-10-21T03:15:00Z"] == story["skips"]["2026-10-27T03:15:00Z"] == "ok"
    assert world.said("job often: 129 runs were missed")
    # a machine that slept: the same
    assert story["midnight"]["2026-10-29T00:00:00Z"] == "caught_up" and world.said("the machine slept 9 h")
    # hanging: asked to end, by force where it is deaf, tried again, given up
    assert {status for at, status in story["hangs"].items() if int(at[8:10]) % 2 == 0 and at > "2026-10-27"} == {
        "timeout"
    }
    [deaf] = [run for run in world.runs("hangs") if run.planned_ns == ns("2026-10-28T05:00")]
    assert (deaf.attempt, deaf.exit_code) == (2, -9)
    assert deaf.ended_ns is not None and deaf.term_ns is not None
    assert (deaf.ended_ns - ns("2026-10-28T05:00")) // S_NS == 600 + 5 + 60 + 600 + 5
    # crashing: told each time, with attempts further and further apart
    crashed = [
        run for run in world.runs("crashes") if day(run.planned_ns) in (23, 24) and run.planned_ns < ns("2026-11-01")
    ]
    assert [(run.status, run.attempt, run.exit_code) for run in crashed] == [("failed", 3, 7), ("ok", 3, 0)]
    tries = [one for one in world.processes.all if one.run == crashed[0].id]
    assert [b.ends_ns - a.ends_ns for a, b in pairwise(tries)] == [31 * S_NS, 61 * S_NS]
    # overlapping: skipped and told, twice
    skipped = [at for at, status in story["overlaps"].items() if status == "skipped_overlap"]
    assert skipped == ["2026-10-26T09:00:00Z", "2026-10-26T10:00:00Z"]
    assert len(world.said("is skipped: the run of 2026-10-26T08:00:00Z is still running")) == 2


def test_on_a_full_disk_nothing_is_started_that_is_not_written_and_nothing_is_lost_when_there_is_room(
    world: World,
) -> None:
    world.until(ns("2026-10-20T00:20:10"))  # a run is at work
    before = len(world.processes.all)
    world.fill_disk()
    world.until(ns("2026-10-20T01:30"))
    assert len(world.processes.all) == before, "three times came, and none was started"
    assert world.story("often") == [("2026-10-20T00:20:00Z", "running")], "the ledger could not hear of its end"
    assert world.said("job often ended well is kept in mind") and world.said("cannot be written")
    assert world.said("job overlaps: the run of 2026-10-20T01:00:00Z is not started unrecorded: ledger")
    world.make_room()
    world.until(ns("2026-10-20T01:35"))
    assert world.story("often") == [
        ("2026-10-20T00:20:00Z", "ok"),
        ("2026-10-20T00:40:00Z", "missed"),
        ("2026-10-20T01:00:00Z", "missed"),
        ("2026-10-20T01:20:00Z", "caught_up"),
    ]
    [first, *_] = world.runs("often")
    assert first.ended_ns == ns("2026-10-20T00:20:30"), "when it ended, not when that could be written"


def test_a_killed_scheduler_with_a_full_disk_leaves_no_lie(world: World) -> None:
    world.until(ns("2026-10-20T00:20:10"))
    world.fill_disk()
    world.until(ns("2026-10-20T00:21"))
    world.kill()  # what was kept in mind is gone with it
    for one in world.processes.all:
        one.code = None  # and the disk had no room for the stub's word either
    world.begin()
    world.until(ns("2026-10-20T00:22"))
    [first, *_] = world.runs("often")
    assert first.status == "killed" and "nobody knows how it ended" in first.note and first.exit_code is None


def test_a_run_of_which_no_scheduler_knows_the_end_is_not_run_again_without_retries(world: World) -> None:
    world.until(ns("2026-10-20T01:00:05"))
    world.kill()
    for one in world.processes.all:
        one.ends_ns, one.code = min(one.ends_ns, ns("2026-10-20T01:00:07")), None  # the machine lost its power
    world.clock.on(20 * S_NS)
    world.begin()
    world.until(ns("2026-10-20T01:10"))
    found = {run.job: run for run in world.runs() if run.planned_ns == ns("2026-10-20T01:00")}
    assert found["overlaps"].status == "killed" and "it had ended" in found["overlaps"].note
    assert len([one for one in world.processes.all if one.run == found["overlaps"].id]) == 1
    assert world.said("job overlaps: the run of 2026-10-20T01:00:00Z was killed: nobody knows how it ended")


def test_a_job_that_is_new_or_has_other_times_owes_nothing_of_before(home: Path) -> None:
    world = World(home, {"jobs": [{"name": "a", "command": FLEA, "cron": "0 4 * * *"}]}, ns("2026-10-20T12:00"))
    world.kill()
    world.clock.on(3 * DAY_NS)
    other = World(home, {"jobs": [{"name": "a", "command": FLEA, "cron": "0 5 * * *"}]}, ns("2026-10-23T12:00"))
    other.until(ns("2026-10-24T12:00"))
    assert other.story("a") == [("2026-10-24T05:00:00Z", "ok")]
    other.end()


def test_a_job_that_left_the_schedule_is_not_tried_again(home: Path) -> None:
    job = {"name": "a", "command": FLEA, "cron": "0 4 * * *", "retries": 5, "backoff_s": 3600}
    world = World(home, {"jobs": [job]}, ns("2026-10-20T03:00"), lambda *_: Does(code=1))
    world.until(ns("2026-10-20T04:10"))
    assert world.story("a") == [("2026-10-20T04:00:00Z", "retrying")]
    world.kill()
    other = World(home, {"jobs": []}, ns("2026-10-20T04:20"))
    other.until(ns("2026-10-20T08:00"))
    [run] = other.runs("a")
    assert run.status == "failed" and "its job has left the schedule" in run.note
    other.end()


def test_a_changed_file_is_taken_up_and_one_that_cannot_be_understood_changes_nothing(home: Path) -> None:
    first, second = ({"name": name, "command": FLEA, "every_s": 3600} for name in "ab")
    world = World(home, {"jobs": [first]}, ns("2026-10-20T03:30"))
    file = world.schedule.file
    file.write_text(to_toml({"folder": str(home), "jobs": [first, second]}))
    world.until(ns("2026-10-20T04:30"))
    assert world.story("a") == world.story("b") == [("2026-10-20T04:00:00Z", "ok")]
    file.write_text(to_toml({"folder": str(home), "jobs": [{**first, "zone": "Mars"}]}))
    world.until(ns("2026-10-20T05:30"))
    assert len(world.story("a")) == len(world.story("b")) == 2
    [told] = world.said("the schedule of before goes on: zone = 'Mars': no time zone")
    assert told.severity == "critical"
    file.unlink()
    world.until(ns("2026-10-20T06:30"))
    assert len(world.story("b")) == 3 and world.said("no such file")
    world.end()


def test_time_that_the_machine_slept_is_no_time_that_a_run_took(home: Path) -> None:
    job = {"name": "a", "command": FLEA, "cron": "0 4 * * *", "timeout_s": 1200, "deadline_s": 80_000}
    world = World(home, {"jobs": [job]}, ns("2026-10-20T03:30"), lambda *_: Does(900))
    world.until(ns("2026-10-20T04:05"))
    world.sleep(3 * HOUR_NS)
    world.until(ns("2026-10-20T08:00"))
    [run] = world.runs("a")
    assert (run.status, run.ended_ns) == ("ok", ns("2026-10-20T07:15")) and run.slept_ns == 3 * HOUR_NS
    world.until(ns("2026-10-21T04:05"))
    world.clock.ns -= 2 * HOUR_NS  # the clock is set back: nothing runs again, and nothing lasts longer for it
    world.processes.all[-1].ends_ns = FOREVER * S_NS + world.clock.ns
    world.until(ns("2026-10-21T02:21"))
    assert [run.status for run in world.runs("a")] == ["ok", "timeout"], "20 min after it began"
    assert len(world.processes.all) == 2
    world.end()


def test_a_missed_time_that_cannot_be_written_keeps_later_ones_of_its_job_from_beginning(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(home, {"jobs": [{"name": "a", "command": FLEA, "every_s": 3600}]}, ns("2026-10-20T03:30"))
    world.kill()
    world.clock.on(5 * HOUR_NS)
    world.begin()
    assert world.ledger is not None
    add = world.ledger.add

    def torn(runs: Any) -> bool:
        rows = list(runs)
        if any(run.status == "missed" for run in rows):
            raise WorkspaceError("the disk took no more")
        return add(rows)

    monkeypatch.setattr(world.ledger, "add", torn)
    world.until(ns("2026-10-20T08:31"))
    assert world.runs("a") == [] and world.said("is not started unrecorded: the disk took no more")
    monkeypatch.undo()
    world.until(ns("2026-10-20T08:33"))
    assert [status for _, status in world.story("a")] == ["missed", "missed", "missed", "missed", "caught_up"]
    world.end()


def test_a_report_that_is_not_there_is_a_failure(home: Path) -> None:
    job = {"name": "a", "command": FLEA, "every_s": 3600, "artefact": "runs/*/report.html"}
    world = World(home, {"jobs": [job]}, ns("2026-10-20T03:30"))
    page = home / "runs" / "x" / "report.html"
    page.parent.mkdir()
    world.until(ns("2026-10-20T04:30"))
    page.write_text("there")  # its time is of today, after everything here
    world.until(ns("2026-10-20T05:30"))
    first, second = world.runs("a")
    assert (first.status, first.report, first.note) == ("failed", "", "it left no runs/*/report.html")
    assert (second.status, second.report) == ("ok", "runs/x/report.html")
    world.end()


def test_the_oracle_sees_a_row_that_is_missing_and_an_alert_that_was_not_given(lived: World) -> None:
    rows = {(run.job, run.planned_ns) for run in lived.runs()} - {("berlin", ns("2026-10-30T01:30"))}
    assert rows != {(job, at) for job, times in expected(lived).items() for at in times}
    quiet = [one for one in lived.told if "job crashes:" not in one.text]
    assert unsaid(lived, quiet) == ["crashes 2026-10-23T06:00:00Z failed", *unsaid(lived, quiet)[1:]]
