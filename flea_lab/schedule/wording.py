"""Times, durations and ends in the words of alerts and tables."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flea_lab.schedule.ledger import Attempt


def moment(ns: int) -> str:
    """A time in UTC.

    >>> moment(0)
    '1970-01-01T00:00:00Z'
    """
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def duration(seconds: float) -> str:
    """A duration as a person says it.

    >>> duration(7.25), duration(90), duration(5400), duration(200_000)
    ('7.2 s', '1 min 30 s', '1 h 30 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds != int(seconds) else f"{int(seconds)} s"
    whole = round(seconds)
    for length, name, less, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // less
            return f"{whole // length} {name}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def past(at_ns: int, limit_ns: int) -> str:
    """How long after `limit_ns` it is at `at_ns`.

    >>> past(90_000_000_000, 0)
    '1 min 30 s late'
    """
    return f"{duration((at_ns - limit_ns) / 1e9)} late"


def ended_how(ended: "Attempt") -> str:
    """How an attempt ended, in a few words."""
    said = {"timeout": "was ended", "killed": "was killed", "ok": "ended well"}.get(ended.status, "failed")
    status = f"exit status {ended.exit_code}" if ended.status == "failed" and ended.exit_code else ""
    return f"{said}: {'; '.join(part for part in (status, ended.note) if part)}".rstrip(": ")
