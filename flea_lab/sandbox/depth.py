"""What happens inside a bar, made up around its candle, or cut from a recording. Pure; equal for equal arguments.

Rules of a made-up bar. The path has `steps` points: open, one extreme, the other, close, straight in between, and a
seeded hash of the bar says which extreme comes first. At each point a book is shown whose touch is the path's price, on
the side that the aggressor takes from; then the prints, then the candle so far. Prints of the side that moves the price
are at the path's price, the rest at the other touch, kept between low and high: so the first print is at the open and
the last at the close. Buyers' prints sum to the candle's `buy_volume` in whole lots; where that is unknown their share
is 0.5, up to 0.2 more or less as the bar closes above or below its open.

Rounding of volume. Every print is whole lots but the last, which takes the rest: the decimals that the quantities are
written as sum to the decimal that the candle's volume is written as, exactly on the lot grid. A bar that has fewer lots
than prices to touch is cut into tenths of a lot, or hundredths, and so on. A bar without volume has books only.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, NamedTuple

from msgspec import Meta

from flea_lab.errors import DataError
from flea_lab.model.book import book_fault
from flea_lab.model.instrument import Instrument
from flea_lab.model.market import MS_NS, BookSnapshot, Candle, Side, Trade
from flea_lab.money import nearest
from flea_lab.settings import Bps, Settings

Inside = BookSnapshot | Trade | Candle
"""What is heard while a bar forms."""

MAX_PRINTS = 1_000
"""Print ids of one bar and symbol are its close in ms times this, and up."""


class DepthSettings(Settings, frozen=True, kw_only=True):
    """How a bar is filled in. `spread_bps` is at least one tick; levels beyond the touch are half a spread apart.

    `depth_share` of the candle's volume is shown on either side, spread over the levels, a lot each at least.
    """

    steps: Annotated[int, Meta(ge=4, le=240, description="books a bar")] = 12
    levels: Annotated[int, Meta(ge=1, le=20, description="levels a side")] = 20
    spread_bps: Bps = 1.0
    depth_share: Annotated[float, Meta(gt=0.0, le=100.0, description="share of the bar's volume, a side")] = 0.5
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1


class _Bar(NamedTuple):
    """A candle on its grid. `noise` is 64 bytes of its hash, `volume` is `units` whole `unit`s and less than one."""

    candle: Candle
    grid: Instrument
    noise: bytes
    volume: Fraction
    unit: Fraction
    units: int

    def price(self, ticks: int) -> float:
        """The price of `ticks`, kept between low and high."""
        return min(max(self.grid.price(ticks), float(self.candle.low)), float(self.candle.high))


class _Point(NamedTuple):
    """One point of the path: `units` are printed there, `buys` of them by buyers; `side` moved the price there."""

    ticks: int
    price: float
    side: Side
    units: int
    buys: int


def synthesise(
    candle: Candle,
    previous_close: float,
    instrument: Instrument,
    settings: DepthSettings,
    rng_seed: int = 0,
    interval_ms: int = 60_000,
) -> list[Inside]:
    """Books, prints and partial candles of the bar that ends with `candle`, in order of time.

    The instant is in `ts_recv`, whole milliseconds after the bar's open and before its close; a partial candle's
    `ts_event` is its bar's close, as every candle's. `previous_close` (NaN: none) tells whether the bar opens up or
    down. `DataError` for a candle that is none.
    """
    _check(candle)
    key = repr((settings.seed, rng_seed, candle.symbol, int(candle.ts_event)))
    noise = hashlib.blake2b(key.encode()).digest()
    path, must_print = _path(candle, instrument, settings.steps, bool(noise[0] & 1))
    bar = _measure(candle, instrument, noise, len(must_print))
    points = _points(bar, path, must_print, previous_close)
    first_ms, room = int(candle.ts_event) // MS_NS - interval_ms + 1, interval_ms - 2
    tape = _Tape(bar)
    out: list[Inside] = []
    for k, point in enumerate(points):
        ts = (first_ms + room * k // (len(points) - 1)) * MS_NS
        bid, ask = _touch(point, settings.spread_bps)
        out.append(_book(bar, settings, k, ts, bid, ask))
        if point.units:
            out += tape.prints(point, bar.price(bid if point.side == "buy" else ask), ts)
            out.append(tape.candle(ts))
    return out


def _check(candle: Candle) -> None:
    low, high, volume, buys = candle.low, candle.high, candle.volume, candle.buy_volume
    sound = 0 < low <= candle.open <= high < math.inf and low <= candle.close <= high
    if not (sound and 0 <= volume < math.inf and not math.isinf(buys)):
        raise DataError(
            f"candle of {candle.symbol} at {candle.ts_event}: open {candle.open}, high {high}, low {low}, "
            f"close {candle.close}, volume {volume}, buy volume {buys} is no bar"
        )


def _exact(value: float) -> Fraction:
    """The decimal that a float is written as."""
    return Fraction(Decimal(repr(float(value))))


def _path(candle: Candle, grid: Instrument, steps: int, high_first: bool) -> tuple[list[tuple[int, float]], set[int]]:
    """(ticks, price) of every point, corners at the candle's own floats; and the points that have to print."""
    low, high = float(candle.low), float(candle.high)
    extremes = (high, low) if high_first else (low, high)
    corners = (float(candle.open), *extremes, float(candle.close))
    ticks = [grid.ticks(price) for price in corners]
    one, two, three = (abs(b - a) for a, b in pairwise(ticks))
    total, last = max(one + two + three, 1), steps - 1
    first = min(max(nearest(last * one, total), 1), last - 2)
    second = min(max(nearest(last * (one + two), total), first + 1), last - 1)
    at = (0, first, second, last)
    path = [
        (start + nearest((end - start) * j, b - a), 0.0)
        for (a, b), (start, end) in zip(pairwise(at), pairwise(ticks), strict=True)
        for j in range(b - a)
    ]
    path = [(tick, min(max(grid.price(tick), low), high)) for tick, _ in [*path, (ticks[-1], 0.0)]]
    for k, tick, price in zip(at, ticks, corners, strict=True):
        path[k] = tick, price
    turns = {k for k, price in zip(at, corners, strict=True) if price not in (corners[0], corners[3])}
    return path, {0} if low == high else {0, last} | turns


