"""Orders of one account at an exchange of ccxt, behind the Exchange face, by its unified REST methods.

Rules. Every order bears our id as `clientOrderId`; whether an exchange can be asked for an order by it ccxt does not
say, so that only those in `BY_ID` declare it. A request is sent once. What ccxt raises is a refusal only where its kind
proves that the exchange took nothing; all else leaves the order's fate unknown. Cash is the balance less what the
positions cost by the exchange's own entry prices: exact only where those are.
"""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Self

from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError, DataError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.limit import limit_ticks
from flea_lab.model.market import MS_NS
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    CancelRejected,
    Fill,
    NewOrder,
    OrderReport,
    Rejected,
)
from flea_lab.secret import Secret
from flea_lab.venue.budget import RateBudget
from flea_lab.venue.ccxt_library import FINAL, kinds_of, make_exchange
from flea_lab.venue.ccxt_look import LookingSession, looking
from flea_lab.venue.ccxt_reading import addresses, contract_of, market_of, milli_ns
from flea_lab.venue.dialects import CCXT, Dialect
from flea_lab.venue.order_wire import CLIENT_ORDER_ID, exact, steps, uusd
from flea_lab.venue.polling import look_at_pace
from flea_lab.venue.protocol import Capabilities, Deliver, OrderState, VenueAccount
from flea_lab.venue.reach import require_reach
from flea_lab.venue.reading import FrameError, shown
from flea_lab.venue.rest import Blocked, Passage, open_passage

BY_ID = ("binance", "binanceusdm", "binancecoinm", "okx")
"""Exchanges that ccxt asks for an order by `clientOrderId`."""

REFUSED = (
    "InsufficientFunds",
    "InvalidOrder",
    "BadRequest",
    "BadSymbol",
    "OrderNotFillable",
    "OrderImmediatelyFillable",
)
"""ccxt's kinds of error that prove that nothing was taken; their subclasses do not."""

GONE = ("OrderNotFound",)
CROWDED = ("RateLimitExceeded", "DDoSProtection")
PLACES = 1_000
NEAR = Decimal("1e-6")
"""How far from whole lots a size may be that went through binary numbers: a share of a lot."""

STATUS = {"open": "open", "closed": "filled", "canceled": "cancelled", "rejected": "rejected", "expired": "expired"}


