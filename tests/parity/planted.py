"""Bugs planted in the replay's leg, each noting the bar on which it first did harm: the truth that parity must find.

A bug is a function that rewires one part of a core or its exchange from bar `since` on. It calls `harm(bar)` the first
time that its output differs from the right one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from flea_lab.backtest.market import Market
from flea_lab.core import TradingCore
from flea_lab.ledger import LOTS, MARK
from flea_lab.model.market import Candle
from flea_lab.model.trading import Fill
from flea_lab.risk.tolerance import LEFT
from flea_lab.sandbox.matching import NextOpenMatching

HOUR_NS = 3_600_000_000_000


@dataclass
class Scene:
    """What a bug may touch, and where it writes down its first harm."""

    core: TradingCore
    exchange: NextOpenMatching
    market: Market
    since: int
    harmed_at: int | None = None

    def bar_of(self, close_ns: int) -> int:
        """Position of the bar that closes (or, for a fill, opened at most one bar before) at `close_ns`."""
        return int(np.searchsorted(self.market.close_ns, close_ns))

    def harm(self, bar: int) -> None:
        """Notes the first bar on which something went wrong."""
        if self.harmed_at is None:
            self.harmed_at = bar


def partial_candle(scene: Scene) -> None:
    """A candle that was still forming is taken for closed: its close is the middle of its range."""
    right = scene.core.on

    def on(event: Any) -> Any:
        if isinstance(event, Candle) and scene.bar_of(event.ts_event) == scene.since:
            middle = (event.open + event.close) / 2.0
            if middle != event.close:
                scene.harm(scene.since)
            event = replace(event, close=middle)
        return right(event)

    scene.core.on = on  # type: ignore[method-assign]


def peeks_at_next_bar(scene: Scene) -> None:
    """A signal sees the next bar's close instead of this one's, once."""
    right = scene.core._see

    def see(s: int, candle: Candle) -> None:
        if candle.ts_event == scene.market.close_ns[scene.since] and s == 0:
            later = float(scene.market.bars[s, scene.since + 1, 3])
            if later != candle.close:
                scene.harm(scene.since)
            candle = replace(candle, close=later)
        right(s, candle)

    scene.core._see = see  # type: ignore[method-assign]


def skips_a_bar(scene: Scene) -> None:
    """A window is off by one: one bar is never pushed into it."""
    right = scene.core.desk.step_rows

    def step_rows(first: int, stop: int) -> bool:
        if scene.core._bar_ns == scene.market.close_ns[scene.since]:
            scene.harm(scene.since)
            return True  # with what was said at the bar before
        return right(first, stop)

    scene.core.desk.step_rows = step_rows  # type: ignore[method-assign]


def rounds_lots_up(scene: Scene) -> None:
    """The router rounds to the next lot above instead of below."""
    right = scene.core.router.on

    def on(approved: Any, lots: int, ticks: int) -> Any:
        order = right(approved, lots, ticks)
        if scene.bar_of(order.ts_event) < scene.since:
            return order
        scene.harm(scene.bar_of(order.ts_event))
        bigger = replace(order, lots=order.lots + 1)
        blotter = scene.core.router.blotter
        entry = replace(blotter.get(order.client_order_id), command=bigger)
        blotter._orders[order.client_order_id] = blotter._open[order.client_order_id] = entry
        return bigger

    scene.core.router.on = on  # type: ignore[method-assign]


def rounds_cents_away(scene: Scene) -> None:
    """The desk rounds sizes up to whole dollars."""
    right = scene.core.desk.intent

    def intent(symbol: str, conviction: float, ts: int, *rest: Any) -> Any:
        found = right(symbol, conviction, ts, *rest)
        if found is None or scene.bar_of(ts) < scene.since:
            return found
        size = -(-found.size_uusd // 1_000_000) * 1_000_000
        if size != found.size_uusd:
            scene.harm(scene.bar_of(ts))
        return replace(found, size_uusd=size, size_usd=size / 1e6)

    scene.core.desk.intent = intent  # type: ignore[method-assign]


def wrong_day_boundary(scene: Scene) -> None:
    """The day begins at 23:00 UTC: somebody's local midnight."""
    right = scene.core.gate.advance

    def advance(ts_ns: int, equity: int) -> tuple[str, ...]:
        before = scene.core.gate.state.copy()
        right(ts_ns, equity)
        proper = scene.core.gate.state.copy()
        scene.core.gate.state[:] = before
        fresh = right(ts_ns + HOUR_NS, equity)
        if not np.array_equal(scene.core.gate.state[1:], proper[1:]):
            scene.harm(scene.bar_of(ts_ns))
        return fresh

    scene.core.gate.advance = advance  # type: ignore[method-assign]


def fills_at_the_close(scene: Scene) -> None:
    """Orders fill at the close they were decided on, not at the next open."""
    right = scene.exchange.open
    closes = {symbol: scene.market.close_ticks[s] for s, symbol in enumerate(scene.market.symbols)}

    def open_(symbol: str, ticks: int, ts_event: int) -> Any:
        bar = scene.bar_of(ts_event + 1)
        if bar < scene.since:
            return right(symbol, ticks, ts_event)
        before = int(closes[symbol][bar - 1])
        fills = right(symbol, before, ts_event)
        if fills and before != ticks:
            scene.harm(bar)
        return fills

    scene.exchange.open = open_  # type: ignore[method-assign]


