"""What happened while nobody listened: history, settlements, fills and orders, asked of the venue and told in order."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flea_lab.core import Event, TradingCore
from flea_lab.execution.order import UNKNOWN, Status
from flea_lab.model.market import Candle, Funding
from flea_lab.model.trading import Accepted, Fill, Halt, SendUnclear, WarmUp
from flea_lab.venue.protocol import Exchange, Feed, OrderState
from flea_lab.venue.record import told

PAGE = 5_000
"""Candles that one question may bring; more questions bring the rest."""

Past = Candle | Funding | Fill


class Asked(NamedTuple):
    """What the venue answered. `seq` is its private count before the questions: the answers hold all up to it. `orders`
    are those open here, None where it has never seen one; `strangers` are open there and were not given here."""

    seq: int
    past: list[Past]
    orders: dict[str, OrderState | None]
    strangers: list[str]


async def ask(feed: Feed, exchange: Exchange, core: TradingCore, *, bars: int, fills_after: int) -> Asked:
    """Everything that the core may have missed. `VenueError` where the venue does not say."""
    seq = (await exchange.account()).seq
    past = await missed(feed, exchange, core, bars=bars, fills_after=fills_after)
    blotter = core.router.blotter
    names = [order.command.client_order_id for order in blotter.open_orders()]
    orders = {name: await exchange.order(name) for name in names}
    strangers = [o.client_order_id for o in await exchange.open_orders() if o.client_order_id not in blotter]
    return Asked(seq or 0, past, orders, strangers)


def unheard(asked: Asked, core: TradingCore, now_ns: int) -> Iterator[Event]:
    """The answers as events for `core`, which must have taken each before the next is asked for.

    Candles come as history: they decide nothing. An order that the venue has never seen is of unknown fate if nobody
    can say that it arrived, and cannot be explained if it was acknowledged. A stranger halts.
    """
    closes = [event.ts_event for event in asked.past if isinstance(event, Candle)]
    if closes:
        yield WarmUp(ts_event=now_ns, until_ns=max(closes))
    yield from asked.past
    away = "the runner was away"
    for name, state in asked.orders.items():
        status = core.router.blotter.get(name).status
        report = told(state) if state is not None else None
        if isinstance(report, Accepted) and status is Status.CANCELLING:  # the cancel may never have left
            yield SendUnclear(client_order_id=name, ts_event=now_ns, reason=away)
        if report is not None:
            yield report
        elif status in (Status.PENDING, Status.CANCELLING, UNKNOWN):
            yield SendUnclear(client_order_id=name, ts_event=now_ns, reason=away)
        elif status is Status.WORKING:  # nobody can explain that
            yield Halt(ts_event=now_ns, reason=f"order {name} was acknowledged, now the venue has never seen it")
    for name in asked.strangers:
        yield Halt(ts_event=now_ns, reason=f"order {name} is open on this account and was not given here")


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
