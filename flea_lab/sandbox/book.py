"""Order matching against visible depth and prints, pure, in whole ticks and lots.

Rules. An order or a cancel sent at `ts` acts on nothing stamped before `ts + latency`. What acts at that instant acts
before the book or the print that is stamped with it; a fill stamped earlier overtakes the cancel.

Takers. A market order, an IOC and a limit that crosses wait for a book stamped at or after their instant (the standing
one where it is) and take it level by level. What was taken is gone until the next snapshot of that symbol. What is left
of a market order or an IOC is cancelled at once, what is left of a GTC rests.

Makers. An order that does not cross rests at its limit, behind `queue_ahead` times the size displayed there as it
joined. A print at its limit by an aggressor of the other side first eats that queue, then fills the order; a print
through its limit fills it without a queue; both are bounded by the size printed, which our orders share, best price
first, then first come. A snapshot whose opposite side is through its limit fills it up to the size displayed there. A
maker trades at its own limit, never better.

Our orders see the same depth and prints and never each other. Sizes are cut to whole lots. The n-th fill of order X is
"X:nt" or "X:nm", a taker's or a maker's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flea_lab.errors import ConfigError, DataError
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Trade
from flea_lab.model.trading import Accepted, Cancelled, Fill, NewOrder, OrderReport
from flea_lab.model.vouched import Vouched
from flea_lab.sandbox.ladder import Ladder, Rung, ladder_of, take_off, whole_lots
from flea_lab.sandbox.matching import fee_uusd

Tif = Literal["gtc", "ioc"]
Reports = tuple[OrderReport, ...]

MILLION = 1_000_000


@dataclass(slots=True)
class _Working:
    """One order that may still trade. `limit` None is a market order; `rank` counts orders as they came."""

    order: NewOrder
    limit: int | None
    tif: Tif
    active_ns: int
    rank: int
    left: int
    ahead: int = 0
    resting: bool = False
    fills: int = 0
    cancel_ns: int | None = None

    @property
    def buy(self) -> bool:
        return self.order.side == "buy"

    def reaches(self, ticks: int) -> bool:
        """Whether its limit allows to trade at `ticks`."""
        return self.limit is None or (ticks <= self.limit if self.buy else ticks >= self.limit)

    def passed(self, ticks: int) -> bool:
        """Whether `ticks` lies through its limit."""
        return self.reaches(ticks) and ticks != self.limit

    @property
    def priority(self) -> tuple[int, int, int]:
        limit = self.limit or 0
        return (0, -limit, self.rank) if self.buy else (1, limit, self.rank)


def liquidity(fill: Fill) -> Literal["maker", "taker"]:
    """Whether a fill of `BookMatching` took from the book or rested in it: the last letter of its id."""
    return "taker" if fill.fill_id.endswith("t") else "maker"


class BookMatching:
    """The simulated exchange of the sandbox's book mode."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        maker_fee_e8: int,
        taker_fee_e8: int,
        latency_ns: int = 0,
        queue_ahead: float = 1.0,
    ) -> None:
        if not 0.0 <= queue_ahead <= 1.0:
            raise ConfigError(f"queue_ahead ({queue_ahead}) must be a share of 1")
        if not latency_ns >= 0:
            raise ConfigError(f"latency_ns ({latency_ns}) must not be negative")
        self._instruments = dict(instruments)
        self._maker_e8, self._taker_e8 = maker_fee_e8, taker_fee_e8
        self._latency_ns = latency_ns
        self._ahead_e6 = round(queue_ahead * MILLION)
        self._working: dict[str, dict[str, _Working]] = {symbol: {} for symbol in instruments}
        self._standing: dict[str, Ladder] = {}
        self._submitted = 0

    def submit(self, order: NewOrder, limit_ticks: int | None, tif: Tif, ts_event: int) -> Reports:
        """Accepted, and what follows at once where there is no latency. Without `limit_ticks` it is a market order.

        `DataError`, and nothing done, for an unknown symbol, no lots, a limit below a tick or an id that is working.
        """
        name = order.client_order_id
        self._grid(order.symbol)
        if not order.lots >= 1:
            raise DataError(f"order {name} of {order.lots} lots, at least 1")
        if limit_ticks is not None and not limit_ticks >= 1:
            raise DataError(f"order {name} with its limit at {limit_ticks} ticks, at least 1")
        if self._find(name) is not None:
            raise DataError(f"order {name} is working already")
        self._submitted += 1
        working = _Working(order, limit_ticks, tif, ts_event + self._latency_ns, self._submitted, order.lots)
        self._working[order.symbol][name] = working
        reports: list[OrderReport] = [Accepted(client_order_id=name, ts_event=ts_event)]
        if working.active_ns <= ts_event:
            reports += self._arrive(working, ts_event)
        return tuple(reports)

    def cancel(self, client_order_id: str, ts_event: int) -> Reports:
        """Cancelled, at once where there is no latency; later, or never if fills overtake it, where there is.

        Nothing for an order that is not working or already has a cancel on its way.
        """
        working = self._find(client_order_id)
        if working is None or working.cancel_ns is not None:
            return ()
        working.cancel_ns = ts_event + self._latency_ns
        return tuple(self._cancel_due(working.order.symbol, ts_event))

    def book(self, snapshot: BookSnapshot | Vouched) -> Reports:
        """What a new book does. `DataError`, and nothing done, for one that is faulty or older than the last."""
        ladder = self._ladder(snapshot)
        symbol, ts = snapshot.symbol, snapshot.ts_event
        if not self._working[symbol]:
            self._standing[symbol] = ladder
            return ()
        reports = self._cancel_due(symbol, ts)
        self._standing[symbol] = ladder
        for working in self._resting(symbol):
            if working.passed(ladder.touch(working.buy)):
                reports += self._sweep(working, ladder, ts)
        return tuple(reports + self._arrive_due(symbol, ts))

    def trade(self, trade: Trade) -> Reports:
        """What a print does. `DataError`, and nothing done, for a price or size that is not a positive number."""
        symbol, ts = trade.symbol, trade.ts_event
        grid = self._grid(symbol)
        ticks = grid.ticks(trade.price)
        if not 0 < trade.qty < math.inf:
            raise DataError(f"trade of {symbol} at {ts}: size {trade.qty} is not a positive number")
        if not self._working[symbol]:
            return ()
        left = whole_lots(trade.qty, grid)
        reports = self._cancel_due(symbol, ts) + self._arrive_due(symbol, ts)
        for working in self._resting(symbol):
            if working.active_ns > ts:
                continue
            lots = min(self._share(working, ticks, trade.side == working.order.side, left), working.left)
            if lots:
                reports.append(self._fill(working, lots, ts))
                left -= lots
        return tuple(reports)

    def advance(self, ts_event: int) -> Reports:
        """What time alone does, once nothing stamped at or before `ts_event` will come: cancels and joins due."""
        reports: list[OrderReport] = []
        for symbol in self._working:
            reports += self._cancel_due(symbol, ts_event) + self._arrive_due(symbol, ts_event)
        return tuple(reports)

    def _grid(self, symbol: str) -> Instrument:
        if symbol not in self._instruments:
            raise DataError(f"{symbol} is not traded here, known are {', '.join(self._instruments)}")
        return self._instruments[symbol]

    def _find(self, client_order_id: str) -> _Working | None:
        for orders in self._working.values():
            if client_order_id in orders:
                return orders[client_order_id]
        return None

    def _ladder(self, snapshot: BookSnapshot | Vouched) -> Ladder:
        symbol, ts = snapshot.symbol, snapshot.ts_event
        ladder = ladder_of(snapshot, self._grid(symbol))
        standing = self._standing.get(symbol)
        if standing is not None and ts < standing.ts_event:
            raise DataError(f"book of {symbol} at {ts} is older than the one at {standing.ts_event}")
        return ladder

    def _resting(self, symbol: str) -> list[_Working]:
        """Orders in price-time priority, buys before sells."""
        resting = [working for working in self._working[symbol].values() if working.resting]
        return sorted(resting, key=lambda working: working.priority)

    def _cancel_due(self, symbol: str, ts: int) -> list[OrderReport]:
        due = [w for w in self._working[symbol].values() if w.cancel_ns is not None and w.cancel_ns <= ts]
        due.sort(key=lambda working: (working.cancel_ns or 0, working.rank))
        return [self._cancelled(working, working.cancel_ns or 0) for working in due]

    def _arrive_due(self, symbol: str, ts: int) -> list[OrderReport]:
        due = [w for w in self._working[symbol].values() if not w.resting and w.active_ns <= ts]
        due.sort(key=lambda working: (working.active_ns, working.rank))
        return [report for working in due for report in self._arrive(working, ts)]

    def _arrive(self, working: _Working, ts: int) -> list[OrderReport]:
        """Takes and rests `working`, whose instant has come; or leaves it waiting for a book that it may act on."""
        symbol = working.order.symbol
        ladder = self._standing.get(symbol)
        if ladder is None:
            return []
        levels = ladder.opposite(working.buy)
        gone = working.limit is None or working.tif == "ioc"
        if (gone or (levels and working.reaches(levels[0][0]))) and ladder.ts_event < working.active_ns:
            return []
        reports = self._take(working, levels, ts)
        if working.left and gone:
            reports.append(self._cancelled(working, ts))
        elif working.left and working.limit is not None:
            shown = ladder.displayed(working.buy, working.limit)
            working.ahead = -(-shown * self._ahead_e6 // MILLION)
            working.resting = True
        return reports

    def _take(self, working: _Working, levels: list[Rung], ts: int) -> list[OrderReport]:
        reports: list[OrderReport] = []
        reference = levels[0][0] if levels else 0
        while working.left and levels and working.reaches(levels[0][0]):
            ticks, lots = take_off(levels, working.left)
            reports.append(self._fill(working, lots, ts, taken=(ticks, reference)))
        return reports

    def _sweep(self, working: _Working, ladder: Ladder, ts: int) -> list[OrderReport]:
        """Fills of a resting order by what is displayed through its limit."""
        levels, lots = ladder.opposite(working.buy), 0
        while working.left > lots and levels and working.passed(levels[0][0]):
            lots += take_off(levels, working.left - lots)[1]
        return [self._fill(working, lots, ts)] if lots else []

    def _share(self, working: _Working, ticks: int, same_side: bool, lots: int) -> int:
        """How many of `lots` printed at `ticks` come to `working`; moves its queue on."""
        if working.passed(ticks):
            working.ahead = 0
            return lots
        if ticks != working.limit or same_side:
            return 0
        eaten = min(working.ahead, lots)
        working.ahead -= eaten
        return lots - eaten

    def _fill(self, working: _Working, lots: int, ts: int, taken: tuple[int, int] | None = None) -> Fill:
        """The fill of `lots`: at `taken` (ticks, reference) for a taker, at its limit for a maker."""
        order, limit = working.order, working.limit or 0
        ticks, reference = taken or (limit, limit)
        grid, fee_e8 = self._instruments[order.symbol], self._taker_e8 if taken else self._maker_e8
        working.left -= lots
        working.fills += 1
        if not working.left:
            del self._working[order.symbol][order.client_order_id]
        return Fill(
            client_order_id=order.client_order_id,
            ts_event=ts,
            symbol=order.symbol,
            side=order.side,
            lots=lots,
            price_ticks=ticks,
            fee_uusd=fee_uusd(lots, ticks, grid.unit_num, grid.unit_den, fee_e8),
            reference_ticks=reference,
            fill_id=f"{order.client_order_id}:{working.fills}{'t' if taken else 'm'}",
        )

    def _cancelled(self, working: _Working, ts: int) -> Cancelled:
        del self._working[working.order.symbol][working.order.client_order_id]
        return Cancelled(client_order_id=working.order.client_order_id, ts_event=ts)
