"""Bars that a stream lost or spoiled, as the venue's own history has them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from flea_lab.model.market import Candle, Heartbeat
from flea_lab.venue.bars import Owed

History = Callable[[str, int, int], Awaitable[list[Candle]]]
"""Candles of a symbol that close after an instant, at most so many."""


class Mended(NamedTuple):
    """Bars that were owed, as history has them, oldest first; the one to tell `instead` of one that is hard to believe,
    None where history has none; and what had been wrong, in words.
    """

    candles: list[Candle]
    instead: Candle | None
    faults: list[str]


async def mended(history: History, owed: Sequence[Owed], wild: Candle | Heartbeat | None, step_ns: int) -> Mended:
    """The bars that are `owed`, and the one in place of `wild`. A bar that history lacks was never there."""
    candles: list[Candle] = []
    faults: list[str] = []
    theirs: Candle | None = None
    for symbol, after_ns, until_ns in owed:
        rows = await history(symbol, after_ns, (until_ns - after_ns) // step_ns)
        found = [candle for candle in rows if after_ns < candle.ts_event <= until_ns]
        if found:
            faults.append(f"{len(found)} candles of {symbol} did not come, history has them")
        candles += found
    if isinstance(wild, Candle):
        rows = await history(wild.symbol, wild.ts_event - 1, 1)
        theirs = next((row for row in rows if row.ts_event == wild.ts_event), None)
        if theirs is None or theirs.close != wild.close:
            has = "none" if theirs is None else theirs.close
            faults.append(f"a candle of {wild.symbol} closes at {wild.close}, history has {has}")
    candles.sort(key=lambda candle: candle.ts_event)
    return Mended(candles, theirs, faults)
