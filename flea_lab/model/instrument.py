"""An instrument's grid, and the one door from floats to lots and ticks.

Prices are whole ticks and quantities whole lots in everything that decides; money is whole micro-dollars.
One lot at one tick is worth `unit_num / unit_den` micro-dollars.
"""

from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from flea_lab.errors import ConfigError, DataError
from flea_lab.settings import Settings

MICRO = 1_000_000
MAX_TICKS = 2**31 - 1
MAX_UNIT = 10**9
MIN_STEP = Decimal("1e-18")


class Instrument(Settings, frozen=True, kw_only=True, dict=True):
    """Price step, quantity step and smallest order of one symbol.

    `tick_size` in quote currency, `lot_size` in base units, `min_notional_usd` in USD. The contract is linear and
    quoted in USD or a coin pegged to it.
    """

    tick_size: Decimal
    lot_size: Decimal
    min_notional_usd: Decimal = Decimal(0)
    funding_interval_h: Annotated[int, Meta(ge=1, le=24, description="hours between funding settlements")] = 8

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size"):
            value = getattr(self, name)
            if not (value.is_finite() and MIN_STEP <= value <= 1_000_000):
                raise ValueError(f"{name} ({value}) must be at least {MIN_STEP} and at most 1000000")
        if not (self.min_notional_usd.is_finite() and 0 <= self.min_notional_usd <= 1_000_000_000):
            raise ValueError(f"min_notional_usd ({self.min_notional_usd}) must be at least 0 and at most 1000000000")
        if not (self.unit_num <= MAX_UNIT and self.unit_den <= MAX_UNIT):
            raise ValueError(
                f"tick_size ({self.tick_size}) x lot_size ({self.lot_size}) is {self._unit} micro-USD, "
                f"beyond what 64-bit money can hold (numerator and denominator at most {MAX_UNIT})"
            )
        for name in ("tick_size", "lot_size", "min_notional_usd"):  # 0.10 is 0.1, also in the id of a config
            plain = Decimal(format(getattr(self, name).normalize(), "f"))
            msgspec.structs.force_setattr(self, name, plain)

    @cached_property
    def _unit(self) -> Fraction:
        return Fraction(self.tick_size) * Fraction(self.lot_size) * MICRO

    @property
    def unit_num(self) -> int:
        return self._unit.numerator

    @property
    def unit_den(self) -> int:
        return self._unit.denominator

    @cached_property
    def min_notional_uusd(self) -> int:
        """Smallest order, in micro-dollars."""
        return int(self.min_notional_usd * MICRO)

    @cached_property
    def _tick(self) -> tuple[float, int, int]:
        fraction = Fraction(self.tick_size)
        return float(self.tick_size), fraction.numerator, fraction.denominator

    @cached_property
    def _lot(self) -> tuple[int, int]:
        fraction = Fraction(self.lot_size)
        return fraction.numerator, fraction.denominator

    @cached_property
    def lot(self) -> float:
        """The float nearest to `lot_size`."""
        return float(self.lot_size)

    def ticks(self, price: float) -> int:
        """The nearest whole number of ticks, ties to even. `DataError` for NaN, a price below a tick or over 2**31
        ticks.

        >>> Instrument(tick_size=Decimal("0.1"), lot_size=Decimal("0.001")).ticks(97000.3)
        970003
        """
        exact = price / self._tick[0]
        if not 0.5 < exact <= MAX_TICKS:
            raise DataError(f"price {price} is not between 1 and {MAX_TICKS} ticks of {self.tick_size}")
        return round(exact)

    def tick_array(self, prices: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """`ticks` of every price, bit-equal to the scalar; NaN (no bar) becomes 0."""
        exact = prices / self._tick[0]
        known = ~np.isnan(prices)
        bad = known & ~((exact > 0.5) & (exact <= MAX_TICKS))
        if bad.any():
            self.ticks(float(prices[bad][0]))
        return np.where(known, np.rint(np.where(known, exact, 0.0)), 0.0).astype(np.int64)

    def price(self, ticks: int) -> float:
        """The float nearest to `ticks` whole ticks."""
        return int(ticks) * self._tick[1] / self._tick[2]

    def qty(self, lots: int) -> float:
        """The float nearest to `lots` whole lots, signed."""
        return int(lots) * self._lot[0] / self._lot[1]

    def lots(self, qty: Decimal) -> int:
        """Whole lots in `qty`, rounded down; exact for a quantity the venue quotes."""
        return int((qty / self.lot_size).to_integral_value(ROUND_FLOOR))


KNOWN: dict[str, dict[str, dict[str, Any]]] = {
    "binance_um": {
        "BTCUSDT": {"tick_size": "0.1", "lot_size": "0.001", "min_notional_usd": "100"},
        "ETHUSDT": {"tick_size": "0.01", "lot_size": "0.001", "min_notional_usd": "20"},
        "SOLUSDT": {"tick_size": "0.01", "lot_size": "0.01", "min_notional_usd": "5"},
        "BNBUSDT": {"tick_size": "0.01", "lot_size": "0.01", "min_notional_usd": "5"},
        "XRPUSDT": {"tick_size": "0.0001", "lot_size": "0.1", "min_notional_usd": "5"},
    },
    "binance_spot": {
        "BTCUSDT": {"tick_size": "0.01", "lot_size": "0.00001", "min_notional_usd": "5"},
        "ETHUSDT": {"tick_size": "0.01", "lot_size": "0.0001", "min_notional_usd": "5"},
        "SOLUSDT": {"tick_size": "0.01", "lot_size": "0.001", "min_notional_usd": "5"},
    },
    "synthetic": {
        "BTCUSDT": {"tick_size": "0.1", "lot_size": "0.001", "min_notional_usd": "5"},
        "ETHUSDT": {"tick_size": "0.01", "lot_size": "0.001", "min_notional_usd": "5"},
    },
}
"""Grids of the markets the demo and the tests use; a config may state any other."""


def known_instrument(venue: str, symbol: str, place: str) -> dict[str, Any]:
    """The grid of `symbol` on `venue` as plain values, or a `ConfigError` that says how to state one."""
    found = KNOWN.get(venue, {}).get(symbol)
    if found is None:
        raise ConfigError(
            f"symbol {symbol!r} on {venue!r} has no instrument: "
            f"add [instruments.{symbol}] with tick_size and lot_size (in {place})"
        )
    return dict(found)
