"""What is wrong with a feed beside its books: prints, candles, times. Pure: detectors are told of messages in order.

Each `on` answers with the findings of that message, in a tuple that is almost always empty. A detector never holds
anything back and never repairs: what becomes of a faulty message is decided by whoever asked. Times are ns UTC.
"""

from collections import OrderedDict
from math import inf, isnan
from typing import Literal

from flea_lab.data.book_check import number_fault
from flea_lab.model.finding import Channel, Finding, Kind
from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Candle, Trade

SECOND_NS = 1_000 * MS_NS
REMEMBERED = 4_096
"""Prints, and bars, that are remembered to tell one that comes again."""
FROZEN_AFTER = 3
"""Messages in a row with the same time and nothing new that make a frozen book; one such repeat is ordinary."""
SPIKE = 0.2
"""Share of the price before by which an ordinary print may differ from it."""
SPIKES = 3
"""Far prints in a row after which the market is believed to be there."""
JUMP_NS = 30 * SECOND_NS
"""How much more, or less, than the venue's clock ours may advance from one message to the next."""
SKEW_NS = 2 * SECOND_NS
"""How far the two clocks may be apart."""
SKEW_WINDOW = 500
"""Messages whose smallest delay is taken for the difference of the clocks."""
WARM = 20
"""Messages before which the venue's own times may still leap: what comes first may be old."""
EARLIEST_NS, LATEST_NS = 1_230_768_000 * SECOND_NS, 4_102_444_800 * SECOND_NS
"""2009 and 2100: outside, a time is in another unit."""

TradeIds = Literal["contiguous", "unique", "none"]
"""How a venue numbers prints: one after the other, by something that only does not repeat, or not at all."""

TRADE_IDS: dict[str, TradeIds] = {
    "binance_um": "contiguous",
    "binance_cm": "contiguous",
    "binance_spot": "contiguous",
    "okx": "contiguous",
    "coinbase": "contiguous",
    "hyperliquid": "unique",
    "seed": "unique",
}
"""By venue; one that is not here does not number them."""

Findings = tuple[Finding, ...]


def _found(kind: Kind, channel: Channel, symbol: str, ts: int, detail: str, venue: str) -> Finding:
    return Finding(
        kind=kind, channel=channel, symbol=symbol, ts_from=ts, ts_to=ts, detail=detail, resolved="told", venue=venue
    )


class TradeWatch:
    """One symbol's prints: missing, told again, late, impossible, far off."""

    def __init__(self, symbol: str, ids: TradeIds, venue: str = "") -> None:
        """Knows no print; the first is taken as it is."""
        self.symbol, self.ids, self.venue = symbol, ids, venue
        self._numbered = ids != "none"
        self._last: int | None = None
        self._recent: OrderedDict[int, None] = OrderedDict()
        self._price = 0.0
        self._far = 0

    def on(self, trade: Trade) -> Findings:
        """The faults of the next print."""
        told = self._number(trade) if trade.trade_id is not None and self._numbered else ()
        price, before = trade.price, self._price
        sound = 0.0 < price < inf and 0.0 < trade.qty < inf and trade.kind == "normal"
        if sound and (not before or -SPIKE * before <= price - before <= SPIKE * before):  # as nearly all are
            self._price, self._far = price, 0
            return told
        return (*told, *self._values(trade))

    def _number(self, trade: Trade) -> Findings:
        number, last = trade.trade_id, self._last
        if number is None:
            return ()
        if number in self._recent:
            return (self._say("duplicate", trade, f"print {number} was told before"),)
        self._recent[number] = None
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        if self.ids == "unique":
            return ()
        if last is not None and number < last:
            return (self._say("out_of_order", trade, f"print {number} after {last}"),)
        self._last = number
        if last is not None and number > last + 1:
            return (self._say("gap", trade, f"prints {last + 1} to {number - 1} are missing"),)
        return ()

    def _values(self, trade: Trade) -> Findings:
        fault = number_fault(trade.price) or number_fault(trade.qty)
        if fault is not None:
            return (self._say(fault, trade, f"{trade.qty} at {trade.price}"),)
        if trade.kind != "normal":
            return ()
        before = self._price
        if before and abs(trade.price - before) > SPIKE * before and self._far < SPIKES:
            self._far += 1
            return (self._say("spike", trade, f"{trade.price} after {before}"),)
        self._price, self._far = trade.price, 0
        return ()

    def _say(self, kind: Kind, trade: Trade, detail: str) -> Finding:
        return _found(kind, "trades", self.symbol, trade.ts_event, detail, self.venue)


