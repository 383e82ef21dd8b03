"""A model exchange: it matches, keeps the account, and knows by itself what must never reach it.

Rules. Everything is whole lots, ticks and micro-dollars, and nothing here is taken from the bot's own arithmetic. A
second order under one id, a second order for one intent, an order beyond the limit of its symbol: each is accepted, as
a careless venue would, and is a violation at that very moment. What is told of the account is numbered frame by frame.
"""

from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from typing import Literal, NamedTuple

from flea_lab.clock import Dice
from flea_lab.model.trading import Accepted, Cancelled, Expired, Fill, Filled, NewOrder, OrderReport
from flea_lab.sim.loop import SimLoop
from flea_lab.sim.market import UNIT_UUSD, Market
from flea_lab.sim.swarm import Swarm
from flea_lab.venue.protocol import OrderState, VenueAccount

FEE_BPS = 5
RESTS = 0.35
"""Share of limit orders that nobody trades with."""

AT_ONCE = 0.5
"""Share of orders that are filled before they are acknowledged which are filled whole then."""

LAG_S = 2.0
"""For how long a question may not see an order yet, where reads lag."""

OrderStatus = Literal["open", "filled", "cancelled", "expired"]
Frame = tuple[int, OrderReport]
PER_SECOND, PER_MINUTE = 20, 600
"""Requests that it allows; over that they are answered with 429, and who goes on is shut out."""

PATIENCE = 3
"""Answers of 429 within `FORGIVEN_S` after which it would shut out."""

FORGIVEN_S = 10.0

Violate = Callable[[str, str], None]
"""Takes the invariant and what broke it."""


class Refusal(NamedTuple):
    """A definite no: nothing was done."""

    code: str


class Standing:
    """One order as the exchange has it; `sign` +1 buys, -1 sells."""

    def __init__(self, name: str, symbol: str, sign: int, lots: int, ticks: int, at_s: float) -> None:
        self.name, self.symbol, self.sign, self.lots, self.ticks, self.at_s = name, symbol, sign, lots, ticks, at_s
        self.filled = 0
        self.status: OrderStatus = "open"
        self.ends_s = -1.0
        self.market = False

    @property
    def left(self) -> int:
        """Lots that may still fill."""
        return self.lots - self.filled if self.status == "open" else 0


