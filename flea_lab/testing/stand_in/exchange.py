"""A small exchange with Hyperliquid's rules: accounts, positions, orders, executions. Pure; it trusts no client.

Rules. Sizes and prices are exact decimals. A price has at most five significant figures, an order is worth 10 USD at
least unless it only reduces. An order that crosses the mid fills there at once, whole or in the share it is told; what
is left of an "Ioc" is gone, of a "Gtc" rests until the mid reaches it. Every execution is kept, by account, for ever.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal

from flea_lab.venue.hyperliquid_grid import MIN_NOTIONAL_USD, price_step

TAKER, MAKER = Decimal("0.00045"), Decimal("0.00015")
MICRO = Decimal("0.000001")
FIRST_OID, FIRST_TID = 1_000, 500_000

Tif = Literal["Gtc", "Ioc", "Alo"]


class Declined(Exception):
    """The exchange refuses an order, in its own words."""


@dataclass
class Resting:
    """One order. `left` is what has not been filled; `status` as the exchange calls it."""

    oid: int
    coin: str
    buy: bool
    px: Decimal
    sz: Decimal
    left: Decimal
    ts_ms: int
    cloid: str | None = None
    reduce_only: bool = False
    tif: Tif = "Ioc"
    status: str = "open"


@dataclass
class Book:
    """One account: what the exchange calls raw dollars, signed sizes by coin, orders by id, executions in order."""

    raw: Decimal
    held: dict[str, Decimal] = field(default_factory=dict)
    orders: dict[int, Resting] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    funding: list[dict[str, Any]] = field(default_factory=list)
    dead_man_ms: int | None = None

    def open_orders(self) -> list[Resting]:
        """What still rests, oldest first."""
        return [order for order in self.orders.values() if order.status == "open"]


class Exchange:
    """Every account of one exchange; `coins` are the size decimals by name, `now_ms` its clock."""

    def __init__(self, coins: Mapping[str, int], mids: Mapping[str, str], now_ms: Callable[[], int]) -> None:
        self.coins, self.now_ms = dict(coins), now_ms
        self.mids = {coin: Decimal(mid) for coin, mid in mids.items()}
        self.books: dict[str, Book] = {}
        self.executions = 0
        """Orders that were carried out, in whole or in part."""
        self._oid, self._tid = FIRST_OID, FIRST_TID

    def account(self, address: str, usd: str = "100000") -> Book:
        """The account of `address`; opened with `usd` where there is none."""
        return self.books.setdefault(address, Book(Decimal(usd)))

    def move(self, coin: str, mid: str) -> None:
        """Sets the mid of `coin`; what rests and is reached fills at its own price."""
        self.mids[coin] = Decimal(mid)
        self.pass_time()
        for book in self.books.values():
            for order in book.open_orders():
                if order.coin == coin and (order.px >= self.mids[coin] if order.buy else order.px <= self.mids[coin]):
                    self._execute(book, order, order.left, order.px, MAKER)

    def pass_time(self) -> None:
        """Takes back the orders of every account whose dead man's switch has run out."""
        for book in self.books.values():
            if book.dead_man_ms is not None and self.now_ms() >= book.dead_man_ms:
                book.dead_man_ms = None
                for order in book.open_orders():
                    order.status = "scheduledCancel"

    def price(self, coin: str, buy: bool) -> Decimal:
        """What a taker pays: one step away from the mid."""
        mid, step = self.mids[coin], price_step(self.mids[coin], self.coins[coin])
        rounded = (mid / step).to_integral_value(ROUND_CEILING if buy else ROUND_FLOOR) * step
        return rounded + (step if buy else -step)

    def place(
        self,
        address: str,
        coin: str,
        buy: bool,
        px: Decimal,
        sz: Decimal,
        *,
        reduce_only: bool = False,
        tif: Tif = "Ioc",
        cloid: str | None = None,
        share: Decimal = Decimal(1),
    ) -> Resting:
        """The order as it stands after it was placed; `Declined` in the exchange's words. `share` of it fills."""
        book = self.account(address)
        self._check(book, coin, buy, px, sz, reduce_only)
        if cloid is not None and any(order.cloid == cloid for order in book.open_orders()):
            raise Declined("Cannot place order: cloid already in use.")
        crosses = px >= self.price(coin, True) if buy else px <= self.price(coin, False)
        if tif == "Alo" and crosses:
            raise Declined(f"Post only order would have immediately matched, bbo was {self.mids[coin]}")
        if tif == "Ioc" and not crosses:
            raise Declined("Order could not immediately match against any resting orders.")
        self._oid += 1
        order = Resting(self._oid, coin, buy, px, sz, sz, self.now_ms(), cloid, reduce_only, tif)
        book.orders[order.oid] = order
        if crosses:
            step = Decimal(1).scaleb(-self.coins[coin])
            part = max(step, (sz * share / step).to_integral_value(ROUND_FLOOR) * step)
            self._execute(book, order, min(part, sz), self.price(coin, buy), TAKER)
        if tif == "Ioc" and order.status == "open":
            order.status = "canceled"
        return order

    def _check(self, book: Book, coin: str, buy: bool, px: Decimal, sz: Decimal, reduce_only: bool) -> None:
        step, held = Decimal(1).scaleb(-self.coins[coin]), book.held.get(coin, Decimal(0))
        if not (px > 0 and sz > 0) or sz % step:
            raise Declined("Order has invalid size.")
        if px % price_step(px, self.coins[coin]):
            raise Declined("Price must be divisible by tick size.")
        shrinks = held * (1 if buy else -1) < 0
        if reduce_only and not shrinks:
            raise Declined("Reduce only order would increase position.")
        if not abs(px / self.mids[coin] - 1) <= Decimal("0.8"):
            raise Declined("Order price cannot be more than 80% away from the reference price")
        if px * sz < MIN_NOTIONAL_USD and not reduce_only:
            raise Declined("Order must have minimum value of $10.")
        if not shrinks and px * sz > 20 * max(self.value(book), Decimal(0)):
            raise Declined("Insufficient margin to place order.")

    def _execute(self, book: Book, order: Resting, sz: Decimal, px: Decimal, rate: Decimal) -> None:
        before = book.held.get(order.coin, Decimal(0))
        if order.reduce_only:
            sz = min(sz, abs(before))
        signed = sz if order.buy else -sz
        fee = (px * sz * rate).quantize(MICRO)
        book.held[order.coin] = before + signed
        book.raw -= px * signed + fee
        order.left -= sz
        order.status = "filled" if order.left == 0 else order.status
        self._tid += 7_919  # unique, and no counter
        self.executions += 1
        row: dict[str, Any] = {"coin": order.coin, "px": str(px), "sz": str(sz), "side": "B" if order.buy else "A"}
        row |= {"time": self.now_ms(), "startPosition": str(before), "dir": "Open Long", "closedPnl": "0.0"}
        row |= {"hash": "0x0", "oid": order.oid, "crossed": rate == TAKER, "fee": str(fee), "tid": self._tid}
        book.fills.append(row | {"feeToken": "USDC"} | ({"cloid": order.cloid} if order.cloid else {}))

    def value(self, book: Book) -> Decimal:
        """What the account is worth at the mids."""
        return book.raw + sum((size * self.mids[coin] for coin, size in book.held.items()), Decimal(0))

    def fund(self, coin: str, rate: str) -> None:
        """Settles funding with every account, at the mid."""
        for book in self.books.values():
            size = book.held.get(coin, Decimal(0))
            if size:
                usdc = -(size * self.mids[coin] * Decimal(rate)).quantize(MICRO)
                book.raw += usdc
                delta = {"type": "funding", "coin": coin, "usdc": str(usdc), "szi": str(size), "fundingRate": rate}
                book.funding.append({"time": self.now_ms(), "hash": "0x0", "delta": delta})
