"""What happened while nobody listened: history, settlements and fills from the venue, in the order of their time."""

from collections.abc import Sequence

from flea_lab.core import TradingCore
from flea_lab.model.market import Candle, Funding
from flea_lab.model.trading import Fill
from flea_lab.venue.protocol import Exchange, Feed

PAGE = 5_000
"""Candles that one question may bring; more questions bring the rest."""

Past = Candle | Funding | Fill


async def missed(feed: Feed, exchange: Exchange, core: TradingCore, *, bars: int, fills_after: int) -> list[Past]:
    """Everything between what the core knows and now, ordered as it would have come.

    At one instant: candles that close, then funding, then fills at the open; symbols in the core's order. A core that
    has decided nothing yet gets the last `bars` candles of every symbol.
    """
    past: list[tuple[int, int, int, Past]] = []
    first = core.decided_ns
    for row, symbol in enumerate(core.symbols):
        candles = await _candles(feed, symbol, core.decided_ns, bars)
        past += [(candle.ts_event, 0, row, candle) for candle in candles]
        begin = core.settled_ns[symbol]
        if begin < 0:  # the account knows of none yet: those within the history, and none before it
            begin = (first or min((c.ts_event for c in candles), default=0)) - 1
        settlements = await feed.settlements(symbol, begin)
        past += [(funding.ts_event, 1, row, funding) for funding in settlements]
    past += [(fill.ts_event, 2, n, fill) for n, (_, fill) in enumerate(await exchange.fills(fills_after))]
    past.sort(key=lambda item: item[:3])
    return [event for *_, event in past]


async def _candles(feed: Feed, symbol: str, decided_ns: int, bars: int) -> Sequence[Candle]:
    if decided_ns == 0:
        return [candle for candle in await feed.history(symbol, None, bars) if candle.complete]
    found: list[Candle] = []
    since = decided_ns
    while True:
        page = [candle for candle in await feed.history(symbol, since, PAGE) if candle.complete]
        found += page
        if len(page) < PAGE:
            return found
        since = page[-1].ts_event
