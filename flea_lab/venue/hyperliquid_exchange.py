"""Orders of one account at Hyperliquid, behind the Exchange face. Who signs is handed in: no key comes here.

Rules. Every order bears our id, hashed, and the time after which the exchange refuses it. Each action has a nonce that
rises. An action is sent once; where its answer is lost the order is asked for by that id. What the exchange refuses in
its own words is a `Rejected`, but for a nonce that it has seen: that may be our own first attempt. Executions come by
asking, every `poll_s` while an order may be open; each is told once, under the id that its order bore.
"""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from flea_lab.clock import Clock
from flea_lab.errors import DataError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
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
from flea_lab.venue import hyperliquid_orders as wire
from flea_lab.venue.budget import Use
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.hyperliquid_rows import MetaRow, read_answer
from flea_lab.venue.hyperliquid_signing import Sign
from flea_lab.venue.info import ACCOUNT_SHARE, HEAVY, LIGHT, Account, Info
from flea_lab.venue.one_in_flight import Execution
from flea_lab.venue.order_wire import steps
from flea_lab.venue.polling import look_at_pace
from flea_lab.venue.protocol import Capabilities, Deliver, OrderState, VenueAccount
from flea_lab.venue.reach import require_reach
from flea_lab.venue.reading import FrameError
from flea_lab.venue.record import told
from flea_lab.venue.rest import OK, Blocked, Passage, Rest, Unsent, open_passage

VALIDITY_S = 10.0
"""After this long the exchange refuses an order that has not come yet, where the dialect says nothing else."""

DEAD_MAN_S = 5.0
BATCH = 40


