"""When a job is due: crontab expressions on the wall clock of a time zone, and intervals on UTC.

Rules. A time that the wall clock skips is due once, at the instant after the gap; one that it shows twice is due at the
first of the two. A job for every hour (an hour field that begins with *) follows elapsed time instead: nothing of a gap
is made up for, and both passes of an hour that comes twice are its. Intervals are multiples of their length since
1970-01-01 UTC, so that those that divide a day meet midnight UTC.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

S_NS = 1_000_000_000
DAY = timedelta(days=1)
LAST = datetime(2100, 1, 1, tzinfo=UTC)
"""Nothing is planned for after this."""

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = ("minute", "hour", "day of month", "month", "day of week")


class Timing(Protocol):
    """The planned times of a job, ns UTC."""

    zone: ZoneInfo
    stamp: str

    def after(self, ns: int) -> Iterator[int]:
        """Every planned time after `ns`, in order."""

    def first_after(self, ns: int) -> int | None:
        """The first planned time after `ns`; None where there is none."""

    def between(self, after_ns: int, until_ns: int, most: int) -> tuple[list[int], int]:
        """The last `most` planned times after `after_ns`, up to and with `until_ns`; and how many there were before."""


class Every:
    """Every so many seconds."""

    def __init__(self, every_s: int, zone: str = "UTC") -> None:
        self.zone, self.every_ns = zone_of(zone), every_s * S_NS
        self.stamp = f"every {every_s} s"

    def after(self, ns: int) -> Iterator[int]:
        """As `Timing.after`."""
        at = (ns // self.every_ns + 1) * self.every_ns
        while True:
            yield at
            at += self.every_ns

    def first_after(self, ns: int) -> int | None:
        """As `Timing.first_after`."""
        return (ns // self.every_ns + 1) * self.every_ns

    def between(self, after_ns: int, until_ns: int, most: int) -> tuple[list[int], int]:
        """As `Timing.between`."""
        first, last = after_ns // self.every_ns + 1, until_ns // self.every_ns
        start = max(first, last - most + 1)
        return [n * self.every_ns for n in range(start, last + 1)], max(start - first, 0)


class Cron:
    """A crontab expression of five fields in a zone: 0 and 7 are Sunday, names as in `mon-fri`, `jan`."""

    def __init__(self, text: str, zone: str = "UTC") -> None:
        """`ValueError` says what is wrong with it."""
        self.zone, fields = zone_of(zone), text.split()
        if len(fields) != len(FIELDS):
            raise ValueError(f"cron = {text!r}: {len(fields)} fields, must be 5: {', '.join(FIELDS)}")
        if not fields[2].startswith("*") and not fields[4].startswith("*"):
            raise ValueError(f"cron = {text!r}: a day of month and a day of week; make two jobs of it")
        self.stamp = f"cron {' '.join(fields)} {zone}"
        self._elapsed = fields[1].startswith("*")
        minute, hour, day, month, weekday = fields
        try:
            self._trigger = CronTrigger(
                minute=minute,
                hour=hour,
                day=day,
                month=month,
                day_of_week=weekdays(weekday),
                timezone=UTC,  # the wall clock's own timeline: zones are ours to see to
                end_date=LAST,
            )
        except ValueError as error:
            raise ValueError(f"cron = {text!r}: {str(error).splitlines()[0]}") from None
        self._known: tuple[int, int | None] = (-1, None)
        if next(self._walls(datetime(2000, 1, 1, tzinfo=UTC)), None) is None:
            raise ValueError(f"cron = {text!r}: there is no such day")

    def after(self, ns: int) -> Iterator[int]:
        """As `Timing.after`."""
        yield from self._by_elapsed(ns) if self._elapsed else self._by_wall(ns)

    def first_after(self, ns: int) -> int | None:
        """As `Timing.first_after`; the last answer is kept."""
        if self._known[0] != ns:
            self._known = ns, next(self.after(ns), None)
        return self._known[1]

    def between(self, after_ns: int, until_ns: int, most: int) -> tuple[list[int], int]:
        """As `Timing.between`. Of a very long time only the first and the last day are counted one by one."""
        found: list[int] = []
        for at in islice(self.after(after_ns), 10 * most):
            if at > until_ns:
                break
            found.append(at)
        else:
            last_day = until_ns - 86_400 * S_NS
            if found and found[-1] < last_day:  # more often than once a day, for longer than anybody counts
                found += [at for at in self._until(last_day, until_ns) if at > found[-1]]
            elif found:
                found += list(self._until(found[-1], until_ns))
        return found[-most:], max(len(found) - most, 0)

    def _until(self, after_ns: int, until_ns: int) -> Iterator[int]:
        for at in self.after(after_ns):
            if at > until_ns:
                return
            yield at

    def _walls(self, start: datetime) -> Iterator[datetime]:
        """Matching times of the wall clock from `start` on, written as if they were UTC."""
        at = self._trigger.get_next_fire_time(None, start)
        while at is not None:
            yield at
            at = self._trigger.get_next_fire_time(None, at + timedelta(seconds=1))

    def _by_wall(self, ns: int) -> Iterator[int]:
        last = ns
        for wall in self._walls(_as_utc(_local(ns, self.zone))):
            at = first_instant(wall.replace(tzinfo=None), self.zone)
            if at > last:  # several times of one gap are one
                last = at
                yield at

    def _by_elapsed(self, ns: int) -> Iterator[int]:
        start = (ns // S_NS + 1) * S_NS
        while start < LAST.timestamp() * S_NS:
            end = start + 86_400 * S_NS
            here = _offset(start, self.zone)
            if here != _offset(end, self.zone):
                end = _change(start, end, self.zone)
            shift = round(here.total_seconds()) * S_NS
            until = _exact(end + shift)
            for wall in self._walls(_exact(start + shift)):
                if wall >= until:
                    break
                yield round(wall.timestamp()) * S_NS - shift
            start = end


def zone_of(name: str) -> ZoneInfo:
    """The time zone `name` of the IANA table; `ValueError` where it has none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # what zoneinfo raises for no name, a bad name, and a folder
        raise ValueError(f"zone = {name!r}: no time zone of the IANA table, such as Europe/Berlin") from None


