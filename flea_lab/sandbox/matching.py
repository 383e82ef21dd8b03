"""Order matching, pure. `next_open`: every order fills whole at the next bar's open plus slippage."""

from collections.abc import Mapping
from typing import Literal, Protocol

from flea_lab.compiled import compiled
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import BookSnapshot, Trade
from flea_lab.model.trading import Accepted, Cancelled, CancelOrder, Command, Fill, NewOrder, OrderReport
from flea_lab.money import share_uusd, slipped_ticks, value_uusd

Tif = Literal["gtc", "ioc"]


@compiled
def fee_uusd(lots: int, ticks: int, num: int, den: int, fee_e8: int) -> int:
    """The fee on a fill in whole micro-dollars; `lots` of either sign."""
    return share_uusd(abs(value_uusd(lots, ticks, num, den)), fee_e8)


class NextOpenMatching:
    """The simulated exchange of research: no depth, no queue, whole fills at the next open of the order's symbol."""

    def __init__(self, instruments: Mapping[str, Instrument], fee_e8: int, slippage_e8: int) -> None:
        self._instruments = instruments
        self._fee_e8, self._slippage_e8 = fee_e8, slippage_e8
        self._resting: dict[str, list[NewOrder]] = {symbol: [] for symbol in instruments}
        self.resting = 0

    def on(self, command: Command, ts_event: int) -> tuple[OrderReport, ...]:
        """What the exchange answers at once; commands that are not for an exchange are ignored."""
        match command:
            case NewOrder():
                self._resting[command.symbol].append(command)
                self.resting += 1
                return (Accepted(client_order_id=command.client_order_id, ts_event=ts_event),)
            case CancelOrder():
                orders = self._resting[command.symbol]
                kept = [order for order in orders if order.client_order_id != command.client_order_id]
                if len(kept) < len(orders):
                    self._resting[command.symbol] = kept
                    self.resting -= len(orders) - len(kept)
                    return (Cancelled(client_order_id=command.client_order_id, ts_event=ts_event),)
        return ()

    def open(self, symbol: str, open_ticks: int, ts_event: int) -> tuple[Fill, ...]:
        """Fills of everything resting in `symbol`, at its bar's open."""
        orders = self._resting[symbol]
        if not orders:
            return ()
        self._resting[symbol] = []
        self.resting -= len(orders)
        return tuple(self._fill(order, open_ticks, ts_event) for order in orders)

    def _fill(self, order: NewOrder, open_ticks: int, ts_event: int) -> Fill:
        grid = self._instruments[order.symbol]
        ticks = slipped_ticks(open_ticks, order.side == "buy", self._slippage_e8)
        return Fill(
            client_order_id=order.client_order_id,
            ts_event=ts_event,
            symbol=order.symbol,
            side=order.side,
            lots=order.lots,
            price_ticks=ticks,
            fee_uusd=fee_uusd(order.lots, ticks, grid.unit_num, grid.unit_den, self._fee_e8),
            reference_ticks=open_ticks,
        )


class Matching(Protocol):
    """Where the orders of a sandbox meet its market. Client order ids are unique here."""

    def submit(self, order: NewOrder, limit_ticks: int | None, tif: Tif, ts_event: int) -> tuple[OrderReport, ...]:
        """What it answers at once."""

    def cancel(self, client_order_id: str, ts_event: int) -> tuple[OrderReport, ...]:
        """`Cancelled`, or nothing where there is no such order or the cancel is under way."""


class DepthMatching(Matching, Protocol):
    """Matching against a book that moves."""

    def book(self, snapshot: BookSnapshot) -> tuple[OrderReport, ...]:
        """What a new book does."""

    def trade(self, trade: Trade) -> tuple[OrderReport, ...]:
        """What a print does."""

    def advance(self, ts_event: int) -> tuple[OrderReport, ...]:
        """What time alone does, once nothing stamped at or before `ts_event` will come."""


class OpenMatching:
    """`NextOpenMatching` in the shape of `Matching`: limits and times in force say nothing, the next open fills."""

    def __init__(self, instruments: Mapping[str, Instrument], fee_e8: int, slippage_e8: int) -> None:
        self._inner = NextOpenMatching(instruments, fee_e8, slippage_e8)
        self._symbol: dict[str, str] = {}

    def submit(self, order: NewOrder, limit_ticks: int | None, tif: Tif, ts_event: int) -> tuple[OrderReport, ...]:
        """Accepts; the order rests until its symbol opens."""
        del limit_ticks, tif
        self._symbol[order.client_order_id] = order.symbol
        return self._inner.on(order, ts_event)

    def cancel(self, client_order_id: str, ts_event: int) -> tuple[OrderReport, ...]:
        """Takes a resting order off."""
        symbol = self._symbol[client_order_id]
        return self._inner.on(CancelOrder(client_order_id=client_order_id, symbol=symbol, ts_event=ts_event), ts_event)

    def open(self, symbol: str, open_ticks: int, ts_event: int) -> tuple[Fill, ...]:
        """Fills of everything resting in `symbol`."""
        return self._inner.open(symbol, open_ticks, ts_event)