class HyperliquidExchange:
    """An `Exchange` over the account at `address`, in one session (`async with`)."""

    def __init__(
        self,
        dialect: Dialect,
        address: str,
        sign: Sign,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        collar_bps: float | None = None,
    ) -> None:
        """A market order goes no further from its price than `collar_bps`, and never further than `wire.SLIP`."""
        collar = wire.SLIP if collar_bps is None else Decimal(str(collar_bps)) / 10_000
        self._slip = min(wire.SLIP, collar)
        self._validity_ms = round((dialect.order_validity_s or VALIDITY_S) * 1_000)
        self.dialect, self._clock, self._grids, self._sign = dialect, clock, dict(instruments), sign
        self._coins = {symbol: dialect.theirs(symbol) for symbol in instruments}
        left = round(self.capabilities.weight_per_minute * (1.0 - ACCOUNT_SHARE))  # an action weighs 1
        self._rest = Rest(dialect, None, clock, left)
        self._info = Info(dialect, self._rest, ACCOUNT_SHARE)
        self._account = Account(self._info, address, self._coins, self._grids)
        self._assets: dict[str, tuple[int, int]] = {}
        self._names: dict[str, str] = {}
        self._known: dict[str, str] = {}
        self._open: dict[str, NewOrder] = {}
        self._nonce = self._told = 0
        self._deliver: Deliver | None = None
        self.blocked: Blocked = lambda: ""
        self.passage: Passage = open_passage
        self._looking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        require_reach((self.dialect.rest_url,), f"dialect {self.dialect.name!r}")
        await self._rest.open()
        try:
            universe = read_answer(await self._info.ask("instruments", HEAVY, "meta"), MetaRow, "meta").universe
            self._assets = {coin.name: (n, coin.decimals) for n, coin in enumerate(universe) if not coin.delisted}
            missing = [coin for coin in self._coins.values() if coin not in self._assets]
            if missing:
                raise VenueRefusal(f"the venue has no coin {', '.join(missing)}")
            await self._account.look(self._clock.now_ns())
            self._told = self._account.seq
        except BaseException:
            await self._rest.close()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._rest.close()

    def adopt(
        self,
        orders: Sequence[NewOrder],
        names: Mapping[str, str],
        held: Mapping[str, int],  # noqa: ARG002
        after_seq: int,  # noqa: ARG002
    ) -> None:
        """As `Adopts.adopt`: only the names are needed here, the exchange is asked for the rest."""
        self._known |= names
        for order in orders:
            self._track(order)

    @property
    def capabilities(self) -> Capabilities:
        """As `Exchange.capabilities`; whether an id may come again after its order is over, nobody says."""
        return Capabilities(
            id_scope="open_orders",
            query_by_id=True,
            validity_s=self._validity_ms / 1_000,
            cancel_all=True,
            dead_man_s=DEAD_MAN_S,
            reduce_only=True,
            limit_orders=True,
            private_seq=True,
            weight_per_minute=self.dialect.weight_per_minute,
        )

    @property
    def private_seq(self) -> int | None:
        """As `Exchange.private_seq`: the last execution that was passed on."""
        return self._told

    def order_wait_s(self) -> float:
        """Seconds until an order may be sent within the venue's limits; 0 where it may be sent now."""
        return self._rest.order_wait_s()

    async def run(self, deliver: Deliver) -> None:
        """As `Exchange.run`: while an order may be open the account is looked at every `poll_s`."""
        self._deliver = deliver
        try:
            await look_at_pace(self.dialect.poll_s, lambda: self._look_around(deliver))
        finally:
            self._deliver = None

    async def _look_around(self, deliver: Deliver) -> None:
        """Tells the fills that are new, then which orders are over, while one may be open."""
        if not self._open:
            return
        for fill in await self._fresh():
            deliver(fill)
        for name in list(self._open):
            state = await self.order(name)
            if state is not None and state.status != "open":
                deliver(told(state))
                self._open.pop(name, None)

    # ---- orders

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """As `Exchange.send`."""
        return await (self._place(command) if isinstance(command, NewOrder) else self._cancel(command))

    async def _place(self, order: NewOrder) -> tuple[OrderReport, ...]:
        name, coin = order.client_order_id, self._coins.get(order.symbol)
        if coin is None:
            return (_refusal(order, f"not sent: {order.symbol} is not traded here"),)
        asset, decimals = self._assets[coin]
        try:
            action = wire.order_action(order, asset, decimals, self._grids[order.symbol], self._slip)
        except (FrameError, DataError) as error:
            return (_refusal(order, f"not sent: {error}"),)
        self._track(order)
        void_ms = order.ts_event // MS_NS + self._validity_ms
        try:
            oid, rests = wire.placed(await self._act(action, "order", void_ms, self.blocked), f"order {name}")
        except Unsent as error:
            self._open.pop(name, None)
            return (_refusal(order, f"not sent: {error}", sent=False),)
        except wire.Refused as error:
            self._open.pop(name, None)
            return (_refusal(order, str(error)),)
        accepted = Accepted(client_order_id=name, ts_event=self._clock.now_ns(), venue_order_id=str(oid))
        if rests:
            return (accepted,)
        try:
            fills = await self._fresh()
        except VenueError:
            fills = []  # `run` goes on looking
        for fill in fills:
            if fill.client_order_id != name and self._deliver is not None:
                self._deliver(fill)
        return (accepted, *[fill for fill in fills if fill.client_order_id == name])

    async def _cancel(self, cancel: CancelOrder) -> tuple[OrderReport, ...]:
        name, asset = cancel.client_order_id, self._assets[self._coins[cancel.symbol]][0]
        try:
            [said] = wire.statuses(await self._act(wire.cancel_action(name, asset), "cancel"), f"cancel {name}")
        except Unsent as error:
            return (_refusal(cancel, f"not sent: {error}", sent=False),)
        except wire.Refused as error:
            return (_refusal(cancel, str(error)),)
        if said == "success":
            return (Cancelled(client_order_id=name, ts_event=self._clock.now_ns()),)
        return (_refusal(cancel, str(said.get("error", said)) if isinstance(said, dict) else str(said)),)

    async def cancel_all(self) -> None:
        """As `Exchange.cancel_all`: by the exchange's own list, whoever gave the orders."""
        rows = wire.open_rows(await self._open_orders())
        named = [(self._assets[row.coin][0], row.oid) for row in rows if row.coin in self._assets]
        for at in range(0, len(named), BATCH):
            try:
                wire.statuses(await self._act(wire.cancels_action(named[at : at + BATCH]), "cancel"), "cancel all")
            except wire.Refused as error:
                raise VenueError(f"open orders could not be taken back: {error}") from None

    async def dead_man(self, timeout_s: float) -> None:
        """As `Exchange.dead_man`: `scheduleCancel`, by this machine's clock."""
        if 0.0 < timeout_s < DEAD_MAN_S:
            raise VenueRefusal(f"the dead man's switch takes {DEAD_MAN_S:g} s or more, not {timeout_s:g}")
        at_ms = self._clock.now_ns() // MS_NS + round(timeout_s * 1_000) if timeout_s else None
        try:
            wire.statuses(await self._act(wire.schedule_action(at_ms), "cancel"), "scheduleCancel")
        except wire.Refused as error:
            raise VenueError(f"the dead man's switch was refused: {error}") from None

    async def _act(
        self, action: Mapping[str, Any], use: Use, void_ms: int | None = None, blocked: Blocked | None = None
    ) -> bytes:
        """The answer to one action, sent once. `VenueError` where it is not known what became of it."""
        self._nonce = max(self._nonce + 1, self._clock.now_ns() // MS_NS)
        signature = self._sign(action, self._nonce, void_ms)
        body = {"action": action, "nonce": self._nonce, "signature": signature, "vaultAddress": None}
        body |= {} if void_ms is None else {"expiresAfter": void_ms}
        path, raw = self.dialect.paths.orders, msgspec.json.encode(body)
        answer = await self._rest.once("POST", path, use, body=raw, blocked=blocked, passage=self.passage)
        if answer.status not in OK:
            raise VenueError(f"{answer.said}: what became of it is unknown")
        if b'"err"' in answer.body and b"nonce" in answer.body:
            raise VenueError(f"{answer.where}: a nonce was refused, which may have been taken before: unknown")
        return answer.body

    def _track(self, order: NewOrder) -> None:
        self._names[wire.cloid_of(order.client_order_id)] = order.client_order_id
        self._open[order.client_order_id] = order

    # ---- questions

    async def order(self, client_order_id: str) -> OrderState | None:
        """As `Exchange.order`."""
        cloid, where = wire.cloid_of(client_order_id), f"order {client_order_id}"
        raw = await self._info.ask("order", LIGHT, "orderStatus", user=self._account.address, oid=cloid)
        found = wire.kept(raw, where)
        if found is None:
            return None
        row, status, theirs, ts_ms = found
        return self._state(row, client_order_id, status, theirs, ts_ms)

    async def open_orders(self) -> list[OrderState]:
        """As `Exchange.open_orders`; one that was not given here is named by the exchange's id."""
        rows = wire.open_rows(await self._open_orders())
        return [
            self._state(row, self._names.get(row.cloid or "", str(row.oid)), "open", "", row.timestamp) for row in rows
        ]

    async def _open_orders(self) -> bytes:
        return await self._info.ask("order", HEAVY, "openOrders", user=self._account.address)

    def _state(self, row: wire.OrderRow, name: str, status: wire.Status, theirs: str, ts_ms: int) -> OrderState:
        symbol = next((ours for ours, coin in self._coins.items() if coin == row.coin), row.coin)
        grid, where = self._grids.get(symbol), f"order {name}: sz"
        lots = steps(row.size, grid.lot_size, where) if grid else 0
        left = steps(row.sz, grid.lot_size, where) if grid else 0
        filled = lots if status == "filled" else lots - left
        return OrderState(
            client_order_id=name,
            symbol=symbol,
            status=status,
            lots=lots,
            filled_lots=filled,
            ts_event=ts_ms * MS_NS,
            reason=theirs,
        )

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """As `Exchange.fills`: those of orders that were given here."""
        for fill in await self._fresh():
            if self._deliver is not None:
                self._deliver(fill)
        found = [(one.seq, self._named(one)) for one in self._account.after(after)]
        return [(seq, fill) for seq, fill in found if fill is not None]

    async def account(self) -> VenueAccount:
        """As `Exchange.account`."""
        async with self._looking:
            account, seen = await self._account.account(self._clock.now_ns())
        fresh = [self._named(one) for one in seen.fresh]
        if self._deliver is not None:
            for fill in filter(None, fresh):
                self._deliver(fill)
        self._told = self._account.seq
        return account

    async def _fresh(self) -> list[Fill]:
        """Executions that were not listed before, of orders that were given here."""
        async with self._looking:
            seen = await self._account.look(self._clock.now_ns())
        self._told = self._account.seq
        return [fill for fill in map(self._named, seen.fresh) if fill is not None]

    def _named(self, one: Execution) -> Fill | None:
        """The execution under our order's id; None where its order was not given here."""
        name = self._known.get(one.fill.fill_id) or self._names.get(self._account.names.get(one.fill.fill_id, ""))
        return None if name is None else replace(one.fill, client_order_id=name)


def _refusal(command: NewOrder | CancelOrder, reason: str, sent: bool = True) -> OrderReport:
    if isinstance(command, NewOrder):
        return Rejected(client_order_id=command.client_order_id, ts_event=command.ts_event, reason=reason, sent=sent)
    return CancelRejected(client_order_id=command.client_order_id, ts_event=command.ts_event, reason=reason, sent=sent)
