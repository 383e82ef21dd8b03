"""Orders on Hyperliquid's wire: actions for `/exchange`, and what its answers and statuses say of them. Pure.

Rules. A market order is an "Ioc" limit `SLIP` away from the price it was decided at. A price is rounded to the
exchange's grid towards less risk, never up for a buy. Our order id is hashed into the 16 bytes that the exchange takes
(`cloid`), the same for ever. An answer is refused in two places: for the whole request, and for each order in it.
"""

import hashlib
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from flea_lab.model.instrument import Instrument
from flea_lab.model.limit import limit_ticks
from flea_lab.model.trading import NewOrder
from flea_lab.venue.hyperliquid_grid import price_step
from flea_lab.venue.order_wire import exact
from flea_lab.venue.reading import UNREADABLE, FrameError, explained, read_body, shown

SLIP = Decimal("0.01")
"""How far from the decision's price a market order may fill: a share."""

UNKNOWN_OID = "unknownOid"

Status = Literal["open", "filled", "cancelled", "rejected", "expired"]


class _Named(Struct):
    oid: int


class _Filled(Struct):
    oid: int
    size: Decimal = field(name="totalSz")


class _Row(Struct):
    resting: _Named | None = None
    filled: _Filled | None = None
    error: str | None = None


class OrderRow(Struct):
    """An order as `openOrders` and `orderStatus` list it; `sz` is what is left of `origSz`."""

    coin: str
    oid: int
    sz: Decimal
    size: Decimal = field(name="origSz")
    timestamp: int = 0
    cloid: str | None = None


class _Kept(Struct):
    order: OrderRow
    status: str
    ts_ms: int = field(name="statusTimestamp", default=0)


class _Asked(Struct):
    status: str
    order: _Kept | None = None


class Refused(Exception):
    """The exchange refuses an order or an action, in its own words; nothing was done."""


def cloid_of(client_order_id: str) -> str:
    """The 16 bytes by which the exchange knows our order.

    >>> cloid_of("run-1")
    '0x3bc52de5ba008bce4aed1cb4f343dfea'
    """
    return "0x" + hashlib.blake2b(client_order_id.encode(), digest_size=16).hexdigest()


def order_action(order: NewOrder, asset: int, decimals: int, grid: Instrument, slip: Decimal = SLIP) -> dict[str, Any]:
    """The action that places `order`, a market order at most `slip` beyond its price; `FrameError` for what has no
    price or no size on the exchange's grid."""
    where, buy = f"order {shown(order.client_order_id)}", order.side == "buy"
    if not (0 < order.lots < 2**53 and order.price_ticks > 0):
        raise FrameError(f"{where}: lots = {order.lots}, price_ticks = {order.price_ticks}: must be at least 1")
    if order.order_type not in ("market", "limit"):
        raise FrameError(f"{where}: order_type = {order.order_type!r}: the venue takes market and limit orders")
    market = order.order_type == "market"
    ticks = order.price_ticks if market else limit_ticks(order, grid)
    price = ticks * grid.tick_size
    if market:
        price *= 1 + slip if buy else 1 - slip
    return {
        "type": "order",
        "orders": [
            {
                "a": asset,
                "b": buy,
                "p": plain(rounded(price, decimals, buy)),
                "s": plain(Decimal(exact(order.lots, grid.lot_size))),
                "r": order.reduce_only,
                "t": {"limit": {"tif": "Ioc" if market else "Gtc"}},
                "c": cloid_of(order.client_order_id),
            }
        ],
        "grouping": "na",
    }


def rounded(price: Decimal, decimals: int, buy: bool) -> Decimal:
    """`price` on the exchange's grid, no worse than it was.

    >>> rounded(Decimal("97485.35"), 5, True), rounded(Decimal("97485.35"), 5, False)
    (Decimal('97485'), Decimal('97486'))
    """
    step = price_step(price, decimals)
    return (price / step).to_integral_value(ROUND_FLOOR if buy else ROUND_CEILING) * step