def pays_the_fee_twice(scene: Scene) -> None:
    """A fill's fee is booked twice."""
    right = scene.core.ledger.fill

    def fill(event: Fill) -> None:
        bar = scene.bar_of(event.ts_event + 1)
        if bar >= scene.since and event.fee_uusd:
            scene.harm(bar)
            event = replace(event, fee_uusd=2 * event.fee_uusd)
        right(event)

    scene.core.ledger.fill = fill  # type: ignore[method-assign]


def funding_the_wrong_way(scene: Scene) -> None:
    """Longs receive what they should pay."""
    right = scene.core.ledger.fund

    def fund(symbol: str, rate: float) -> int:
        at = scene.bar_of(scene.core._decided_ns + 1)
        changed = right(symbol, -rate if at >= scene.since else rate)
        if at >= scene.since and changed:
            scene.harm(at)
        return changed

    scene.core.ledger.fund = fund  # type: ignore[method-assign]


def forgets_what_is_marked(scene: Scene) -> None:
    """One symbol is valued at an old price for one bar."""
    ledger = scene.core.ledger
    right, right_all = ledger.mark, ledger.mark_all

    def seen(s: int, ticks: int) -> int:
        bar, before = scene.bar_of(scene.core._bar_ns), int(ledger.book[s, MARK])
        if bar < scene.since or scene.harmed_at is not None or ledger.book[s, LOTS] == 0 or before == ticks:
            return ticks
        scene.harm(bar)
        return before

    ledger.mark = lambda symbol, ticks: right(symbol, seen(ledger.row[symbol], ticks))  # type: ignore[method-assign]
    ledger.mark_all = lambda ticks: right_all([seen(*one) for one in enumerate(ticks)])  # type: ignore[method-assign]


def lets_unknown_vpin_pass(scene: Scene) -> None:
    """A VPIN that is not known passes its guard."""
    right = scene.core.gate.code

    def code(size: int, equity: int, before: int, gross: int, worst: float, vpin: float, unsettled: bool) -> int:
        proper = right(size, equity, before, gross, worst, vpin, unsettled)
        found = right(size, equity, before, gross, worst, 0.0 if vpin != vpin else vpin, unsettled)
        if found != proper:
            scene.harm(scene.bar_of(scene.core._decided_ns))
        return found

    scene.core.gate.code = code  # type: ignore[method-assign]


def sizes_from_what_it_began_with(scene: Scene) -> None:
    """The portfolio value is the constant it was constructed with, not the account's equity now."""
    right = scene.core.desk.intent
    began = scene.core.ledger.cash_uusd

    def intent(symbol: str, conviction: float, ts: int, ticks: int, equity: int, position: int) -> Any:
        proper = right(symbol, conviction, ts, ticks, equity, position)
        if scene.bar_of(ts) < scene.since:
            return proper
        found = right(symbol, conviction, ts, ticks, began, position)
        if found != proper:
            scene.harm(scene.bar_of(ts))
        return found

    scene.core.desk.intent = intent  # type: ignore[method-assign]


def settles_a_bar_early(scene: Scene) -> None:
    """After a hole a symbol is back one bar too soon."""
    doubts, right, ask = scene.core.doubts, scene.core.gate.code, scene.core.doubts.unsettled
    last = False

    def unsettled(symbol: str) -> bool:
        nonlocal last
        last = bool(doubts.state[scene.market.symbols.index(symbol), LEFT] == 1)
        return ask(symbol)

    def code(size: int, equity: int, before: int, gross: int, worst: float, vpin: float, out: bool) -> int:
        proper = right(size, equity, before, gross, worst, vpin, out)
        bar = scene.bar_of(scene.core._decided_ns)
        found = right(size, equity, before, gross, worst, vpin, out and not (last and bar >= scene.since))
        if found != proper:
            scene.harm(bar)
        return found

    doubts.unsettled = unsettled  # type: ignore[method-assign]
    scene.core.gate.code = code  # type: ignore[method-assign]


BUGS: dict[str, tuple[Callable[[Scene], None], dict[str, Any]]] = {
    "partial candle": (partial_candle, {}),
    "peeks at the next bar": (peeks_at_next_bar, {}),
    "skips a bar": (skips_a_bar, {}),
    "rounds lots up": (rounds_lots_up, {}),
    "rounds cents away": (rounds_cents_away, {}),
    "wrong day boundary": (wrong_day_boundary, {"risk.max_daily_loss": 0.002, "risk.max_drawdown": 1.0}),
    "fills at the close": (fills_at_the_close, {}),
    "pays the fee twice": (pays_the_fee_twice, {}),
    "funding the wrong way": (funding_the_wrong_way, {}),
    "forgets what is marked": (forgets_what_is_marked, {}),
    "lets unknown vpin pass": (
        lets_unknown_vpin_pass,
        {"risk.vpin": {"source": "bars", "bucket_volume": {"BTCUSDT": 50.0, "ETHUSDT": 1_000.0}, "window": 50}},
    ),
    "sizes from what it began with": (sizes_from_what_it_began_with, {"sizing.mode": "target"}),
    "settles a bar early": (settles_a_bar_early, {"tolerance.max_hole_bars": 0, "tolerance.settle_bars": 5}),
}
"""Every planted bug, with the settings under which it can do harm."""
