"""What one look at a book says: its fault, touch, mid, spread and depth. NaN where it says nothing."""

import math
from typing import Any

from flea_lab.model.market import BookSnapshot
from flea_lab.model.packed import PackedLevels

NAN, INF = math.nan, math.inf
Levels = tuple[tuple[float, float], ...]

NOISE = 1e-12
"""Share of mid that floats may lose: 100.0 - 99.99 is a little more than 0.01, and a level at 1 bp is within 1 bp."""


def is_sound(bids: Levels, asks: Levels) -> bool:
    """Whether `book_fault` finds nothing in a book of these levels; several times as fast, and most are sound."""
    sides: tuple[Any, Any] = bids, asks
    if type(bids) is type(asks) is PackedLevels:  # type: ignore[comparison-overlap]
        return bool(0.0 < sides[0].best < sides[1].best)  # whoever packed them has looked at each
    if not (bids and asks):
        return False
    last = INF
    for price, qty in bids:
        if not (price < last and 0.0 < qty < INF):
            return False
        last = price
    if not last > 0.0:
        return False
    last = bids[0][0]
    for price, qty in asks:
        if not (price > last and 0.0 < qty < INF):
            return False
        last = price
    return last < INF


def book_fault(book: BookSnapshot) -> str:
    """Why nothing can be traded on `book`, or "".

    A fault is an empty side, a price or size that is not a positive number, levels out of order, and bids that
    reach the asks.
    """
    if is_sound(book.bids, book.asks):
        return ""
    for name, levels in (("bids", book.bids), ("asks", book.asks)):
        if not levels:
            return f"no {name}"
        last = math.inf if name == "bids" else 0.0
        for price, qty in levels:
            if not (0 < price < math.inf and 0 < qty < math.inf):
                return f"{name} hold {qty} at {price}"
            if not (price < last if name == "bids" else price > last):
                return f"{name} go from {last} to {price}"
            last = price
    bid, ask = book.bids[0][0], book.asks[0][0]
    return "" if bid < ask else f"crossed, bid {bid} is not below ask {ask}"


def touch(book: BookSnapshot) -> tuple[float, float]:
    """Best bid and best ask; NaN for both where a side is empty, no number, or the bid is not below the ask."""
    if not (book.bids and book.asks):
        return NAN, NAN
    (bid, bid_qty), (ask, ask_qty) = book.bids[0], book.asks[0]
    sound = 0 < bid < ask < math.inf and bid_qty > 0 and ask_qty > 0
    return (bid, ask) if sound else (NAN, NAN)


def mid(book: BookSnapshot) -> float:
    """Half way between best bid and best ask. NaN if the book is crossed, locked or empty.

    >>> mid(BookSnapshot(symbol="X", ts_event=0, ts_recv=0, seq=None, bids=((99.0, 1.0),), asks=((101.0, 1.0),)))
    100.0
    """
    bid, ask = touch(book)
    return (bid + ask) / 2


def spread_bps(book: BookSnapshot) -> float:
    """Quoted spread over mid, in basis points. NaN if the book is crossed, locked or empty.

    >>> spread_bps(BookSnapshot(symbol="X", ts_event=0, ts_recv=0, seq=None, bids=((99.0, 1.0),), asks=((101.0, 1.0),)))
    200.0
    """
    bid, ask = touch(book)
    return (ask - bid) / ((bid + ask) / 2) * 10_000


def depth_at_bps(book: BookSnapshot, bps: float) -> tuple[float, float]:
    """Base units bid and offered at most `bps` away from mid, that distance included.

    NaN for both sides if the book is crossed, locked or empty, or `bps` is negative or NaN; NaN for a side with a
    level that is no number.

    >>> book = BookSnapshot(
    ...     symbol="X", ts_event=0, ts_recv=0, seq=None, bids=((99.0, 1.0), (98.0, 5.0)), asks=((101.0, 2.0),)
    ... )
    >>> depth_at_bps(book, 100.0), depth_at_bps(book, 200.0)
    ((1.0, 2.0), (6.0, 2.0))
    """
    middle = mid(book)
    if not (bps >= 0 and middle > 0):
        return NAN, NAN
    reach = middle * (bps / 10_000 + NOISE)
    return _within(book.bids, middle, reach), _within(book.asks, middle, reach)


def _within(levels: Levels, middle: float, reach: float) -> float:
    total = 0.0
    for price, qty in levels:
        if math.isnan(price + qty):
            return NAN
        if abs(price - middle) <= reach:
            total += qty
    return total
