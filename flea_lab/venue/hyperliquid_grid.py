"""The grid of prices and sizes at Hyperliquid, which depends on the price. Pure.

A price has at most 5 significant figures (a whole number may have more) and at most 6 - szDecimals decimals,
so that the step depends on the price: see `price_step`. The instrument's tick is the finest step that any price of
the coin can have, 10^-(6 - szDecimals): every price that the venue can say is a whole number of them. It is right for
reading and for paper; an order at such a price may be one that the venue would refuse.
"""

from decimal import Decimal

from flea_lab.model.instrument import Instrument
from flea_lab.venue.reading import FrameError

MIN_NOTIONAL_USD = Decimal(10)


def grid_of(decimals: int) -> Instrument:
    """The grid of a perpetual with `szDecimals` = `decimals`: the finest step of price, see the head of this module.

    >>> grid = grid_of(5)
    >>> str(grid.tick_size), str(grid.lot_size), grid.funding_interval_h
    ('0.1', '0.00001', 1)
    """
    if not 0 <= decimals <= 6:
        raise FrameError(f"meta: szDecimals = {decimals}: must be from 0 to 6")
    return Instrument(
        tick_size=Decimal(1).scaleb(decimals - 6),
        lot_size=Decimal(1).scaleb(-decimals),
        min_notional_usd=MIN_NOTIONAL_USD,
        funding_interval_h=1,
    )


def price_step(price: Decimal, decimals: int) -> Decimal:
    """The step between two prices that the venue takes, at `price`: 5 significant figures, never more than
    6 - szDecimals decimals, never coarser than 1.

    >>> [str(price_step(Decimal(price), 5)) for price in ("4321.5", "97000", "123456")]
    ['0.1', '1', '1']
    >>> str(price_step(Decimal("0.012345"), 0))
    '0.000001'
    """
    significant = price.adjusted() - 4
    return Decimal(1).scaleb(min(0, max(significant, decimals - 6)))
