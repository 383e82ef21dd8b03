"""What is wrong with the levels of a book, by its name."""

from math import inf, isnan, nan

from flea_lab.data.book_rules import BookRules
from flea_lab.model.finding import Kind
from flea_lab.model.market import Levels

Fault = tuple[Kind, str]
"""The kind of fault, and where."""


def number_fault(value: float) -> Kind | None:
    """What keeps `value` from being a positive number; None where it is one.

    >>> number_fault(1.0), number_fault(0.0), number_fault(-1.0), number_fault(float("inf"))
    (None, 'zero', 'negative', 'nan')
    """
    if 0.0 < value < inf:
        return None
    if value == 0.0:
        return "zero"
    return "negative" if -inf < value < 0.0 else "nan"


def snapshot_fault(bids: Levels, asks: Levels, rules: BookRules) -> Fault | None:
    """The first fault of a whole book: an impossible number, unsorted, empty, locked, crossed, too many levels."""
    fault = _side_fault("bids", bids, -1.0) or _side_fault("asks", asks, 1.0)
    if fault is None:
        fault = top_fault(bids[0][0] if bids else nan, asks[0][0] if asks else nan, rules)
    most = rules.levels
    if fault is None and most is not None and not len(bids) <= most >= len(asks):
        return "too_many_levels", f"{len(bids)} bids and {len(asks)} asks, the venue sends at most {most}"
    return fault


def top_fault(bid: float, ask: float, rules: BookRules) -> Fault | None:
    """What is wrong at the top of a book, NaN where a side is empty; None where it is sound.

    What the venue's rules call natural is no fault.
    """
    if bid < ask:
        return None
    missing = [name for name, price in (("bids", bid), ("asks", ask)) if isnan(price)]
    kind: Kind = "empty" if missing else "locked" if bid == ask else "crossed"
    detail = "no " + " and no ".join(missing) if missing else f"bid {bid} is not below ask {ask}"
    return None if kind in rules.natural else (kind, detail)


def _side_fault(name: str, levels: Levels, sign: float) -> Fault | None:
    last = -inf
    for price, qty in levels:
        if not (0.0 < price < inf and 0.0 < qty < inf):
            return number_fault(price) or number_fault(qty) or "nan", f"{name} hold {qty} at {price}"
        if not sign * price > last:
            return "unsorted", f"{name} go from {abs(last)} to {price}"
        last = sign * price
    return None
