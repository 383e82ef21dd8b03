"""How much may be asked of a venue, as a policy: windows of a second, a minute and a day, a reserve for cancels. Pure.

Rules. A venue is asked for no more than a share of what it allows. Of that, a part may be spent by cancels only: taking
risk back is never denied because too much was asked before. What a venue answers with 429 stops for as long as it says,
or for a back-off that grows; a 429 to an order or a question does not stop cancels. All times are seconds of one
monotonic clock.
"""

import math
from collections import deque
from typing import Annotated, Literal, Protocol, runtime_checkable

from msgspec import Meta
from msgspec.structs import replace

from flea_lab.settings import Fraction, Settings
from flea_lab.venue.reconnect import full_jitter_s

Use = Literal["read", "order", "cancel"]
Most = Annotated[int, Meta(ge=0, le=10_000_000, description="weight of requests, 0: the venue names no limit")]
Wait = Annotated[float, Meta(gt=0.0, le=3_600.0, description="seconds")]

MINUTE_S, DAY_S = 60.0, 86_400.0
PARTS = 60
"""Into how many parts a window is cut: what was spent is forgotten a part later than it might be."""


class RateLimits(Settings, frozen=True, kw_only=True):
    """What a venue allows, and how much of it is used.

    `share` of each limit is used at most, `cancel_reserve` of that by cancels only. After a 429 without a time of its
    own the first wait is `back_off_first_s`, doubled up to `back_off_last_s`.
    """

    per_second: Most = 0
    per_minute: Most = 0
    per_day: Most = 0
    share: Annotated[float, Meta(gt=0.0, le=1.0, description="a share of 1")] = 0.7
    cancel_reserve: Fraction = 0.2
    back_off_first_s: Wait = 1.0
    back_off_last_s: Wait = 60.0

    def __post_init__(self) -> None:
        if not self.back_off_first_s <= self.back_off_last_s:
            first, last = self.back_off_first_s, self.back_off_last_s
            raise ValueError(f"back_off_first_s ({first}) must be at most back_off_last_s ({last})")
        for name in ("per_second", "per_minute", "per_day"):
            limit = getattr(self, name)
            if limit and usable(limit, self.share) - reserved(limit, self.share, self.cancel_reserve) < 1:
                raise ValueError(f"{name} ({limit}) leaves nothing to ask with at share {self.share}")


def stated(limits: RateLimits, published: int) -> RateLimits:
    """`limits`, or where they name none, `published` requests a minute (0: none either).

    >>> stated(RateLimits(), 30).per_minute, stated(RateLimits(per_day=100), 30).per_minute
    (30, 0)
    """
    named = limits.per_second or limits.per_minute or limits.per_day
    return limits if named or not published else replace(limits, per_minute=published)


def usable(limit: int, share: float) -> int:
    """How much of a limit is used at most; at least 1.

    >>> usable(30, 0.7), usable(1, 0.7)
    (21, 1)
    """
    return max(1, math.floor(limit * share + 1e-9))


def reserved(limit: int, share: float, reserve: float) -> int:
    """How much of that is for cancels only.

    >>> reserved(30, 0.7, 0.2)
    5
    """
    return math.ceil(usable(limit, share) * reserve - 1e-9)


class Window:
    """At most `most` weight in any `span_s`, of which `kept` is for cancels."""

    def __init__(self, span_s: float, most: int, kept: int = 0) -> None:
        self._span_s, self._part_s, self.most, self._kept = span_s, span_s / PARTS, most, kept
        self._spent: deque[tuple[float, int]] = deque()  # the end of a part, and what was spent in it
        self._sum = 0

    def wait_s(self, now_s: float, weight: int, use: Use = "read") -> float:
        """Seconds until `weight` may be spent; 0 where it may be now. One that is larger than the window waits for an
        empty one."""
        while self._spent and self._spent[0][0] <= now_s - self._span_s:
            self._sum -= self._spent.popleft()[1]
        over = self._sum + weight - self.most + (0 if use == "cancel" else self._kept)
        wait = 0.0
        for end, spent in self._spent:
            if over <= 0:
                break
            over -= spent
            wait = end + self._span_s - now_s
        return wait

    def spend(self, now_s: float, weight: int) -> None:
        """Takes note of a request of `weight`."""
        end = (math.floor(now_s / self._part_s) + 1) * self._part_s
        before = self._spent.pop()[1] if self._spent and self._spent[-1][0] >= end else 0
        self._spent.append((end, before + weight))
        self._sum += weight


class Budget:
    """At most `per_minute` weight in any 60 s, to the instant. All times are seconds of one monotonic clock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._spent: deque[tuple[float, int]] = deque()

    def wait_s(self, now_s: float, weight: int) -> float:
        """Seconds until `weight` may be spent; 0 where it may be now. One that is larger than a minute's waits for
        an empty minute.

        >>> budget = Budget(100)
        >>> budget.spend(0.0, 90)
        >>> budget.wait_s(10.0, 10), budget.wait_s(10.0, 11)
        (0.0, 50.0)
        """
        while self._spent and self._spent[0][0] <= now_s - MINUTE_S:
            self._spent.popleft()
        over = sum(spent for _, spent in self._spent) + weight - self._per_minute
        wait = 0.0
        for at, spent in self._spent:
            if over <= 0:
                break
            over -= spent
            wait = at + MINUTE_S - now_s
        return wait

    def spend(self, now_s: float, weight: int) -> None:
        """Takes note of a question of `weight`."""
        self._spent.append((now_s, weight))


class RateBudget:
    """What may be asked of one venue."""

    def __init__(self, limits: RateLimits) -> None:
        spans = ((1.0, limits.per_second), (MINUTE_S, limits.per_minute), (DAY_S, limits.per_day))
        self._limits = limits
        self._windows = [
            Window(span, usable(limit, limits.share), reserved(limit, limits.share, limits.cancel_reserve))
            for span, limit in spans
            if limit
        ]
        self._until_s: dict[Use, float] = dict.fromkeys(("read", "order", "cancel"), 0.0)
        self._refused_in_a_row = 0

    def wait_s(self, now_s: float, use: Use, weight: int = 1) -> float:
        """Seconds until a request of that use may go; 0 where it may go now."""
        wait = max(0.0, self._until_s[use] - now_s)
        for window in self._windows:
            wait = max(wait, window.wait_s(now_s, weight, use))
        return wait

    def spend(self, now_s: float, weight: int = 1) -> None:
        """Takes note of a request that goes."""
        for window in self._windows:
            window.spend(now_s, weight)

    def answered(self) -> None:
        """Takes note that the venue answered without a 429."""
        self._refused_in_a_row = 0

    def stopped(self, now_s: float, use: Use, retry_after_s: float | None, jitter: float) -> float:
        """Seconds for which requests stop after a 429 to one of that `use`: what the venue says, or a back-off. Cancels
        stop only where a cancel was refused. `jitter` in [0, 1)."""
        self._refused_in_a_row += 1
        first, last = self._limits.back_off_first_s, self._limits.back_off_last_s
        if retry_after_s is None:
            wait = first + full_jitter_s(self._refused_in_a_row, first, last, jitter)
        else:
            wait = retry_after_s * (1.0 + 0.1 * jitter)
        for one in ("read", "order", "cancel") if use == "cancel" else ("read", "order"):
            self._until_s[one] = max(self._until_s[one], now_s + wait)
        return wait


@runtime_checkable
class Paced(Protocol):
    """An exchange that says when the next order may be sent."""

    def order_wait_s(self) -> float:
        """Seconds until an order may be sent within the venue's limits; 0 where it may be sent now."""
