"""The accounts and orders of a sandbox exchange as a pure state machine: no clock, no socket, no key.

Rules. An account and a client order id name one order for ever: the same request again is answered with that order
and does nothing, another request under the same id is a conflict. A request that is denied leaves no trace. Every
change of an order and every fill is an event of its account, numbered from 1 without a hole, a fill before the state of
the order that it changes. Money is the desk's ledger, function by function. A reduce-only order that the position no
longer covers is taken off before it could open the other side. An order that shrinks a position passes any margin.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from flea_lab.ledger import LOTS, Ledger
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Trade
from flea_lab.model.trading import Accepted, Expired, Fill, NewOrder, OrderIntent, OrderReport, Rejected
from flea_lab.money import value_uusd
from flea_lab.sandbox.book import liquidity
from flea_lab.sandbox.matching import DepthMatching, OpenMatching, Tif
from flea_lab.sandbox.order import (
    MICRO,
    Denied,
    Event,
    Execution,
    Order,
    OrderRequest,
    Status,
    below_minimum,
    limit_ticks_of,
    lots_of,
    same_terms,
)


class Customer:
    """One account: its money, its orders by client order id, and everything it ever heard."""

    def __init__(self, account_id: str, ledger: Ledger) -> None:
        self.account_id, self.ledger = account_id, ledger
        self.orders: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.events: list[Event] = []

    def lots(self, symbol: str) -> int:
        """The position, signed."""
        return int(self.ledger.book[self.ledger.row[symbol], LOTS])

    def open_lots(self, symbol: str) -> tuple[int, int]:
        """Lots that open orders may still buy, and sell; both positive."""
        mine = [order.open_lots for order in self.open.values() if order.request.symbol == symbol]
        return sum(lots for lots in mine if lots > 0), -sum(lots for lots in mine if lots < 0)

    def fills(self, after: int, limit: int) -> list[tuple[int, Execution]]:
        """The first `limit` fills numbered beyond `after`, each with its number."""
        beyond = islice(self.events, after, None)
        return list(islice(((e.seq, e.what) for e in beyond if isinstance(e.what, Execution)), limit))


class SandboxExchange:
    """All accounts of one exchange. Times are ns of venue time, handed in."""

    def __init__(
        self,
        symbols: Sequence[str],
        instruments: Mapping[str, Instrument],
        matching: OpenMatching | DepthMatching,
        leverage: float,
    ) -> None:
        self.symbols, self.instruments = tuple(symbols), dict(instruments)
        self._matching, self.leverage = matching, leverage
        self.customers: dict[str, Customer] = {}
        self.marks = dict.fromkeys(symbols, 0)
        self._minted = self._fills = 0
        self._news: list[Event] = []
        _warm(self.symbols, self.instruments)

    def open_account(self, account_id: str, credit_uusd: int) -> Customer:
        """A new account with `credit_uusd` of cash; `ValueError` where the name is taken."""
        if account_id in self.customers:
            raise ValueError(f"account {account_id!r} is there already")
        ledger = Ledger(self.symbols, self.instruments, credit_uusd)
        for symbol, ticks in self.marks.items():
            ledger.mark(symbol, ticks)
        self.customers[account_id] = Customer(account_id, ledger)
        return self.customers[account_id]

    def news(self) -> list[Event]:
        """Events since the last call, in their order."""
        news, self._news = self._news, []
        return news

    def mark(self, symbol: str, ticks: int) -> None:
        """Values every position in `symbol` at `ticks` from now on."""
        self.marks[symbol] = ticks
        for customer in self.customers.values():
            customer.ledger.mark(symbol, ticks)

    def fund(self, symbol: str, rate: float) -> None:
        """Settles funding with every account, at the mark."""
        for customer in self.customers.values():
            customer.ledger.fund(symbol, rate)

    def open(self, symbol: str, open_ticks: int, ts_ns: int) -> None:
        """The symbol's bar opens; `next_open` fills.

        What was covered as it came is covered now: every order of the symbol fills here, in the order of coming.
        """
        if isinstance(self._matching, OpenMatching):
            self._hear(self._matching.open(symbol, open_ticks, ts_ns))

    def depth(self, what: BookSnapshot | Trade) -> None:
        """The book changed, or somebody traded; `book` matching fills."""
        book = self._matching
        if isinstance(book, OpenMatching):
            return
        self._hear(book.book(what) if isinstance(what, BookSnapshot) else book.trade(what))
        for customer in self.customers.values():
            self._uncover(customer, what.symbol, what.ts_event)

    def advance(self, ts_ns: int) -> None:
        """Nothing stamped at or before `ts_ns` will come any more."""
        if not isinstance(self._matching, OpenMatching):
            self._hear(self._matching.advance(ts_ns))

    def submit(self, account_id: str, request: OrderRequest, ts_ns: int) -> tuple[Order, bool] | Denied:
        """The order, and whether this request made it (False: it was there before)."""
        customer = self.customers[account_id]
        known = customer.orders.get(request.client_order_id)
        if known is not None:
            if same_terms(known.request, request):
                return known, False
            text = f"client_order_id {request.client_order_id!r} names an order with other terms"
            return Denied(409, "client_order_id_conflict", text)
        order = self._draw(customer, request, ts_ns)
        if isinstance(order, Denied):
            return order
        self._minted += 1
        customer.orders[request.client_order_id] = customer.open[request.client_order_id] = order
        self._tell(customer, order, ts_ns)
        self._hear(self._matching.submit(self._command(order, ts_ns), order.limit_ticks, order.tif, ts_ns))
        return customer.orders[request.client_order_id], True

    def cancel(self, account_id: str, client_order_id: str, ts_ns: int) -> Order | Denied:
        """The order after the cancel."""
        customer = self.customers[account_id]
        order = customer.orders.get(client_order_id)
        if order is None:
            return Denied(404, "order_not_found", f"no order {client_order_id!r}")
        if order.status != "open":
            return Denied(409, "order_not_open", f"order {client_order_id!r} is {order.status}")
        self._hear(self._matching.cancel(_name(order), ts_ns))
        return customer.orders[client_order_id]

    def cancel_all(self, account_id: str, ts_ns: int) -> list[str]:
        """The client order ids that were taken off, oldest first."""
        customer, gone = self.customers[account_id], []
        for order in list(customer.open.values()):
            self._hear(self._matching.cancel(_name(order), ts_ns))
            if customer.orders[order.client_order_id].status == "cancelled":
                gone.append(order.client_order_id)
        return gone

    def gross_uusd(self, customer: Customer, symbol: str = "", lots: int = 0) -> int:
        """The largest exposure that positions and open orders can come to, `lots` (signed) of `symbol` added."""
        total = 0
        for name in self.symbols:
            held = customer.lots(name)
            buys, sells = customer.open_lots(name)
            more = lots if name == symbol else 0
            worst = max(abs(held + buys + max(more, 0)), abs(held - sells + min(more, 0)))
            total += self.worth_uusd(name, worst)
        return total

    def worth_uusd(self, symbol: str, lots: int) -> int:
        """`lots` (signed) at the mark."""
        grid = self.instruments[symbol]
        return int(value_uusd(lots, self.marks[symbol], grid.unit_num, grid.unit_den))

    def _draw(self, customer: Customer, request: OrderRequest, ts_ns: int) -> Order | Denied:
        """The order that `request` asks for, nothing changed yet."""
        if request.valid_until is not None and ts_ns > request.valid_until * MS_NS:
            return Denied(400, "expired_request", f"valid_until {request.valid_until} is over, it is {ts_ns // MS_NS}")
        if request.symbol not in self.instruments:
            return Denied(404, "unknown_symbol", f"no symbol {request.symbol!r}, known are {', '.join(self.symbols)}")
        grid, mark = self.instruments[request.symbol], self.marks[request.symbol]
        limit = limit_ticks_of(request, grid)
        if isinstance(limit, Denied):
            return limit
        lots = lots_of(request, grid, mark)
        if isinstance(lots, Denied):
            return lots
        denied = below_minimum(request, lots, limit or mark, grid) or self._uncovered(customer, request, lots)
        if denied is not None:
            return denied
        tif: Tif = request.tif or ("gtc" if request.type == "limit" else "ioc")
        return Order(
            account_id=customer.account_id,
            order_id=f"o-{self._minted + 1}",
            request=request,
            lots=lots,
            limit_ticks=limit,
            tif=tif,
            created_ns=ts_ns,
            updated_ns=ts_ns,
        )

    def _uncovered(self, customer: Customer, request: OrderRequest, lots: int) -> Denied | None:
        """Why position or margin do not carry the order."""
        held = customer.lots(request.symbol)
        buys, sells = customer.open_lots(request.symbol)
        signed = lots if request.side == "buy" else -lots
        shrinks = held * signed < 0 and lots + (buys if signed > 0 else sells) <= abs(held)
        if shrinks:
            return None
        if request.reduce_only:
            text = (
                f"{request.side} {lots} lots does not shrink a position of {held} with {buys} buying, {sells} selling"
            )
            return Denied(400, "reduce_only", text)
        gross, equity = self.gross_uusd(customer, request.symbol, signed), customer.ledger.equity_uusd()
        if not gross <= equity * self.leverage:
            text = f"exposure {gross / MICRO:.2f} USD is over {self.leverage:g} x equity {equity / MICRO:.2f} USD"
            return Denied(400, "insufficient_margin", text)
        return None

    def _command(self, order: Order, ts_ns: int) -> NewOrder:
        """The order as matching takes it."""
        request = order.request
        ticks = order.limit_ticks or self.marks[request.symbol]
        grid = self.instruments[request.symbol]
        worth = value_uusd(order.lots, ticks, grid.unit_num, grid.unit_den)
        intent = OrderIntent(
            symbol=request.symbol,
            side=request.side,
            size_usd=worth / MICRO,
            order_type=request.type,
            urgency="normal",
            signal_sources=(),
            ts_event=ts_ns,
            price_ticks=ticks,
            size_uusd=worth,
            conviction=0.0,
        )
        return NewOrder(
            client_order_id=_name(order),
            symbol=request.symbol,
            side=request.side,
            lots=order.lots,
            price_ticks=ticks,
            order_type=request.type,
            ts_event=ts_ns,
            intent=intent,
        )

    def _uncover(self, customer: Customer, symbol: str, ts_ns: int) -> None:
        """Takes off the reduce-only orders that would open a position, were they filled in turn."""
        mine = [order for order in customer.open.values() if order.request.symbol == symbol]
        held = customer.lots(symbol)
        for order in mine:
            lots = order.open_lots
            if not order.request.reduce_only:
                continue
            if held * lots < 0 and abs(lots) <= abs(held):
                held += lots
            else:
                self._hear(self._matching.cancel(_name(order), ts_ns), "the position does not cover it any more")

    def _hear(self, reports: Sequence[OrderReport], reason: str = "") -> None:
        """Takes in what matching says."""
        for report in reports:
            account_id, _, name = report.client_order_id.partition("/")
            customer = self.customers[account_id]
            order = customer.orders[name]
            if isinstance(report, Fill):
                self._fill(customer, order, report)
            elif not isinstance(report, Accepted):
                status, why = _ending(report)
                self._keep(
                    customer,
                    msgspec.structs.replace(order, status=status, reason=reason or why, updated_ns=report.ts_event),
                )

    def _fill(self, customer: Customer, order: Order, fill: Fill) -> None:
        customer.ledger.fill(fill)
        filled = order.filled + fill.lots
        status: Status = "filled" if filled == order.lots else order.status
        after = msgspec.structs.replace(order, filled=filled, status=status, updated_ns=fill.ts_event)
        self._fills += 1
        named = msgspec.structs.replace(fill, client_order_id=order.client_order_id, fill_id=f"f-{self._fills}")
        side = "taker" if isinstance(self._matching, OpenMatching) else liquidity(fill)
        what = Execution(order=after, fill=named, liquidity=side)
        self._tell(customer, what, fill.ts_event)
        self._keep(customer, after)

    def _keep(self, customer: Customer, order: Order) -> None:
        """The order's new state, in every place that holds it."""
        name = order.client_order_id
        customer.orders[name] = order
        if order.status == "open":
            customer.open[name] = order
        else:
            customer.open.pop(name, None)
        self._tell(customer, order, order.updated_ns)

    def _tell(self, customer: Customer, what: Order | Execution, ts_ns: int) -> None:
        event = Event(customer.account_id, len(customer.events) + 1, ts_ns, what)
        customer.events.append(event)
        self._news.append(event)


def _name(order: Order) -> str:
    """The order's name in matching."""
    return f"{order.account_id}/{order.client_order_id}"


def _ending(report: OrderReport) -> tuple[Status, str]:
    if isinstance(report, Rejected):
        return "rejected", report.reason
    return ("expired", "") if isinstance(report, Expired) else ("cancelled", "")


def _warm(symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> None:
    """Compiles what the first fill would otherwise wait for."""
    ledger, symbol = Ledger(symbols, instruments, MICRO), symbols[0]
    fill = Fill(
        client_order_id="",
        ts_event=0,
        symbol=symbol,
        side="buy",
        lots=1,
        price_ticks=1,
        fee_uusd=0,
        reference_ticks=1,
    )
    ledger.mark(symbol, 1)
    ledger.fill(fill)
    ledger.fund(symbol, 0.0)
    ledger.equity_uusd()
