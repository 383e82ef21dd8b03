"""The JSON of a sandbox, both ways (pure): what is read from a client, and how things look to one.

Public numbers are JSON numbers, floats by their shortest form. Everything on the side of orders and money is a decimal
string. Times are ms UTC.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from msgspec import Meta, Struct

from flea_lab.ledger import COST, FEES, FUNDING, LOTS
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Funding, Trade
from flea_lab.sandbox.exchange import Customer, SandboxExchange
from flea_lab.sandbox.order import MICRO, Denied, Event, Execution, Order, OrderRequest

Json = dict[str, Any]
Names = Annotated[list[str], Meta(max_length=200)]
MAX_ROWS = 5_000


class Subscribe(Struct, frozen=True, tag_field="action", tag="subscribe"):
    """Send me these, from now on. `ack`: wait for me after every heartbeat."""

    channels: Names
    symbols: Names
    ack: bool = False
    book: str = "snapshot"


class Unsubscribe(Struct, frozen=True, tag_field="action", tag="unsubscribe"):
    """No more of these channels."""

    channels: Names


class Ack(Struct, frozen=True, tag_field="action", tag="ack"):
    """Everything up to `ts` has been worked off."""

    ts: int


class Claim(Struct, frozen=True):
    """A wish for a funded account."""

    agent_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,40}\Z")] = "agent"
    amount_usd: Annotated[float, Meta(gt=0.0, le=1e9)] | None = None


class Frame(NamedTuple):
    """One push. `account_id` is empty for what everybody may see."""

    channel: str
    symbol: str
    seq: int
    ts_ms: int
    data: Json
    account_id: str = ""

    def encode(self) -> bytes:
        """The frame on the wire."""
        return orjson.dumps(
            {"channel": self.channel, "symbol": self.symbol, "seq": self.seq, "ts": self.ts_ms, "data": self.data}
        )


_ORDER = msgspec.json.Decoder(OrderRequest)
_SAID = msgspec.json.Decoder(Subscribe | Unsubscribe | Ack)
_CLAIM = msgspec.json.Decoder(Claim)
_BLAME = {"$.size": "invalid_size", "$.size_usd": "invalid_size", "$.limit_price": "invalid_price"}


def read_order(body: bytes) -> OrderRequest | Denied:
    """The order that a request asks for."""
    try:
        return _ORDER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        at = re.search(r"`(\$[^`]*)`$", str(error))
        return Denied(400, _BLAME.get(at.group(1) if at else "", "invalid_request"), _line(error))


def read_claim(body: bytes) -> Claim | Denied:
    """The faucet claim in a request; an empty body is one."""
    try:
        return _CLAIM.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Denied(400, "invalid_request", _line(error))


def read_said(frame: str) -> Subscribe | Unsubscribe | Ack | Denied:
    """What a client said on its socket."""
    try:
        return _SAID.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        return Denied(400, "invalid_frame", _line(error))


def read_number(query: Mapping[str, str], name: str, default: int | None, limit: int) -> int | Denied | None:
    """A whole number from 0 to `limit` in a query string."""
    text = query.get(name)
    if text is None:
        return default
    if not (re.fullmatch(r"[0-9]{1,16}", text) and int(text) <= limit):
        return Denied(400, f"invalid_{name}", f"{name} = {text[:40]!r} is not a whole number from 0 to {limit}")
    return int(text)


def read_limit(query: Mapping[str, str], default: int) -> int | Denied:
    """How many rows are asked for, 1 to 5000."""
    limit = read_number(query, "limit", default, MAX_ROWS)
    if not isinstance(limit, int) or limit < 1:
        return Denied(400, "invalid_limit", f"limit = {query.get('limit', '')[:40]!r} is not from 1 to {MAX_ROWS}")
    return limit


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def error_json(code: str, message: str) -> Json:
    """The body of every error."""
    return {"error": code, "message": message}


def money(uusd: int) -> str:
    """Micro-dollars in dollars.

    >>> money(-1_500_000)
    '-1.500000'
    """
    return f"{'-' if uusd < 0 else ''}{abs(uusd) // MICRO}.{abs(uusd) % MICRO:06d}"


def size(lots: int, grid: Instrument) -> str:
    """Lots (signed) in base units."""
    return format(lots * grid.lot_size, "f")


def price(ticks: int, grid: Instrument) -> str:
    """Ticks in quote currency."""
    return format(ticks * grid.tick_size, "f")


def candle_json(candle: Candle, interval_ms: int) -> Json:
    """A candle's push."""
    data = bar_json(
        candle.ts_event // MS_NS - interval_ms,
        [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.buy_volume],
    )
    data["complete"] = candle.complete
    return data


def bar_json(open_ms: int, row: list[float]) -> Json:
    """A candle of history."""
    data = {"t": open_ms, "o": row[0], "h": row[1], "l": row[2], "c": row[3], "v": row[4]}
    if not math.isnan(row[5]):
        data["bv"] = row[5]
    return data


