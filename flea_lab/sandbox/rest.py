"""What a sandbox answers to a request (pure): method, path, query and body in, status and JSON out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from flea_lab.sandbox import api
from flea_lab.sandbox.api import Json
from flea_lab.sandbox.exchange import Customer
from flea_lab.sandbox.order import Denied, Order
from flea_lab.sandbox.stage import Stage

Answer = tuple[int, Json]
FUTURE_MS = 10**16


class Request(NamedTuple):
    """What is asked. `name` is what follows the first part of the path, "" for nothing; `now_ms` the venue's time."""

    account_id: str
    name: str
    query: Mapping[str, str]
    body: bytes
    now_ms: int


def denial(denied: Denied) -> Answer:
    """A refusal as an answer."""
    body = api.error_json(denied.code, denied.message)
    return denied.status, {**body, "retry_after_seconds": denied.wait_s} if denied.wait_s else body


def answer(stage: Stage, method: str, path: str, request: Request) -> Answer:
    """The answer to `method` on `path` (without the base, no slash at either end) for an account that was let in."""
    kind, _, name = path.partition("/")
    shape = (kind, bool(name))
    handler = HANDLERS.get((method, *shape))
    if handler is not None:
        return handler(stage, request._replace(name=name))
    if any((kind, named) == shape for _, kind, named in HANDLERS):
        return denial(Denied(405, "method_not_allowed", f"{path[:80]} does not take {method}"))
    return denial(Denied(404, "not_found", f"nothing at {path[:80]!r}"))


def _customer(stage: Stage, request: Request) -> Customer:
    return stage.exchange.customers[request.account_id]


def _unknown(stage: Stage, symbol: str) -> Denied | None:
    symbols = stage.playlist.symbols
    if symbol in symbols:
        return None
    return Denied(404, "unknown_symbol", f"no symbol {symbol[:40]!r}, known are {', '.join(symbols)}")


def _candles(stage: Stage, request: Request) -> Answer:
    interval = request.query.get("interval", stage.playlist.interval)
    limit = api.read_limit(request.query, 200)
    start = api.read_number(request.query, "start", None, FUTURE_MS)
    denied = _unknown(stage, request.name)
    if denied is None and interval not in stage.playlist.intervals:
        known = ", ".join(stage.playlist.intervals)
        denied = Denied(400, "invalid_interval", f"interval {interval[:20]!r}, known are {known}")
    for wrong in (denied, limit, start):
        if isinstance(wrong, Denied):
            return denial(wrong)
    assert isinstance(limit, int) and not isinstance(start, Denied)
    return 200, {"candles": stage.candles(request.name, interval, limit, start)}


def _funding(stage: Stage, request: Request) -> Answer:
    limit = api.read_limit(request.query, api.MAX_ROWS)
    start = api.read_number(request.query, "start", None, FUTURE_MS)
    for wrong in (_unknown(stage, request.name), limit, start):
        if isinstance(wrong, Denied):
            return denial(wrong)
    assert isinstance(limit, int) and not isinstance(start, Denied)
    return 200, {"funding": stage.funding(request.name, limit, start)}


def _account(stage: Stage, request: Request) -> Answer:
    return 200, api.account_json(_customer(stage, request), stage.exchange, request.now_ms)


def _positions(stage: Stage, request: Request) -> Answer:
    return 200, {"positions": api.positions_json(_customer(stage, request), stage.exchange)}


def _fills(stage: Stage, request: Request) -> Answer:
    limit = api.read_limit(request.query, api.MAX_ROWS)
    after = api.read_number(request.query, "after", 0, FUTURE_MS)
    for wrong in (limit, after):
        if isinstance(wrong, Denied):
            return denial(wrong)
    assert isinstance(limit, int) and isinstance(after, int)
    rows = _customer(stage, request).fills(after, limit)
    grids = stage.playlist.instruments
    return 200, {"fills": [{**api.fill_json(done, grids[done.fill.symbol]), "seq": seq} for seq, done in rows]}


def _order(stage: Stage, order: Order | Denied, status: int = 200) -> Answer:
    if isinstance(order, Denied):
        return denial(order)
    return status, {"order": api.order_json(order, stage.playlist.instruments[order.request.symbol])}


def _submit(stage: Stage, request: Request) -> Answer:
    asked = api.read_order(request.body)
    found = asked if isinstance(asked, Denied) else stage.submit(request.account_id, asked, request.now_ms)
    if isinstance(found, Denied):
        return denial(found)
    return _order(stage, found[0], 201 if found[1] else 200)


def _orders(stage: Stage, request: Request) -> Answer:
    status, customer = request.query.get("status", "open"), _customer(stage, request)
    if status not in ("open", "all"):
        return denial(Denied(400, "invalid_status", f"status {status[:20]!r}, known are open, all"))
    orders = (customer.open if status == "open" else customer.orders).values()
    grids = stage.playlist.instruments
    return 200, {"orders": [api.order_json(order, grids[order.request.symbol]) for order in orders]}


def _one_order(stage: Stage, request: Request) -> Answer:
    order = _customer(stage, request).orders.get(request.name)
    return _order(stage, order or Denied(404, "order_not_found", f"no order {request.name[:64]!r}"))


def _cancel(stage: Stage, request: Request) -> Answer:
    return _order(stage, stage.cancel(request.account_id, request.name, request.now_ms))


def _cancel_all(stage: Stage, request: Request) -> Answer:
    return 200, {"cancelled": stage.cancel_all(request.account_id, request.now_ms)}


def _instruments(stage: Stage, request: Request) -> Answer:
    del request
    return 200, {"instruments": [api.instrument_json(*item) for item in stage.playlist.instruments.items()]}


HANDLERS: dict[tuple[str, str, bool], Callable[[Stage, Request], Answer]] = {
    ("GET", "instruments", False): _instruments,
    ("GET", "candles", True): _candles,
    ("GET", "funding", True): _funding,
    ("GET", "account", False): _account,
    ("GET", "positions", False): _positions,
    ("GET", "fills", False): _fills,
    ("POST", "orders", False): _submit,
    ("GET", "orders", False): _orders,
    ("DELETE", "orders", False): _cancel_all,
    ("GET", "orders", True): _one_order,
    ("DELETE", "orders", True): _cancel,
}
"""By method, first part of the path, and whether a name follows."""
