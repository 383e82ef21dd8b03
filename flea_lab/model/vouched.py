"""A book that can be vouched for: the only kind of book whose levels can be read."""

from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from flea_lab.model import book
from flea_lab.model.market import BookSnapshot, Levels

Proof = Literal["sequence", "checksum", "whole", "connection"]
"""Why no change can be missing: numbered diffs without a gap; the venue's checksum over at least the levels served;
every message is a whole book; or only that the connection delivers in order and was not lost."""


class Past(Protocol):
    """What tells the levels of a book as they were after any of its changes."""

    def levels(self, at: int) -> tuple[Levels, Levels]:
        """Bids and asks after `at` changes, best first."""


class Vouched(Struct, frozen=True, eq=False, gc=False):
    """The best levels of a book that is the venue's own at `seq`: sorted, positive, not empty, bid below ask.

    Made by `flea_lab.data.book.BookSync` alone. It never changes, however late its levels are read: they are made when
    somebody first asks for them, from the book itself or from its `past`, and are the same either way. Read it in the
    thread in which its book is kept; `snapshot` is a plain value for others. It is not fresh for ever: judge `ts_event`
    at the moment of use.
    """

    symbol: str
    ts_event: int
    ts_recv: int
    seq: int | None
    bid: float
    """Best bid."""
    ask: float
    """Best ask."""
    proof: Proof
    past: Past | None = None
    at: int = 0
    told: tuple[Levels, Levels] | None = None

    @classmethod
    def of(cls, whole: BookSnapshot, proof: Proof) -> "Vouched":
        """The whole book `whole`, which is sound."""
        bids, asks = whole.bids, whole.asks
        known = whole.symbol, whole.ts_event, whole.ts_recv, whole.seq, bids[0][0], asks[0][0], proof
        return cls(*known, told=(bids, asks))

    @property
    def bids(self) -> Levels:
        """(price, qty), best first."""
        return (self.told or self._read())[0]

    @property
    def asks(self) -> Levels:
        """(price, qty), best first."""
        return (self.told or self._read())[1]

    @property
    def mid(self) -> float:
        """Half way between best bid and best ask."""
        return (self.bid + self.ask) / 2

    @property
    def spread_bps(self) -> float:
        """Quoted spread over mid, in basis points."""
        return (self.ask - self.bid) / ((self.bid + self.ask) / 2) * 10_000

    def depth_at_bps(self, bps: float) -> tuple[float, float]:
        """Base units bid and offered at most `bps` away from mid, among the levels served."""
        return book.depth_at_bps(self.snapshot(), bps)

    def snapshot(self) -> BookSnapshot:
        """The same as a message."""
        bids, asks = self.told or self._read()
        return BookSnapshot(
            symbol=self.symbol,
            ts_event=self.ts_event,
            ts_recv=self.ts_recv,
            seq=self.seq,
            bids=bids,
            asks=asks,
        )

    def __repr__(self) -> str:
        return f"Vouched({self.snapshot()}, {self.proof!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vouched):
            return NotImplemented
        return self.proof == other.proof and self.snapshot() == other.snapshot()

    def __hash__(self) -> int:
        return hash((self.symbol, self.ts_event, self.seq, self.bid, self.ask))

    def _read(self) -> tuple[Levels, Levels]:
        """The levels, from now on at hand; what they were made of is let go."""
        assert self.past is not None
        found = self.past.levels(self.at)
        force_setattr(self, "told", found)
        force_setattr(self, "past", None)
        return found
