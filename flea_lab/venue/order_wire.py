"""Orders, fills and the account on the wire: lots and ticks into exact decimals and back. Pure."""

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import msgspec
from msgspec import Struct

from flea_lab.errors import VenueError
from flea_lab.model.instrument import MICRO, Instrument
from flea_lab.model.limit import limit_ticks
from flea_lab.model.market import MS_NS, Side
from flea_lab.model.trading import (
    Accepted,
    Cancelled,
    CancelOrder,
    Expired,
    Fill,
    Filled,
    NewOrder,
    OrderReport,
    Rejected,
)
from flea_lab.venue.protocol import OrderState, VenueAccount
from flea_lab.venue.reading import UNREADABLE, FrameError, read_body, shown
from flea_lab.venue.shapes import Number
from flea_lab.venue.wire import Wire

Status = Literal["open", "filled", "cancelled", "rejected", "expired"]

CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST = 40
LARGEST = 2**62


class _Order(Struct):
    symbol: str
    status: Status
    size: Decimal
    client_order_id: str | None = None
    filled: Decimal = Decimal(0)
    order_id: str | int | None = None
    reason: str | None = None
    created: Number | None = None
    updated: Number | None = None


class _Fill(Struct):
    fill_id: str | int
    client_order_id: str | None
    symbol: str
    side: Side
    price: Decimal
    size: Decimal
    fee: Decimal
    ts: Number
    reference: Decimal | None = None
    seq: int | None = None


class _Position(Struct):
    symbol: str
    size: Decimal


class _Account(Struct):
    cash: Decimal
    equity: Decimal
    positions: list[_Position]
    fees_paid: Decimal = Decimal(0)
    funding_paid: Decimal = Decimal(0)
    seq: int | None = None
    ts: Number | None = None


class _Complaint(Struct):
    error: str
    message: str = ""


def complaint(raw: bytes) -> tuple[str, str] | None:
    """The code and the text of an error body; None for a body that is no error of this venue."""
    try:
        said = msgspec.json.decode(raw, type=_Complaint)
    except UNREADABLE:
        return None
    return (said.error, said.message) if said.error else None