class ModelExchange:
    """One account at one venue. `listen` hears every private frame; `accepted` and `traded` look on."""

    def __init__(
        self, loop: SimLoop, dice: Dice, swarm: Swarm, market: Market, cash_uusd: int, violate: Violate
    ) -> None:
        self._loop, self._dice, self._swarm, self._market, self._violate = loop, dice, swarm, market, violate
        self.cash_uusd, self.fees_uusd = cash_uusd, 0
        self.lots: Counter[str] = Counter()
        self.orders: list[Standing] = []
        self.by_name: dict[str, list[Standing]] = {}
        self.foreign: set[str] = set()
        self.frames: list[Frame] = []
        self.fills_told: list[tuple[int, Fill]] = []
        self.filled_by: Counter[str] = Counter()
        self.listen: Callable[[Frame], None] = lambda _: None
        self.accepted: Callable[[Standing], None] = lambda _: None
        self.most_uusd = 0
        """What one symbol may be worth at most, 0 for no limit."""
        self.armed_until_s = -1.0
        self.outages: list[tuple[float, float]] = []
        self.deaf_until_s = self.blind_until_s = self.listed_s = -1.0
        self._armings = self.lapses = 0
        self._asked_s: deque[float] = deque()
        self._scolded_s: deque[float] = deque(maxlen=PATIENCE)

    @property
    def now_ns(self) -> int:
        """The venue's time."""
        return self._market.start_ns + round(self._loop.time() * 1e9)

    # ---- what is asked of it

    def too_many(self) -> bool:
        """Whether the request that arrives now is one more than it allows; counted."""
        now, asked = self._loop.time(), self._asked_s
        asked.append(now)
        while asked[0] <= now - 60.0:
            asked.popleft()
        last = sum(1 for at in reversed(asked) if at > now - 1.0) if len(asked) > PER_SECOND else 0
        if last <= PER_SECOND and len(asked) <= PER_MINUTE:
            return False
        self._scolded_s.append(now)
        if len(self._scolded_s) == PATIENCE and now - self._scolded_s[0] < FORGIVEN_S:
            self._violate("C7", f"{last} requests within a second, {len(asked)} within a minute: shut out")
        return True

    @property
    def down(self) -> bool:
        """Whether it carries nothing out at the moment: it is being worked on."""
        now_s = self._loop.time()
        return any(from_s <= now_s < to_s for from_s, to_s in self.outages)

    @property
    def deaf(self) -> bool:
        """Whether it carries out what is asked, and says of all of it that it failed."""
        return self._loop.time() < self.deaf_until_s and not self._swarm.quiet

    @property
    def blind(self) -> bool:
        """Whether it takes orders and cancels, and can say nothing of the account."""
        return self._loop.time() < self.blind_until_s and not self._swarm.quiet

    def place(self, order: NewOrder, valid_until_ns: int) -> OrderState | Refusal:
        """Takes a new order."""
        if self.now_ns > valid_until_ns:
            return Refusal("expired_request")
        if not (isinstance(order.lots, int) and order.lots >= 1 and order.price_ticks >= 1):
            self._violate("G1", f"order {order.client_order_id} of {order.lots} lots at {order.price_ticks} ticks")
            return Refusal("invalid_size")
        known = self.by_name.get(order.client_order_id, [])
        if any(one.status == "open" for one in known):
            return Refusal("client_order_id_conflict")
        if known:
            self._violate("A1", f"order {order.client_order_id} was accepted a second time")
        sign = 1 if order.side == "buy" else -1
        one = Standing(order.client_order_id, order.symbol, sign, order.lots, order.price_ticks, self._loop.time())
        one.market = order.order_type == "market"
        self._take(one)
        return self._state(one)

    def place_foreign(self, name: str, symbol: str, sign: int, lots: int, *, trades: bool) -> None:
        """An order that somebody else gives on this account; it trades at once, or rests."""
        one = Standing(name, symbol, sign, lots, self._market.ticks[symbol] - 500 * sign, self._loop.time())
        one.market = trades
        self.foreign.add(name)
        self.orders.append(one)
        self.by_name.setdefault(name, []).append(one)
        self._tell(Accepted(client_order_id=name, ts_event=self.now_ns))
        if trades:
            self._trade(one, lots)

    def cancel(self, name: str) -> OrderState | Refusal:
        """Takes an order back; a part of it may trade at that very moment."""
        known = self.by_name.get(name)
        if not known:
            return Refusal("order_not_found")
        one = known[-1]
        if one.status != "open":
            return Refusal("order_not_open")
        self._end(one, "cancelled")
        return self._state(one)

    def cancel_all(self) -> None:
        """Takes every open order back."""
        for one in self.orders:
            if one.status == "open":
                self._end(one, "cancelled")

    def dead_man(self, timeout_s: float) -> None:
        """Sets the dead man's switch; 0 disarms it."""
        self._armings += 1
        self.armed_until_s = self._loop.time() + timeout_s if timeout_s > 0.0 else -1.0
        if timeout_s > 0.0:
            self._loop.call_later(timeout_s, self._lapse, self._armings, context=Context())

    def _lapse(self, arming: int) -> None:
        if arming == self._armings:
            self.armed_until_s = -1.0
            self.lapses += 1
            self.cancel_all()

    def order(self, name: str) -> OrderState | None:
        """One order; None where it is not known, not seen yet, or forgotten after its end."""
        known, now = self.by_name.get(name), self._loop.time()
        if not known:
            return None
        one = known[-1]
        if not self._swarm.quiet:
            if now - one.at_s < LAG_S and self._swarm.hits("read.lag"):
                return None
            if one.status != "open" and now - one.ends_s > 5.0 and self._swarm.hits("read.forgets"):
                return None
        return self._state(one)

    def open_orders(self) -> list[OrderState]:
        """Every open order."""
        self.listed_s = self._loop.time()
        return [self._state(one) for one in self.orders if one.status == "open"]

    def fills(self, after: int) -> list[tuple[int, Fill]]:
        """Every fill beyond frame `after`."""
        return [row for row in self.fills_told if row[0] > after]

    def account(self) -> VenueAccount:
        """The account."""
        worth = sum(lots * self._market.ticks[symbol] * UNIT_UUSD for symbol, lots in self.lots.items())
        return VenueAccount(
            ts_event=self.now_ns,
            cash_uusd=self.cash_uusd,
            equity_uusd=self.cash_uusd + worth,
            fees_uusd=self.fees_uusd,
            funding_uusd=0,
            lots={symbol: lots for symbol, lots in self.lots.items() if lots},
            seq=len(self.frames),
        )

    # ---- what it does

    def _take(self, one: Standing) -> None:
        self.orders.append(one)
        self.by_name.setdefault(one.name, []).append(one)
        self._require_limit(one)
        if self._swarm.hits("private.fill_first") or (self.blind and self._dice.random() < AT_ONCE):
            self._trade(one, one.lots if self._dice.random() < AT_ONCE else self._dice.randint(1, one.lots))
        self._tell(Accepted(client_order_id=one.name, ts_event=self.now_ns, venue_order_id=str(len(self.orders))))
        self.accepted(one)
        if one.market:
            slow = self._swarm.hits("request.slow_match")
            self._later(self._dice.uniform(2.0, 5.0) if slow else self._dice.uniform(0.0, 0.3), one)
        elif self._dice.random() >= RESTS:
            self._later(self._dice.uniform(0.05, 1.5), one)
        elif self._dice.random() < 0.1:
            self._loop.call_later(self._dice.uniform(0.5, 3.0), self._expire, one, context=Context())

    def _later(self, seconds: float, one: Standing) -> None:
        self._loop.call_later(seconds, self._match, one, context=Context())

    def _match(self, one: Standing) -> None:
        if one.status != "open":
            return
        lots = one.left if self._dice.random() < 0.5 else self._dice.randint(1, one.left)
        more = self._dice.randint(1, 9) if lots == one.left and self._swarm.hits("private.overfill") else 0
        self._trade(one, lots + more)
        if one.status == "open":
            self._later(self._dice.uniform(0.05, 0.3 if one.market else 1.5), one)

    def _expire(self, one: Standing) -> None:
        if one.status == "open":
            self._end(one, "expired")

    def _trade(self, one: Standing, lots: int, told: bool = True) -> Fill:
        ticks = self._market.ticks[one.symbol] + one.sign if one.market else one.ticks
        value = lots * ticks * UNIT_UUSD
        fee = value * FEE_BPS // 10_000
        one.filled += lots
        self.filled_by[one.name] += lots
        self.lots[one.symbol] += one.sign * lots
        self.cash_uusd -= one.sign * value + fee
        self.fees_uusd += fee
        if one.filled >= one.lots:
            one.status, one.ends_s = "filled", self._loop.time()
        fill = Fill(
            client_order_id=one.name,
            ts_event=self.now_ns,
            symbol=one.symbol,
            side="buy" if one.sign > 0 else "sell",
            lots=lots,
            price_ticks=ticks,
            fee_uusd=fee,
            reference_ticks=ticks,
            fill_id=f"t{len(self.fills_told) + 1}",
        )
        held = abs(self.lots[one.symbol]) * ticks * UNIT_UUSD
        if self.most_uusd and held > self.most_uusd and self.lots[one.symbol] * one.sign > 0:
            self._violate(
                "C4", f"{one.symbol} is worth {held / 1e6:.0f} USD, at most {self.most_uusd / 1e6:.0f} may be"
            )
        if told:
            over = one.status == "filled"
            filled = Filled(client_order_id=one.name, ts_event=self.now_ns)
            first = over and self._swarm.hits("private.status_first")
            if first:
                self._tell(filled)
            self._tell_fill(fill)
            if over and not first:
                self._tell(filled)
        return fill

    def _end(self, one: Standing, how: OrderStatus) -> None:
        """Ends an open order; where both happen at once, the end may be told before the fill."""
        fill = None
        if one.left > 1 and self._swarm.hits("private.cancel_race"):
            fill = self._trade(one, self._dice.randint(1, one.left - 1), told=False)
        one.status, one.ends_s = how, self._loop.time()
        kind = Cancelled if how == "cancelled" else Expired
        said = kind(client_order_id=one.name, ts_event=self.now_ns, filled_lots=one.filled)
        if fill is not None and not self._swarm.hits("private.status_first"):
            self._tell_fill(fill)
            fill = None
        self._tell(said)
        if fill is not None:
            self._tell_fill(fill)

    def _require_limit(self, one: Standing) -> None:
        """The worst that may become of the symbol, should all that is open on this side fill."""
        held = self.lots[one.symbol]
        side = sum(other.left for other in self.orders if other.symbol == one.symbol and other.sign == one.sign)
        worst = abs(held + one.sign * side) * one.ticks * UNIT_UUSD
        if self.most_uusd and worst > self.most_uusd and abs(held + one.sign * side) > abs(held):
            more = f"{held} lots and {one.sign * side} open are worth {worst / 1e6:.0f} USD"
            self._violate("C4", f"{one.symbol}: {more}, at most {self.most_uusd / 1e6:.0f} may be")

    def _tell(self, said: OrderReport) -> None:
        frame = len(self.frames) + 1, said
        self.frames.append(frame)
        self.listen(frame)

    def _tell_fill(self, fill: Fill) -> None:
        self.fills_told.append((len(self.frames) + 1, fill))
        self._tell(fill)

    def _state(self, one: Standing) -> OrderState:
        return OrderState(
            client_order_id=one.name,
            symbol=one.symbol,
            status=one.status,
            lots=one.lots,
            filled_lots=one.filled,
            ts_event=self.now_ns,
        )
