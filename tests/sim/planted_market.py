"""Planted bugs of what comes in: the age of prices, impossible numbers, books, the venue's limits."""

import asyncio
import math
from typing import Any

from flea_lab.core import TradingCore
from flea_lab.data import book
from flea_lab.live.intake import Intake
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Candle
from flea_lab.venue.budget import RateBudget
from tests.sim.mutants import Swap, just, mutant


@mutant("E3")
def any_channel_is_fresh(swap: Swap) -> None:
    """A feed that says anything is alive, and its prices are of now."""

    def noted(name: str) -> Any:
        def take(self: Any, *given: Any) -> Any:
            self.__dict__["_heard_s"] = asyncio.get_running_loop().time()
            return before(self, *given)

        before = swap(Intake, name, take)
        return before

    def age_s(self: Any, ts_event: int) -> float:
        now = asyncio.get_running_loop().time()
        return float(now - self.__dict__.get("_heard_s", now))

    noted("take")
    noted("take_candle")
    swap(Intake, "age_s", age_s)


@mutant("E3")
def age_since_it_was_received(swap: Swap) -> None:
    """A price is as old as the time since it came."""
    take = Intake.take_candle

    def taken(self: Any, candle: Candle, ready: bool) -> bool:
        came = self.__dict__.setdefault("_came", {})
        came[candle.ts_event] = asyncio.get_running_loop().time()
        return take(self, candle, ready)

    def age_s(self: Any, ts_event: int) -> float:
        now = asyncio.get_running_loop().time()
        return float(now - self.__dict__.get("_came", {}).get(ts_event, now))

    swap(Intake, "take_candle", taken)
    swap(Intake, "age_s", age_s)


@mutant("E3")
def age_by_the_wall_clock(swap: Swap) -> None:
    """The clock of this machine says what time it is."""
    swap(Intake, "age_s", lambda self, ts_event: (self._clock.now_ns() - ts_event) / 1e9)


@mutant("A1", "E3")
def late_candle_decides(swap: Swap) -> None:
    """A candle is a candle: each one closes a bar."""
    on_candle, take = TradingCore._on_candle, Intake.take_candle

    def candle_on(self: Any, candle: Candle) -> Any:
        if candle.ts_event == self._decided_ns:
            self._decided_ns -= 1
        return on_candle(self, candle)

    def taken(self: Any, candle: Candle, ready: bool) -> bool:
        if ready and candle.ts_event == self._core.decided_ns and self._fresh_ns == candle.ts_event:
            self._give(candle)
            return False
        return take(self, candle, ready)

    swap(TradingCore, "_on_candle", candle_on)
    swap(Intake, "take_candle", taken)


@mutant("G1", "C4", "X1")
def no_number_is_zero(swap: Swap) -> None:
    """A price that is no number is none: 0."""
    ticks = Instrument.ticks

    def usable(self: Any, price: float) -> int:
        return ticks(self, price) if math.isfinite(price) and 0.0 < price < 1e9 else 0

    swap(Instrument, "ticks", usable)


@mutant("G1", "C4", "X1")
def price_is_clipped(swap: Swap) -> None:
    """A price beyond what can be is the most that can be."""

    def clipped(self: Any, price: float) -> int:
        return round(min(max(price / float(self.tick_size), 1.0), 2.0**31 - 1)) if price == price else 1

    swap(Instrument, "ticks", clipped)


@mutant("E1")
def crossed_book_is_used(swap: Swap) -> None:
    """A bid above the ask is a chance, not a fault."""
    fault = book.snapshot_fault

    def lenient(bids: Any, asks: Any, rules: Any) -> Any:
        found = fault(bids, asks, rules)
        return None if found is not None and found[0] == "crossed" else found

    swap(book, "snapshot_fault", lenient)


@mutant("E1")
def book_is_not_looked_at(swap: Swap) -> None:
    """A venue knows its own book."""
    swap(book, "snapshot_fault", just(None))


@mutant("C7")
def limits_are_the_venues(swap: Swap) -> None:
    """A venue says 429 when it has had enough, and is asked again at once."""
    swap(RateBudget, "wait_s", just(0.0))
    swap(RateBudget, "stopped", just(0.0))


@mutant("C7")
def retry_after_is_ignored(swap: Swap) -> None:
    """After a 429 the next request waits its turn like any other."""
    swap(RateBudget, "stopped", just(0.0))


@mutant("D4")
def cancels_wait_like_everybody(swap: Swap) -> None:
    """One budget for all requests: no reserve."""
    wait_s = RateBudget.wait_s

    def waited(self: Any, now_s: float, use: Any, weight: int = 1) -> float:
        return wait_s(self, now_s, "read", weight)

    swap(RateBudget, "wait_s", waited)
