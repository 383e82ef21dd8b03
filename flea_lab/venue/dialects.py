"""Each published way of speaking to a venue as one frozen value: addresses, names, units and limits, no code.

What Purple Flea's article prints is the start; paths and channels beyond it are extensions, and one that a venue lacks
is set to an empty text. `purpleflea` is the published server, which takes orders and tells no market: that is read from
the exchange behind it. `hyperliquid` and `ccxt:EXCHANGE` are venues whose public data is read without a key; what signs
orders there is no part of a dialect.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from flea_lab.errors import ConfigError
from flea_lab.settings import Settings, load_settings
from flea_lab.venue.budget import RateLimits

Seconds = Annotated[float, Meta(gt=0.0, le=3_600.0, description="seconds")]
Path = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9_./{}-]+)?$", description="below the base, empty: not there")]
Channel = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:{}-]*$", description="a name on the wire, empty: not there")]

AUTH_HEADER = {"x-api-key": "X-API-Key", "bearer": "Authorization", "x-pf-key": "X-PF-Key", "none": ""}
QUOTES = ("USDT", "USDC", "USD")
DEFAULT = "purpleflea-seed"
PUBLISHED_SERVER = "purpleflea"
HYPERLIQUID = "hyperliquid"
CCXT = "ccxt:"

Speech = Literal["purpleflea", "published", "hyperliquid", "ccxt"]
"""Which code reads a dialect; "published" is Purple Flea's published server."""


class Paths(Settings, frozen=True, kw_only=True):
    """Where each question goes, below `rest_url`. `{symbol}` and `{client_order_id}` are filled in."""

    candles: Path = "/candles/{symbol}"
    orders: Path = "/orders"
    order: Path = "/orders/{client_order_id}"
    account: Path = "/account"
    fills: Path = "/fills"
    funding: Path = "/funding/{symbol}"
    health: Path = "/health"
    instruments: Path = "/instruments"


class Channels(Settings, frozen=True, kw_only=True):
    """What each stream is called. `{interval}` is filled in."""

    candle: Channel = "candle_{interval}"
    book: Channel = "orderbook_l2"
    trades: Channel = "trades"
    funding: Channel = "funding"
    orders: Channel = "orders"
    fills: Channel = "fills"


