"""One large order worked against a recorded market's depth, and the same order sent at once: what each of them paid.

The slices are given by the code that gives them live (`execution.parents`), on the time of the bars; the depth between
the bars is made up around the candles (`sandbox.depth`), or is what a tape has, and orders meet it as in the sandbox.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, pairwise

import msgspec
import pandas as pd
from msgspec.structs import replace

from flea_lab.errors import DataError
from flea_lab.execution.order import Order
from flea_lab.execution.parents import Parent
from flea_lab.execution.router import Router
from flea_lab.execution.slicing import Planned, Slicing, plan
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Side, Trade
from flea_lab.model.trading import Approved, Cancelled, Fill, NewOrder, OrderIntent, OrderReport
from flea_lab.money import value_uusd
from flea_lab.sandbox.book import BookMatching
from flea_lab.sandbox.depth import DepthSettings, synthesise

SYMBOL, PREFIX = "X", "lab"
BAR = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Worked:
    """How an order was worked. `bars` one row a bar: `ts` ms UTC of its close, `volume` in lots, `planned`, `given` and
    `filled` (lots so far), `participation` of its volume; `fills` one row a fill: `ts`, `lots`, `price`. `arrival`
    is the price when it was decided, `slippage_bps` what was paid on average beyond it, `filled` lots of `lots`."""

    bars: pd.DataFrame
    fills: pd.DataFrame
    lots: int
    filled: int
    arrival: float
    slippage_bps: float


def candles_of(frame: pd.DataFrame, symbol: str, interval_ms: int) -> Iterator[Candle]:
    """The complete candles of a canonical frame, one after the other."""
    for row in frame.itertuples(index=False):
        ts = (int(row.ts) + interval_ms) * MS_NS
        yield Candle(symbol=symbol, ts_event=ts, ts_recv=ts, **{name: getattr(row, name) for name in BAR})


def day_volume(frame: pd.DataFrame, interval_ms: int) -> float:
    """What trades in a day on average, base units."""
    return float(frame["volume"].mean() * 86_400_000 / interval_ms)


class _Desk:
    """A router and its parents over depth: what a core does with them, without signals and gate."""

    def __init__(self, grid: Instrument, slicing: Slicing | None, fee_e8: int) -> None:
        self._slicing, self._grid = slicing, grid
        self._router = Router({SYMBOL: grid}, PREFIX)
        self._matching = BookMatching({SYMBOL: grid}, fee_e8, fee_e8)
        self._rest: NewOrder | None = None
        self.fills: list[Fill] = []
        self.given = self.filled = 0

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        router = self._router
        return bool(router.parents.active() or router.blotter.open_orders() or self._rest)

    def begin(self, decided: Candle, lots: int, volume: float) -> list[Planned]:
        """Takes the order of signed `lots`; when its slices are planned for. `volume` is a day's, base units."""
        ticks, side = self._grid.ticks(decided.close), "buy" if lots > 0 else "sell"
        intent = OrderIntent(
            symbol=SYMBOL,
            side=side,  # type: ignore[arg-type]
            size_usd=0.01,
            order_type="market",
            urgency="normal",
            signal_sources=(),
            ts_event=decided.ts_event,
            price_ticks=ticks,
            size_uusd=10_000,
            conviction=1.0,
        )
        if self._slicing is None:
            self._send(self._router.on(Approved(intent), lots, ticks))
            return [Planned(decided.ts_event, abs(lots))]
        day_lots = volume / float(self._grid.lot_size)
        self._router.begin(Approved(intent), lots, self._slicing, day_lots)
        self.tick(decided)
        return plan(abs(lots), decided.ts_event, self._slicing, day_lots)

    def restart(self) -> None:
        """The process dies, and another goes on from what is on disk: parents and orders, through their encoding."""
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
        before = self._router
        names = [f"{PREFIX}-{n}" for n in range(1, before.minted + 1)]
        orders = encode([before.blotter.get(name) for name in names if name in before.blotter])
        parents = encode(before.parents.dump())
        self._router = Router({SYMBOL: self._grid}, PREFIX)
        self._router.resume(before.minted)
        for order in decode(orders, type=list[Order]):
            self._router.blotter.restore(order)
        self._router.parents.load(decode(parents, type=list[Parent]))

    def hear(self, event: BookSnapshot | Trade) -> None:
        """Orders meet a book or a print."""
        if isinstance(event, BookSnapshot):
            self._take(self._matching.book(event))
            self._again(event.ts_event)
        else:
            self._take(self._matching.trade(event))

    def tick(self, candle: Candle) -> None:
        """A bar closes: what is due goes."""
        if self._slicing is None:
            return
        ts, ticks, parents = candle.ts_event, self._grid.ticks(candle.close), self._router.parents
        parents.traded(SYMBOL, candle.volume / float(self._grid.lot_size))
        for cancel in parents.stale(ts):
            self._take(self._matching.cancel(cancel.client_order_id, ts))
        least = {SYMBOL: self._router.least(SYMBOL, ticks)}
        for one in parents.over(ts, least):
            parents.stop(one, ts)
        for wanted in parents.due(ts, self._slicing.participation, least):
            self._send(self._router.slice(wanted, ticks, ts))

    def _again(self, ts: int) -> None:
        """What a book did not hold goes to the next one."""
        order, self._rest = self._rest, None
        if order is not None:
            left = order.lots - self._router.blotter.get(order.client_order_id).filled_lots
            lots = left if order.side == "buy" else -left
            again = self._router.on(Approved(order.intent), lots, order.price_ticks)
            self._send(replace(again, ts_event=ts))

    def _send(self, order: NewOrder) -> None:
        self.given += order.lots
        limit = order.price_ticks if order.order_type == "limit" else None
        self._take(self._matching.submit(order, limit, "gtc" if limit else "ioc", order.ts_event))

    def _take(self, reports: Sequence[OrderReport]) -> None:
        for report in reports:
            before, after = self._router.blotter.on(report)
            self._router.parents.on(before, after)
            if isinstance(report, Fill):
                self.fills.append(report)
                self.filled += report.lots
            elif isinstance(report, Cancelled):
                self.given -= after.command.lots - after.filled_lots
                self._rest = after.command if self._slicing is None else None


