"""A venue as `flea kill` sees it: what is open, and take all of it back. There is no way to place an order here.

Rules. Only GET and DELETE are spoken, over a connection of its own, each request with a deadline. What the venue says
that cannot be read is an error, never "nothing is open". No redirect is followed, no proxy is asked.
"""

import http.client
import ssl
import threading
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.secret import Secret
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.reach import require_reach

REQUEST_S = 3.0
"""How long one request may take: a venue that is slower is asked again."""

MOST = 16 * 2**20
WAIT_S = 5.0
"""The longest that a `Retry-After` is believed."""


class OpenOrder(NamedTuple):
    """One open order, in the venue's own words."""

    name: str
    text: str


class CancelOnly(Protocol):
    """What `flea kill` needs of a venue."""

    where: str

    def open_orders(self) -> list[OpenOrder]:
        """Every open order of the account; `VenueError` where the venue does not say."""

    def cancel_all(self) -> None:
        """Takes back every open order of the account; `VenueError` where the venue does not say that it did."""

    def positions(self) -> list[str]:
        """What the account holds, in words."""

    def close(self) -> None:
        """Ends the connection."""


class _Order(Struct):
    client_order_id: str | None = None
    order_id: str | int | None = None
    symbol: str = "?"
    side: str = "?"
    size: str = "?"
    filled: str = "0"
    status: str = "open"


class _Orders(Struct):
    orders: Annotated[list[_Order], Meta(max_length=100_000)]


class _Position(Struct):
    symbol: str
    size: str


class _Account(Struct):
    positions: list[_Position] = []


class OverHttp:
    """The account of `key` at a venue that speaks Purple Flea's dialect."""

    def __init__(self, dialect: Dialect, key: Secret) -> None:
        """`ConfigError` where the dialect has no way to take all orders back, or FLEA_OFFLINE=1 forbids its address."""
        if not dialect.paths.orders:
            raise ConfigError(f"dialect {dialect.name!r} has no path for its open orders: nothing can be taken back")
        self.where = dialect.rest_url.rstrip("/")
        require_reach([self.where], "flea kill")
        parts = urlsplit(self.where)
        self._base, self._paths, self._key = parts.path, dialect.paths, key
        self._headers = dialect.header(key.reveal())
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._line: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=REQUEST_S, context=context
            )
        else:
            self._line = http.client.HTTPConnection(host, parts.port, timeout=REQUEST_S)

    def open_orders(self) -> list[OpenOrder]:
        """As `CancelOnly.open_orders`."""
        said = self._read(self._ask("GET", f"{self._paths.orders}?status=open"), _Orders, "open orders")
        return [
            OpenOrder(
                str(order.client_order_id or order.order_id or "?"),
                f"{order.symbol} {order.side} {order.size}, {order.filled} filled",
            )
            for order in said.orders
            if order.status not in ("filled", "cancelled", "rejected", "expired")
        ]

    def cancel_all(self) -> None:
        """As `CancelOnly.cancel_all`."""
        self._ask("DELETE", self._paths.orders)

    def positions(self) -> list[str]:
        """As `CancelOnly.positions`."""
        if not self._paths.account:
            return []
        said = self._read(self._ask("GET", self._paths.account), _Account, "account")
        return [f"{position.symbol} {position.size}" for position in said.positions]

    def close(self) -> None:
        """As `CancelOnly.close`."""
        self._line.close()

    def _ask(self, method: Literal["GET", "DELETE"], path: str) -> bytes:
        where = f"{method} {path}"
        try:
            self._line.request(method, f"{self._base}{path}", headers=self._headers)
            answer = self._line.getresponse()
            body = answer.read(MOST + 1)
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            text = self._key.masked_in(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
            fault = VenueError(f"{self.where}: {where}: {text}")
        else:
            if answer.status in (200, 201) and len(body) <= MOST:
                return body
            self._line.close()
            fault = self._refusal(answer.status, body, where, answer.getheader("Retry-After") or "")
        raise fault  # outside of the except block: no traceback that holds the headers

    def _refusal(self, status: int, body: bytes, where: str, wait: str) -> VenueError:
        text = " ".join(self._key.masked_in(body[:300].decode("utf-8", "replace")).split())
        said = f"{self.where}: {where} answered {status} {text}".rstrip()
        if status in (401, 403):
            return VenueRefusal(f"{said}: the key is refused")
        if status == 429:
            threading.Event().wait(min(float(wait) if wait.isdigit() else 1.0, WAIT_S))
        return VenueError(said)

    def _read(self, body: bytes, shape: Any, what: str) -> Any:
        try:
            return msgspec.json.decode(body, type=shape)
        except (ValueError, RecursionError) as error:
            raise VenueError(f"{self.where}: {what} cannot be read: {error}") from None


def cancel_only(dialect: Dialect, key: Secret, instruments: Mapping[str, Any] | None = None) -> CancelOnly:
    """The account of `key` for taking orders back, at the venue that `dialect` speaks to.

    `instruments` are plain values of the grids that were traded, which other dialects than Purple Flea's need.
    """
    if dialect.speech == "purpleflea":
        return OverHttp(dialect, key)
    from flea_lab.live.kill_exchange import OverExchange
    from flea_lab.model.instrument import Instrument
    from flea_lab.settings import load_settings

    place = f"the instruments of dialect {dialect.name!r}"
    grids = {name: load_settings(grid, Instrument, place) for name, grid in (instruments or {}).items()}
    return OverExchange(dialect, key, grids)