class Dialect(Settings, frozen=True, kw_only=True):
    """One way of speaking to a venue.

    `symbol` makes their symbol of ours: `{symbol}` is ours, `{base}` ours without its quote currency; `symbols` names
    exceptions, ours to theirs. `time_unit` "auto" takes a number below 1e11 for seconds. `acknowledged` says whether a
    subscription is answered: "maybe" takes a push that comes before any answer for a venue that never answers.
    `silence_s` without a frame is a dead connection; with less than an interval and 30 s, that is what counts.
    A subscription that is not answered within `acknowledge_first_s` is made again on another connection, which has
    more time for it, up to `acknowledge_within_s`. After `quiet_s` without a frame the venue is asked whether its clock
    runs on; with books that is a dead connection.
    `order_validity_s` after the decision's time the venue shall refuse an order; 0 does not say so. `limits` are the
    venue's on requests of all kinds, of which a share is used.

    Of venues whose public data is read: `subscriptions`, `connections` (open at once in this process) and
    `weight_per_minute` are the venue's limits. A bar is over `bar_grace_s` after its end by the venue's own stamps,
    where the venue does not say it. `matching` says how paper orders fill on it. `market`, `depth` and `options` are
    ccxt's.

    Of a venue whose orders can only be inferred (`venue.one_in_flight`): an order that nothing shows after `settle_s`
    was never carried out; the account is asked for at most every `poll_s`. `data` are the settings of the dialect that
    market data and the account are read from, where that is another. `address` is the account's own at Hyperliquid,
    whichever wallet signs for it.
    """

    name: str
    rest_url: str
    ws_url: str
    auth: Literal["x-api-key", "bearer", "x-pf-key", "none"] = "x-api-key"
    auth_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]*$", description="empty: the scheme's own")] = ""
    symbol: str = "{symbol}"
    symbols: dict[str, str] = field(default_factory=dict)
    paths: Paths = Paths()
    channels: Channels = Channels()
    acknowledged: Literal["always", "maybe", "never"] = "maybe"
    time_unit: Literal["auto", "ms", "s"] = "auto"
    book: Literal["snapshot", "delta"] = "snapshot"
    ambiguous: tuple[str, ...] = ("trade_failed", "close_failed", "invalid_json", "internal_error")
    request_timeout_s: Seconds = 10.0
    reads: Annotated[int, Meta(ge=1, le=20, description="attempts of a question")] = 5
    page: Annotated[int, Meta(ge=1, le=5_000, description="rows of one answer")] = 1_000
    ping_s: Seconds = 10.0
    silence_s: Seconds = 90.0
    quiet_s: Seconds = 10.0
    acknowledge_first_s: Seconds = 1.0
    acknowledge_within_s: Seconds = 10.0
    backoff_first_s: Seconds = 0.25
    backoff_last_s: Seconds = 30.0
    steady_s: Annotated[float, Meta(ge=0.0, le=3_600.0, description="seconds of data that reset the back-off")] = 10.0
    connects_per_minute: Annotated[int, Meta(ge=1, le=600)] = 20
    max_frame_bytes: Annotated[int, Meta(ge=1_024, le=2**28)] = 4 * 2**20
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=2**28)] = 16 * 2**20
    order_validity_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 0.0
    subscriptions: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    connections: Annotated[int, Meta(ge=1, le=10)] = 10
    weight_per_minute: Annotated[int, Meta(ge=110, le=10_000_000)] = 1_200
    limits: RateLimits = RateLimits()
    bar_grace_s: Annotated[float, Meta(ge=0.0, le=30.0, description="seconds")] = 1.0
    matching: Literal["book", "next_open"] = "book"
    market: Literal["swap", "spot"] = "swap"
    depth: Annotated[int, Meta(ge=1, le=1_000, description="levels a side")] = 20
    options: dict[str, Any] = field(default_factory=dict)
    settle_s: Seconds = 60.0
    poll_s: Seconds = 2.0
    data: dict[str, Any] = field(default_factory=dict)
    address: Annotated[str, Meta(pattern=r"^(0x[0-9a-fA-F]{40})?$", description="0x and 40 hex digits")] = ""

    @property
    def speech(self) -> Speech:
        """Which code reads it."""
        if self.name.startswith(CCXT):
            return "ccxt"
        named: dict[str, Speech] = {HYPERLIQUID: "hyperliquid", PUBLISHED_SERVER: "published"}
        return named.get(self.name, "purpleflea")

    def theirs(self, symbol: str) -> str:
        """Our `symbol` as the venue spells it.

        >>> load_dialect({"symbol": "{base}-PERP"}, "a doctest").theirs("BTCUSDT")
        'BTC-PERP'
        """
        base = next((symbol.removesuffix(q) for q in QUOTES if symbol.endswith(q) and symbol != q), symbol)
        named = self.symbols.get(symbol)
        return named if named is not None else self.symbol.replace("{symbol}", symbol).replace("{base}", base)

    def header(self, key: str) -> dict[str, str]:
        """The header that carries `key`; none where the dialect sends no key."""
        name = self.auth_header or AUTH_HEADER[self.auth]
        if self.auth == "none":
            return {}
        return {name: f"Bearer {key}" if self.auth == "bearer" else key}


PUBLISHED: dict[str, dict[str, Any]] = {
    DEFAULT: {
        "rest_url": "http://127.0.0.1:8712/trading-api",
        "ws_url": "ws://127.0.0.1:8712/trading-api/ws",
    },
    PUBLISHED_SERVER: {
        "rest_url": "https://trading.purpleflea.com/v1",
        "ws_url": "",
        "auth": "bearer",
        "symbol": "{base}",
        "paths": dict.fromkeys(Paths.__struct_fields__, ""),
        "channels": dict.fromkeys(Channels.__struct_fields__, ""),
    },
    HYPERLIQUID: {
        "rest_url": "https://api.hyperliquid.xyz",
        "ws_url": "wss://api.hyperliquid.xyz/ws",
        "auth": "none",
        "symbol": "{base}",
        "paths": dict.fromkeys(Paths.__struct_fields__, "/info") | {"orders": "/exchange"},
        "channels": {
            "candle": "candle",
            "book": "l2Book",
            "trades": "trades",
            "funding": "activeAssetCtx",
            "orders": "",
            "fills": "",
        },
        "acknowledged": "always",
        "time_unit": "ms",
        "page": 5_000,
        "ping_s": 20.0,
        "silence_s": 50.0,
        "ambiguous": (),
    },
}
"""What differs from the defaults above. The first addresses are the sandbox's; the venue's own are
https://purpleflea.com/trading-api and wss://purpleflea.com/trading-api/ws. Hyperliquid's limits by address: 1,200
weight a minute, 1,000 subscriptions, 10 connections, 30 new ones a minute; it drops a connection that it has sent
nothing to for 60 s, so that it is pinged before. Its test network is https://api.hyperliquid-testnet.xyz."""

