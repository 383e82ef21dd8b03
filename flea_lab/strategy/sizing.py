"""A conviction into dollars, and how eagerly they are traded."""

from flea_lab.compiled import compiled, quotient
from flea_lab.model.trading import OrderType, Urgency
from flea_lab.money import CENT, USD

INCREMENT, TARGET = 0, 1


@compiled
def size_usd(equity: int, base_fraction: float, conviction: float) -> float:
    """Equity x base fraction x |conviction| in USD, unrounded; `equity` in micro-dollars."""
    return equity / USD * base_fraction * abs(conviction)


@compiled
def goal_uusd(equity: int, base_fraction: float, conviction: float) -> int:
    """`size_usd` in micro-dollars, rounded to whole cents, with the sign of `conviction`."""
    goal = int(round(size_usd(equity, base_fraction, conviction) * 100.0)) * CENT
    return -goal if conviction < 0.0 else goal


@compiled
def change_uusd(mode: int, goal: int, equity: int, base_fraction: float, band: float, position: int) -> int:
    """What is traded towards `goal`: all of it in increments, else what the position lacks, if beyond the band."""
    if mode == INCREMENT:
        return goal
    change = goal - position
    if abs(change) < band * equity * base_fraction:
        return 0
    whole = quotient(abs(change), CENT) * CENT
    return whole if change > 0 else -whole


@compiled
def intent_uusd(
    mode: int,
    equity: int,
    base_fraction: float,
    band: float,
    conviction: float,
    min_conviction: float,
    position: int,
) -> int:
    """Signed micro-dollars to trade, whole cents; 0 is no intent.

    `position` is the symbol's signed exposure in micro-dollars, with what is pending. A NaN conviction (an alpha that
    is not ready) and one below `min_conviction` are silence: the position is held.
    """
    if not abs(conviction) >= min_conviction:
        return 0
    return change_uusd(mode, goal_uusd(equity, base_fraction, conviction), equity, base_fraction, band, position)


def order_type(conviction: float, market_above: float) -> OrderType:
    """A strong conviction pays the spread, a weak one waits for its price."""
    return "limit" if abs(conviction) < market_above else "market"


def urgency(conviction: float, high_above: float) -> Urgency:
    """High above the threshold, else normal."""
    return "high" if abs(conviction) > high_above else "normal"