def _measure(candle: Candle, grid: Instrument, noise: bytes, prints: int) -> _Bar:
    """The bar with its volume in lots; in tenths, hundredths, ... of a lot where there are fewer lots than `prints`."""
    volume, unit = _exact(candle.volume), Fraction(grid.lot_size)
    while 0 < volume < unit * prints:
        unit /= 10
    return _Bar(candle, grid, noise, volume, unit, volume // unit)


def _points(bar: _Bar, path: list[tuple[int, float]], must_print: set[int], previous_close: float) -> list[_Point]:
    """The path with its prints: a unit where one is needed, the rest by random weights, buyers' share the same."""
    steps, buys = len(path), _buys(bar)
    weights = [64 + bar.noise[k % 64] for k in range(steps)]
    spare = max(bar.units - len(must_print), 0)
    side: Side = "buy" if bar.noise[1] & 1 else "sell"
    before, weight, done, bought = float(previous_close), 0, 0, 0
    points = []
    for k, (ticks, price) in enumerate(path):
        if price > before or price < before:  # neither: it does not move, or there is no price before
            side = "buy" if price > before else "sell"
        before = price
        units = spare * (weight + weights[k]) // sum(weights) - spare * weight // sum(weights)
        units += bool(bar.units) and k in must_print
        weight, done = weight + weights[k], done + units
        part = done * buys // bar.units - bought if bar.units else 0
        bought += part
        points.append(_Point(ticks, price, _mover(side, units, part), units, part))
    return points


def _mover(side: Side, units: int, buys: int) -> Side:
    """`side`, or the other one where only that one prints."""
    if units and buys in (0, units):
        return "buy" if buys else "sell"
    return side


def _buys(bar: _Bar) -> int:
    """Units bought by aggressors."""
    candle = bar.candle
    if not math.isnan(candle.buy_volume):
        return min(max(math.floor(_exact(candle.buy_volume) / bar.unit), 0), bar.units)
    lean = (candle.close - candle.open) / (candle.high - candle.low) if candle.high > candle.low else 0.0
    return bar.units * round(500 + 200 * lean) // 1000


def _touch(point: _Point, spread_bps: float) -> tuple[int, int]:
    """Best bid and ask in ticks: the path's price is the one that `point.side` takes from."""
    spread = max(1, round(point.ticks * spread_bps / 10_000))
    bid = max(1, point.ticks - spread if point.side == "buy" else point.ticks)
    return bid, bid + spread


def _book(bar: _Bar, settings: DepthSettings, k: int, ts: int, bid: int, ask: int) -> BookSnapshot:
    grid, gap = bar.grid, max(1, (ask - bid) // 2)
    lots = settings.depth_share * float(bar.volume / Fraction(grid.lot_size)) / settings.levels

    def level(ticks: int, at: int) -> tuple[float, float]:
        return grid.price(ticks), grid.qty(max(1, int(lots * (0.5 + bar.noise[at % 64] / 255))))

    depth = range(settings.levels)
    return BookSnapshot(
        symbol=bar.candle.symbol,
        ts_event=ts,
        ts_recv=ts,
        seq=None,
        bids=tuple(level(bid - gap * i, 17 * k + 5 * i) for i in depth if bid - gap * i >= 1),
        asks=tuple(level(ask + gap * i, 17 * k + 5 * i + 31) for i in depth),
    )


class _Tape:
    """The prints of a bar so far."""

    def __init__(self, bar: _Bar) -> None:
        self._bar = bar
        self._units, self._prints = 0, 0
        self._volume, self._bought = Fraction(0), Fraction(0)
        self._high, self._low, self._close = -math.inf, math.inf, math.nan

    def prints(self, point: _Point, other_price: float, ts: int) -> list[Inside]:
        """The prints of one point: the mover's at its price, the others' at `other_price`."""
        bought, sold = ("buy", point.buys), ("sell", point.units - point.buys)
        mover, other = (bought, sold) if point.side == "buy" else (sold, bought)
        parts = [(*other, other_price), (*mover, point.price)]
        if not self._prints:
            parts.reverse()  # the bar opens at its open; it closes at its close
        return [self._print(side, units, price, ts) for side, units, price in parts if units]

    def _print(self, side: str, units: int, price: float, ts: int) -> Trade:
        bar = self._bar
        self._units += units
        qty = units * bar.unit if self._units < bar.units else bar.volume - self._volume
        self._volume += qty
        self._bought += qty if side == "buy" else 0
        self._high, self._low, self._close = max(self._high, price), min(self._low, price), price
        self._prints += 1
        return Trade(
            symbol=bar.candle.symbol,
            ts_event=ts,
            ts_recv=ts,
            price=price,
            qty=float(qty),
            side="buy" if side == "buy" else "sell",
            trade_id=bar.candle.ts_event // MS_NS * MAX_PRINTS + self._prints,
        )

    def candle(self, ts: int) -> Candle:
        """The candle as far as it has printed; the buyers' volume where the whole candle's is known."""
        whole = self._bar.candle
        return Candle(
            symbol=whole.symbol,
            ts_event=whole.ts_event,
            ts_recv=ts,
            open=float(whole.open),
            high=self._high,
            low=self._low,
            close=self._close,
            volume=float(self._volume),
            buy_volume=math.nan if math.isnan(whole.buy_volume) else float(self._bought),
            complete=False,
        )


def recorded(
    events: Iterable[BookSnapshot | Trade], close_ns: Sequence[int], interval_ms: int
) -> list[list[BookSnapshot | Trade]]:
    """The recorded events of each bar that closes at `close_ns` (increasing): after its open, up to its close.

    In order of `ts_event`, those of one instant as they were given. What falls into no bar is left out. `DataError` for
    a faulty book, an impossible print and anything that is neither.
    """
    ordered = sorted(events, key=lambda event: event.ts_event)
    for event in ordered:
        _check_recorded(event)
    bars: list[list[BookSnapshot | Trade]] = []
    at = 0
    for close in close_ns:
        inside = []
        while at < len(ordered) and ordered[at].ts_event <= close:
            if ordered[at].ts_event > close - interval_ms * MS_NS:
                inside.append(ordered[at])
            at += 1
        bars.append(inside)
    return bars


def _check_recorded(event: BookSnapshot | Trade) -> None:
    place = f"recorded {type(event).__name__} of {event.symbol} at {event.ts_event}"
    match event:
        case BookSnapshot():
            fault = book_fault(event)
        case Trade():
            sound = 0 < event.price < math.inf and 0 < event.qty < math.inf
            fault = "" if sound else f"{event.qty} at {event.price}"
        case _:
            fault = "neither a whole book nor a print"
    if fault:
        raise DataError(f"{place}: {fault}")