class CcxtExchange:
    """An `Exchange` of ccxt, in one session (`async with`). `exchange` stands in for ccxt's own, for tests.

    The key is `apiKey:secret`, or `apiKey:secret:password` where the exchange wants a third.
    """

    def __init__(
        self,
        dialect: Dialect,
        key: Secret,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        *,
        exchange: Any = None,
    ) -> None:
        self.dialect, self._key, self._clock, self._grids = dialect, key, clock, dict(instruments)
        self._exchange = exchange
        self._budget = RateBudget(dialect.limits)
        self._markets: dict[str, dict[str, Any]] = {}
        self._orders: dict[str, NewOrder] = {}
        self._names: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._seen: set[str] = set()
        self._told = 0
        self._deliver: Deliver | None = None
        self.blocked: Blocked = lambda: ""
        self.passage: Passage = open_passage

    async def __aenter__(self) -> Self:
        if self._exchange is None:
            self._exchange = make_exchange(self.dialect)
        self._exchange.apiKey, self._exchange.secret, self._exchange.password = _parts(self._key)
        require_reach(addresses(self._exchange.urls), f"dialect {self.dialect.name!r}")
        try:
            markets = await self._ask("load_markets")
            session = getattr(self._exchange, "session", None)
            if session is not None:
                self._exchange.session = LookingSession(session)
            self._markets = {symbol: market_of(symbol, markets, self.dialect) for symbol in self._grids}
            await self._listed()
        except BaseException:
            await self._exchange.close()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._exchange.close()

    def adopt(
        self,
        orders: Sequence[NewOrder],
        names: Mapping[str, str],
        held: Mapping[str, int],  # noqa: ARG002
        after_seq: int,  # noqa: ARG002
    ) -> None:
        """As `Adopts.adopt`: the names, and which orders there are to ask for."""
        self._known |= names
        self._orders |= {order.client_order_id: order for order in orders}

    @property
    def capabilities(self) -> Capabilities:
        """As `Exchange.capabilities`: by what ccxt says of the exchange, and by `BY_ID`."""
        named = self.dialect.name.removeprefix(CCXT) in BY_ID
        return Capabilities(
            id_scope="open_orders" if named else "none",
            query_by_id=named,
            cancel_all=True,
            reduce_only=bool(next(iter(self._markets.values()), {}).get("contract")),
            limit_orders=True,
            private_seq=True,
        )

    @property
    def private_seq(self) -> int | None:
        """As `Exchange.private_seq`: the last execution that was passed on."""
        return self._told

    async def run(self, deliver: Deliver) -> None:
        """As `Exchange.run`: the executions are asked for every `poll_s`."""
        self._deliver = deliver
        try:
            await look_at_pace(self.dialect.poll_s, self._pass)
        finally:
            self._deliver = None

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """As `Exchange.send`."""
        name = command.client_order_id
        if isinstance(command, CancelOrder):
            try:
                await self._ask("cancel_order", "", self._theirs(command.symbol), {"clientOrderId": name})
            except _Refused as error:
                return (CancelRejected(client_order_id=name, ts_event=command.ts_event, reason=str(error)),)
            return (Cancelled(client_order_id=name, ts_event=self._clock.now_ns()),)
        try:
            asked = self._asked(command)
        except (FrameError, DataError) as error:
            return (Rejected(client_order_id=name, ts_event=command.ts_event, reason=f"not sent: {error}"),)
        wait_s = self.order_wait_s()
        why = f"the venue's limits leave no order for {wait_s:.1f} s" if wait_s > 0.0 else self.blocked()
        if why:
            return (_unsent(command, why),)
        self._orders[name] = command
        self._budget.spend(asyncio.get_running_loop().time())
        with looking(self.blocked, self.passage) as look:
            try:
                said = await self._ask("create_order", *asked)
            except VenueError as error:
                if look.kept_back:
                    return (_unsent(command, look.kept_back),)
                if not isinstance(error, _Refused):
                    raise
                return (Rejected(client_order_id=name, ts_event=command.ts_event, reason=str(error)),)
        venue_id = str(said.get("id") or "")
        self._names[venue_id] = name
        return (Accepted(client_order_id=name, ts_event=self._clock.now_ns(), venue_order_id=venue_id),)

    def order_wait_s(self) -> float:
        """Seconds until an order may be sent within the venue's limits; 0 where it may be sent now."""
        return self._budget.wait_s(asyncio.get_running_loop().time(), "order")

    def _asked(self, order: NewOrder) -> tuple[Any, ...]:
        """What `create_order` takes; `FrameError` for what it has no words for."""
        where = f"order {shown(order.client_order_id)}"
        grid = self._grids.get(order.symbol)
        if grid is None or not CLIENT_ORDER_ID.fullmatch(order.client_order_id):
            raise FrameError(f"{where}: {order.symbol} is not traded here, or its id is none")
        if order.order_type not in ("market", "limit") or not 0 < order.lots < 2**53:
            raise FrameError(f"{where}: {order.order_type} order of {order.lots} lots")
        price = float(exact(limit_ticks(order, grid), grid.tick_size)) if order.order_type == "limit" else None
        amount = float(
            Decimal(exact(order.lots, grid.lot_size)) / Decimal(str(contract_of(self._markets[order.symbol])))
        )
        given = {"clientOrderId": order.client_order_id} | ({"reduceOnly": True} if order.reduce_only else {})
        return self._theirs(order.symbol), order.order_type, order.side, amount, price, given

    async def cancel_all(self) -> None:
        """As `Exchange.cancel_all`, symbol by symbol, each of the exchange's own list where it has no such wish."""
        for symbol in self._grids:
            if self._exchange.has.get("cancelAllOrders"):
                await self._ask("cancel_all_orders", self._theirs(symbol))
                continue
            for row in await self._ask("fetch_open_orders", self._theirs(symbol)):
                try:
                    await self._ask("cancel_order", row["id"], self._theirs(symbol))
                except _Refused:
                    continue  # gone meanwhile

    async def dead_man(self, timeout_s: float) -> None:
        """Refused: ccxt has no word for it."""
        raise VenueRefusal(f"ccxt knows no dead man's switch to set to {timeout_s:g} s")

    async def order(self, client_order_id: str) -> OrderState | None:
        """As `Exchange.order`; of an order that was not given here in every symbol."""
        known = self._orders.get(client_order_id)
        for symbol in [known.symbol] if known is not None else list(self._grids):
            try:
                row = await self._ask("fetch_order", "", self._theirs(symbol), {"clientOrderId": client_order_id})
            except _Gone:
                continue
            return self._state(row, symbol, client_order_id)
        return None

    async def open_orders(self) -> list[OrderState]:
        """As `Exchange.open_orders`, in the symbols that are traded here."""
        return [
            self._state(row, symbol, str(row.get("clientOrderId") or row.get("id")))
            for symbol in self._grids
            for row in await self._ask("fetch_open_orders", self._theirs(symbol))
        ]

    def _state(self, row: Mapping[str, Any], symbol: str, name: str) -> OrderState:
        status = STATUS.get(str(row.get("status")))
        if status is None:
            raise FrameError(f"order {name}: status = {shown(row.get('status'))}: nobody knows what that is")
        if row.get("id"):
            self._names[str(row["id"])] = name
        return OrderState(
            client_order_id=name,
            symbol=symbol,
            status=status,  # type: ignore[arg-type]
            lots=self._lots(row.get("amount"), symbol, f"order {name}: amount"),
            filled_lots=self._lots(row.get("filled") or 0, symbol, f"order {name}: filled"),
            ts_event=milli_ns(row.get("lastUpdateTimestamp") or row.get("timestamp")),
        )

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """As `Exchange.fills`: those of orders that were given here."""
        rows = await self._listed()
        found = [(seq, self._named(fill, venue_id)) for seq, venue_id, fill in rows if seq > after]
        return [(seq, fill) for seq, fill in found if fill is not None]

    async def _listed(self) -> list[tuple[int, str, Fill]]:
        """Every execution of the symbols that are traded here, numbered by its time, with its order's own id."""
        rows = [
            (milli_ns(row["timestamp"]) // MS_NS, str(row["id"]), symbol, row)
            for symbol in self._grids
            for row in await self._ask("fetch_my_trades", self._theirs(symbol))
        ]
        found, before, place = [], -1, 0
        for ts_ms, _, symbol, row in sorted(rows, key=lambda one: one[:2]):
            place = place + 1 if ts_ms == before else 0
            before = ts_ms
            found.append((ts_ms * PLACES + place, str(row.get("order") or ""), self._fill(row, symbol)))
        self._told = max([self._told, *(seq for seq, _, _ in found)])
        return found

    def _fill(self, row: Mapping[str, Any], symbol: str) -> Fill:
        grid, where = self._grids[symbol], f"trade {shown(row.get('id'))}"
        ticks = steps(Decimal(str(row["price"])), grid.tick_size, f"{where}: price")
        fee = Decimal(str((row.get("fee") or {}).get("cost") or 0))
        return Fill(
            client_order_id="",
            ts_event=milli_ns(row["timestamp"]),
            symbol=symbol,
            side=row["side"],
            lots=self._lots(row["amount"], symbol, f"{where}: amount"),
            price_ticks=ticks,
            fee_uusd=uusd(fee, f"{where}: fee"),
            reference_ticks=ticks,
            fill_id=str(row["id"]),
        )

    async def account(self) -> VenueAccount:
        """As `Exchange.account`; see the head of this module for its cash."""
        rows = await self._listed()
        await self._pass(rows)
        balance = await self._ask("fetch_balance")
        positions = await self._ask("fetch_positions")
        ours = {self._theirs(symbol): symbol for symbol in self._grids}
        lots: dict[str, int] = {}
        cost = gain = Decimal(0)
        for row in positions:
            symbol = ours.get(row["symbol"])
            if not row.get("contracts"):
                continue
            if symbol is None:  # not traded here: that it is there is what counts, not in which lots
                lots[str(row["symbol"])] = 1 if row["side"] == "long" else -1
                continue
            size = self._lots(row["contracts"], symbol, f"{symbol}: contracts")
            lots[symbol] = size if row["side"] == "long" else -size
            cost += lots[symbol] * self._grids[symbol].lot_size * Decimal(str(row["entryPrice"]))
            gain += Decimal(str(row.get("unrealizedPnl") or 0))
        quote = next(iter(self._markets.values()))["quote"]
        total = Decimal(str(balance["total"][quote]))
        return VenueAccount(
            ts_event=self._clock.now_ns(),
            cash_uusd=uusd(total - cost, "balance"),
            equity_uusd=uusd(total + gain, "balance"),
            fees_uusd=sum(fill.fee_uusd for _, _, fill in rows),
            funding_uusd=0,
            lots=lots,
            seq=max((seq for seq, _, _ in rows), default=0),
        )

    async def _pass(self, rows: Sequence[tuple[int, str, Fill]] | None = None) -> None:
        """Delivers what was not delivered before."""
        for _, venue_id, fill in await self._listed() if rows is None else rows:
            named = self._named(fill, venue_id)
            if named is not None and fill.fill_id not in self._seen and self._deliver is not None:
                self._seen.add(fill.fill_id)
                self._deliver(named)

    def _named(self, fill: Fill, venue_id: str) -> Fill | None:
        name = self._known.get(fill.fill_id) or self._names.get(venue_id)
        return None if name is None else replace(fill, client_order_id=name)

    def _theirs(self, symbol: str) -> str:
        return str(self._markets[symbol]["symbol"])

    def _lots(self, amount: Any, symbol: str, where: str) -> int:
        grid, size = self._grids[symbol], Decimal(str(contract_of(self._markets[symbol])))
        qty = Decimal(str(amount)) * size
        count = qty / grid.lot_size if qty.is_finite() else Decimal(-1)
        near = count.to_integral_value()
        if count < 0 or abs(count - near) > NEAR:
            raise FrameError(f"{where} = {shown(amount)}: not a size in lots of {grid.lot_size}")
        return int(near)

    async def _ask(self, method: str, *given: Any) -> Any:
        """What ccxt answers; what it raises about the exchange becomes ours, told apart by name."""
        fault: Exception
        try:
            return await getattr(self._exchange, method)(*given)
        except Exception as error:  # anything else is a defect, and is raised as it is
            names = kinds_of(error)
            if not names:
                raise
            said = self._key.masked_in(f"{self.dialect.name} {method}: {names[0]}: {shown(str(error))}")
            if any(name in CROWDED for name in names):
                self._budget.stopped(asyncio.get_running_loop().time(), "order", None, self._clock.jitter())
            if names[0] in GONE:
                fault = _Gone(said)
            elif names[0] in REFUSED:
                fault = _Refused(said)
            else:
                fault = VenueRefusal(said) if any(name in FINAL for name in names) else VenueError(said)
        raise fault


def _unsent(order: NewOrder, why: str) -> Rejected:
    return Rejected(
        client_order_id=order.client_order_id, ts_event=order.ts_event, reason=f"not sent: {why}", sent=False
    )


class _Refused(VenueError):
    """The exchange took nothing."""


class _Gone(_Refused):
    """The exchange has no such order."""


def _parts(key: Secret) -> tuple[str, str, str]:
    parts = key.reveal().split(":")
    if len(parts) not in (2, 3):
        raise ConfigError("the key of an exchange of ccxt is apiKey:secret, or apiKey:secret:password")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
