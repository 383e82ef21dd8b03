"""A raw capture's file as frames: what was received, byte for byte, and when. Streaming, gzip or plain.

Two line formats. hftbacktest: `<receive time> <json>`, whose unit (us, ns) its digits tell. cryptofeed: a connection
`<url> <-> <t>`, sent `<url> <- <t>: <json>`, a REST reply `<url> -> <t>: <json>`, received `<t>: <json>`, t in seconds
with a fraction. There a REST reply stands before the messages that were received while it was on its way, so that
replies are held back until a message that was received no earlier has been given.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec import Struct

from flea_lab.errors import DataError

How = Literal["pushed", "replied", "sent", "connected"]

_PLAIN = re.compile(rb"(\d+) (.*)", re.DOTALL)
_PUSHED = re.compile(rb"(\d+(?:\.\d+)?): (.*)", re.DOTALL)
_NAMED = re.compile(rb"(\S+) (<->|<-|->) (\d+(?:\.\d+)?)(?:: ?(.*))?", re.DOTALL)
_HOW: dict[bytes, How] = {b"<->": "connected", b"<-": "sent", b"->": "replied"}
_UNIT_NS = {16: 1_000, 19: 1}


class Frame(Struct, frozen=True):
    """One line of a capture: where it stands, when it came (ns UTC), how, its text, and from which address ("" where
    the format does not say)."""

    line: int
    ts_recv: int
    how: How
    raw: bytes
    url: str = ""


class BadLine(Struct, frozen=True):
    """A line that is no frame: where it stands and what is wrong with it, file and line named."""

    line: int
    reason: str


def read_frames(path: Path) -> Iterator[Frame | BadLine]:
    """Every frame of a capture in order of receipt, and every line that is none.

    `DataError` where the first line is of neither format, and where the file itself cannot be read to its end (a gzip
    that was cut or damaged), with the last line that could.
    """
    held: list[Frame] = []
    for found in _parsed(path):
        if isinstance(found, Frame):
            if found.how == "replied":
                held.append(found)
                continue
            if found.how == "pushed":
                while held and held[0].ts_recv <= found.ts_recv:
                    yield held.pop(0)
        yield found
    yield from held


def _parsed(path: Path) -> Iterator[Frame | BadLine]:
    plain: bool | None = None
    url = ""
    for number, text in _lines(path):
        if not text:
            continue
        if plain is None:
            plain = _is_plain(text, path, number)
        found = _plain(text, path, number) if plain else _logged(text, path, number, url)
        if isinstance(found, Frame) and found.how in ("connected", "sent"):
            url = found.url
        yield found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
            for number, text in enumerate(file, 1):
                yield number, text.rstrip(b"\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name}: unreadable after line {number} ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def _is_plain(text: bytes, path: Path, number: int) -> bool:
    if _NAMED.fullmatch(text) or _PUSHED.fullmatch(text):
        return False
    if _PLAIN.fullmatch(text):
        return True
    raise DataError(f"{path.name}:{number}: neither `<time> <json>` nor `<time>: <json>`, found {text[:40]!r}")


def _plain(text: bytes, path: Path, number: int) -> Frame | BadLine:
    match = _PLAIN.fullmatch(text)
    if match is None:
        return BadLine(number, f"{path.name}:{number}: no `<time> <json>`, found {text[:40]!r}")
    digits, raw = match.groups()
    unit = _UNIT_NS.get(len(digits))
    if unit is None:
        reason = f"receive time {digits[:24].decode()} has {len(digits)} digits: neither us (16) nor ns (19)"
        return BadLine(number, f"{path.name}:{number}: {reason}")
    return Frame(number, int(digits) * unit, "pushed", raw)


def _logged(text: bytes, path: Path, number: int, url: str) -> Frame | BadLine:
    match = _PUSHED.fullmatch(text)
    if match is not None:
        return Frame(number, _ns(match[1]), "pushed", match[2], url)
    match = _NAMED.fullmatch(text)
    if match is None:
        return BadLine(number, f"{path.name}:{number}: no `<time>: <json>`, found {text[:40]!r}")
    address, arrow, seconds, raw = match.groups()
    return Frame(number, _ns(seconds), _HOW[arrow], raw or b"", address.decode("utf-8", "replace"))


def _ns(seconds: bytes) -> int:
    """Seconds as text in ns, exact: as a float they would lose the last digits."""
    whole, _, part = seconds.partition(b".")
    return int(whole) * 1_000_000_000 + int(part[:9].ljust(9, b"0"))
