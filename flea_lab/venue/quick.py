"""Books and prints read in one pass, into messages; everything else is left to the long way."""

import numpy as np

from flea_lab.model.market import MS_NS, BookDelta, BookSnapshot, Trade
from flea_lab.model.packed import PackedLevels
from flea_lab.venue.scan import BUY, DELTA, MOST, NOTHING, SELL, SNAPSHOT, scan
from flea_lab.venue.speech import Quick

MOST_HEADS = 10_000
EARLIEST_MS, LATEST_MS = 100_000_000_001, 9_000_000_000_000
"""Times on the wire that can only be milliseconds, as `Wire.ns` has it."""


class QuickReader:
    """Reads frames that begin as one that the long way has read: the same channel and symbol, spelt alike."""

    def __init__(self) -> None:
        """Knows no beginning yet; what reads is compiled here, if nobody has before."""
        self._numbers = np.empty(2 * MOST)
        self._bytes = memoryview(self._numbers.data).cast("B")
        self._heads: dict[bytes, tuple[str, str]] = {}
        scan(b"", self._numbers)

    def learn(self, raw: bytes, kind: str, symbol: str) -> None:
        """Takes note that the long way read a book or print of `symbol` from `raw`."""
        what, head, *_ = scan(raw, self._numbers)
        if what != NOTHING and len(self._heads) < MOST_HEADS:
            self._heads[raw[:head]] = kind, symbol

    def read(self, raw: bytes, ts_recv: int) -> Quick | None:
        """As `Speech.quick`."""
        what, head, seq, stamp, bids, asks, number, first, second = scan(raw, self._numbers)
        if what == NOTHING:
            return None
        stream = self._heads.get(raw[:head])
        if stream is None or (what >= BUY) != (stream[0] == "trades"):
            return None
        if stamp < 0:
            ts_event = ts_recv
        elif EARLIEST_MS <= stamp < LATEST_MS:
            ts_event = stamp * MS_NS
        else:
            return None
        place = seq if seq >= 0 else None
        symbol = stream[1]
        if what == SNAPSHOT:
            levels = self._bytes[: 8 * asks].tobytes()
            book = BookSnapshot(
                symbol=symbol,
                ts_event=ts_event,
                ts_recv=ts_recv,
                seq=place,
                bids=PackedLevels(levels[: 8 * bids], first),  # type: ignore[arg-type]
                asks=PackedLevels(levels[8 * bids :], second),  # type: ignore[arg-type]
            )
            return stream, place, book, first
        if what == DELTA:
            levels = self._bytes[: 8 * asks].tobytes()
            diff = BookDelta(
                symbol=symbol,
                ts_event=ts_event,
                ts_recv=ts_recv,
                prev_seq=seq - 1,
                seq=seq,
                bids=PackedLevels(levels[: 8 * bids], 0.0).pairs(),
                asks=PackedLevels(levels[8 * bids :], 0.0).pairs(),
            )
            return stream, place, diff, 0.0
        trade = Trade(
            symbol=symbol,
            ts_event=ts_event,
            ts_recv=ts_recv,
            price=first,
            qty=second,
            side="sell" if what == SELL else "buy",
            trade_id=number if number >= 0 else None,
        )
        return stream, place, trade, first
