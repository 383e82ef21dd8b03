"""How a large order is cut into slices, as pure functions of numbers: its pace, and how much may go now.

Rules. A slice is never larger than planned and never more than a share of what has traded since the last one, so that
time that was missed is made up by taking longer, never by more at once. What would be left below the smallest order
goes with the last slice.
"""

import math
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from flea_lab.settings import Settings

SECOND_NS = 1_000_000_000
DAY_S = 86_400.0
DAYS = 30.0
"""The longest that an order may be planned to take."""

Style = Literal["twap", "iceberg"]
Prices = Annotated[int, Meta(ge=0, le=1_000, description="prices")]
Never = Literal["none"]

NEVER = 2**31
"""Prices after which an order that never crosses would."""

LONGEST_WORK = 20
"""Prices that an order is worked for, beyond those after which it crosses."""


class Slicing(Settings, frozen=True, kw_only=True):
    """When an order is worked in slices, and how.

    An order of more than `above` of a day's volume is ("none": none is). It is cut to take `minutes`, or longer where
    `participation` of what trades in a day asks for that, in slices `every_s` apart, each at most `participation` of
    what has traded since the one before. What is left after `patience` times its time is given up.

    With `limits` "work" a limit order rests `offset_ticks` behind the last close, is priced anew every `every_s`, and
    after `cross_low`, `cross_normal` or `cross_high` prices, by its urgency, what is left goes to the market
    ("none": never).
    """

    above: Annotated[float, Meta(gt=0.0, le=1.0, description="a share of a day's volume")] | Never = 0.005
    style: Style = "twap"
    minutes: Annotated[float, Meta(ge=1.0, le=1_440.0, description="minutes")] = 30.0
    every_s: Annotated[float, Meta(ge=1.0, le=3_600.0, description="seconds")] = 60.0
    participation: Annotated[float, Meta(gt=0.0, le=1.0, description="a share of what trades")] = 0.1
    patience: Annotated[float, Meta(ge=1.0, le=100.0, description="times its planned time")] = 4.0
    limits: Literal["rest", "work"] = "rest"
    offset_ticks: Annotated[int, Meta(ge=0, le=100_000, description="ticks")] = 0
    cross_low: Prices | Never = "none"
    cross_normal: Prices | Never = 3
    cross_high: Prices | Never = 1

    def __post_init__(self) -> None:
        if not self.every_s <= self.minutes * 60.0:
            raise ValueError(f"every_s ({self.every_s:g}) must be at most minutes ({self.minutes:g}) in seconds")


def cross_after(slicing: Slicing, urgency: str) -> int:
    """After how many prices an order of that urgency goes to the market.

    >>> cross_after(Slicing(), "high"), cross_after(Slicing(), "low") == NEVER
    (1, True)
    """
    found: Prices | Never = getattr(slicing, f"cross_{urgency}")
    return NEVER if found == "none" else found


class Planned(NamedTuple):
    """One slice of a plan: when, ns UTC, and how many lots."""

    ts_event: int
    lots: int


def slices_of(lots: int, day_lots: float, slicing: Slicing) -> int:
    """Into how many slices an order is cut; `day_lots` is what trades in a day, 0 where that is not known.

    >>> slices_of(1_000, 0.0, Slicing()), slices_of(1_000, 50_000.0, Slicing())
    (30, 288)
    """
    least = slicing.minutes * 60.0 / slicing.every_s
    share = lots / (slicing.participation * day_lots) if day_lots >= 1.0 else 0.0
    return max(1, math.ceil(max(least, min(share, DAYS) * DAY_S / slicing.every_s) - 1e-9))


def slice_of(lots: int, slices: int) -> int:
    """Lots of one of so many slices, the last of which may be smaller.

    >>> slice_of(100, 30), slice_of(5, 30)
    (4, 1)
    """
    return -(-lots // slices)


def plan(lots: int, start_ns: int, slicing: Slicing, day_lots: float = 0.0) -> list[Planned]:
    """The slices of `lots` if all goes as planned; they sum to `lots`. `day_lots` as in `slices_of`.

    >>> [one.lots for one in plan(10, 0, Slicing(minutes=4.0))]
    [3, 3, 3, 1]
    """
    size, every_ns = slice_of(lots, slices_of(lots, day_lots, slicing)), round(slicing.every_s * SECOND_NS)
    found = []
    for n in range(-(-lots // size)):
        found.append(Planned(start_ns + n * every_ns, min(size, lots - n * size)))
    return found


def release(unreleased: int, slice_lots: int, traded_lots: float, participation: float, least: int) -> int:
    """How many lots may go now; 0 for none. `least` is the smallest order in lots.

    >>> release(100, 10, 1_000.0, 0.1, 1), release(100, 10, 40.0, 0.1, 1), release(100, 10, float("nan"), 0.1, 1)
    (10, 4, 0)
    >>> release(12, 10, 1_000.0, 0.1, 5)
    12
    """
    cap = participation * traded_lots
    if not cap >= 1.0:
        return 0
    size = min(unreleased, slice_lots, int(min(cap, 2.0**62)))
    if unreleased - size < least and unreleased <= cap:
        size = unreleased
    return size if size >= least else 0
