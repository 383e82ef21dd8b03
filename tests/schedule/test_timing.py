"""When a job is due: against a slow walk over every minute, and at the changes of the clock."""

from datetime import UTC, datetime
from functools import cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from flea_lab.schedule.timing import S_NS, Cron, Every, weekdays

MINUTE_NS = 60 * S_NS


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S_NS


def shown(timing: Cron | Every, start: str, most: int) -> list[str]:
    times = islice(timing.after(ns(start)), most)
    return [datetime.fromtimestamp(at / S_NS, timing.zone).strftime("%d %H:%M %z") for at in times]


@cache
def walked(hour: int, minute: int, zone: str, start: str, days: int) -> list[int]:
    """On every local day the first minute at which the clock shows `hour:minute` or later: no trick, every minute."""
    tz, found, begun = ZoneInfo(zone), dict[str, int](), ns(start)
    for at in range(begun, begun + days * 1440 * MINUTE_NS, MINUTE_NS):
        local = datetime.fromtimestamp(at / S_NS, tz)
        if (local.hour, local.minute) >= (hour, minute):
            found.setdefault(local.strftime("%Y-%m-%d"), at)
    return [at for at in list(found.values())[1:] if at > begun]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize(("hour", "minute"), [(1, 30), (2, 0), (2, 30), (3, 0), (0, 0)])
@pytest.mark.parametrize("start", ["2026-03-01", "2026-03-22", "2026-10-01", "2026-10-20"])
def test_a_daily_time_is_due_once_a_day_whatever_the_clock_does(zone: str, hour: int, minute: int, start: str) -> None:
    timing = Cron(f"{minute} {hour} * * *", zone)
    begun, end = ns(start), ns(start) + 15 * 1440 * MINUTE_NS
    found = [at for at in islice(timing.after(begun), 30) if at < end]
    expected = walked(hour, minute, zone, start, 15)
    assert [at for at in found if at >= expected[0]] == expected


def test_a_time_that_is_skipped_is_due_right_after_the_gap_and_one_that_comes_twice_once() -> None:
    berlin = Cron("30 2 * * *", "Europe/Berlin")
    assert shown(berlin, "2026-03-28T00:00", 3) == ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]
    assert shown(berlin, "2026-10-24T12:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    several = Cron("*/20 2 * * *", "Europe/Berlin")
    assert shown(several, "2026-03-28T12:00", 2) == ["29 03:00 +0200", "30 02:00 +0200"], (
        "three times of one gap are one"
    )
    york = Cron("30 1 * * *", "America/New_York")
    assert shown(york, "2026-10-31T12:00", 2) == ["01 01:30 -0400", "02 01:30 -0500"]
    apia = Cron("0 12 * * *", "Pacific/Apia")  # the day that Samoa left out: it is due as that day would have begun
    assert shown(apia, "2011-12-29T00:00", 3) == ["29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400"]


def test_a_job_of_every_hour_follows_elapsed_time() -> None:
    half = Cron("*/30 * * * *", "Europe/Berlin")
    for start in ("2026-03-28T20:00", "2026-10-24T20:00", "2026-06-01T20:00"):
        times = list(islice(half.after(ns(start)), 40))
        assert {b - a for a, b in pairwise(times)} == {30 * MINUTE_NS}
    assert shown(half, "2026-10-25T00:10", 3) == ["25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"]
    assert half.first_after(ns("2026-10-25T00:30")) == ns("2026-10-25T01:00")


def test_an_interval_meets_midnight_utc() -> None:
    assert Every(3_600).first_after(ns("2026-01-01T23:59:59")) == ns("2026-01-02T00:00")
    assert list(islice(Every(10).after(ns("2026-01-01")), 2)) == [ns("2026-01-01T00:00:10"), ns("2026-01-01T00:00:20")]
    assert Every(10).between(0, 10**18, 2) == ([(10**8 - 1) * 10 * S_NS, 10**18], 10**8 - 2)


def test_what_was_missed_for_years_is_counted_without_being_walked() -> None:
    minutes = Cron("* * * * *")
    last, more = minutes.between(0, ns("2026-11-22"), 100)
    assert last == [ns("2026-11-22") - n * MINUTE_NS for n in range(99, -1, -1)] and more >= 1_000
    weekly = Cron("0 3 * * 0")
    assert weekly.between(ns("2026-11-01T03:00"), ns("2026-11-22T03:00"), 2) == (
        [ns("2026-11-15T03:00"), ns("2026-11-22T03:00")],
        1,
    )


def test_a_weekday_is_the_crontabs() -> None:
    assert shown(Cron("0 3 * * 0"), "2026-11-22T12:00", 1) == ["29 03:00 +0000"]  # a Sunday; APScheduler's 0 is Monday
    assert weekdays("7") == "sun" and weekdays("sat-sun") == "sat,sun" and weekdays("1-5/2") == "mon,wed,fri"
    assert shown(Cron("0 0 * jan mon-fri"), "2026-01-02T12:00", 1) == ["05 00:00 +0000"]


@pytest.mark.parametrize(
    ("cron", "zone", "fault"),
    [
        ("* * *", "UTC", r"cron = '\* \* \*': 3 fields, must be 5: minute, hour, day of month"),
        ("61 * * * *", "UTC", r"cron = '61 \* \* \* \*': .*\(61\) is higher than the maximum value \(59\)"),
        ("0 0 30 2 *", "UTC", "there is no such day"),
        ("0 0 1 * 1", "UTC", "a day of month and a day of week; make two jobs of it"),
        ("0 0 * * 8", "UTC", "day of week '8': 0 to 7 or sun"),
        ("0 0 * * */0", "UTC", "the step '0' is no number above 0"),
        ("0 0 * * *", "Europe/Berln", "zone = 'Europe/Berln': no time zone of the IANA table"),
        ("0 0 * * *", "../UTC", r"zone = '\.\./UTC': no time zone"),
    ],
)
def test_a_time_that_cannot_be_is_refused(cron: str, zone: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Cron(cron, zone)