ANY_CCXT: dict[str, Any] = {
    "rest_url": "",
    "ws_url": "",
    "auth": "none",
    "paths": dict.fromkeys(Paths.__struct_fields__, ""),
    "channels": dict.fromkeys(Channels.__struct_fields__, ""),
    "time_unit": "ms",
    "ambiguous": (),
}
"""Any exchange of ccxt: its addresses are the library's own unless others are given."""

_EXCHANGE = re.compile(r"ccxt:[a-z][a-z0-9]{1,30}")


def load_dialect(values: Mapping[str, Any], place: str) -> Dialect:
    """The published dialect that `values["name"]` picks, every other value overriding it.

    `ConfigError` for a name that is not published, a typo, a value out of range, and a key that would travel in clear.
    """
    name = values.get("name", DEFAULT)
    by_ccxt = isinstance(name, str) and _EXCHANGE.fullmatch(name) is not None
    if not by_ccxt and (not isinstance(name, str) or name not in PUBLISHED):
        known = ", ".join(map(repr, PUBLISHED))
        raise ConfigError(f"name = {name!r}: must be one of {known}, or 'ccxt:EXCHANGE' (in {place})")
    published = ANY_CCXT if by_ccxt else PUBLISHED[name]
    dialect = load_settings({"name": name, **published, **values}, Dialect, place)
    if dialect.data and dialect.speech != "published":
        raise ConfigError(f"data: is for {PUBLISHED_SERVER!r}, not for {name!r} (in {place})")
    if dialect.options and not by_ccxt:
        raise ConfigError(f"options: are for 'ccxt:EXCHANGE', not for {name!r} (in {place})")
    if dialect.speech in ("hyperliquid", "ccxt") and dialect.auth != "none":
        raise ConfigError(f"auth = {dialect.auth!r}: only public data of {name!r} is read, no key is sent (in {place})")
    if dialect.rest_url or not by_ccxt:
        _check_address(dialect, dialect.rest_url, "rest_url", ("https", "http"), place)
    if dialect.ws_url or dialect.speech in ("purpleflea", "hyperliquid"):
        _check_address(dialect, dialect.ws_url, "ws_url", ("wss", "ws"), place)
    if not dialect.backoff_first_s <= dialect.backoff_last_s:
        first, last = dialect.backoff_first_s, dialect.backoff_last_s
        raise ConfigError(f"backoff_first_s ({first}) must be at most backoff_last_s ({last}) (in {place})")
    if "{symbol}" not in dialect.symbol and "{base}" not in dialect.symbol:
        raise ConfigError(f"symbol = {dialect.symbol!r}: must hold {{symbol}} or {{base}} (in {place})")
    return dialect


def data_dialect(dialect: Dialect, place: str) -> Dialect:
    """The dialect that the market of `dialect` is read in: its own, unless it names another in `data`."""
    if dialect.speech != "published":
        return dialect
    given = {"name": HYPERLIQUID, "symbol": dialect.symbol, "symbols": dialect.symbols}
    return load_dialect({**given, **dialect.data}, f"{place}.data")


def _check_address(dialect: Dialect, url: str, field: str, schemes: tuple[str, str], place: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in schemes or not host:
        raise ConfigError(f"{field} = {url!r}: must be an address with {schemes[0]}:// or {schemes[1]}:// (in {place})")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{field}: must carry neither a user nor a query, keys travel in a header (in {place})")
    if parts.scheme == schemes[1] and host not in ("127.0.0.1", "localhost", "::1") and dialect.auth != "none":
        raise ConfigError(f"{field} = {url!r}: would send the key in clear, use {schemes[0]}:// (in {place})")
