"""Fills into round trips: from flat to flat, or through zero into the next one."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

NAMES = [
    "symbol",
    "side",
    "entry_ts",
    "exit_ts",
    "qty",
    "entry_price",
    "exit_price",
    "pnl_usd",
    "fee_usd",
    "return_frac",
]
FLAT = 1e-12
"""A position within this share of the largest it was is flat: quantities are floats here."""


@dataclass
class _Trip:
    """One round trip that is still open."""

    symbol: str
    sign: float
    entry_ts: int
    open_qty: float = 0.0
    entered: float = 0.0
    entry_value: float = 0.0
    exit_value: float = 0.0
    exited: float = 0.0
    fee: float = 0.0

    def close(self, ts: int) -> tuple[Any, ...]:
        entry, exit_ = self.entry_value / self.entered, self.exit_value / self.exited
        pnl = self.sign * (self.exit_value - self.entry_value) - self.fee
        side = "long" if self.sign > 0 else "short"
        share = pnl / self.entry_value
        return (self.symbol, side, self.entry_ts, ts, self.entered, entry, exit_, pnl, self.fee, share)


def round_trips(fills: pd.DataFrame) -> pd.DataFrame:
    """Closed round trips in order of their exit; one that is still open is not listed.

    `qty` is everything that was entered, prices are averages, `pnl_usd` is after fees (funding aside), `return_frac` is
    on the value entered. A fill through zero closes one trip and opens the next, its fee split by quantity.
    """
    rows: list[tuple[Any, ...]] = []
    trips: dict[str, _Trip] = {}
    for ts, symbol, side, qty, price, fee in fills[["ts", "symbol", "side", "qty", "price", "fee_usd"]].itertuples(
        index=False, name=None
    ):
        sign = 1.0 if side == "buy" else -1.0
        left = qty
        trip = trips.get(symbol)
        if trip is not None and trip.sign != sign:
            closing = min(left, trip.open_qty)
            trip.exited += closing
            trip.exit_value += closing * price
            trip.fee += fee * closing / qty
            trip.open_qty -= closing
            left -= closing
            if trip.open_qty <= FLAT * trip.entered:
                rows.append(trips.pop(symbol).close(ts))
                trip = None
        if left > FLAT * qty:
            trip = trips.setdefault(symbol, _Trip(symbol, sign, ts)) if trip is None else trip
            trip.open_qty += left
            trip.entered += left
            trip.entry_value += left * price
            trip.fee += fee * left / qty
    return pd.DataFrame(rows, columns=NAMES)
