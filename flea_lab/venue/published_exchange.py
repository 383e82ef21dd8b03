"""Orders at Purple Flea's published server in the weaker mode: one in flight, its fate read from the account behind it.

Rules. Only market orders go: the server's limit orders are watched by itself, late, and fill beyond their limit. An
order that is all of the position is a close of its row, so that nothing can be left or turned over; any other is an
opening on its side. Before each the account is read, and must hold what is explained. A request is sent once. A refusal
that proves that nothing was done is a `Rejected`; after every other outcome the order stays in flight until fills and
position at the exchange behind the server say what became of it, whatever the server itself says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self
from urllib.parse import quote

from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import Accepted, CancelOrder, CancelRejected, Fill, NewOrder, OrderReport, Rejected
from flea_lab.secret import Secret
from flea_lab.venue import published
from flea_lab.venue.budget import RateBudget, RateLimits
from flea_lab.venue.dialects import Dialect, data_dialect
from flea_lab.venue.info import ACCOUNT_SHARE, Account, Info, Seen
from flea_lab.venue.one_in_flight import OneInFlight
from flea_lab.venue.polling import look_at_pace
from flea_lab.venue.protocol import Capabilities, Deliver, OrderState, VenueAccount
from flea_lab.venue.reach import require_reach
from flea_lab.venue.rest import OK, Answer, Blocked, Passage, Rest, Unsent, open_passage

ORDERS_PER_MINUTE = 30
"""What the server allows of openings, and of closes, a minute, by its published code; it says so with a bare 429."""

LIMITS = RateLimits(cancel_reserve=0.0, back_off_last_s=60.0)
WINDOW_S = 60.0

LOOKS = 3
"""How often an answer waits for its executions to be listed before it is passed on without them."""


class _Asked(NamedTuple):
    """One request: its budget, its path and its body."""

    lane: str
    path: str
    body: bytes


class PublishedExchange:
    """An `Exchange` over the published server, in one session (`async with`).

    `address` is the account's at the exchange behind it; where it is empty the server is asked for it.
    """

    def __init__(
        self,
        dialect: Dialect,
        key: Secret,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        *,
        address: str = "",
    ) -> None:
        self.dialect, self._clock, self._grids = dialect, clock, dict(instruments)
        self._coins = {symbol: dialect.theirs(symbol) for symbol in instruments}
        if len(set(self._coins.values())) != len(self._coins):
            raise ConfigError(f"symbols {list(self._coins)} must be different as the venue spells them")
        self._rest = Rest(dialect, key, clock)
        self._data = data_dialect(dialect, "the venue's dialect")
        self._info_rest = Rest(self._data, None, clock)
        self._address = address
        self._account: Account | None = None
        self._known = OneInFlight(round(dialect.settle_s * 1e9))
        limits = replace(LIMITS, per_minute=dialect.limits.per_minute or self.capabilities.orders_per_minute)
        self._budgets = {lane: RateBudget(limits) for lane in ("open", "close")}
        self._looking = asyncio.Lock()
        self._looked_s = -1e9
        self._lots: dict[str, int] = {}
        self._told = 0
        self._deliver: Deliver | None = None
        self.blocked: Blocked = lambda: ""
        self.passage: Passage = open_passage

    async def __aenter__(self) -> Self:
        require_reach((self.dialect.rest_url, self._data.rest_url), f"dialect {self.dialect.name!r}")
        await self._rest.open()
        await self._info_rest.open()
        try:
            address = self._address or published.address_of(self._good(await self._rest.get("/auth/account")).body)
            if not address:
                raise VenueRefusal(
                    "the account has no address at the exchange behind the server: nothing can be checked"
                )
            self._account = Account(Info(self._data, self._info_rest, ACCOUNT_SHARE), address, self._coins, self._grids)
            seen = await self._account.look(self._clock.now_ns())
            self._known.begin(seen.holdings.lots, self._account.seq)
            self._told = self._account.seq
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._rest.close()
        await self._info_rest.close()

    def adopt(
        self, orders: Sequence[NewOrder], names: Mapping[str, str], held: Mapping[str, int], after_seq: int
    ) -> None:
        """As `Adopts.adopt`."""
        self._known.adopt(orders, names, held, after_seq, self._clock.now_ns())

    @property
    def capabilities(self) -> Capabilities:
        """As `Exchange.capabilities`: next to nothing."""
        return Capabilities(
            private_seq=True, orders_per_minute=ORDERS_PER_MINUTE, weight_per_minute=self._data.weight_per_minute
        )

    @property
    def private_seq(self) -> int | None:
        """As `Exchange.private_seq`: the last execution that was passed on."""
        return self._told

    async def run(self, deliver: Deliver) -> None:
        """As `Exchange.run`: while an order is in flight the account is looked at every `poll_s`."""
        self._deliver = deliver
        try:
            await look_at_pace(self.dialect.poll_s, self._look_on)
        finally:
            self._deliver = None

    async def _look_on(self) -> None:
        if self._known.busy():
            self._pass(await self._look())

    # ---- orders

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """As `Exchange.send`; a cancel is refused: an order here fills at once or not at all."""
        if isinstance(command, CancelOrder):
            reason = "the venue takes no order back: it fills at once or not at all"
            return (CancelRejected(client_order_id=command.client_order_id, ts_event=command.ts_event, reason=reason),)
        why = self._unfit(command)
        if why:
            return self._unsent(command, why)
        try:
            self._pass(await self._look(fresh=True))
            asked = await self._asked(command)
        except VenueRefusal:
            raise
        except VenueError as error:
            return self._unsent(command, f"the account cannot be read: {error}")
        why = self._unready(command, asked) or self.blocked()
        if why:
            return self._unsent(command, why)
        return await self._once(command, asked)

    def _unfit(self, order: NewOrder) -> str:
        """Why `order` is not one for this venue; "" where it is."""
        grid = self._grids.get(order.symbol)
        if grid is None:
            return f"{order.symbol} is not traded here"
        if order.order_type != "market":
            return f"{order.order_type} orders are watched by the server itself, late, and fill beyond their limit"
        if not (order.lots > 0 and order.price_ticks > 0):
            return f"lots = {order.lots}, price_ticks = {order.price_ticks}: must be at least 1"
        worth = order.lots * order.price_ticks * grid.unit_num // grid.unit_den
        least = grid.min_notional_uusd / (1 - float(published.SIZE_MARGIN))
        if not (worth >= least or self._closes(order)):
            return f"{worth / 1e6:.2f} USD is below the smallest order of {least / 1e6:.2f} USD"
        grows = order.reduce_only and not self._shrinks(order)
        return "reduce_only: the position is not larger than the order" if grows else ""

    def _shrinks(self, order: NewOrder) -> bool:
        held, signed = self._known.held.get(order.symbol, 0), order.lots if order.side == "buy" else -order.lots
        return held * signed < 0 and abs(signed) <= abs(held)

    def _closes(self, order: NewOrder) -> bool:
        return self._shrinks(order) and order.lots == abs(self._known.held.get(order.symbol, 0))

    def _unready(self, order: NewOrder, asked: _Asked) -> str:
        """Why nothing can be sent now; "" where it can."""
        flying, symbol = self._known.busy(), order.symbol
        if flying:
            return f"order {flying} is in flight, and one at a time may be"
        there, here = self._lots.get(symbol, 0), self._known.held.get(symbol, 0)
        if there != here:
            return f"the account holds {there} lots of {symbol}, {here} are explained"
        wait_s = self._budgets[asked.lane].wait_s(asyncio.get_running_loop().time(), "order")
        return f"the venue's limits leave no order for {wait_s:.1f} s" if wait_s > 0 else ""

    async def _asked(self, order: NewOrder) -> _Asked:
        """The request for `order`, with what has to be asked for it; `VenueError` where that is not told."""
        coin, grid = self._coins[order.symbol], self._grids[order.symbol]
        if self._closes(order):
            rows = published.rows_of(self._good(await self._rest.get("/trade/positions")).body)
            side, row = rows.get(coin, ("", None))
            if row is not None and side == ("short" if order.side == "buy" else "long"):
                return _Asked("close", "/trade/close", published.close_body(row))
        raw = self._good(await self._rest.get(f"/markets/{quote(coin, safe='')}/price")).body
        return _Asked("open", "/trade/open", published.open_body(order, coin, grid, published.price_of(raw, coin)))

    async def _once(self, order: NewOrder, asked: _Asked) -> tuple[OrderReport, ...]:
        """What one request comes to. The order is in flight before its first byte is sent."""
        name, known, budget = order.client_order_id, self._known, self._budgets[asked.lane]
        known.take_off(order, self._clock.now_ns())
        budget.spend(asyncio.get_running_loop().time())
        try:
            answer = await self._rest.once(
                "POST", asked.path, "order", body=asked.body, blocked=self.blocked, passage=self.passage
            )
        except Unsent as error:
            known.never(name)
            return self._unsent(order, str(error), again=True)
        if answer.status in OK:
            known.answered(name, published.order_id(answer.body))
            return await self._executed(name)
        if answer.status == 429:  # the window is not told: all of it is waited for
            budget.stopped(asyncio.get_running_loop().time(), "order", WINDOW_S, self._clock.jitter())
        refusal = published.refusal_of(answer.status, answer.body)
        if not refusal.definite:
            raise VenueError(self._rest.masked(f"{answer.said}: whether it was carried out is unknown"))
        known.never(name)
        if answer.status in (401, 418):
            self._rest.allowed(answer)
        return (Rejected(client_order_id=name, ts_event=order.ts_event, reason=self._rest.masked(refusal.text)),)

    async def _executed(self, name: str) -> tuple[OrderReport, ...]:
        """The acknowledgement of an order that was carried out, and its executions where they are listed already."""
        flight = self._known.flights.get(name)
        venue_id = "" if flight is None else flight.order_id
        told: list[OrderReport] = [
            Accepted(client_order_id=name, ts_event=self._clock.now_ns(), venue_order_id=venue_id)
        ]
        for attempt in range(LOOKS):
            try:
                told += await self._look(fresh=True)
            except VenueError:
                break  # `run` goes on looking
            if name not in self._known.flights:
                break
            await asyncio.sleep(self.dialect.poll_s * attempt / LOOKS)
        return tuple(told)

    def _unsent(self, order: NewOrder, why: str, *, again: bool = False) -> tuple[OrderReport, ...]:
        """The order did not leave, `again` where it may be tried at once."""
        name, reason = order.client_order_id, self._rest.masked(f"not sent: {why}")
        return (Rejected(client_order_id=name, ts_event=order.ts_event, reason=reason, sent=not again),)

    def order_wait_s(self) -> float:
        """Seconds until an opening may be sent within the server's limits; 0 where it may be sent now."""
        return self._budgets["open"].wait_s(asyncio.get_running_loop().time(), "order")

    async def dead_man(self, timeout_s: float) -> None:
        """Refused: the server has no such switch, and nothing of ours rests there."""
        raise VenueRefusal(f"the venue has no dead man's switch to set to {timeout_s:g} s")

    async def cancel_all(self) -> None:
        """As `Exchange.cancel_all`: the limit orders that the server watches, none of which was given here."""
        for order_id, _ in await self._pending():
            answer = await self._rest.delete(f"/trade/limit-orders/{quote(order_id, safe='')}")
            if answer.status not in (*OK, 400, 404):  # gone by itself meanwhile
                self._good(answer)

    async def _pending(self) -> list[tuple[str, str]]:
        return published.pending_of(self._good(await self._rest.get("/trade/limit-orders")).body)

    # ---- questions

    async def order(self, client_order_id: str) -> OrderState | None:
        """As `Exchange.order`: what fills and position show; `VenueError` while they do not show it yet."""
        if client_order_id in self._known.flights:
            self._pass(await self._look())
        flight = self._known.flights.get(client_order_id)
        if flight is None:
            return self._known.landed.get(client_order_id)
        if flight.order_id:
            return self._open(flight.order)
        raise VenueError(f"order {client_order_id}: the account does not show yet what became of it")

    async def open_orders(self) -> list[OrderState]:
        """As `Exchange.open_orders`: what the server acknowledged and has not listed, and what it watches itself."""
        flying = [self._open(flight.order) for flight in self._known.flights.values() if flight.order_id]
        ours = {coin: symbol for symbol, coin in self._coins.items()}
        watched = [
            OrderState(
                client_order_id=order_id,
                symbol=ours.get(coin, coin),
                status="open",
                lots=0,
                filled_lots=0,
                ts_event=self._clock.now_ns(),
            )
            for order_id, coin in await self._pending()
        ]
        return flying + watched

    def _open(self, order: NewOrder) -> OrderState:
        return OrderState(
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            status="open",
            lots=order.lots,
            filled_lots=0,
            ts_event=self._clock.now_ns(),
        )

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """As `Exchange.fills`: those that are explained."""
        self._pass(await self._look(fresh=True))
        names = self._known.names
        found = [one for one in self._opened().after(after) if one.fill.fill_id in names]
        return [(one.seq, replace(one.fill, client_order_id=names[one.fill.fill_id])) for one in found]

    async def account(self) -> VenueAccount:
        """As `Exchange.account`, of the exchange behind the server."""
        async with self._looking:
            account, seen = await self._opened().account(self._clock.now_ns())
            reports = self._shown(seen)
        self._pass(reports)
        if account.seq is not None and not self._known.busy():
            self._told = account.seq
        return account

    async def _look(self, *, fresh: bool = False) -> list[OrderReport]:
        """What the account shows of the orders in flight; asked at most every `poll_s` unless it must be `fresh`."""
        async with self._looking:
            now_s = asyncio.get_running_loop().time()
            if not fresh and now_s - self._looked_s < self.dialect.poll_s:
                return []
            self._looked_s = now_s
            return self._shown(await self._opened().look(self._clock.now_ns()))

    def _shown(self, seen: Seen) -> list[OrderReport]:
        listed, self._lots = self._opened().after(self._known.seq), seen.holdings.lots
        reports = self._known.look(listed, seen.holdings.lots, self._clock.now_ns())
        if not self._known.busy():
            self._told = self._opened().seq
        return reports

    def _pass(self, reports: Sequence[OrderReport]) -> None:
        if self._deliver is not None:
            for report in reports:
                self._deliver(report)

    def _opened(self) -> Account:
        if self._account is None:
            raise ConfigError("the exchange is not open: use it in `async with`")
        return self._account

    def _good(self, answer: Answer) -> Answer:
        if answer.status not in OK:
            raise VenueError(self._rest.masked(answer.said))
        return answer
