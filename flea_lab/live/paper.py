"""A paper venue: any feed, with an exchange of this process's own behind it. No order leaves.

Rules. What the feed says passes through in its order; what it says of orders does not: they are another account's.
With matching "next_open" everything resting in a symbol fills at the first open at or after the time of the order, and
the fill is delivered before the candle, partial or complete, that brought the open: settlements, fills, candles, as in
a replay. With "book" the orders meet the books and prints of the feed. Reports of a time when nobody listened are
numbered all the same and can be asked for.

After a lost connection, or a restart from a saved state, the account is made up from the feed's history before it is
asked for anything: what rested then fills at the first open that was missed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from flea_lab.errors import DataError, VenueError, VenueRefusal
from flea_lab.live.paper_account import PaperAccount
from flea_lab.model.book import book_fault
from flea_lab.model.instrument import Instrument
from flea_lab.model.limit import limit_ticks
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Funding, Heartbeat, Trade
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
from flea_lab.sandbox.book import BookMatching
from flea_lab.sandbox.matching import NextOpenMatching
from flea_lab.venue.protocol import Capabilities, Deliver, Feed, Link, OrderState, Said, VenueAccount, VenueClock

PAGE = 5_000
"""Candles that are asked for at once."""

LEVERAGE = 100.0
"""What one order may be worth, in equities: no gate of ours comes near it, a slip of the hand does."""


class PaperVenue:
    """Feed and exchange in one, for one account that begins with `cash_uusd` and nothing else.

    `fee_e8` and `slippage_e8` in 1e-8; with "book" the fee is the taker's, and `maker_fee_e8` (the same unless given),
    `latency_ns` and `queue_ahead` (a share of 1) are `BookMatching`'s. Without `funding` settlements are neither paid
    nor passed on.
    """

    def __init__(
        self,
        feed: Feed,
        instruments: Mapping[str, Instrument],
        interval_ms: int,
        *,
        fee_e8: int,
        slippage_e8: int,
        cash_uusd: int,
        funding: bool = True,
        matching: Literal["next_open", "book"] = "next_open",
        maker_fee_e8: int | None = None,
        latency_ns: int = 0,
        queue_ahead: float = 1.0,
    ) -> None:
        self._feed, self._grids = feed, dict(instruments)
        self._step_ns = interval_ms * MS_NS
        self._funding = funding
        self._matching = matching
        self._opens = NextOpenMatching(self._grids, fee_e8, slippage_e8)
        self._book: BookMatching | None = None
        maker_e8 = fee_e8 if maker_fee_e8 is None else maker_fee_e8
        if matching == "book":
            self._book = BookMatching(self._grids, maker_e8, fee_e8, latency_ns, queue_ahead)
        self._books_ns = dict.fromkeys(self._grids, -1)
        self._account = PaperAccount(self._grids, cash_uusd)
        self._deliver: Deliver | None = None
        self._delivered = 0
        self._behind = False

    @property
    def capabilities(self) -> Capabilities:
        """Those of an exchange that cannot lose an answer, for as many closed orders as it remembers."""
        return Capabilities(id_scope="for_ever", query_by_id=True, cancel_all=True, limit_orders=True, private_seq=True)

    @property
    def private_seq(self) -> int | None:
        """Number of the last report that was delivered, or told by `fills`; 0 before the first."""
        return self._delivered

    @property
    def changes(self) -> int:
        """Goes up with everything that a saved state should not miss: orders, reports, payments."""
        return self._account.changes

    def state(self) -> dict[str, Any]:
        """The account as plain values, exact in JSON; the queue places of a "book" are not among them."""
        return self._account.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state; `DataError`, and nothing changed, where it is not one of this account."""
        self._account.restore(state)
        self._behind = True
        for order in self._account.open.values():
            left = order.lots - self._account.orders[order.client_order_id].filled_lots
            if self._book is not None:
                self._submit(self._book, replace(order, lots=left))

    async def run(self, deliver: Deliver) -> None:
        """Delivers what the feed says, with this account's reports in between, until cancelled."""
        self._deliver = deliver
        try:
            await self._feed.run(self._hear)
        finally:
            self._deliver = None

    async def instruments(self) -> Mapping[str, Instrument]:
        """The feed's."""
        return await self._feed.instruments()

    async def clock(self) -> VenueClock:
        """The feed's time, with this venue's matching."""
        return replace(await self._feed.clock(), matching=self._matching)

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """The feed's."""
        return await self._feed.history(symbol, start_ns, count)

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        """The feed's; none where this account pays none."""
        return await self._feed.settlements(symbol, start_ns) if self._funding else []

    async def refresh(self, symbol: str) -> None:
        """Passed on to the feed."""
        await self._feed.refresh(symbol)

    async def acknowledge(self, ts_event: int) -> None:
        """Passed on to the feed."""
        await self._feed.acknowledge(ts_event)

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """What this exchange says at once; the same order again is answered as it stands and does nothing."""
        return self._cancel(command) if isinstance(command, CancelOrder) else self._order(command)

    async def cancel_all(self) -> None:
        """Takes back every open order; what became of them is delivered."""
        for order in list(self._account.open.values()):
            self._say(self._take_back(order, max(order.ts_event, self._account.now_ns)))

    async def dead_man(self, timeout_s: float) -> None:
        """Refused: these orders end with this process, nobody else has them."""
        del timeout_s
        raise VenueRefusal("paper orders need no dead man's switch: they end with their process")

    async def order(self, client_order_id: str) -> OrderState | None:
        """The order; None for one that was never sent, or closed long ago."""
        await self._catch_up()
        return self._account.orders.get(client_order_id)

    async def open_orders(self) -> list[OrderState]:
        """Every open order, oldest first."""
        await self._catch_up()
        return [self._account.orders[name] for name in self._account.open]

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """Every fill numbered beyond `after`; `VenueError` where they are too long ago to be remembered."""
        await self._catch_up()
        found = self._account.fills(after)
        self._delivered = self._account.seq
        return found

    async def account(self) -> VenueAccount:
        """The account."""
        await self._catch_up()
        return self._account.account()

    def _order(self, order: NewOrder) -> tuple[OrderReport, ...]:
        name, ts = order.client_order_id, order.ts_event
        known = self._account.orders.get(name)
        if known is not None:
            if (known.symbol, known.lots) != (order.symbol, order.lots):
                return (Rejected(client_order_id=name, ts_event=ts, reason="client_order_id_conflict"),)
            if known.status == "cancelled":
                return (Cancelled(client_order_id=name, ts_event=known.ts_event),)
            return (Accepted(client_order_id=name, ts_event=known.ts_event),)
        reason = self._refusal(order)
        if reason:
            return (Rejected(client_order_id=name, ts_event=ts, reason=reason),)
        self._account.register(order)
        if self._book is None:
            return (Accepted(client_order_id=name, ts_event=ts),)
        first, *later = self._submit(self._book, order)
        self._say(later)
        return (first,)

    def _refusal(self, order: NewOrder) -> str:
        """Why a venue would not take the order; "" where it would."""
        grid = self._grids.get(order.symbol)
        if grid is None or order.lots < 1:
            return f"unknown_symbol {order.symbol}" if grid is None else "invalid_size"
        if order.order_type == "limit":
            try:
                limit_ticks(order, grid)
            except DataError as error:
                return f"invalid_price: {error}"
        worth = order.lots * order.price_ticks * grid.unit_num // grid.unit_den
        if worth < grid.min_notional_uusd:
            return f"below_minimum {worth / 1e6:.2f} USD"
        equity = self._account.ledger.equity_uusd()
        return "" if worth <= equity * LEVERAGE else f"insufficient_margin for {worth / 1e6:.2f} USD"

    def _submit(self, book: BookMatching, order: NewOrder) -> tuple[OrderReport, ...]:
        limit = order.price_ticks if order.order_type == "limit" else None
        ts = max(order.ts_event, self._account.now_ns)
        return book.submit(order, limit, "ioc" if limit is None else "gtc", ts)

    def _cancel(self, command: CancelOrder) -> tuple[OrderReport, ...]:
        name, ts = command.client_order_id, command.ts_event
        known, order = self._account.orders.get(name), self._account.open.get(name)
        if known is None:
            return (CancelRejected(client_order_id=name, ts_event=ts, reason="order_not_found"),)
        if order is None:
            return (CancelRejected(client_order_id=name, ts_event=ts, reason=f"order_not_open, {known.status}"),)
        return tuple(self._account.on(report, numbered=False) for report in self._take_back(order, ts))

    def _take_back(self, order: NewOrder, ts: int) -> tuple[OrderReport, ...]:
        if self._book is not None:
            return self._book.cancel(order.client_order_id, max(ts, self._account.now_ns))
        return (Cancelled(client_order_id=order.client_order_id, ts_event=ts),)

    def _say(self, reports: Sequence[OrderReport], *, heard: bool = True) -> None:
        """Books `reports` and delivers them, where somebody listens and they are not of a time when nobody did."""
        for report in reports:
            booked = self._account.on(report)
            if heard and self._deliver is not None:
                self._delivered = self._account.seq
                self._pass(booked)

    def _pass(self, said: Said) -> None:
        if self._deliver is not None:
            self._deliver(said)

    def _hear(self, said: Said) -> None:
        """One thing the feed says."""
        settled = isinstance(said, Funding) and said.state == "settled"
        if isinstance(said, OrderReport) or (settled and not self._funding):
            return
        if isinstance(said, Link):
            self._behind |= said.up
            self._pass(said)
            return
        symbol = getattr(said, "symbol", None)
        if symbol is not None and symbol not in self._grids:
            self._pass(said)
            return
        complete = not isinstance(said, Candle) or said.complete
        self._account.now_ns = max(self._account.now_ns, said.ts_event if complete else 0)
        if isinstance(said, Candle):
            self._candle(said)
        elif isinstance(said, Funding) and settled:
            self._account.fund(said)
        elif isinstance(said, Heartbeat):
            self._beat(said)
        self._pass(said)
        if self._book is not None and isinstance(said, BookSnapshot | BookDelta | Trade):
            self._depth(self._book, said)

    def _candle(self, candle: Candle, *, heard: bool = True) -> None:
        """What a candle does to the account: its open fills what rests, its close marks."""
        symbol, ts, grid = candle.symbol, candle.ts_event, self._grids[candle.symbol]
        if ts <= self._account.marked_ns[symbol]:
            return
        opened = (ts - 1) // self._step_ns * self._step_ns
        opens, closes = grid.ticks(candle.open), grid.ticks(candle.close)
        self._account.settle(symbol, opened)
        if self._book is None:
            self._say(self._open(symbol, opens, opened), heard=heard)
        if candle.complete:
            self._account.mark(symbol, closes, ts)

    def _open(self, symbol: str, ticks: int, opened: int) -> tuple[Fill, ...]:
        """Fills of what rests in `symbol` since before it opened."""
        for order in self._account.resting(symbol):
            if order.ts_event <= opened:
                self._opens.on(order, order.ts_event)
        return self._opens.open(symbol, ticks, opened)

    def _beat(self, beat: Heartbeat) -> None:
        for symbol in self._grids:
            self._account.settle(symbol, beat.ts_event - self._step_ns)
        if self._book is not None:
            self._say(self._book.advance(beat.ts_event))

    def _depth(self, book: BookMatching, said: BookSnapshot | BookDelta | Trade) -> None:
        """Lets the orders meet a book or a print; a book on which nothing can be traded, or a late one, is none."""
        if isinstance(said, Trade):
            self._say(book.trade(said))
        elif isinstance(said, BookDelta):
            raise VenueError(f"paper matching of {said.symbol} needs whole books, the feed sends changes of one")
        elif said.ts_event >= self._books_ns[said.symbol] and not book_fault(said):
            self._books_ns[said.symbol] = said.ts_event
            self._say(book.book(said))

    async def _catch_up(self) -> None:
        """Makes up what the feed said while this account did not hear it; nobody is told, but can ask."""
        if not self._behind:
            return
        for symbol in self._grids:
            account, waiting = self._account, self._account.resting(symbol)
            if not waiting and not account.lots(symbol):
                continue
            since = min([order.ts_event for order in waiting], default=0)
            since = account.marked_ns[symbol] if account.marked_ns[symbol] >= 0 else since
            for settlement in await self.settlements(symbol, max(account.settled_ns[symbol], since)):
                account.fund(settlement)
            candles = await self._feed.history(symbol, since, PAGE)
            while candles:
                for candle in candles:
                    self._candle(candle, heard=False)
                full = len(candles) == PAGE
                candles = await self._feed.history(symbol, candles[-1].ts_event, PAGE) if full else []
        self._behind = False
