"""A slow book of every venue, written from the venues' public rules: plain dicts, sorted again at every message.

It is the truth that a fast book is held against, and it checks what it is told: a number that does not follow, a sum
that differs, a change of a level that is not there is a `Broken`. The rules, in the venues' words:

- Binance futures: drop what has `u` < `lastUpdateId`; the first kept has `U` <= `lastUpdateId` <= `u`; from then on
  `pu` is the `u` before. Spot: drop `u` <= `lastUpdateId`; the first kept has `U` <= `lastUpdateId` + 1 <= `u`; from
  then on `U` is the `u` before plus one. What comes before the snapshot is kept and looked at when it is there.
- OKX, Bitget: CRC-32 as a signed number of `bid price:bid size:ask price:ask size:...` over the best 25 of both sides,
  as spelled; a side that is shorter is left out where it has no more.
- Kraken spot: CRC-32 of the best 10 asks, then the best 10 bids, price and size each without the point and without
  leading zeros. The book is cut to its 1000 best after every message.
- Kraken Futures: `seq` is the one before plus one. Deribit: `prev_change_id` is the `change_id` before.
- Bybit v2: `cross_seq` grows. Coinbase: nothing but the order. Hyperliquid: every message is the whole book.
- BitMEX: insert what is not there, update and delete what is, by id.
- dYdX: a change applies where its offset is above the level's own, and that of a removed level counts as well.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flea_lab.model.market import BookDelta, BookSnapshot

Top = tuple[tuple[float, float], ...]


class Broken(Exception):
    """A message that does not follow from the one before."""


class SlowBook:
    """The book of one symbol, by one venue's rule."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.there = False
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.seq: int | None = None
        self.joined = False
        self.before: list[BookDelta] = []
        self.spelled: dict[tuple[str, float], tuple[str, str]] = {}
        self.prices: dict[int, tuple[str, float]] = {}
        self.offsets: dict[tuple[str, float], int] = {}

    def on(self, event: BookSnapshot | BookDelta) -> None:
        if isinstance(event, BookSnapshot):
            self._whole(event)
        elif not self.there:
            self.before.append(event)
        else:
            self._change(event)

    def top(self, most: int = 20) -> tuple[Top, Top]:
        """The best bids and asks."""
        return tuple(sorted(self.bids.items(), reverse=True)[:most]), tuple(sorted(self.asks.items())[:most])

    def _whole(self, event: BookSnapshot) -> None:
        self.there, self.joined, self.seq = True, False, event.seq
        self.bids = {price: qty for price, qty in event.bids if qty}
        self.asks = {price: qty for price, qty in event.asks if qty}
        self.spelled = {}
        self._spell(event)
        if event.ids is not None and self.venue == "bitmex":
            bids = {one: ("bids", price) for one, (price, _) in zip(event.ids.bids, event.bids, strict=True)}
            asks = {one: ("asks", price) for one, (price, _) in zip(event.ids.asks, event.asks, strict=True)}
            self.prices = {**bids, **asks}
        if event.ids is not None and self.venue == "dydx":
            self.offsets = {}
            for side, levels, ids in (("bids", event.bids, event.ids.bids), ("asks", event.asks, event.ids.asks)):
                for (price, _), offset in zip(levels, ids, strict=True):
                    self.offsets[side, price] = offset
        self._check_sum(event)
        kept, self.before = self.before, []
        for diff in kept:
            self._change(diff)

    def _change(self, diff: BookDelta) -> None:
        rule: Callable[[BookDelta], bool] = getattr(self, f"_{self.venue}")
        if not rule(diff):
            return
        self.seq, self.joined = diff.seq, True
        if self.venue in ("bitmex", "dydx"):
            return
        for side, levels in ((self.bids, diff.bids), (self.asks, diff.asks)):
            for price, qty in levels:
                side[price] = qty
        for side in (self.bids, self.asks):
            for price in [price for price, qty in side.items() if qty == 0]:
                del side[price]
        self._spell(diff)
        if self.venue == "kraken_spot":
            self.bids, self.asks = dict(self.top(1000)[0]), dict(self.top(1000)[1])
        self._check_sum(diff)

    # Whether a diff is taken, venue by venue.

    def _binance_um(self, diff: BookDelta) -> bool:
        if not self.joined:
            if diff.seq < self.seq:
                return False
            return self._must(diff.first_seq <= self.seq <= diff.seq, diff)
        return self._must(diff.prev_seq == self.seq, diff)

    _binance_cm = _binance_um

    def _binance_spot(self, diff: BookDelta) -> bool:
        if not self.joined:
            if diff.seq <= self.seq:
                return False
            return self._must(diff.first_seq <= self.seq + 1 <= diff.seq, diff)
        return self._must(diff.first_seq == self.seq + 1, diff)

    def _kraken_futures(self, diff: BookDelta) -> bool:
        return self._must(diff.seq == self.seq + 1, diff)

    def _deribit(self, diff: BookDelta) -> bool:
        return self._must(diff.prev_seq == self.seq, diff)

    def _bybit_inverse(self, diff: BookDelta) -> bool:
        return self._must(diff.seq > self.seq, diff)

    def _any(self, diff: BookDelta) -> bool:
        return True

    _okx = _bitget = _kraken_spot = _coinbase = _any

    def _bitmex(self, diff: BookDelta) -> bool:
        for change in diff.changes:
            side = "bids" if change.side == "buy" else "asks"
            known = self.prices.get(change.level_id)
            self._must((known is None) == (change.action == "insert"), diff)
            if known is None:
                known = self.prices[change.level_id] = side, change.price
            self._must(known[0] == side and change.price in (None, known[1]), diff)
            book = self.bids if side == "bids" else self.asks
            book[known[1]] = change.qty
            if change.action == "delete":
                del book[known[1]], self.prices[change.level_id]
        return True

    def _dydx(self, diff: BookDelta) -> bool:
        for name, book, levels in (("bids", self.bids, diff.bids), ("asks", self.asks, diff.asks)):
            for price, qty in levels:
                if diff.seq > self.offsets.get((name, price), -1):
                    self.offsets[name, price] = diff.seq
                    book[price] = qty
                    if qty == 0:
                        del book[price]
        return True

    def _must(self, holds: bool, diff: BookDelta) -> bool:
        if not holds:
            raise Broken(f"{diff.symbol}: {diff.first_seq}, {diff.prev_seq}, {diff.seq} does not follow {self.seq}")
        return True

    # Sums.

    def _spell(self, event: BookSnapshot | BookDelta) -> None:
        if event.texts is None:
            return
        for side, levels, texts in (("b", event.bids, event.texts.bids), ("a", event.asks, event.texts.asks)):
            for (price, _), text in zip(levels, texts, strict=True):
                self.spelled[side, price] = text

    def _check_sum(self, event: BookSnapshot | BookDelta) -> None:
        if event.checksum is None:
            return
        found = self.kraken_sum() if self.venue == "kraken_spot" else self.okx_sum()
        if found != event.checksum:
            raise Broken(f"{event.symbol} at {event.ts_event}: the sum is {found}, told is {event.checksum}")

    def okx_sum(self) -> int:
        """The sum that OKX and Bitget tell, signed."""
        bids, asks = self.top(25)
        said = []
        for k in range(25):
            for side, levels in (("b", bids), ("a", asks)):
                if k < len(levels):
                    said.append(":".join(self.spelled[side, levels[k][0]]))
        number = zlib.crc32(":".join(said).encode())
        return number if number < 2**31 else number - 2**32

    def kraken_sum(self) -> int:
        """The sum that Kraken tells."""
        bids, asks = self.top(10)
        said = ""
        for side, levels in (("a", asks), ("b", bids)):
            for price, _ in levels:
                for text in self.spelled[side, price]:
                    said += text.replace(".", "").lstrip("0")
        return zlib.crc32(said.encode())


def slow_books(events: Iterable[Any], venue: str, most: int = 20) -> Iterator[tuple[int, str, Top, Top]]:
    """The index of every book message among `events`, its symbol, and the best bids and asks after it, as soon as the
    symbol's book is there. Hyperliquid's are the messages themselves."""
    books: dict[str, SlowBook] = {}
    for index, event in enumerate(events):
        if isinstance(event, BookSnapshot | BookDelta):
            book = books.setdefault(event.symbol, SlowBook(venue))
            book.on(event)
            if book.there:
                yield index, event.symbol, *book.top(most)
