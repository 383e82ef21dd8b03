"""A book that can be vouched for: the only kind of book whose levels can be read."""

from typing import Literal

from msgspec import Struct

from flea_lab.model import book
from flea_lab.model.market import BookSnapshot

Proof = Literal["sequence", "checksum", "whole", "connection"]
"""Why no change can be missing: numbered diffs without a gap; the venue's checksum over at least the levels served;
every message is a whole book; or only that the connection delivers in order and was not lost."""


class Vouched(Struct, frozen=True, kw_only=True):
    """The best levels of a book that is the venue's own at `seq`: sorted, positive, not empty, bid below ask.

    Made by `flea_lab.data.book.BookSync` alone. It is not fresh for ever: judge `ts_event` at the moment of use.
    """

    symbol: str
    ts_event: int
    ts_recv: int
    seq: int | None
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]
    proof: Proof

    @property
    def bid(self) -> float:
        """Best bid."""
        return self.bids[0][0]

    @property
    def ask(self) -> float:
        """Best ask."""
        return self.asks[0][0]

    @property
    def mid(self) -> float:
        """Half way between best bid and best ask."""
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def spread_bps(self) -> float:
        """Quoted spread over mid, in basis points."""
        return book.spread_bps(self.snapshot())

    def depth_at_bps(self, bps: float) -> tuple[float, float]:
        """Base units bid and offered at most `bps` away from mid, among the levels served."""
        return book.depth_at_bps(self.snapshot(), bps)

    def snapshot(self) -> BookSnapshot:
        """The same as a message."""
        return BookSnapshot(
            symbol=self.symbol,
            ts_event=self.ts_event,
            ts_recv=self.ts_recv,
            seq=self.seq,
            bids=self.bids,
            asks=self.asks,
        )