def funding_json(funding: Funding, close: float, hours: int) -> Json:
    """A settlement; the next rate is not known, the last is the best guess."""
    ts, mark = funding.ts_event // MS_NS, None if math.isnan(close) else close
    return {
        "t": ts,
        "rate": funding.rate,
        "predicted_rate": funding.rate,
        "interval_hours": hours,
        "next_funding_ts": ts + hours * 3_600_000,
        "mark": mark,
        "oracle": mark,
        "settled": True,
    }


def trade_json(trade: Trade) -> Json:
    """A print; `side` is the aggressor's."""
    ts = trade.ts_event // MS_NS
    return {"id": trade.trade_id, "price": trade.price, "size": trade.qty, "side": trade.side, "ts": ts}


def book_json(book: BookSnapshot) -> Json:
    """The whole book, best first."""
    return {"type": "snapshot", "bids": book.bids[:20], "asks": book.asks[:20]}


def delta_json(before: Json, after: Json) -> Json:
    """What turns one book into the next; size 0 removes a level."""
    return {"type": "delta", **{side: _changes(before[side], after[side]) for side in ("bids", "asks")}}


def _changes(before: Any, after: Any) -> list[tuple[float, float]]:
    old, new = dict(before), dict(after)
    gone = [(level, 0.0) for level in old if level not in new]
    return gone + [(level, amount) for level, amount in new.items() if old.get(level) != amount]


def order_json(order: Order, grid: Instrument) -> Json:
    """An order; a reason only where there is one."""
    request = order.request
    data = {
        "client_order_id": order.client_order_id,
        "order_id": order.order_id,
        "symbol": request.symbol,
        "side": request.side,
        "type": request.type,
        "size": size(order.lots, grid),
        "filled": size(order.filled, grid),
        "limit_price": None if order.limit_ticks is None else price(order.limit_ticks, grid),
        "tif": order.tif,
        "reduce_only": request.reduce_only,
        "status": order.status,
        "created": order.created_ns // MS_NS,
        "updated": order.updated_ns // MS_NS,
    }
    return {**data, "reason": order.reason} if order.reason else data


def fill_json(done: Execution, grid: Instrument) -> Json:
    """An execution."""
    fill = done.fill
    return {
        "fill_id": fill.fill_id,
        "client_order_id": fill.client_order_id,
        "order_id": done.order.order_id,
        "symbol": fill.symbol,
        "side": fill.side,
        "price": price(fill.price_ticks, grid),
        "size": size(fill.lots, grid),
        "fee": money(fill.fee_uusd),
        "liquidity": done.liquidity,
        "reference": price(fill.reference_ticks, grid),
        "ts": fill.ts_event // MS_NS,
    }


def event_frame(event: Event, instruments: Mapping[str, Instrument]) -> Frame:
    """An account's event as its push."""
    what = event.what
    if isinstance(what, Execution):
        symbol = what.fill.symbol
        channel, data = "fills", fill_json(what, instruments[symbol])
    else:
        symbol = what.request.symbol
        channel, data = "orders", order_json(what, instruments[symbol])
    return Frame(channel, symbol, event.seq, event.ts_ns // MS_NS, data, event.account_id)


def positions_json(customer: Customer, exchange: SandboxExchange) -> list[Json]:
    """Positions that are not flat, in the order of the symbols."""
    found = []
    for row, symbol in zip(customer.ledger.book.tolist(), exchange.symbols, strict=True):
        if row[LOTS]:
            grid, ticks = exchange.instruments[symbol], exchange.marks[symbol]
            entry = Decimal(row[COST]) / MICRO / (row[LOTS] * grid.lot_size)
            found.append(
                {
                    "symbol": symbol,
                    "size": size(row[LOTS], grid),
                    "entry_price": format(round(entry, 10).normalize(), "f"),
                    "mark": price(ticks, grid),
                    "unrealised": money(exchange.worth_uusd(symbol, row[LOTS]) - row[COST]),
                }
            )
    return found


def account_json(customer: Customer, exchange: SandboxExchange, now_ms: int) -> Json:
    """The account. `balance` is cash with open positions at cost, `cash` the ledger's: what was bought is paid for."""
    ledger = customer.ledger
    equity, gross = int(ledger.equity_uusd()), exchange.gross_uusd(customer)
    used = math.ceil(gross / exchange.leverage)
    return {
        "account_id": customer.account_id,
        "balance": money(int(ledger.cash_uusd + ledger.book[:, COST].sum())),
        "cash": money(int(ledger.cash_uusd)),
        "equity": money(equity),
        "used_margin": money(used),
        "available": money(equity - used),
        "fees_paid": money(int(ledger.book[:, FEES].sum())),
        "funding_paid": money(int(ledger.book[:, FUNDING].sum())),
        "positions": positions_json(customer, exchange),
        "seq": len(customer.events),
        "ts": now_ms,
    }


def instrument_json(symbol: str, grid: Instrument) -> Json:
    """A grid."""
    return {
        "symbol": symbol,
        "tick_size": format(grid.tick_size, "f"),
        "lot_size": format(grid.lot_size, "f"),
        "min_notional_usd": format(grid.min_notional_usd, "f"),
        "funding_interval_h": grid.funding_interval_h,
    }