class CandleWatch:
    """One symbol's bars of one interval: missing minutes, bars told again or otherwise, or before they are over."""

    def __init__(self, symbol: str, interval_ns: int, venue: str = "") -> None:
        """Knows no bar; the first complete one is taken as it is."""
        self.symbol, self.interval_ns, self.venue = symbol, interval_ns, venue
        self._last: int | None = None
        self._bars: OrderedDict[int, tuple[float, ...]] = OrderedDict()

    def on(self, candle: Candle, now_ns: int | None = None) -> Findings:
        """The faults of the next candle; `now_ns` is the venue's time (else the candle's receipt), so that a bar which
        is called complete before its close is found."""
        close = candle.ts_event
        if close % self.interval_ns:
            return (self._say("off_grid", candle, f"closes {close % self.interval_ns} ns after its grid"),)
        wrong = _bar_fault(candle)
        if wrong is not None:
            return (self._say(wrong, candle, _bar_text(candle)),)
        if not candle.complete:
            if self._last is not None and close <= self._last:
                return (self._say("resent", candle, "forming again after it was complete"),)
            return ()
        if close > (candle.ts_recv if now_ns is None else now_ns) + SKEW_NS:
            return (self._say("early_close", candle, "complete before its time is over"),)
        return self._complete(candle)

    def _complete(self, candle: Candle) -> Findings:
        close, last = candle.ts_event, self._last
        bar = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        known = self._bars.get(close)
        if known is not None:
            if known == bar:
                return (self._say("resent", candle, "told again"),)
            return (self._say("late_correction", candle, f"{known} became {bar}"),)
        self._bars[close] = bar
        if len(self._bars) > REMEMBERED:
            self._bars.popitem(last=False)
        if last is not None and close < last:
            return (self._say("out_of_order", candle, "a bar from before the last"),)
        self._last = close
        if last is None or close == last + self.interval_ns:
            return ()
        missing = (close - last) // self.interval_ns - 1
        return (
            Finding(
                kind="hole",
                channel="candles",
                symbol=self.symbol,
                ts_from=last,
                ts_to=close - self.interval_ns,
                detail="1 bar is missing" if missing == 1 else f"{missing} bars are missing",
                venue=self.venue,
            ),
        )

    def _say(self, kind: Kind, candle: Candle, detail: str) -> Finding:
        return _found(kind, "candles", self.symbol, candle.ts_event, detail, self.venue)


def _bar_fault(candle: Candle) -> Kind | None:
    for price in (candle.open, candle.high, candle.low, candle.close):
        fault = number_fault(price)
        if fault is not None:
            return fault
    if not 0.0 <= candle.volume < inf:
        return "nan" if isnan(candle.volume) or candle.volume == inf else "negative"
    low, high = min(candle.open, candle.close), max(candle.open, candle.close)
    return None if candle.low <= low and candle.high >= high else "impossible_bar"


def _bar_text(candle: Candle) -> str:
    return f"{candle.open} {candle.high} {candle.low} {candle.close}, volume {candle.volume}"


