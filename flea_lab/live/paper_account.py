"""The account behind a paper venue, pure: orders, fills, settlements and money, with the desk's own ledger.

Rules. Reports that nobody asked for are numbered from 1 without a hole. A settlement is paid on the position held
before the fills of its instant, at the mark of its instant: stamped later than the last close it is held until that
close has come, and goes first where something fills, or a bar opens, at or after it. Of closed orders and fills the
last `KEPT` are remembered.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from flea_lab.errors import DataError, VenueError
from flea_lab.ledger import COLUMNS, DEN, FEES, FUNDING, LOTS, NUM, Ledger
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import Funding
from flea_lab.model.trading import Cancelled, Fill, NewOrder, OrderReport
from flea_lab.venue.protocol import OrderState, VenueAccount

KEPT = 200
"""Closed orders, and fills, that the account still answers for."""


class PaperState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a paper account remembers. `book` has one row a symbol, `open` every order that may still trade."""

    cash_uusd: int
    book: dict[str, list[int]]
    marked_ns: dict[str, int]
    settled_ns: dict[str, int]
    settling: list[Funding]
    open: list[NewOrder]
    orders: list[OrderState]
    fills: list[tuple[int, Fill]]
    forgotten: int
    seq: int
    now_ns: int


class PaperAccount:
    """One account. `changes` counts what a journal should not lose: orders, reports, payments."""

    def __init__(self, instruments: Mapping[str, Instrument], cash_uusd: int) -> None:
        self.ledger = Ledger(tuple(instruments), instruments, cash_uusd)
        self.open: dict[str, NewOrder] = {}
        self.orders: dict[str, OrderState] = {}
        self.marked_ns = dict.fromkeys(instruments, -1)
        self.settled_ns = dict.fromkeys(instruments, -1)
        self.seq = self.changes = self.now_ns = 0
        self._settling: list[Funding] = []
        self._fills: list[tuple[int, Fill]] = []
        self._forgotten = 0

    def register(self, order: NewOrder) -> None:
        """Takes an order in, open; its id is one that was never used."""
        name = order.client_order_id
        self.changes += 1
        self.open[name] = order
        self.orders[name] = OrderState(
            client_order_id=name,
            symbol=order.symbol,
            status="open",
            lots=order.lots,
            filled_lots=0,
            ts_event=order.ts_event,
        )

    def resting(self, symbol: str) -> list[NewOrder]:
        """Open orders of `symbol`, oldest first."""
        return [order for order in self.open.values() if order.symbol == symbol]

    def on(self, report: OrderReport, *, numbered: bool = True) -> OrderReport:
        """A report that filled or ended an open order, booked, and numbered unless it is the answer to a request.

        A fill is named by its order and the lots before it: the same fill has the same name after a restart.
        """
        self.seq += numbered
        self.changes += 1
        order = self.orders[report.client_order_id]
        order = replace(order, ts_event=report.ts_event)
        if isinstance(report, Fill):
            liquidity = report.fill_id[-1:] or "t"
            report = replace(report, fill_id=f"{report.client_order_id}:{order.filled_lots}{liquidity}")
            self.settle(report.symbol, report.ts_event)
            self.ledger.fill(report)
            self._fills.append((self.seq, report))
            order = replace(order, filled_lots=order.filled_lots + report.lots)
            if order.filled_lots >= order.lots:
                order = replace(order, status="filled")
        else:
            order = replace(order, status="cancelled" if isinstance(report, Cancelled) else "expired")
        self.orders[order.client_order_id] = order
        if order.status != "open":
            self.open.pop(order.client_order_id, None)
        self._forget()
        return report

    def fund(self, funding: Funding) -> None:
        """Takes a settlement; one told twice counts once."""
        symbol, ts = funding.symbol, funding.ts_event
        if ts <= self.settled_ns[symbol]:
            return
        self.settled_ns[symbol] = ts
        self._settling.append(funding)
        self.settle(symbol, self.marked_ns[symbol])

    def settle(self, symbol: str, until_ns: int) -> None:
        """Pays what is held for `symbol` and stamped up to `until_ns`."""
        if not self._settling:
            return
        due = [one for one in self._settling if one.symbol == symbol and one.ts_event <= until_ns]
        self._settling = [one for one in self._settling if one not in due]
        for one in due:
            self.changes += 1
            self.ledger.fund(symbol, one.rate)

    def mark(self, symbol: str, ticks: int, ts_event: int) -> None:
        """Values the position in `symbol` at the close at `ts_event`, and pays what was waiting for it."""
        self.ledger.mark(symbol, ticks)
        self.marked_ns[symbol] = ts_event
        self.settle(symbol, ts_event)

    def lots(self, symbol: str) -> int:
        """The position, signed."""
        return int(self.ledger.book[self.ledger.row[symbol], LOTS])

    def fills(self, after: int) -> list[tuple[int, Fill]]:
        """Fills numbered beyond `after`; `VenueError` where some of them are forgotten."""
        if after < self._forgotten:
            raise VenueError(f"fills after {after}: the paper venue keeps {KEPT}, those after {self._forgotten}")
        return [(seq, fill) for seq, fill in self._fills if seq > after]

    def account(self) -> VenueAccount:
        """The account as a venue says it."""
        book = self.ledger.book
        return VenueAccount(
            ts_event=self.now_ns,
            cash_uusd=self.ledger.cash_uusd,
            equity_uusd=self.ledger.equity_uusd(),
            fees_uusd=int(book[:, FEES].sum()),
            funding_uusd=int(book[:, FUNDING].sum()),
            lots={symbol: self.lots(symbol) for symbol in self.ledger.row},
            seq=self.seq,
        )

    def state(self) -> dict[str, Any]:
        """Everything remembered, as values that JSON holds exactly."""
        book = {symbol: self.ledger.book[row].tolist() for symbol, row in self.ledger.row.items()}
        state = PaperState(
            cash_uusd=self.ledger.cash_uusd,
            book=book,
            marked_ns=self.marked_ns,
            settled_ns=self.settled_ns,
            settling=self._settling,
            open=list(self.open.values()),
            orders=list(self.orders.values()),
            fills=self._fills,
            forgotten=self._forgotten,
            seq=self.seq,
            now_ns=self.now_ns,
        )
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
        return found

    def restore(self, values: Mapping[str, Any]) -> None:
        """Goes on from `values`; `DataError`, and nothing changed, where they are not the state of such an account."""
        try:
            state = msgspec.convert(dict(values), PaperState)
        except msgspec.ValidationError as error:
            raise DataError(
                f"the saved paper account cannot be read: {str(error)[0].lower()}{str(error)[1:]}"
            ) from None
        self._check(state)
        self.ledger.cash_uusd = state.cash_uusd
        for symbol, row in self.ledger.row.items():
            self.ledger.book[row] = state.book[symbol]
        self.marked_ns, self.settled_ns = dict(state.marked_ns), dict(state.settled_ns)
        self._settling, self._fills = list(state.settling), list(state.fills)
        self.open = {order.client_order_id: order for order in state.open}
        self.orders = {order.client_order_id: order for order in state.orders}
        self.seq, self.now_ns, self._forgotten = state.seq, state.now_ns, state.forgotten

    def _check(self, state: PaperState) -> None:
        ours = list(self.ledger.row)
        for held in (state.book, state.marked_ns, state.settled_ns):
            if list(held) != ours:
                raise DataError(f"the saved paper account holds {', '.join(held)}, traded are {', '.join(ours)}")
        for symbol, row in self.ledger.row.items():
            grid, saved = self.ledger.book[row], state.book[symbol]
            if len(saved) != COLUMNS or (saved[NUM], saved[DEN]) != (grid[NUM], grid[DEN]):
                raise DataError(f"the saved paper account holds {symbol} on another grid of ticks and lots")

    def _forget(self) -> None:
        """Lets go of the oldest closed orders and fills beyond `KEPT`."""
        closed = len(self.orders) - len(self.open) - KEPT
        for name in [name for name in self.orders if name not in self.open][: max(closed, 0)]:
            del self.orders[name]
        while len(self._fills) > KEPT:
            self._forgotten = self._fills.pop(0)[0]
