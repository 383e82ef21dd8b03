"""What some venues note beside a level: its spelling (for a checksum), its id, the number of its last change."""

import zlib
from collections.abc import Iterable

from flea_lab.model.market import BookDelta, BookSnapshot, LevelChange, Levels, LevelTexts

Spelt = dict[float, tuple[str, str]]


class Spelling:
    """The venue's own digits of every level, by price."""

    def __init__(self) -> None:
        """Knows no level."""
        self.bids: Spelt = {}
        self.asks: Spelt = {}

    def load(self, event: BookSnapshot) -> None:
        """Forgets what it knew and takes a whole book's."""
        self.bids, self.asks = {}, {}
        self.note(event.bids, event.asks, event.texts)

    def note(self, bids: Levels, asks: Levels, texts: LevelTexts | None) -> None:
        """Takes the digits of changed levels; those of a removed one are forgotten."""
        if texts is None:
            return
        for spelt, levels, told in ((self.bids, bids, texts.bids), (self.asks, asks, texts.asks)):
            for (price, qty), text in zip(levels, told, strict=True):
                if qty:
                    spelt[price] = text
                else:
                    spelt.pop(price, None)

    def okx_sum(self, bids: Levels, asks: Levels) -> int:
        """CRC-32, signed, of `bid:size:ask:size:...` over the best 25, a side that is over left out (OKX, Bitget)."""
        parts: list[str] = []
        bid, ask = self._spelt(self.bids, bids), self._spelt(self.asks, asks)
        for at in range(max(len(bid), len(ask))):
            parts += [*bid[at : at + 1], *ask[at : at + 1]]
        total = zlib.crc32(":".join(parts).encode())
        return total - (1 << 32) if total >> 31 else total

    def kraken_sum(self, bids: Levels, asks: Levels) -> int:
        """CRC-32 of the best 10 asks, then bids, each price and size without its point and leading zeros (Kraken)."""
        digits = ":".join([*self._spelt(self.asks, asks), *self._spelt(self.bids, bids)])
        stripped = [text.replace(".", "").lstrip("0") for text in digits.split(":")]
        return zlib.crc32("".join(stripped).encode())

    def _spelt(self, spelt: Spelt, levels: Levels) -> list[str]:
        return [":".join(spelt.get(price, ("", ""))) for price, _ in levels]


class LevelNames:
    """The price of every level id (BitMEX)."""

    def __init__(self) -> None:
        """Knows no level."""
        self.price: dict[int, float] = {}

    def load(self, event: BookSnapshot) -> None:
        """Forgets what it knew and takes a whole book's."""
        if event.ids is None:
            self.price = {}
            return
        named = [*zip(event.ids.bids, event.bids, strict=True), *zip(event.ids.asks, event.asks, strict=True)]
        self.price = {level_id: price for level_id, (price, _) in named}

    def resolve(self, changes: Iterable[LevelChange]) -> tuple[Levels, Levels, str]:
        """The changes by price, bids and asks; and what does not fit what it knows, or ""."""
        bids: list[tuple[float, float]] = []
        asks: list[tuple[float, float]] = []
        for change in changes:
            known = self.price.get(change.level_id)
            if change.action == "insert":
                if known is not None or change.price is None:
                    return (), (), f"level {change.level_id} is inserted twice"
                known = self.price[change.level_id] = change.price
            elif known is None:
                return (), (), f"{change.action} of level {change.level_id}, which was never inserted"
            elif change.action == "delete":
                del self.price[change.level_id]
            (bids if change.side == "buy" else asks).append((known, 0.0 if change.action == "delete" else change.qty))
        return tuple(bids), tuple(asks), ""


class LevelNumbers:
    """The number of every level's last change; a removed level keeps its own, lest an older change revive it (dYdX)."""

    def __init__(self) -> None:
        """Knows no level."""
        self.bids: dict[float, int] = {}
        self.asks: dict[float, int] = {}

    def load(self, event: BookSnapshot) -> None:
        """Forgets what it knew and takes a whole book's."""
        ids = event.ids
        self.bids = dict(zip([price for price, _ in event.bids], ids.bids, strict=True)) if ids else {}
        self.asks = dict(zip([price for price, _ in event.asks], ids.asks, strict=True)) if ids else {}

    def newer(self, event: BookDelta) -> tuple[Levels, Levels]:
        """Those changes that are newer than what their level has, bids and asks."""
        seq = event.seq or 0
        found: list[Levels] = []
        for numbers, levels in ((self.bids, event.bids), (self.asks, event.asks)):
            new = [level for level in levels if seq > numbers.get(level[0], -1)]
            numbers.update({price: seq for price, _ in new})
            found.append(tuple(new))
        return found[0], found[1]
