"""What ccxt tells, into messages: rows, books, prints, markets. Pure.

Rules. Sizes of prints and books are in contracts, made base units by the contract's size. The volume of a candle is
taken as it is: base units at most exchanges, contracts at some. Whatever cannot be believed is a `FrameError`.
"""

import difflib
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flea_lab.errors import VenueRefusal
from flea_lab.model.book import book_fault
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import INTERVAL_MS, MS_NS, BookSnapshot, Candle, Trade
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.forming import candle_fault
from flea_lab.venue.reading import FrameError, shown

TICK_SIZE, DECIMAL_PLACES = 4, 2
"""ccxt's ways to state a precision."""

LATEST_MS = 9e12


def candle_of(row: Any, symbol: str, interval: str, ts_recv: int) -> Candle:
    """The bar of a row [t, o, h, l, c, v], never complete: ccxt does not say so."""
    step_ns = INTERVAL_MS[interval] * MS_NS
    if not isinstance(row, list | tuple) or len(row) < 6:
        raise FrameError(f"{shown(row)}: not a row [t, o, h, l, c, v]", True)
    opened = milli_ns(row[0])
    if opened % step_ns:
        raise FrameError(f"t = {row[0]}: not the open of a {interval} bar", True)
    opens, high, low, closes, volume = (number(value) for value in row[1:6])
    candle = Candle(
        symbol=symbol,
        ts_event=opened + step_ns,
        ts_recv=ts_recv,
        open=opens,
        high=high,
        low=low,
        close=closes,
        volume=volume,
        complete=False,
    )
    fault = candle_fault(candle)
    if fault:
        raise FrameError(f"t = {row[0]}: {fault}", True)
    return candle


def trade_of(row: Any, market: Mapping[str, Any], symbol: str, ts_recv: int) -> Trade:
    """A print. Its id is kept where it is a whole number."""
    price, qty, side = number(row.get("price")), number(row.get("amount")) * contract_of(market), row.get("side")
    if side not in ("buy", "sell") or not (0.0 < price < math.inf and 0.0 < qty < math.inf):
        raise FrameError(f"side = {side!r}, price = {price}, amount = {qty}: no print")
    name = str(row.get("id") or "")
    trade_id = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else None
    ts = milli_ns(row.get("timestamp"))
    return Trade(symbol=symbol, ts_event=ts, ts_recv=ts_recv, price=price, qty=qty, side=side, trade_id=trade_id)


def book_of(told: Any, market: Mapping[str, Any], symbol: str, ts_recv: int, depth: int) -> BookSnapshot:
    """The best `depth` levels of a book; at the time of receipt where the exchange does not stamp it."""
    size, stamp = contract_of(market), told.get("timestamp")
    bids, asks = (
        tuple([(number(level[0]), number(level[1]) * size) for level in told[side][:depth]])
        for side in ("bids", "asks")
    )
    ts = ts_recv if stamp is None else milli_ns(stamp)
    found = BookSnapshot(symbol=symbol, ts_event=ts, ts_recv=ts_recv, seq=None, bids=bids, asks=asks)
    fault = book_fault(found)
    if fault:
        raise FrameError(fault)
    return found


def contract_of(market: Mapping[str, Any]) -> float:
    """Base units of one of what the exchange counts sizes in.

    >>> contract_of({"contract": True, "contractSize": 0.01}), contract_of({"spot": True})
    (0.01, 1.0)
    """
    return float(market.get("contractSize") or 1.0) if market.get("contract") else 1.0


def moved(urls: Any, dialect: Dialect) -> Any:
    """`urls` with the dialect's own addresses for their scheme and host, where it gives any."""
    if isinstance(urls, Mapping):
        return {name: moved(url, dialect) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    own = dialect.ws_url if urls.startswith("ws") else dialect.rest_url
    rest = urls.split("://", 1)[-1]
    return f"{own.rstrip('/')}{rest[rest.index('/') :] if '/' in rest else ''}" if own else urls


def addresses(urls: Any) -> list[str]:
    """Every address below `urls["api"]`."""
    found: list[str] = []
    for url in (urls["api"] if isinstance(urls, Mapping) and "api" in urls else urls).values():
        found += addresses(url) if isinstance(url, Mapping) else [url] if isinstance(url, str) else []
    return found


def market_of(symbol: str, markets: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The exchange's market of our `symbol`: named in `symbols`, else the one whose base and quote are its letters.

    Of several the one of the dialect's `market` (swap or spot). `VenueRefusal` with the nearest names where there is
    none, and where it is not linear.
    """
    named = dialect.symbols.get(symbol, symbol)
    if named in markets:
        return _linear(symbol, markets[named])
    plain = {name: f"{market.get('base')}{market.get('quote')}" for name, market in markets.items()}
    of_kind = [
        name
        for name, text in plain.items()
        if text == named and markets[name].get(dialect.market) and markets[name].get("active") is not False
    ]
    if len(of_kind) == 1:
        return _linear(symbol, markets[of_kind[0]])
    near = of_kind or [name for name, text in plain.items() if text == named]
    if not near:
        close = difflib.get_close_matches(named, sorted(set(plain.values())), n=3)
        near = [name for name, text in plain.items() if text in close]
    hint = f", near are {', '.join(sorted(near)[:6])}" if near else f", it has {len(markets)}"
    how = f'say which in [live.dialect.symbols] {symbol} = "..."'
    raise VenueRefusal(f"{dialect.name!r} has no one {dialect.market} market for {symbol!r}{hint}: {how}")


def _linear(symbol: str, market: dict[str, Any]) -> dict[str, Any]:
    if market.get("inverse"):
        raise VenueRefusal(f"{symbol}: {market['symbol']} is an inverse contract, only linear ones are accounted for")
    return market


def grid_of(market: Mapping[str, Any], mode: int, funding_interval_h: int) -> Instrument:
    """The grid of a market, from its precision and limits. A step that depends on the price is taken as ccxt states it
    for the price of now. `VenueRefusal` where the exchange states none.
    """
    steps: list[Decimal] = []
    for name in ("price", "amount"):
        stated = (market.get("precision") or {}).get(name)
        if stated is None or mode not in (TICK_SIZE, DECIMAL_PLACES):
            raise VenueRefusal(f"{market['symbol']}: the exchange states no step of {name}")
        steps.append(Decimal(str(stated)) if mode == TICK_SIZE else Decimal(1).scaleb(-int(stated)))
    size = Decimal(str(contract_of(market)))
    least = ((market.get("limits") or {}).get("cost") or {}).get("min")
    try:
        return Instrument(
            tick_size=steps[0],
            lot_size=steps[1] * size,
            min_notional_usd=Decimal(str(least or 0)),
            funding_interval_h=funding_interval_h,
        )
    except ValueError as error:
        fault = str(error)
    raise VenueRefusal(f"{market['symbol']}: {fault}")


def milli_ns(value: Any) -> int:
    """A time of ccxt, ms, in ns UTC; `FrameError` for what is none."""
    milli = number(value)
    if not 0 < milli < LATEST_MS:
        raise FrameError(f"time = {value}: not a time in ms")
    return round(milli) * MS_NS


def number(value: Any) -> float:
    """`value` as a number; NaN for None, `FrameError` for what is none."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        fault = f"{shown(value)}: not a number"
    raise FrameError(fault)