def plain(value: Decimal) -> str:
    """A number as the exchange hashes it: every digit, and no zero at the end.

    >>> plain(Decimal("0.01000")), plain(Decimal("97000")), plain(Decimal("1E+2"))
    ('0.01', '97000', '100')
    """
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def cancel_action(client_order_id: str, asset: int) -> dict[str, Any]:
    """The action that takes one of our orders back."""
    return {"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": cloid_of(client_order_id)}]}


def cancels_action(rows: list[tuple[int, int]]) -> dict[str, Any]:
    """The action that takes orders back, whoever gave them, by asset and the exchange's own id."""
    return {"type": "cancel", "cancels": [{"a": asset, "o": oid} for asset, oid in rows]}


def schedule_action(at_ms: int | None) -> dict[str, Any]:
    """The action that takes everything back at `at_ms`; None disarms."""
    return {"type": "scheduleCancel"} | ({} if at_ms is None else {"time": at_ms})


def statuses(raw: bytes, where: str) -> list[Any]:
    """What an answer says of each part of its action; `Refused` for one that refuses the whole of it."""
    try:
        told = msgspec.json.decode(raw)
    except UNREADABLE as error:
        raise FrameError(explained(error, raw, where)) from None
    if isinstance(told, dict) and told.get("status") == "err":
        raise Refused(shown(str(told.get("response"))))
    try:
        if told["status"] == "ok":
            data = told["response"].get("data") or {}
            found: list[Any] = data.get("statuses", [])
            return found
    except (KeyError, TypeError, AttributeError):
        pass  # told below, as it came
    raise FrameError(f"{where}: {shown(told)}: not an answer of the exchange")


def placed(raw: bytes, where: str) -> tuple[int, bool]:
    """The exchange's id of an order that was placed, and whether it rests; `Refused` for one that was not."""
    found = statuses(raw, where)
    if len(found) != 1:
        raise FrameError(f"{where}: {len(found)} statuses for one order")
    try:
        row = msgspec.convert(found[0], _Row, strict=False)
    except UNREADABLE:
        raise FrameError(f"{where}: {shown(found[0])}: not the status of an order") from None
    if row.error is not None:
        raise Refused(shown(row.error))
    if row.resting is not None:
        return row.resting.oid, True
    if row.filled is not None:
        return row.filled.oid, False
    raise FrameError(f"{where}: {shown(found[0])}: neither rests nor filled")


def open_rows(raw: bytes) -> list[OrderRow]:
    """The rows of an `openOrders`."""
    return read_body(raw, "", list[OrderRow], "openOrders")


def kept(raw: bytes, where: str) -> tuple[OrderRow, Status, str, int] | None:
    """The order of an `orderStatus`: the row, our word and the exchange's for where it stands, and since when (ms);
    None where the exchange has never seen it."""
    told = read_body(raw, "", _Asked, where)
    if told.status == UNKNOWN_OID:
        return None
    if told.order is None:
        raise FrameError(f"{where}: {shown(told.status)}: no order and not unknown")
    one = told.order
    return one.order, status_of(one.status), one.status, one.ts_ms or one.order.timestamp


def status_of(theirs: str) -> Status:
    """Our word for one of theirs: what ends in "Rejected" never traded, what ends in "anceled" was taken off.

    >>> [status_of(one) for one in ("open", "filled", "marginCanceled", "tickRejected", "scheduledCancel")]
    ['open', 'filled', 'cancelled', 'rejected', 'cancelled']
    """
    low = theirs.lower()
    if low in ("open", "triggered"):
        return "open"
    if low == "filled":
        return "filled"
    if low.endswith("rejected"):
        return "rejected"
    if low.endswith(("canceled", "cancelled")) or low == "scheduledcancel":
        return "cancelled"
    raise FrameError(f"status = {shown(theirs)}: nobody knows what that is")
