"""A Purple Flea venue over REST and websocket: market data and the orders of one account.

Rules. A question is asked again when its answer was lost; an order is sent once and never again, so that what is not
known stays not known until the venue is asked. Every end of the websocket, also a polite one, is a `Link` down and a
wait before the next connect. What cannot be read is counted; where it may not be missed, it ends the connection.
"""

from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import quote

import msgspec

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError, DataError, VenueError, VenueRefusal
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import INTERVAL_MS, MS_NS, Candle, Funding
from flea_lab.model.trading import CancelOrder, CancelRejected, Fill, NewOrder, OrderReport, Rejected
from flea_lab.secret import Secret
from flea_lab.venue.budget import Use
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.order_wire import OrderWire, complaint, refused
from flea_lab.venue.protocol import Capabilities, Deliver, OrderState, VenueAccount, VenueClock
from flea_lab.venue.reading import FrameError
from flea_lab.venue.rest import OK, REFUSED, Answer, Blocked, KeyRefused, Passage, Query, Rest, Unsent, open_passage
from flea_lab.venue.speech import KINDS, PRIVATE, Kind
from flea_lab.venue.stream import Asks, OnFault, OnRaw, Stream
from flea_lab.venue.wire import Wire


class PurpleFlea:
    """A venue that speaks one dialect: both a `Feed` and an `Exchange`, in one session (`async with`).

    `channels` are kinds of `venue.wire.KINDS`; without a key there are no private ones. With `ack` the venue waits for
    `acknowledge` before its recorded market goes on. `on_fault` hears of every frame that could not be used;
    `faults` counts them; `on_raw` hears every frame of the websocket before it is read. `partial` goes on without the
    symbols and channels that the venue refuses, and says so as a fault; further apart than `max_skew_s` the two clocks
    are a fault as well.
    """

    def __init__(
        self,
        dialect: Dialect,
        key: Secret | None,
        symbols: Sequence[str],
        interval: str,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        *,
        channels: Sequence[Kind] | None = None,
        ack: bool = False,
        on_fault: OnFault | None = None,
        on_raw: OnRaw | None = None,
        partial: bool = False,
        max_skew_s: float = 2.0,
    ) -> None:
        wanted = channels if channels is not None else ("candle", "funding", *(PRIVATE if key is not None else ()))
        if not set(wanted) <= set(KINDS):
            raise ConfigError(f"channels {list(wanted)} must be among {', '.join(KINDS)}")
        self.dialect, self._clock = dialect, clock
        self._wire = Wire(dialect, symbols, interval, instruments)
        self._orders = OrderWire(self._wire)
        self._given = dict(instruments)
        self._ahead_ns = 0
        self._rest = Rest(dialect, key, clock)
        self._partial = partial
        self.blocked: Blocked = lambda: ""
        self.passage: Passage = open_passage
        self._stream = Stream(
            self._wire,
            self._rest,
            clock,
            wanted,
            self.fills,
            ack=ack,
            on_fault=on_fault,
            on_raw=on_raw,
            asks=Asks(self.history, self.clock),
            partial=partial,
            max_skew_s=max_skew_s,
        )

    async def __aenter__(self) -> Self:
        await self._rest.open()
        try:
            await self.probe()
        except BaseException:
            await self._rest.close()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._rest.close()

    async def probe(self) -> None:
        """Asks for one candle: `VenueRefusal` where the answer is not of this dialect, `KeyRefused` for the key."""
        symbol, base = self._wire.symbols[0], self.dialect.rest_url
        query: Query = {"interval": self._wire.interval, "limit": 1}
        try:
            answer = await self._rest.get(self._path("candles", symbol), query)
            for symbol in self._wire.symbols[1:] if self._partial else ():
                if answer.status in OK:
                    break
                answer = await self._rest.get(self._path("candles", symbol), query)
            if answer.status in OK:
                self._wire.candles(answer.body, symbol, self._clock.now_ns(), self._clock.now_ns())
                return
            reason = self._rest.masked(answer.said)
        except KeyRefused as error:
            raise KeyRefused(f"{base}: {error}") from None
        except (VenueRefusal, FrameError) as error:
            reason = str(error)
        raise VenueRefusal(
            f"dialect mismatch: {base} does not speak {self.dialect.name!r}: {self._rest.masked(reason)}"
        )

    @property
    def faults(self) -> int:
        """How many frames could not be used."""
        return self._stream.faults

    @property
    def refused(self) -> set[tuple[str, str]]:
        """(channel, their symbol) that the venue does not give, where that is allowed (`partial`)."""
        return set(self._stream.refused)

    @property
    def skew_s(self) -> float | None:
        """How far the venue's clock is ahead of ours, running; None where that is not known or means nothing."""
        ahead_ns = self._stream.known.skew.ahead_ns()
        return None if ahead_ns is None else -ahead_ns / 1e9

    def venue_now_ns(self) -> int:
        """The venue's time now, as far as its messages tell it; ours where they do not."""
        return self._clock.now_ns() - (self._stream.known.skew.ahead_ns() or 0)

    def freshness(self, channel: Kind, symbol: str, now_venue_ns: int) -> float | None:
        """Seconds since the venue's own time of the last message of `channel` and `symbol`; None before the first.

        To be asked at the moment of use: what waits in a queue grows old there.
        """
        return self._stream.heard.age_s(channel, symbol, now_venue_ns)

    async def run(self, deliver: Deliver) -> None:
        """As `Feed.run`; private frames come in between, in wire order. A second call while one runs returns at once,
        which is what `Exchange.run` means here.
        """
        await self._stream.run(deliver)

    async def refresh(self, symbol: str) -> None:
        """As `Feed.refresh`; nothing while there is no connection: the next one begins with whole books."""
        await self._stream.refresh(symbol)

    async def acknowledge(self, ts_event: int) -> None:
        """As `Feed.acknowledge`; nothing while there is no connection, the venue does not wait then."""
        await self._stream.acknowledge(ts_event)

    async def instruments(self) -> dict[str, Instrument]:
        """As `Feed.instruments`; what the venue states also serves to read an account that trades elsewhere too."""
        if not self.dialect.paths.instruments:
            return {}
        answer = await self._rest.get(self.dialect.paths.instruments)
        if answer.status == 404:
            return {}
        stated = self._wire.grids(self._good(answer).body)
        self._wire.instruments = stated | self._given
        return {symbol: stated[symbol] for symbol in self._wire.symbols if symbol in stated}

    async def clock(self) -> VenueClock:
        """As `Feed.clock`; ours where the venue does not tell its own. Whether a bar is over is told by it as well."""
        if self.dialect.paths.health:
            answer = await self._rest.get(self.dialect.paths.health)
            if answer.status != 404:
                ours_ns = self._clock.now_ns()
                time = self._wire.clock(self._good(answer).body, ours_ns)
                self._ahead_ns = time.now_ns - ours_ns if time.kind == "wall" else 0
                return time
        return VenueClock(now_ns=self._clock.now_ns())

    async def history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        """As `Feed.history`, in pages."""
        found = await self._history(symbol, start_ns, count)
        if found:
            self._stream.known.closes.setdefault(symbol, found[-1].close)
        return found

    async def _history(self, symbol: str, start_ns: int | None, count: int) -> list[Candle]:
        if start_ns is not None:
            return await self._candles_after(symbol, start_ns, count)
        if count <= self.dialect.page:
            return (await self._candles(symbol, {"limit": count}))[-count:]
        now_ns, step_ns = (await self.clock()).now_ns, INTERVAL_MS[self._wire.interval] * MS_NS
        found: list[Candle] = []
        for bars in (count, 2 * count, 4 * count):  # holes: look further back
            seen = len(found)
            found = await self._candles_after(symbol, max(0, now_ns - bars * step_ns), bars)
            if len(found) >= count or len(found) == seen:
                break
        return found[-count:]

    async def _candles_after(self, symbol: str, start_ns: int, count: int) -> list[Candle]:
        found: list[Candle] = []
        while len(found) < count:
            limit = min(self.dialect.page, count - len(found))
            page = await self._candles(symbol, {"limit": limit, "start": self._wire.stamp(start_ns)})
            fresh = [candle for candle in page if candle.ts_event > start_ns]
            found += fresh[: count - len(found)]
            if not fresh or len(page) < limit:
                break
            start_ns = found[-1].ts_event
        return found

    async def _candles(self, symbol: str, query: Query) -> list[Candle]:
        asked: Query = {"interval": self._wire.interval, **query}
        body, now_ns = (await self._ask("candles", asked, symbol)).body, self._clock.now_ns()
        return self._wire.candles(body, symbol, now_ns, now_ns + self._ahead_ns)

    async def settlements(self, symbol: str, start_ns: int) -> list[Funding]:
        """As `Feed.settlements`; none where the venue has no such answer."""
        found: list[Funding] = []
        while self.dialect.paths.funding:
            query = {"start": self._wire.stamp(start_ns), "limit": self.dialect.page}
            body = (await self._ask("funding", query, symbol)).body
            page = self._wire.settlements(body, symbol, self._clock.now_ns())
            fresh = [funding for funding in page if funding.ts_event > start_ns]
            found += fresh
            if not fresh or len(page) < self.dialect.page:
                break
            start_ns = found[-1].ts_event
        return found

    @property
    def capabilities(self) -> Capabilities:
        """As `Exchange.capabilities`: what the extensions of the seed's dialect give, without the paths that are empty.

        The sandbox keeps ids for ever; a published dialect that lacks the paths lacks the promises.
        """
        paths = self.dialect.paths
        return Capabilities(
            id_scope="for_ever",
            query_by_id=bool(paths.order),
            validity_s=self.dialect.order_validity_s,
            cancel_all=bool(paths.orders),
            dead_man_s=1.0 if paths.orders else 0.0,
            reduce_only=True,
            limit_orders=True,
            private_seq=bool(paths.fills),
        )

    @property
    def private_seq(self) -> int | None:
        """As `Exchange.private_seq`; where no private frame has come yet, that of the first account asked for."""
        return self._stream.known.private_seq

    async def send(self, command: NewOrder | CancelOrder) -> tuple[OrderReport, ...]:
        """As `Exchange.send`: one request, whatever becomes of it."""
        if isinstance(command, NewOrder):
            try:
                body = self._orders.body(command)
            except (FrameError, DataError) as error:
                return (_refusal(command, f"not sent: {error}"),)
            method, path = "POST", self._path("orders")
        else:
            method, path, body = "DELETE", self._path("order", client_order_id=command.client_order_id), None
        try:
            use: Use = "order" if isinstance(command, NewOrder) else "cancel"
            blocked = self.blocked if isinstance(command, NewOrder) else None
            said = await self._rest.once(method, path, use, body=body, blocked=blocked, passage=self.passage)
            answer = self._rest.allowed(said)
        except Unsent as error:
            return (_refusal(command, f"not sent: {error}", sent=False),)
        if answer.status in OK:
            return self._orders.answer(answer.body, command, self._clock.now_ns())
        found = complaint(answer.body)
        if answer.status in REFUSED and found is not None:
            reason = refused(*found, self.dialect.ambiguous, answer.where)
            return (_refusal(command, self._rest.masked(reason)),)
        raise VenueError(self._rest.masked(f"{answer.said}: the order's fate is unknown"))

    def order_wait_s(self) -> float:
        """Seconds until an order may be sent within the venue's limits; 0 where it may be sent now."""
        return self._rest.order_wait_s()

    async def cancel_all(self) -> None:
        """As `Exchange.cancel_all`; repeated until the venue has answered."""
        self._good(await self._rest.delete(self._path("orders")))

    async def dead_man(self, timeout_s: float) -> None:
        """As `Exchange.dead_man`, an extension below the path of orders; a venue that does not have it has none."""
        path = f"{self._path('orders')}/dead-man"
        body = msgspec.json.encode({"timeout_s": timeout_s})
        answer = self._rest.allowed(await self._rest.once("POST", path, "cancel", body=body))
        if answer.status in (404, 405):
            raise VenueRefusal(self._rest.masked(answer.said))
        self._good(answer)

    async def order(self, client_order_id: str) -> OrderState | None:
        """As `Exchange.order`; only the venue's own word that it has never seen it is None."""
        answer = await self._rest.get(self._path("order", client_order_id=client_order_id))
        if answer.status == 404 and (complaint(answer.body) or ("",))[0] == "order_not_found":
            return None
        return self._orders.state(self._good(answer).body, client_order_id, self._clock.now_ns())

    async def open_orders(self) -> list[OrderState]:
        """As `Exchange.open_orders`."""
        return self._orders.states((await self._ask("orders", {"status": "open"})).body, self._clock.now_ns())

    async def fills(self, after: int) -> list[tuple[int, Fill]]:
        """As `Exchange.fills`, in pages."""
        found: list[tuple[int, Fill]] = []
        while True:
            page = self._orders.fills((await self._ask("fills", {"after": after, "limit": self.dialect.page})).body)
            fresh = [row for row in page if row[0] > after]
            found += fresh
            if not fresh or len(page) < self.dialect.page:
                return found
            after = found[-1][0]

    async def account(self) -> VenueAccount:
        """As `Exchange.account`."""
        account = self._orders.account((await self._ask("account")).body, self._clock.now_ns())
        if self._stream.known.private_seq is None:
            self._stream.known.private_seq = account.seq
        return account

    async def _ask(self, name: str, query: Query | None = None, symbol: str = "") -> Answer:
        return self._good(await self._rest.get(self._path(name, symbol), query))

    def _good(self, answer: Answer) -> Answer:
        if answer.status not in OK:
            raise VenueError(self._rest.masked(answer.said))
        return answer

    def _path(self, name: str, symbol: str = "", client_order_id: str = "") -> str:
        path: str = getattr(self.dialect.paths, name)
        if not path:
            raise VenueRefusal(f"dialect {self.dialect.name!r} has no path for {name!r}")
        theirs = quote(self._wire.theirs.get(symbol, symbol), safe="")
        return path.replace("{symbol}", theirs).replace("{client_order_id}", quote(client_order_id, safe=""))


def _refusal(command: NewOrder | CancelOrder, reason: str, sent: bool = True) -> OrderReport:
    kind = Rejected if isinstance(command, NewOrder) else CancelRejected
    return kind(client_order_id=command.client_order_id, ts_event=command.ts_event, reason=reason, sent=sent)
