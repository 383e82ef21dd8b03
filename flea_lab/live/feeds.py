"""The feed of any dialect: which one a name picks, opened behind one face. Only Purple Flea's also takes orders."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError
from flea_lab.model.instrument import Instrument
from flea_lab.secret import Secret
from flea_lab.venue.client import PurpleFlea
from flea_lab.venue.dialects import Dialect, data_dialect, load_dialect
from flea_lab.venue.hyperliquid_feed import HyperliquidFeed
from flea_lab.venue.protocol import Feed
from flea_lab.venue.public_data import public_data
from flea_lab.venue.reach import require_reach
from flea_lab.venue.speech import PUBLIC, Kind
from flea_lab.venue.stream import OnFault, OnRaw

Spoken = Dialect | Mapping[str, Any] | str | None
"""A dialect, the values that override the published one, its name alone, or nothing: the sandbox's."""


class OpenFeed(Feed, Protocol):
    """A feed that connects inside of `async with`."""

    dialect: Dialect

    @property
    def faults(self) -> int:
        """How many frames could not be used."""

    @property
    def refused(self) -> set[tuple[str, str]]:
        """(channel, their symbol) that the venue does not give, where that is allowed."""

    def venue_now_ns(self) -> int:
        """The venue's time now, as far as it is known."""

    def freshness(self, channel: Kind, symbol: str, now_venue_ns: int) -> float | None:
        """Seconds since the venue's own time of the last message of `channel` and `symbol`; None before the first."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


def dialect_of(spoken: Spoken, place: str) -> Dialect:
    """The dialect that `spoken` means; `ConfigError` names `place`."""
    if isinstance(spoken, Dialect):
        return spoken
    return load_dialect({"name": spoken} if isinstance(spoken, str) else spoken or {}, place)


def needs_key(dialect: Dialect) -> bool:
    """Whether its market data is told to those with a key only."""
    return dialect.auth != "none" and dialect.speech != "published"


def require_allowed(dialect: Dialect) -> None:
    """`ConfigError` where FLEA_OFFLINE=1 forbids the addresses that the dialect states; ccxt's own are known later."""
    require_reach(filter(None, (dialect.rest_url, dialect.ws_url)), f"dialect {dialect.name!r}")


def open_feed(
    spoken: Spoken,
    key: Secret | None,
    symbols: Sequence[str],
    interval: str,
    instruments: Mapping[str, Instrument],
    clock: Clock,
    channels: Sequence[Kind] = PUBLIC,
    *,
    ack: bool = False,
    partial: bool = False,
    max_skew_s: float = 2.0,
    on_fault: OnFault | None = None,
    on_raw: OnRaw | None = None,
) -> OpenFeed:
    """The feed of `symbols`, for `async with`: it connects when entered.

    `key`, `ack` (the market waits for `acknowledge`) and `partial` (go on without what is refused) are for dialects
    that have such a thing. `on_raw` hears frames before they are read; ccxt shows none. `ConfigError` where the dialect
    cannot be, or FLEA_OFFLINE=1 forbids it.
    """
    dialect = data_dialect(dialect_of(spoken, "the feed's dialect"), "the feed's dialect")
    require_allowed(dialect)
    match dialect.speech:
        case "hyperliquid":
            asked = public_data(dialect, symbols, interval, clock, channels=channels, on_fault=on_fault)
            return HyperliquidFeed(asked, on_raw=on_raw, max_skew_s=max_skew_s)
        case "ccxt":
            from flea_lab.venue.ccxt_venue import CcxtFeed

            if on_raw is not None:
                raise ConfigError(f"dialect {dialect.name!r} shows no raw frames: keep what is read from them only")
            asked = public_data(dialect, symbols, interval, clock, channels=channels, on_fault=on_fault)
            return CcxtFeed(asked, instruments=instruments)
    return PurpleFlea(
        dialect,
        key,
        symbols,
        interval,
        instruments,
        clock,
        channels=channels,
        ack=ack,
        partial=partial,
        max_skew_s=max_skew_s,
        on_fault=on_fault,
        on_raw=on_raw,
    )
