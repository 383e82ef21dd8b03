"""What is wrong with the levels of a book on the wire. Pure."""

import math

from flea_lab.model.market import Levels
from flea_lab.venue.reading import FrameError

INF = math.inf


def falls(bids: Levels) -> bool:
    """Whether `check_levels` has nothing to say of the bids of a snapshot; twice as fast, and most books are sound."""
    last = INF
    for price, size in bids:
        if not (0.0 < price < last and 0.0 < size < INF):
            return False
        last = price
    return True


def rises(asks: Levels) -> bool:
    """The same of its asks."""
    last = 0.0
    for price, size in asks:
        if not (last < price < INF and 0.0 < size < INF):
            return False
        last = price
    return True


def check_levels(levels: Levels, name: str, sign: float, delta: bool) -> None:
    """Nothing, or a `FrameError`: prices from the best on, sizes above 0 (a delta's may be 0)."""
    last = -INF
    for place, (price, size) in enumerate(levels):
        if not (0.0 < price < INF and (0.0 < size < INF or (delta and size == 0.0))):
            raise FrameError(f"{name}[{place}] = [{price}, {size}]: price and size must be numbers above 0")
        if not (sign * price > last or delta):
            raise FrameError(f"{name}[{place}][0] = {price}: not behind the level before it")
        last = sign * price
