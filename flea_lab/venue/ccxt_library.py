"""ccxt itself: an exchange of it made from a dialect, and what it raises made ours. Imported when it is needed only."""

import difflib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flea_lab.errors import ConfigError, VenueError, VenueRefusal
from flea_lab.venue.ccxt_reading import moved
from flea_lab.venue.dialects import CCXT, Dialect
from flea_lab.venue.reading import shown

OPTIONS: dict[str, dict[str, Any]] = {"hyperliquid": {"builderFee": False}}
"""What ccxt must not do by itself, by exchange."""

FINAL = ("AuthenticationError", "PermissionDenied", "BadSymbol", "NotSupported", "ArgumentsRequired")
"""Kinds of error after which no other attempt does better."""


def kinds_of(error: Exception) -> list[str]:
    """The kinds of an error that ccxt raised about an exchange, its own first, by name, so that no class of ccxt has to
    be imported; none where it is something else: a defect."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return names if "BaseError" in names or isinstance(error, OSError) else []


@asynccontextmanager
async def asking(dialect: Dialect, what: str) -> AsyncIterator[None]:
    """What ccxt raises about the exchange becomes ours; anything else is a defect and is raised as it is."""
    fault: VenueError
    try:
        yield
        return
    except Exception as error:
        names = kinds_of(error)
        if not names:
            raise
        said = f"{dialect.name} {what}: {names[0]}: {shown(str(error))}"
        fault = VenueRefusal(said) if any(name in FINAL for name in names) else VenueError(said)
    raise fault


def make_exchange(dialect: Dialect) -> Any:
    """ccxt's exchange of a dialect, without any key. `ConfigError` where ccxt is not there or has no such exchange."""
    try:
        import ccxt.pro as pro
    except ImportError:
        raise ConfigError(
            f"dialect {dialect.name!r} needs the extra `venues`: pip install 'flea-lab[venues]' (it brings ccxt)"
        ) from None
    name = dialect.name.removeprefix(CCXT)
    if name not in pro.exchanges:
        near = difflib.get_close_matches(name, pro.exchanges, n=3)
        hint = f", near are {', '.join(near)}" if near else f", it has {len(pro.exchanges)}"
        raise ConfigError(f"ccxt has no exchange {name!r} with a websocket{hint}")
    options = {**dialect.options, **OPTIONS.get(name, {}), "maxRetriesOnFailure": 0}  # an order is sent once
    exchange = getattr(pro, name)({"enableRateLimit": True, "options": options})
    exchange.urls["api"] = moved(exchange.urls["api"], dialect)
    return exchange
