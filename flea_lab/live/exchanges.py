"""The exchange of any dialect, opened behind one face, for a session that trades with real keys."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from flea_lab.clock import Clock
from flea_lab.errors import ConfigError
from flea_lab.model.instrument import Instrument
from flea_lab.secret import Secret
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.protocol import Exchange
from flea_lab.venue.published_exchange import PublishedExchange


def open_exchange(
    dialect: Dialect,
    key: Secret,
    instruments: Mapping[str, Instrument],
    clock: Clock,
    collar_bps: float | None = None,
) -> AbstractAsyncContextManager[Exchange]:
    """Where the orders of `dialect` go, for `async with`, at a venue whose market another connection tells. Where it
    wants a price for a market order too, that is at most `collar_bps` from the order's.

    `ConfigError` where the dialect says too little, and where the library that it needs is not there.
    """
    match dialect.speech:
        case "published":
            return PublishedExchange(dialect, key, instruments, clock, address=dialect.address)
        case "hyperliquid":
            from flea_lab.venue.hyperliquid_exchange import HyperliquidExchange
            from flea_lab.venue.hyperliquid_signing import signer

            if not dialect.address:
                raise ConfigError(f"dialect {dialect.name!r}: orders need the account's address in [live.dialect]")
            sign = signer(key, testnet="testnet" in dialect.rest_url)
            return HyperliquidExchange(dialect, dialect.address, sign, instruments, clock, collar_bps)
        case "ccxt":
            from flea_lab.venue.ccxt_exchange import CcxtExchange

            return CcxtExchange(dialect, key, instruments, clock)
    raise ConfigError(f"dialect {dialect.name!r} tells its market and takes its orders over one connection")