def work(
    frame: pd.DataFrame,
    grid: Instrument,
    side: Side,
    qty: float,
    slicing: Slicing | None = None,
    *,
    start: int = 0,
    restart: int | None = None,
    depth: DepthSettings | None = None,
    interval_ms: int = 60_000,
    fee_bps: float = 5.0,
) -> Worked:
    """How `qty` (base units), decided at the close of bar `start`, was worked on the candles of `frame`.

    Without `slicing` it goes at once to the market, and what a book does not hold goes again to the next one. At the
    end of bar `restart` the process dies, and another goes on from what it had written. `DataError` where the frame
    ends too early or less than a lot is asked for.
    """
    lots = grid.lots(Decimal(repr(qty)))
    if lots < 1 or not 0 <= start < len(frame) - 1:
        raise DataError(
            f"{qty} from bar {start}: at least a lot of {grid.lot_size}, and a bar after it of {len(frame)}"
        )
    candles = candles_of(frame.iloc[start:], SYMBOL, interval_ms)
    decided = next(candles)
    desk = _Desk(grid, slicing, round(fee_bps * 10_000))
    planned = desk.begin(decided, lots if side == "buy" else -lots, day_volume(frame, interval_ms))
    rows, done = [], 0
    for n, (last, candle) in enumerate(pairwise(chain([decided], candles)), start + 1):
        for event in synthesise(candle, last.close, grid, depth or DepthSettings(), n, interval_ms):
            if not isinstance(event, Candle):
                desk.hear(event)
        want = sum(one.lots for one in planned if one.ts_event < candle.ts_event)
        volume = candle.volume / float(grid.lot_size)
        rows.append((candle.ts_event // MS_NS, volume, want, desk.given, desk.filled, (desk.filled - done) / volume))
        done = desk.filled
        if n == restart:
            desk.restart()
        desk.tick(candle)
        if not desk.busy:
            break
    bars = pd.DataFrame(rows, columns=["ts", "volume", "planned", "given", "filled", "participation"])
    return _worked(bars, desk.fills, lots, grid, grid.ticks(decided.close))


def _worked(bars: pd.DataFrame, fills: Sequence[Fill], lots: int, grid: Instrument, ticks: int) -> Worked:
    rows = [(fill.ts_event // MS_NS, fill.lots, grid.price(fill.price_ticks)) for fill in fills]
    filled = sum(fill.lots for fill in fills)
    paid = sum(value_uusd(fill.lots, fill.price_ticks, grid.unit_num, grid.unit_den) for fill in fills)
    fair = value_uusd(filled, ticks, grid.unit_num, grid.unit_den)
    sign = 1 if not fills or fills[0].side == "buy" else -1
    slippage = sign * (paid - fair) / fair * 10_000 if fair else float("nan")
    frame = pd.DataFrame(rows, columns=["ts", "lots", "price"])
    return Worked(bars, frame, lots, filled, grid.price(ticks), slippage)


def compare(
    frame: pd.DataFrame, grid: Instrument, qty: float, ways: Mapping[str, Slicing | None], starts: Sequence[int]
) -> dict[str, list[float]]:
    """What each way of working `qty` costs beyond the price on arrival, bps, by its name: one number a start.

    Each is the mean of a buy and a sell from the same bar, so that where the market went while they worked cancels
    out and what is left is what the order itself paid. What was not filled is not in it.
    """
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for start in starts:
        for name, slicing in ways.items():
            sides: tuple[Side, Side] = ("buy", "sell")
            both = [work(frame, grid, side, qty, slicing, start=start).slippage_bps for side in sides]
            costs[name].append(sum(both) / 2)
    return costs