def weekdays(text: str) -> str:
    """A day-of-week field by names: crontab counts from Sunday, APScheduler from Monday.

    >>> weekdays("0"), weekdays("1-5"), weekdays("5-7"), weekdays("*/2"), weekdays("*")
    ('sun', 'mon,tue,wed,thu,fri', 'fri,sat,sun', 'sun,tue,thu,sat', '*')
    """
    if text == "*":
        return text
    found: list[str] = []
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        low, high = (0, 6) if span == "*" else (_weekday(first), _weekday(last) if dash else _weekday(first))
        if step and span != "*" and not dash:
            high = 6
        if dash and high < low:
            high += 7
        if not (step or "1").isdigit() or int(step or "1") < 1:
            raise ValueError(f"day of week {text!r}: the step {step!r} is no number above 0")
        found += [DAYS[n % 7] for n in range(low, high + 1, int(step or "1"))]
    return ",".join(dict.fromkeys(found))


def _weekday(text: str) -> int:
    if text.lower() in DAYS:
        return DAYS.index(text.lower())
    if text.isdigit() and int(text) <= 7:
        return int(text)
    raise ValueError(f"day of week {text!r}: 0 to 7 or {', '.join(DAYS)}")


def first_instant(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant (ns UTC) at which a clock of `zone` shows `wall` or later.

    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> skipped = first_instant(datetime(2026, 3, 29, 2, 30), berlin)
    >>> datetime.fromtimestamp(skipped / S_NS, berlin).isoformat()
    '2026-03-29T03:00:00+02:00'
    >>> twice = first_instant(datetime(2026, 10, 25, 2, 30), berlin)
    >>> datetime.fromtimestamp(twice / S_NS, berlin).isoformat()
    '2026-10-25T02:30:00+02:00'
    """
    before, after = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    early, late = (round(one.timestamp()) * S_NS for one in (before, after))
    if early <= late:  # as any time, or shown twice: fold 0 is the first of the two
        return early
    return _change(late, early, zone)  # skipped: the two readings lie around the change


def _change(low: int, high: int, zone: ZoneInfo) -> int:
    """The first instant after `low`, at most `high`, of which the offset is not that of `low`; to the second."""
    before = _offset(low, zone)
    while high - low > S_NS:
        middle = (low + high) // 2 // S_NS * S_NS
        if middle <= low:
            break
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return -(-high // S_NS) * S_NS


def _offset(ns: int, zone: ZoneInfo) -> timedelta:
    return _local(ns, zone).utcoffset() or timedelta()


def _local(ns: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(ns // S_NS, zone)


def _as_utc(local: datetime) -> datetime:
    return local.replace(tzinfo=UTC, fold=0)


def _exact(ns: int) -> datetime:
    """Whole seconds as a time; never a fraction, which a float would round."""
    return datetime.fromtimestamp(ns // S_NS, UTC)
