"""The wire of Purple Flea's published server, orders only: bodies, answers, and what a refusal proves. Pure.

Rules. An order is a side and an amount in dollars, of which the server makes a size by a price that it remembers for
30 s; it bears no id of ours. A refusal is definite where its words can only come from before the exchange was asked, or
from the exchange's own refusal. Every other is not: the server answers 400 as well when the exchange carried the order
out and the answer to that could not be read. What the account really holds is told by the exchange behind it.
"""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from flea_lab.model.instrument import Instrument
from flea_lab.model.trading import NewOrder
from flea_lab.venue.reading import UNREADABLE, FrameError, explained, read_body, shown

DEFINITE_CODES = frozenset(
    {
        "unauthorized",
        "invalid_key",
        "invalid_request",
        "invalid_size",
        "invalid_side",
        "invalid_leverage",
        "position_too_large",
        "wallet_not_configured",
        "daily_loss_limit_reached",
        "market_not_found",
        "position_not_found",
        "provide position_id",
        "rate_limited",
        "rate_limit_exceeded",
    }
)
"""Codes that are answered before the exchange is asked for anything."""

DEFINITE_TEXTS = (
    "Market not found",
    "No price available",
    "Max leverage for",
    "Position size too small",
    "floatToWire causes rounding",
    "Order error: ",
    "Hyperliquid order rejected: ",
)
"""How the text of a `trade_failed` or `close_failed` begins that proves that nothing was done."""

FAILED = ("trade_failed", "close_failed")

SIZE_MARGIN = Decimal("0.002")
"""Share of an order that is not asked for: the server's price may move between our question and its own use of it, and
an order must not grow by that."""

LEVERAGE = 1


class _Complaint(Struct):
    error: str
    message: str = ""


class _Done(Struct):
    hl_order_id: int | str | None = None


class _Price(Struct):
    price: Decimal


class _Row(Struct):
    coin: str
    side: Literal["long", "short"]
    source: str = ""
    position_id: str | None = None


class _Pending(Struct):
    order_id: str
    coin: str
    size_usd: Decimal = Decimal(0)


class _Wallet(Struct, frozen=True):
    address: str | None = None


class _Account(Struct):
    hl_wallet: _Wallet = _Wallet()


class Refusal(NamedTuple):
    """What an answer that is no success says. `definite`: nothing was done, and nothing will be."""

    definite: bool
    text: str


def refusal_of(status: int, raw: bytes) -> Refusal:
    """What an answer of `status` (not 200 or 201) proves.

    >>> refusal_of(400, b'{"error":"trade_failed","message":"Market not found: XYZ"}').definite
    True
    >>> refusal_of(400, b'{"error":"trade_failed","message":"Unexpected token < is not valid JSON"}').definite
    False
    >>> refusal_of(502, b'<html>').definite
    False
    """
    try:
        said = msgspec.json.decode(raw, type=_Complaint)
    except UNREADABLE:
        return Refusal(False, shown(raw.decode("utf-8", "replace")))
    text = ": ".join(filter(None, (shown(said.error), shown(said.message))))
    if said.error in FAILED:
        return Refusal(400 <= status < 500 and said.message.startswith(DEFINITE_TEXTS), text)
    return Refusal(400 <= status < 500 and status != 408 and said.error in DEFINITE_CODES, text)


def open_body(order: NewOrder, coin: str, grid: Instrument, price: Decimal) -> bytes:
    """The JSON that opens `order` at the server's own `price`, for a little less than its lots; never more."""
    usd = order.lots * grid.lot_size * price * (1 - SIZE_MARGIN)
    asked: dict[str, Any] = {
        "coin": coin,
        "side": "long" if order.side == "buy" else "short",
        "size_usd": float(usd.quantize(Decimal("0.0001"), ROUND_FLOOR)),
        "leverage": LEVERAGE,
    }
    return msgspec.json.encode(asked)


def close_body(position_id: str) -> bytes:
    """The JSON that closes the whole net position behind a row."""
    return msgspec.json.encode({"position_id": position_id})


def order_id(raw: bytes) -> str:
    """The exchange's own id of what was carried out; "" where the answer does not tell it."""
    try:
        found = msgspec.json.decode(raw, type=_Done).hl_order_id
    except UNREADABLE as error:
        fault = explained(error, raw, "trade")
    else:
        return "" if found is None else str(found)
    raise FrameError(fault)


def price_of(raw: bytes, coin: str) -> Decimal:
    """The price that the server sizes orders by; `FrameError` where it is none."""
    price = read_body(raw, "", _Price, f"price of {coin}").price
    if not (price.is_finite() and 0 < price < 10**9):
        raise FrameError(f"price of {coin} = {shown(str(price))}: not a price")
    return price


def rows_of(raw: bytes) -> Mapping[str, tuple[str, str | None]]:
    """By coin the side of the net position, and the row that closes it, where it has one; rows of the server's own
    database are no positions."""
    rows = read_body(raw, "positions", list[_Row], "positions")
    return {row.coin: (row.side, row.position_id) for row in rows if row.source == "hyperliquid"}


def pending_of(raw: bytes) -> list[tuple[str, str]]:
    """Limit orders that the server still watches, id and coin: nobody here gave them."""
    return [(row.order_id, row.coin) for row in read_body(raw, "pending", list[_Pending], "limit orders")]


def address_of(raw: bytes) -> str:
    """The account's address at the exchange behind the server; "" where it has none."""
    return read_body(raw, "", _Account, "account").hl_wallet.address or ""
