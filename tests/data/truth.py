"""What a venue's books truly are after every message of a clean tape: plain dicts, and snapshots of them on demand."""

from collections.abc import Iterable
from typing import Any

from flea_lab.model.market import BookDelta, BookSnapshot, Levels, LevelTexts

Tops = tuple[Levels, Levels]


class TrueBook:
    """One symbol's book on a tape that is known to be whole; numbers only tell where it stands."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.texts: dict[tuple[str, float], tuple[str, str]] = {}
        self.last: Any = None
        self.spelled = False
        self.before: list[BookDelta] = []
        self.diff: BookDelta | None = None

    def on(self, event: BookSnapshot | BookDelta) -> None:
        if isinstance(event, BookDelta):
            self.diff = event
        if isinstance(event, BookSnapshot):
            self.bids, self.asks, self.texts = dict(event.bids), dict(event.asks), {}
            self.spelled = event.texts is not None
            self._add(event)
            for kept in self.before:
                if (kept.seq or 0) >= (event.seq or 0):
                    self._add(kept)
            self.before = []
        elif self.last is None:
            self.before.append(event)
        elif event.seq is None or self.last.seq is None or event.seq >= self.last.seq:
            self._add(event)  # Binance futures: also the diff that ends with the snapshot's number

    def top(self, most: int = 20) -> Tops:
        bids, asks = sorted(self.bids, reverse=True)[:most], sorted(self.asks)[:most]
        return tuple([(price, self.bids[price]) for price in bids]), tuple(
            [(price, self.asks[price]) for price in asks]
        )

    def snapshot(self, most: int) -> BookSnapshot:
        """The best `most` levels a side, as the venue would send them now."""
        bids, asks = self.top(most)
        texts = None
        if self.spelled:
            spelled = (
                tuple([self.texts[name, price] for price, _ in side]) for name, side in (("b", bids), ("a", asks))
            )
            texts = LevelTexts(bids=next(spelled), asks=next(spelled))
        at = self.last
        return BookSnapshot(
            symbol=at.symbol, ts_event=at.ts_event, ts_recv=at.ts_recv, seq=at.seq, bids=bids, asks=asks, texts=texts
        )

    def _add(self, event: BookSnapshot | BookDelta) -> None:
        told = event.texts or LevelTexts()
        for name, side, levels, texts in (
            ("b", self.bids, event.bids, told.bids),
            ("a", self.asks, event.asks, told.asks),
        ):
            for price, qty in levels:
                side[price] = qty
                if not qty:
                    del side[price]
            for (price, _), text in zip(levels, texts, strict=False):
                self.texts[name, price] = text
        self.last = event


class TrueBooks:
    """Every symbol's."""

    def __init__(self, events: Iterable[Any] = ()) -> None:
        self.books: dict[str, TrueBook] = {}
        for event in events:
            self.on(event)

    def on(self, event: Any) -> None:
        if isinstance(event, BookSnapshot | BookDelta):
            self.books.setdefault(event.symbol, TrueBook()).on(event)

    def known(self) -> list[TrueBook]:
        return [book for book in self.books.values() if book.last is not None]