class FrozenWatch:
    """One symbol's book channel: messages that keep coming and say nothing new.

    Where a venue sends diffs, only those are for this: a snapshot that was asked for comes by another way.
    """

    def __init__(self, symbol: str, venue: str = "", after: int = FROZEN_AFTER) -> None:
        """Nothing heard yet; the book is frozen at the `after`th message that repeats one."""
        self.symbol, self.venue, self.after = symbol, venue, after
        self._ts: int | None = None
        self._levels: tuple[object, object] | None = None
        self._still = 0

    @property
    def frozen(self) -> bool:
        """Whether the last messages said nothing new."""
        return self._still >= self.after

    def on(self, event: BookSnapshot | BookDelta) -> Findings:
        """A finding at the message that makes the book a frozen one; then none until something moved."""
        if event.ts_event == self._ts and self._same(event):
            self._still += 1
            if self._still == self.after:
                detail = f"{self.after} messages without anything new"
                return (_found("frozen", "book", self.symbol, event.ts_event, detail, self.venue),)
            return ()
        self._ts = event.ts_event
        self._still = 0
        self._levels = (event.bids, event.asks) if isinstance(event, BookSnapshot) else None
        return ()

    def _same(self, event: BookSnapshot | BookDelta) -> bool:
        if isinstance(event, BookDelta):
            return not (event.bids or event.asks or event.changes)
        return (event.bids, event.asks) == self._levels


class ClockWatch:
    """The venue's clock against our own: leaps of either, a lasting difference, times in another unit.

    The delay of a message is network plus the difference of the clocks; the smallest of many is the difference, as far
    as one can know without asking. Candles and predictions tell of times to come and are not for this.
    """

    def __init__(self, venue: str = "") -> None:
        """Nothing heard yet."""
        self.venue = venue
        self._latest = self._recv = 0
        self._heard = 0
        self._least: int | None = None
        self._skew: int | None = None
        self._skewed = False

    @property
    def skew_ns(self) -> int | None:
        """Our clock minus the venue's, too much by at most the shortest way of a message; None before any message."""
        return self._least if self._skew is None else self._skew

    def on(self, symbol: str, ts_event: int, ts_recv: int) -> Findings:
        """The faults of the next message's two times."""
        if not EARLIEST_NS < ts_event < LATEST_NS:
            return (self._say("time_unit", symbol, ts_recv, f"ts_event = {ts_event} is no time in ns"),)
        told: Findings = ()
        latest = self._latest
        if self._heard:
            apart = ts_recv - self._recv - (ts_event - latest if ts_event > latest else 0)
            if not -JUMP_NS <= apart <= JUMP_NS:
                told = self._leap(symbol, ts_event, ts_recv)
        self._recv = ts_recv
        self._heard += 1
        if ts_event >= self._latest:
            self._latest = ts_event
            delay = ts_recv - ts_event
            if self._least is None or delay < self._least:
                self._least = delay
        if self._heard % SKEW_WINDOW:
            return told
        return (*told, *self._judge(symbol))

    def _leap(self, symbol: str, ts_event: int, ts_recv: int) -> Findings:
        """What one message says of a leap: our time moved, and the venue's did not move with it, or the reverse."""
        ours, theirs = ts_recv - self._recv, max(0, ts_event - self._latest)
        known = self._heard >= WARM or not -JUMP_NS <= ours <= JUMP_NS
        self._latest, self._least, self._skew, self._skewed = ts_event, None, None, False
        if not known:
            return ()  # the first messages told of old times
        detail = f"ours moved {ours / SECOND_NS:+.3f} s, the venue's {theirs / SECOND_NS:+.3f} s"
        return (self._say("clock_jump", symbol, ts_event, detail),)

    def _judge(self, symbol: str) -> Findings:
        """At the end of a window of messages: whether the clocks differ too much, said when it begins."""
        self._skew, self._least = self._least, None
        if self._skew is None:
            return ()
        was, self._skewed = self._skewed, not -SKEW_NS <= self._skew <= SKEW_NS
        if was or not self._skewed:
            return ()
        detail = f"our clock is {self._skew / SECOND_NS:+.3f} s ahead of the venue's"
        return (self._say("clock_skew", symbol, self._latest, detail),)

    def _say(self, kind: Kind, symbol: str, ts: int, detail: str) -> Finding:
        return _found(kind, "clock", symbol, ts, detail, self.venue)
