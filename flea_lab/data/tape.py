"""A tape: what a feed said, in the order in which it came, in one file that a crash cannot spoil.

The file is a row of records after a magic line of 8 bytes: length (4 bytes), CRC-32 of the body (4 bytes), body;
numbers little-endian. A body is one byte for its kind and what follows: `E` a market event in msgpack; `F` a raw frame
(receive time and time of the event read from it, 8 bytes each in ns, one byte 1 for text and 0 for bytes, then the
frame as it came); `N` a note on the connection in msgpack. Format 1 (`fleatp1`) holds events without the kind byte;
it is read, and gone on with, as it is. A record that was not written whole is the end of the tape.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from flea_lab.errors import DataError
from flea_lab.model.market import Heartbeat, MarketEvent
from flea_lab.model.packed import plain

MAGIC = b"fleatp2\n"
OLD_MAGIC = b"fleatp1\n"
SUFFIX = ".tape"
_HEAD = struct.Struct("<II")
_FRAME = struct.Struct("<qqB")
_MOST = 1 << 24
_BLOCK = 1 << 20
_NEVER = -(2**63)
_EVENT, _RAW, _NOTE = b"EFN"

NoteKind = Literal["begin", "history", "up", "down", "fault", "end"]


class RawFrame(Struct, frozen=True):
    """One frame as it came: `ts_recv` ours, `ts_event` the venue's time of what was read from it (None: nothing was).

    `text` says that it came as text.
    """

    ts_recv: int
    raw: bytes
    ts_event: int | None = None
    text: bool = True


class Note(Struct, frozen=True):
    """What the recorder has to say: the connection came up or went down, a frame could not be read, it began, ended."""

    ts_recv: int
    kind: NoteKind
    text: str = ""


Record = MarketEvent | RawFrame | Note


class TapeWriter:
    """Appends records to a tape, buffered; `flush` hands them to the system, so that only a dead machine loses them."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the tape at `path`; a torn end is cut off first. `DataError` where it is no tape."""
        self.path = path
        whole = 0
        self._magic = MAGIC
        if path.exists() and not _is_unborn(path):
            self._magic, whole = magic_of(path), whole_length(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, whole)
        self._file = os.fdopen(descriptor, "r+b", buffering=_BLOCK)
        self._file.seek(whole)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=plain)
        self._body = bytearray()
        self.size = whole
        if whole == 0:
            self._file.write(MAGIC)
            self._file.flush()
            self.size = len(MAGIC)

    def append(self, record: Record) -> None:
        """Takes one record; `DataError` where a tape of format 1 cannot hold it."""
        old = self._magic is OLD_MAGIC
        if isinstance(record, RawFrame):
            when = _NEVER if record.ts_event is None else record.ts_event
            kind, body = _RAW, _FRAME.pack(record.ts_recv, when, record.text) + record.raw
        else:
            kind, body = _NOTE if isinstance(record, Note) else _EVENT, self._encoder.encode(record)
        if old and kind != _EVENT:
            raise DataError(f"{self.path.name}: a tape of format 1 holds events only")
        if not old:
            body = kind.to_bytes() + body
        if len(body) > _MOST:
            raise DataError(f"{self.path.name}: a record of {len(body)} bytes, at most {_MOST} may be")
        self._file.write(_HEAD.pack(len(body), zlib.crc32(body)))
        self._file.write(body)
        self.size += _HEAD.size + len(body)

    def flush(self, *, sync: bool = False) -> None:
        """Hands everything so far to the system; with `sync` to the disk."""
        self._file.flush()
        if sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flushes to the disk and closes."""
        if not self._file.closed:
            self.flush(sync=True)
            self._file.close()


def read_tape(path: Path) -> Iterator[MarketEvent]:
    """The events of a tape in order; ends before a record that is not whole. `DataError` where the file is no tape."""
    decoder = msgspec.msgpack.Decoder(MarketEvent)
    old = magic_of(path) is OLD_MAGIC
    for _, body in _records(path):
        if old:
            yield decoder.decode(body)
        elif body[0] == _EVENT:
            yield decoder.decode(memoryview(body)[1:])


def read_records(path: Path) -> Iterator[Record]:
    """Everything on a tape in order: events, raw frames and notes."""
    for _, record in placed_records(path):
        yield record


def placed_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Everything on a tape in order, each with the byte at which its record ends."""
    events, notes = msgspec.msgpack.Decoder(MarketEvent), msgspec.msgpack.Decoder(Note)
    old = magic_of(path) is OLD_MAGIC
    for end, body in _records(path):
        if old:
            yield end, events.decode(body)
        elif body[0] == _EVENT:
            yield end, events.decode(memoryview(body)[1:])
        elif body[0] == _RAW:
            ts_recv, when, text = _FRAME.unpack_from(body, 1)
            yield end, RawFrame(ts_recv, body[1 + _FRAME.size :], None if when == _NEVER else when, bool(text))
        elif body[0] == _NOTE:
            yield end, notes.decode(memoryview(body)[1:])
        else:
            raise DataError(f"{path.name}: a record of kind {body[:1]!r} before byte {end}: of a newer format")


def beginning(venue: str, interval: str, symbols: Iterable[str]) -> str:
    """What the note says with which a recording begins: venue or dialect, interval, symbols."""
    return f"{venue} {interval} {','.join(symbols)}"


def heard_ns(record: Record) -> int | None:
    """When a record came, ns UTC of our clock; None for a heartbeat, which does not say."""
    return None if isinstance(record, Heartbeat) else record.ts_recv


def magic_of(path: Path) -> bytes:
    """The format of a tape; `DataError` where the file is none."""
    try:
        with path.open("rb") as file:
            found = file.read(len(MAGIC))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    for known in (MAGIC, OLD_MAGIC):
        if found == known:
            return known
    raise DataError(f"{path.name} is not a tape")


def whole_length(path: Path) -> int:
    """How many bytes of a tape are whole records; the rest is torn."""
    end = len(magic_of(path))
    for end, _ in _records(path):  # noqa: B007  (the last one is what counts)
        pass
    return end


def _is_unborn(path: Path) -> bool:
    """Whether whoever began the file died before its magic line was whole."""
    size = path.stat().st_size
    return size < len(MAGIC) and MAGIC.startswith(path.read_bytes())


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every whole record's body, with where it ends. Reads block by block."""
    magic_of(path)
    with path.open("rb", buffering=0) as file:
        file.seek(len(MAGIC))
        end = len(MAGIC)
        held, at = b"", 0
        while True:
            if len(held) - at < _HEAD.size:
                held, at = _more(file, held[at:], _HEAD.size), 0
                if len(held) < _HEAD.size:
                    return
            length, crc = _HEAD.unpack_from(held, at)
            if not 0 < length <= _MOST:
                return
            if len(held) - at < _HEAD.size + length:
                held, at = _more(file, held[at:], _HEAD.size + length), 0
                if len(held) < _HEAD.size + length:
                    return
            at += _HEAD.size
            body = held[at : at + length]
            if zlib.crc32(body) != crc:
                return
            at += length
            end += _HEAD.size + length
            yield end, body


def _more(file: BinaryIO, held: bytes, needed: int) -> bytes:
    """`held` with what follows in the file, at least `needed` bytes where there are as many."""
    parts = [held]
    size = len(held)
    while size < needed:
        block = file.read(_BLOCK)
        if not block:
            break
        parts.append(block)
        size += len(block)
    return b"".join(parts)
