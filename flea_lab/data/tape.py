"""A tape: every market event that a feed told, in the order in which it came, in one file that a crash cannot spoil.

The file is a row of records: length (4 bytes), CRC-32 of the body (4 bytes), body (one event in msgpack); numbers
little-endian, after a magic line of 8 bytes. A record that was not written whole is the end of the tape.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from flea_lab.errors import DataError
from flea_lab.model.market import MarketEvent

MAGIC = b"fleatp1\n"
_HEAD = struct.Struct("<II")
_MOST = 1 << 24


class TapeWriter:
    """Appends events to a tape, buffered; `flush` hands them to the system, so that only a dead machine loses them."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the tape at `path`; a torn end is cut off first. `DataError` where it is no tape."""
        whole = _whole_length(path) if path.exists() and path.stat().st_size else 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, whole)
        self._file = os.fdopen(descriptor, "r+b")
        self._file.seek(whole)
        self._encoder = msgspec.msgpack.Encoder()
        if whole == 0:
            self._file.write(MAGIC)

    def append(self, event: MarketEvent) -> None:
        """Takes one event."""
        body = self._encoder.encode(event)
        self._file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)

    def flush(self) -> None:
        """Hands everything so far to the system."""
        self._file.flush()

    def close(self) -> None:
        """Flushes to the disk and closes."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def read_tape(path: Path) -> Iterator[MarketEvent]:
    """The events of a tape in order; ends before a record that is not whole. `DataError` where the file is no tape."""
    decoder = msgspec.msgpack.Decoder(MarketEvent)
    for _, body in _records(path):
        yield decoder.decode(body)


def _whole_length(path: Path) -> int:
    return max((end for end, _ in _records(path)), default=len(MAGIC))


def _records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every whole record's body, with where it ends."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DataError(f"{path.name} is not a tape")
        end = len(MAGIC)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, crc = _HEAD.unpack(head)
            body = file.read(length) if length <= _MOST else b""
            if len(body) != length or zlib.crc32(body) != crc:
                return
            end += _HEAD.size + length
            yield end, body
