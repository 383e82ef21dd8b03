"""The last look at one order, after the guards: its price, its size against what trades, and whether it repeats itself.

Rules. The price is held against an independent reference, what the market said last and not what the order was decided
at. An order like another a moment ago is a double unless whoever gave it numbered it. More orders in a symbol than any
decision can give is a loop that has run away: it closes the latch REDUCING, which a person opens. What only shrinks a
position passes the last two. Everything is written so that a number which is not known refuses.
"""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from flea_lab.money import rate_e8
from flea_lab.risk.checks import COLLAR, DUPLICATE, FAT_FINGER, PASSED, THROTTLE
from flea_lab.risk.order_checks import OrderChecks

SECOND_NS = 1_000_000_000


class Given(Struct, frozen=True, array_like=True):
    """An order as it was given: signed lots, its price in ticks, ns UTC."""

    symbol: str
    ts_event: int
    lots: int
    ticks: int


class Watch:
    """The orders of one account, as far as the next one is held against them."""

    def __init__(self, checks: OrderChecks) -> None:
        """Nothing was given yet."""
        self.checks = checks
        self._duplicate_ns = round(checks.duplicate_s * SECOND_NS)
        self._burst_ns = round(checks.burst_s * SECOND_NS)
        self.remembers_bars = checks.drift_bps is not None
        self._given: dict[str, deque[Given]] = {}
        self._before: dict[str, int] = {}

    def code(
        self,
        order: Given,
        reference: int,
        minute_lots: float,
        *,
        reduces: bool,
        numbered: bool = False,
    ) -> int:
        """The code of the first check that refuses `order`, or 0.

        `reference` is what the market said last, in ticks, `minute_lots` what trades in a minute. An order that
        its giver has `numbered` may look like another.
        """
        checks = self.checks
        if not collared(order.ticks, reference, checks.collar_bps, checks.collar_ticks):
            return COLLAR
        before = self._before.get(order.symbol, reference)
        if checks.drift_bps is not None and not abs(reference - before) * 10_000.0 <= checks.drift_bps * before:
            return COLLAR
        share = checks.max_volume_share
        if share is not None and not abs(order.lots) <= share * minute_lots:
            return FAT_FINGER
        if reduces:
            return PASSED
        given = self._recent(order)
        if not numbered and any(self._alike(one, order) for one in given):
            return DUPLICATE
        count = sum(one.ts_event > order.ts_event - self._burst_ns for one in given)
        return THROTTLE if count >= checks.burst_orders else PASSED

    def worst_e8(self, slippage_e8: int) -> int:
        """How much worse than its price a market order is valued, in 1e-8: the expected slippage, or the collar."""
        return max(slippage_e8, rate_e8(self.checks.collar_bps)) if self.checks.worst_price == "collar" else slippage_e8

    def note(self, order: Given) -> None:
        """Takes note of an order that goes."""
        self._given.setdefault(order.symbol, deque()).append(order)

    def marked(self, symbol: str, ticks: int) -> None:
        """Takes the close of a bar, once it was decided: what the next one may not be too far from."""
        self._before[symbol] = ticks

    def dump(self) -> tuple[list[Given], dict[str, int]]:
        """What it remembers."""
        return [one for given in self._given.values() for one in given], dict(self._before)

    def load(self, given: Iterable[Given], before: dict[str, int]) -> None:
        """Goes on from a `dump`."""
        self._given, self._before = {}, dict(before)
        for one in given:
            self.note(one)

    def _recent(self, order: Given) -> deque[Given]:
        """Orders of its symbol that still count, older ones forgotten."""
        given = self._given.setdefault(order.symbol, deque())
        keep_ns = max(self._duplicate_ns, self._burst_ns)
        while given and given[0].ts_event <= order.ts_event - keep_ns:
            given.popleft()
        return given

    def _alike(self, one: Given, order: Given) -> bool:
        same = (one.lots, one.ticks) == (order.lots, order.ticks)
        return same and one.ts_event > order.ts_event - self._duplicate_ns


def collared(ticks: int, reference: int, bps: float, wide_ticks: int) -> bool:
    """Whether a price is within `bps` of the reference, or within `wide_ticks` of it; False where there is none.

    >>> collared(10_500, 10_000, 500.0, 0), collared(10_501, 10_000, 500.0, 0), collared(3, 2, 1.0, 1)
    (True, False, True)
    """
    if not (reference > 0 and ticks > 0):
        return False
    away = abs(ticks - reference)
    return away <= wide_ticks or away * 10_000.0 <= bps * reference
