"""What a stream needs of the way a venue speaks: frames into messages, and what time alone says. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from flea_lab.model.market import BookDelta, BookSnapshot, MarketEvent, Trade
from flea_lab.model.trading import OrderReport
from flea_lab.venue.dialects import Dialect
from flea_lab.venue.protocol import Played

Kind = Literal["candle", "book", "trades", "funding", "orders", "fills"]
KINDS: tuple[Kind, ...] = ("candle", "book", "trades", "funding", "orders", "fills")
PRIVATE: tuple[Kind, ...] = ("orders", "fills")
PUBLIC: tuple[Kind, ...] = ("candle", "book", "trades", "funding")

CRITICAL: tuple[Kind, ...] = ("candle", "funding", "orders", "fills")
"""Channels whose loss changes what the desk believes: what cannot be read there ends the connection."""


class Push(NamedTuple):
    """One push: its channel's kind (empty for time itself), our symbol, the sequence number and what it says."""

    kind: Kind | Literal[""]
    symbol: str
    seq: int | None
    said: MarketEvent | Played | OrderReport | None


Quick = tuple[tuple[str, str], int | None, BookSnapshot | BookDelta | Trade, float]
"""A sound book or print: its kind and our symbol, the sequence number, what it says, and its price (0: it has none)."""


class Subscribed(Struct, frozen=True):
    """The venue confirms these channels for these symbols, in its own names."""

    channels: tuple[str, ...]
    symbols: tuple[str, ...]


class Complaint(Struct, frozen=True):
    """The venue says that something asked for cannot be."""

    code: str
    message: str


class Beat(NamedTuple):
    """What time alone brings: frames to send, and what is known by now."""

    frames: Sequence[bytes] = ()
    pushes: Sequence[Push] = ()


Said = Push | Subscribed | Complaint | None
"""What one frame says; None for a frame that says nothing to us."""


class Speech(Protocol):
    """One way of speaking. Whatever cannot be believed is a `FrameError`, never another exception."""

    dialect: Dialect
    symbols: tuple[str, ...]
    interval: str
    channel: dict[Kind, str]
    beat_s: float
    """How often `beat` is called while connected; 0: never, and the venue is pinged by the websocket itself."""

    def begin(self, now_ns: int) -> None:
        """Takes note that a new connection begins at `now_ns` of our time."""

    def asked(self, kinds: Sequence[Kind]) -> set[tuple[str, str]]:
        """(channel, their symbol) of every stream of these kinds; a private channel has no symbol."""

    def subscriptions(self, kinds: Sequence[Kind], ack: bool, symbols: Sequence[str] | None = None) -> Sequence[bytes]:
        """The frames that ask for these channels, once after the connect; of all symbols unless some are named."""

    def acknowledgement(self, ts_event: int) -> bytes:
        """The frame that says that everything up to `ts_event` has been worked off."""

    def quick(self, raw: bytes, ts_recv: int) -> Quick | None:
        """A sound book or print, where it is cheap to read; None leaves the frame to `push`."""

    def push(self, raw: bytes, ts_recv: int) -> Said | list[Push]:
        """What one frame says."""

    def beat(self, now_ns: int) -> Beat:
        """What time alone brings at `now_ns` of our time."""
