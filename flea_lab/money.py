"""Whole-number money: micro-dollars from lots and ticks, rounded to the nearest, ties away from zero.

Everything here is 64-bit. What could overflow is refused where an instrument or a market is loaded
(`model.instrument`, `check_headroom`), not here.
"""

from flea_lab.compiled import compiled, quotient
from flea_lab.errors import ConfigError

E8 = 100_000_000
"""Rates are whole hundred-millionths: 1 basis point is 10_000."""

E16 = E8 * E8
USD = 1_000_000
CENT = 10_000
HEADROOM = 4 * 10**18
SMALL, SMALL_RATE = 2**44, 2**18
"""Micro-dollars, and hundred-millionths (26 basis points), whose product is far from leaving 64 bits."""


@compiled
def nearest(a: int, b: int) -> int:
    """`a / b` to the nearest whole, ties away from zero; `b` positive.

    >>> nearest(7, 2), nearest(-7, 2), nearest(6, 4)
    (4, -4, 2)
    """
    if b == 1:  # most grids: spares a division on every mark of every bar
        return a
    found = quotient(abs(a) + (b >> 1), b)
    return found if a >= 0 else -found  # a choice, not a branch: which sign comes next cannot be predicted


@compiled
def value_uusd(lots: int, ticks: int, num: int, den: int) -> int:
    """Micro-dollars of `lots` at `ticks`, signed like `lots`; one lot at one tick is worth `num / den`."""
    return nearest(lots * ticks * num, den)


@compiled
def share_uusd(value: int, rate_e8: int) -> int:
    """`value * rate_e8 / 1e8` to the nearest micro-dollar, without overflow for any value below 9e15."""
    if 0 <= value < SMALL and 0 <= rate_e8 < SMALL_RATE:  # the usual order: the same number by one division
        return quotient(value * rate_e8 + E8 // 2, E8)
    whole = value // E8
    return whole * rate_e8 + nearest((value - whole * E8) * rate_e8, E8)


@compiled
def funded_uusd(value: int, rate: float) -> int:
    """`value * rate` to the nearest micro-dollar, ties away from zero; `rate` is taken to whole 1e-16.

    Counted in full, in parts of eight digits, for any value below 9e15 and any rate between -100 and 100: every rate
    that a venue tells in decimals is exact, which a product of floats is not.

    >>> funded_uusd(5_000, 0.0001), funded_uusd(-5_000, 0.0001), funded_uusd(15_000, 0.0001)
    (1, -1, 2)
    """
    rate_e16 = round(rate * E16)
    size, share = abs(value), abs(rate_e16)
    high, low = size // E8, size % E8
    share_high, share_low = share // E8, share % E8
    middle = high * share_low + low * share_high
    found = high * share_high + middle // E8 + nearest(middle % E8 * E8 + low * share_low, E16)
    return found if (value < 0) == (rate_e16 < 0) else -found


@compiled
def lots_for(size_uusd: int, ticks: int, num: int, den: int) -> int:
    """Whole lots that `size_uusd` buys at `ticks`, rounded toward zero, signed like `size_uusd`."""
    if ticks <= 0:
        return 0
    lots = quotient(abs(size_uusd) * den, ticks * num)
    return lots if size_uusd >= 0 else -lots


@compiled
def portion_uusd(value: int, part: int, whole: int) -> int:
    """`value * part / whole` to the nearest micro-dollar, for 0 <= part <= whole, whole > 0.

    Counted in full up to 2**31 lots; beyond, where the product would leave 64 bits, the remainder is a float whose
    error is below a micro-dollar.

    >>> portion_uusd(100, 1, 3), portion_uusd(-100, 2, 3)
    (33, -67)
    """
    if 0 <= value < 2**31 and whole < 2**31:  # the usual fee: the same number by one division
        return quotient(value * part + (whole >> 1), whole)
    each = value // whole
    rest = value - each * whole
    if whole < 2**31:
        return each * part + nearest(rest * part, whole)
    return each * part + int(round(rest * (part / whole)))


@compiled
def slipped_ticks(ticks: int, buy: bool, slippage_e8: int) -> int:
    """`ticks` moved against the order by `slippage_e8` hundred-millionths, away to a whole tick; at least one tick."""
    slip = quotient(ticks * slippage_e8 + E8 - 1, E8)
    return ticks + slip if buy else max(ticks - slip, 1)


def rate_e8(bps: float) -> int:
    """Basis points as whole hundred-millionths, to the nearest.

    >>> rate_e8(5.0)
    50000
    """
    return round(bps * 10_000)


def check_headroom(usd: float, unit_den: int, place: str) -> None:
    """Refuses an amount whose arithmetic would leave 64 bits; 100 times the amount is kept free for growth."""
    if not usd * USD * unit_den * 100 < HEADROOM:
        limit = HEADROOM / (USD * unit_den * 100)
        raise ConfigError(f"{place} = {usd:,.0f} USD is beyond 64-bit money on this grid, at most {limit:,.0f}")
