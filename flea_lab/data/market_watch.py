"""Everything that is known to be wrong with one venue's feed, message by message: its books, prints, bars and clock."""

from flea_lab.data.book import BookSync
from flea_lab.data.book_rules import BookRules, book_rules
from flea_lab.data.findings import FindingLedger
from flea_lab.data.freshness import Freshness, stale_after_s
from flea_lab.data.health import FROZEN_AFTER, TRADE_IDS, CandleWatch, ClockWatch, FrozenWatch, TradeWatch
from flea_lab.model.finding import Channel, Finding, Resync
from flea_lab.model.market import INTERVAL_MS, MS_NS, BookDelta, BookSnapshot, Candle, Funding, Trade
from flea_lab.model.vouched import Vouched

Told = tuple[Finding | Resync, ...]
Watched = BookSnapshot | BookDelta | Trade | Candle | Funding


class MarketWatch:
    """One venue's feed, every symbol of it. Decides nothing: it names faults, keeps them in `ledger` and gives a book
    only where it can be vouched for."""

    def __init__(
        self,
        venue: str,
        interval: str = "1m",
        depth: int = 20,
        rules: BookRules | None = None,
        frozen_after: int = FROZEN_AFTER,
    ) -> None:
        """For `venue` by its own rules, or others; candles are of `interval`; a book of which `frozen_after` messages
        repeat the one before is frozen."""
        self.venue = venue
        self.ledger = FindingLedger()
        self.clock = ClockWatch(venue)
        self.freshness = Freshness(stale_after_s(venue), venue)
        self._rules = book_rules(venue) if rules is None else rules
        self._whole = self._rules.continuity == "whole"
        self._depth, self._frozen_after = depth, frozen_after
        self._interval_ns = INTERVAL_MS[interval] * MS_NS
        self._books: dict[str, tuple[BookSync, FrozenWatch]] = {}
        self._trades: dict[str, TradeWatch] = {}
        self._candles: dict[str, CandleWatch] = {}

    def on(self, event: Watched) -> Told:
        """Takes the next message; its faults, and the wish for a snapshot where a book needs one."""
        kind, symbol, ts = type(event), event.symbol, event.ts_event
        told: Told = ()
        if kind is Trade:
            watch = self._trades.get(symbol)
            if watch is None:
                watch = self._trades[symbol] = TradeWatch(symbol, TRADE_IDS.get(self.venue, "none"), self.venue)
            told = watch.on(event)  # type: ignore[arg-type]
        elif kind is BookSnapshot or kind is BookDelta:
            told = self._on_book(event)  # type: ignore[arg-type]
        elif kind is Candle:
            bars = self._candles.get(symbol)
            if bars is None:
                bars = self._candles[symbol] = CandleWatch(symbol, self._interval_ns, self.venue)
            told = bars.on(event)  # type: ignore[arg-type]
        channel = _CHANNEL[kind]
        self.freshness.heard[channel, symbol] = ts
        if channel in _STAMPED:
            leaps = self.clock.on(symbol, ts, event.ts_recv)
            if leaps:
                told = (*told, *leaps)
        if told:
            self.ledger.add(told)
        return told

    def lost(self, ts_event: int) -> Told:
        """Takes that the connection was lost: no book can be read until its next snapshot."""
        told = tuple([one for sync, _ in self._books.values() for one in sync.lost(ts_event)])
        self.ledger.add(told)
        return told

    def book(self, symbol: str) -> Vouched | None:
        """The book of `symbol`, None while it cannot be vouched for. How old it is, `stale` says."""
        pair = self._books.get(symbol)
        return None if pair is None else pair[0].book

    def stale(self, channel: Channel, symbol: str, now_ns: int) -> Finding | None:
        """What makes the channel too old for use at `now_ns`, the venue's time; None where it is fresh."""
        return self.freshness.stale(channel, symbol, now_ns)

    def _on_book(self, event: BookSnapshot | BookDelta) -> Told:
        """A book message. What a frozen channel did not say, it will not say again: its book is in doubt."""
        pair = self._books.get(event.symbol)
        sync, frozen = self._book(event.symbol) if pair is None else pair
        whole = self._whole
        if not whole and type(event) is BookSnapshot:
            return sync.on(event)
        found = frozen.on(event)
        if not frozen.frozen:
            return sync.on(event)
        told = () if whole else sync.on(event)
        broken = sync.lost(event.ts_event, "frozen")
        return (*told, *(broken or found))

    def _book(self, symbol: str) -> tuple[BookSync, FrozenWatch]:
        pair = self._books.get(symbol)
        if pair is None:
            sync = BookSync(symbol, self._rules, self._depth, self.venue)
            pair = self._books[symbol] = sync, FrozenWatch(symbol, self.venue, self._frozen_after)
        return pair


_STAMPED = ("book", "trades")
"""Channels whose messages say when they were sent."""

_CHANNEL: dict[type, Channel] = {
    BookSnapshot: "book",
    BookDelta: "book",
    Trade: "trades",
    Candle: "candles",
    Funding: "funding",
}
