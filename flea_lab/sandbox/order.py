"""An order as a sandbox is asked for it and as it keeps it, and the checks that need neither account nor market."""

from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from flea_lab.model.instrument import MAX_TICKS, Instrument
from flea_lab.model.market import Side
from flea_lab.model.trading import Fill
from flea_lab.money import lots_for, value_uusd
from flea_lab.sandbox.matching import Tif

MICRO = 1_000_000
Status = Literal["open", "filled", "cancelled", "rejected", "expired"]
OrderId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class OrderRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client asks for; exactly one of `size` (base units) and `size_usd`. `valid_until` in ms of venue time."""

    client_order_id: OrderId
    symbol: str
    side: Side
    type: Literal["market", "limit"]
    size: Decimal | None = None
    size_usd: Decimal | None = None
    limit_price: Decimal | None = None
    tif: Tif | None = None
    reduce_only: bool = False
    valid_until: int | None = None


class Denied(Struct, frozen=True):
    """A definite no: nothing was done. `status` is HTTP's; `wait_s` seconds until it is worth another try."""

    status: int
    code: str
    message: str
    wait_s: int = 0


class Order(Struct, frozen=True, kw_only=True):
    """One order as the exchange has it now."""

    account_id: str
    order_id: str
    request: OrderRequest
    lots: int
    limit_ticks: int | None
    tif: Tif
    created_ns: int
    updated_ns: int
    filled: int = 0
    status: Status = "open"
    reason: str = ""

    @property
    def client_order_id(self) -> str:
        """The client's name for it."""
        return self.request.client_order_id

    @property
    def open_lots(self) -> int:
        """What may still fill, signed; 0 once it is over."""
        left = self.lots - self.filled if self.status == "open" else 0
        return left if self.request.side == "buy" else -left


class Execution(Struct, frozen=True, kw_only=True):
    """One fill of an order, as its account hears of it."""

    order: Order
    fill: Fill
    liquidity: Literal["taker", "maker"]


class Event(NamedTuple):
    """What one account hears: an order's new state or a fill, `seq` counting both from 1."""

    account_id: str
    seq: int
    ts_ns: int
    what: Order | Execution


def same_terms(one: OrderRequest, other: OrderRequest) -> bool:
    """Whether both ask for the same order; `valid_until` is about the request, not about the order."""
    return all(
        getattr(one, name) == getattr(other, name) for name in OrderRequest.__struct_fields__ if name != "valid_until"
    )


def limit_ticks_of(request: OrderRequest, grid: Instrument) -> int | Denied | None:
    """The limit in whole ticks; None for a market order."""
    price = request.limit_price
    if request.type == "market":
        return None if price is None else Denied(400, "invalid_price", "a market order has no limit_price")
    if price is None:
        return Denied(400, "invalid_price", "a limit order needs limit_price")
    if not (price.is_finite() and 0 < price <= MAX_TICKS * grid.tick_size):
        return Denied(400, "invalid_price", f"limit_price {price} is no price between 0 and {MAX_TICKS} ticks")
    if price % grid.tick_size:
        return Denied(400, "not_on_grid", f"limit_price {price} is not a multiple of tick_size {grid.tick_size}")
    return int(price / grid.tick_size)


def lots_of(request: OrderRequest, grid: Instrument, mark: int) -> int | Denied:
    """The size in whole lots; `size_usd` is counted at `mark` (ticks) and rounded down."""
    size, usd = request.size, request.size_usd
    if not mark:
        return Denied(400, "no_price", f"{request.symbol} has no price yet: wait for its first bar")
    if (size is None) == (usd is None):
        return Denied(400, "invalid_size", "exactly one of size and size_usd is needed")
    if usd is not None:
        if not (usd.is_finite() and 0 < usd <= 1_000_000_000):
            return Denied(400, "invalid_size", f"size_usd {usd} must be above 0 and at most 1000000000")
        return lots_for(int(usd * MICRO), mark, grid.unit_num, grid.unit_den)
    if size is None or not (size.is_finite() and 0 < size <= MAX_TICKS * grid.lot_size):
        return Denied(400, "invalid_size", f"size {size} must be above 0 and at most {MAX_TICKS} lots")
    if size % grid.lot_size:
        return Denied(400, "not_on_grid", f"size {size} is not a multiple of lot_size {grid.lot_size}")
    return int(size / grid.lot_size)


def below_minimum(request: OrderRequest, lots: int, ticks: int, grid: Instrument) -> Denied | None:
    """Why the order is too small at `ticks`; what only reduces may be of any size."""
    worth = value_uusd(lots, ticks, grid.unit_num, grid.unit_den)
    if lots >= 1 and (request.reduce_only or worth >= grid.min_notional_uusd):
        return None
    text = f"{lots} lots are worth {worth / MICRO:.2f} USD, the smallest order is {grid.min_notional_usd} USD and a lot"
    return Denied(400, "below_minimum", text)