class OrderWire:
    """The order side of one dialect; numbers are whole lots, ticks and micro-dollars on our side."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._order = msgspec.json.Decoder(_Order, strict=False)
        self._fill = msgspec.json.Decoder(_Fill, strict=False)
        wire.reads("orders", self.order_frame)
        wire.reads("fills", lambda data, symbol, _: self.fill_frame(data, symbol))

    def body(self, order: NewOrder) -> bytes:
        """The JSON that places `order`, in exact decimals; `FrameError` for what the wire has no words for."""
        where = f"order {shown(order.client_order_id)}"
        if not CLIENT_ORDER_ID.fullmatch(order.client_order_id):
            raise FrameError(f"{where}: a client order id has 1 to 64 of A-Z, a-z, 0-9, _ and -")
        if order.order_type not in ("market", "limit"):
            raise FrameError(f"{where}: order_type = {order.order_type!r}: the venue takes market and limit orders")
        if not 0 < order.lots <= LARGEST:
            raise FrameError(f"{where}: lots = {order.lots}: must be at least 1")
        grid = self._grid(order.symbol, where)
        asked: dict[str, Any] = {
            "client_order_id": order.client_order_id,
            "symbol": self._wire.theirs.get(order.symbol, order.symbol),
            "side": order.side,
            "type": order.order_type,
            "size": exact(order.lots, grid.lot_size),
        }
        if order.order_type == "limit":
            asked |= {"limit_price": exact(limit_ticks(order, grid), grid.tick_size), "tif": "gtc"}
        if order.reduce_only:
            asked["reduce_only"] = True
        if self._wire.dialect.order_validity_s:
            asked["valid_until"] = order.ts_event // MS_NS + round(self._wire.dialect.order_validity_s * 1_000)
        return msgspec.json.encode(asked)

    def order_frame(self, data: bytes, symbol: str, ts: int) -> OrderReport | None:
        """What a frame of the channel `orders` says."""
        order = self._order.decode(data)
        self._same(order.symbol, symbol)
        reports = self._reports(order, ts)
        return reports[-1] if reports else None

    def fill_frame(self, data: bytes, symbol: str) -> Fill:
        """What a frame of the channel `fills` says."""
        fill = self._fill.decode(data)
        self._same(fill.symbol, symbol)
        return self._filled(fill, symbol)

    def answer(self, raw: bytes, command: NewOrder | CancelOrder, now_ns: int) -> tuple[OrderReport, ...]:
        """What the answer to `command` says of its order; `FrameError` for an answer about another one."""
        said = self._said(raw, command.client_order_id)
        reports = self._reports(said, now_ns)
        if isinstance(command, NewOrder) and said.status in ("filled", "cancelled", "expired"):
            ts = self._ts(said, now_ns)
            accepted = Accepted(client_order_id=command.client_order_id, ts_event=ts, venue_order_id=_id(said))
            return (accepted, *reports)
        return reports

    def state(self, raw: bytes, client_order_id: str, now_ns: int) -> OrderState:
        """The order that was asked for."""
        return self._state(self._said(raw, client_order_id), now_ns)

    def states(self, raw: bytes, now_ns: int) -> list[OrderState]:
        """Every order of the answer."""
        return [self._state(row, now_ns) for row in read_body(raw, "orders", list[_Order], "orders")]

    def fills(self, raw: bytes) -> list[tuple[int, Fill]]:
        """Every fill of the answer with its private sequence number, rising."""
        found: list[tuple[int, Fill]] = []
        for place, row in enumerate(read_body(raw, "fills", list[_Fill], "fills")):
            where = f"fills: row {place}: {shown(row.symbol)}: "
            if row.seq is None or (found and not row.seq > found[-1][0]):
                raise FrameError(f"{where}seq = {row.seq}: must be there and rise")
            found.append((row.seq, self._filled(row, self._ours(row.symbol), where)))
        return found

    def account(self, raw: bytes, now_ns: int) -> VenueAccount:
        """The account of the answer."""
        row = read_body(raw, "", _Account, "account")
        lots = {
            self._ours(p.symbol): self._lots(p.size, self._ours(p.symbol), f"account: {p.symbol}: size", signed=True)
            for p in row.positions
        }
        return VenueAccount(
            ts_event=now_ns if row.ts is None else self._wire.ns(row.ts, "account: ts"),
            cash_uusd=uusd(row.cash, "account: cash"),
            equity_uusd=uusd(row.equity, "account: equity"),
            fees_uusd=uusd(row.fees_paid, "account: fees_paid"),
            funding_uusd=uusd(row.funding_paid, "account: funding_paid"),
            lots={symbol: held for symbol, held in lots.items() if held},
            seq=row.seq,
        )

    def _same(self, theirs: str, symbol: str) -> None:
        if self._ours(theirs) != symbol:
            raise FrameError(f"symbol = {shown(theirs)}: the frame is about {symbol}")

    def _said(self, raw: bytes, client_order_id: str) -> _Order:
        said = read_body(raw, "order", _Order, f"order {client_order_id}")
        if said.client_order_id != client_order_id:
            raise FrameError(f"order {client_order_id}: the answer is about {shown(said.client_order_id)}")
        return said

    def _reports(self, order: _Order, now_ns: int) -> tuple[OrderReport, ...]:
        name, ts = order.client_order_id or "", self._ts(order, now_ns)
        match order.status:
            case "open":
                return (Accepted(client_order_id=name, ts_event=ts, venue_order_id=_id(order)),)
            case "cancelled":
                return (Cancelled(client_order_id=name, ts_event=ts, filled_lots=self._filled_lots(order)),)
            case "rejected":
                return (Rejected(client_order_id=name, ts_event=ts, reason=shown(order.reason or "")),)
            case "expired":
                return (Expired(client_order_id=name, ts_event=ts, filled_lots=self._filled_lots(order)),)
        return (Filled(client_order_id=name, ts_event=ts),)

    def _filled_lots(self, order: _Order) -> int:
        symbol = self._ours(order.symbol)
        return self._lots(order.filled, symbol, f"orders {symbol}: filled")

    def _state(self, order: _Order, now_ns: int) -> OrderState:
        symbol = self._ours(order.symbol)
        return OrderState(
            client_order_id=order.client_order_id or "",
            symbol=symbol,
            status=order.status,
            lots=self._lots(order.size, symbol, f"orders {symbol}: size"),
            filled_lots=self._lots(order.filled, symbol, f"orders {symbol}: filled"),
            ts_event=self._ts(order, now_ns),
            reason=shown(order.reason or ""),
        )

    def _filled(self, fill: _Fill, symbol: str, where: str = "") -> Fill:
        grid = self._grid(symbol, where)
        ticks = steps(fill.price, grid.tick_size, f"{where}price")
        lots = self._lots(fill.size, symbol, f"{where}size")
        reference = fill.price if fill.reference is None else fill.reference
        if not (ticks > 0 and lots > 0):
            raise FrameError(f"{where}price = {fill.price}, size = {fill.size}: must be above 0")
        if not str(fill.fill_id):
            raise FrameError(f"{where}fill_id is empty: a repeated fill could not be told")
        return Fill(
            client_order_id=fill.client_order_id or "",
            ts_event=self._wire.ns(fill.ts, "ts"),
            symbol=symbol,
            side=fill.side,
            lots=lots,
            price_ticks=ticks,
            fee_uusd=uusd(fill.fee, f"{where}fee"),
            reference_ticks=steps(reference, grid.tick_size, f"{where}reference"),
            fill_id=str(fill.fill_id),
        )

    def _ts(self, order: _Order, now_ns: int) -> int:
        stamp = order.updated if order.updated is not None else order.created
        return now_ns if stamp is None else self._wire.ns(stamp, "updated")

    def _ours(self, symbol: str) -> str:
        return self._wire.ours.get(symbol, symbol)

    def _grid(self, symbol: str, where: str) -> Instrument:
        grids: Mapping[str, Instrument] = self._wire.instruments
        if symbol not in grids:
            raise FrameError(f"{where}: {shown(symbol)} has no instrument here, its sizes cannot be read")
        return grids[symbol]

    def _lots(self, size: Decimal, symbol: str, name: str, signed: bool = False) -> int:
        grid = self._grid(symbol, name)
        lots = steps(size, grid.lot_size, name)
        if lots < 0 and not signed:
            raise FrameError(f"{name} = {size}: must not be negative")
        return lots


def exact(count: int, step: Decimal) -> str:
    """`count` steps as a plain decimal, every digit.

    >>> exact(970001, Decimal("0.1"))
    '97000.1'
    """
    _, digits, exponent = step.as_tuple()
    whole = count * int("".join(map(str, digits)))
    return format(Decimal(whole).scaleb(int(exponent)) if exponent else Decimal(whole), "f")


def steps(value: Decimal, step: Decimal, where: str) -> int:
    """How many whole steps `value` is; `FrameError` where it is not a number or not on the grid.

    >>> steps(Decimal("97000.1"), Decimal("0.1"), "a doctest")
    970001
    """
    if not _plain(value):
        raise FrameError(f"{where} = {shown(str(value))}: not a number that money is counted in")
    count = Fraction(value) / Fraction(step)
    if count.denominator != 1:
        raise FrameError(f"{where} = {value}: not a multiple of {step}")
    if not abs(count.numerator) <= LARGEST:
        raise FrameError(f"{where} = {value}: beyond 64 bits in steps of {step}")
    return count.numerator


def uusd(value: Decimal, where: str) -> int:
    """Micro-dollars, to the nearest; `FrameError` where `value` is no money."""
    if not _plain(value) or not abs(value) < LARGEST // MICRO:
        raise FrameError(f"{where} = {shown(str(value))}: not a number that money is counted in")
    return round(Fraction(value) * MICRO)


def _plain(value: Decimal) -> bool:
    return value.is_finite() and -LONGEST < value.adjusted() < LONGEST and len(value.as_tuple().digits) <= LONGEST


def _id(order: _Order) -> str:
    return "" if order.order_id is None else str(order.order_id)


def refused(code: str, text: str, ambiguous: tuple[str, ...], where: str) -> str:
    """The reason of a definite refusal; `VenueError` for a code that does not say that nothing was done."""
    if code in ambiguous or code == "client_order_id_conflict":
        raise VenueError(f"{where}: answered {shown(code)} ({shown(text)}), which leaves the order's fate open")
    return f"{shown(code)}: {shown(text)}" if text else shown(code)
