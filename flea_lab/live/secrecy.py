"""What keeps a key out of everything that a process leaves behind: logs, tracebacks, warnings, alerts, core dumps.

Rules. A key that was read is masked in every text that goes to the process's output, whoever wrote it and however; a
`Secret` masks itself, this is for texts that somebody else made of one. Tracebacks are without local values. No core is
dumped. A log grows to a size, then begins anew; the last ones are kept.
"""

import asyncio
import logging
import os
import resource
import stat
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from flea_lab.secret import Secret

LARGEST = 16 * 2**20
"""Bytes of a log before it begins anew."""

KEPT = 3

SHORTEST = 8
"""Characters of a part of a key from which on it is one: less would mask words."""

Mask = Callable[[str], str]
"""Takes every known key out of a text."""


class Masked:
    """A text stream that writes to `stream` what `mask` leaves, and begins its file anew where that is too large."""

    def __init__(self, stream: TextIO, mask: Mask, largest: int = LARGEST) -> None:
        self._stream, self._mask, self._largest = stream, mask, largest
        self._written = largest  # looked at with the first write

    def write(self, text: str) -> int:
        """As `TextIO.write`."""
        self._written += len(text)
        if self._written >= self._largest // 16:
            self._written = 0
            self._stream.flush()
            begin_anew(self._stream, self._largest)
        self._stream.write(self._mask(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """As `TextIO.writelines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def begin_anew(stream: TextIO, largest: int) -> None:
    """Empties the file that `stream` appends to, where it is larger than `largest`; its content is kept beside it."""
    try:
        found = os.fstat(stream.fileno())
        file = Path(os.readlink(f"/proc/self/fd/{stream.fileno()}"))
        if not stat.S_ISREG(found.st_mode) or found.st_size <= largest or not file.is_file():
            return
        make_room(file)
        kept = os.open(f"{file}.1", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with file.open("rb") as old, open(kept, "wb") as new:
            while piece := old.read(2**20):
                new.write(piece)
        os.ftruncate(stream.fileno(), 0)  # whoever appends to it goes on at its new beginning
    except (OSError, ValueError):
        return  # a log that cannot be rotated grows


def make_room(file: Path) -> None:
    """Frees the name `file`.1: older ones move up by one, the oldest goes."""
    for n in range(KEPT, 0, -1):
        older = Path(f"{file}.{n}")
        if n == KEPT:
            older.unlink(missing_ok=True)
        elif older.exists():
            older.rename(f"{file}.{n + 1}")


def mask_of(*keys: Secret | None) -> Mask:
    """What masks `keys`, and each part of one that is made of several (`apiKey:secret`)."""
    known = [key for key in keys if key is not None]
    known += [Secret(part) for key in known for part in key.reveal().split(":") if len(part) >= SHORTEST]

    def mask(text: str) -> str:
        for key in known:
            text = key.masked_in(text)
        return text

    return mask


def guard(mask: Mask) -> None:
    """Sees to it that nothing of this process shows what `mask` hides, and that it dumps no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout, sys.stderr = Masked(sys.stdout, mask), Masked(sys.stderr, mask)
    sys.excepthook = lambda kind, error, at: _tell(mask, kind, error, at)
    threading.excepthook = lambda args: _tell(mask, args.exc_type, args.exc_value, args.exc_traceback)
    logging.setLogRecordFactory(_factory(mask))
    logging.getLogger().addFilter(lambda record: _clean(record, mask))
    warnings.showwarning = lambda message, category, filename, lineno, *_: print(
        mask(f"{filename}:{lineno}: {category.__name__}: {message}"), file=sys.stderr
    )


def watch_loop(mask: Mask) -> None:
    """Has what goes wrong in tasks of the running loop, and nobody waited for, told masked."""

    def told(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        print(mask(f"{context.get('message', 'a task failed')}\n{text}".rstrip()), file=sys.stderr)

    asyncio.get_running_loop().set_exception_handler(told)


def _tell(mask: Mask, kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    print(mask("".join(traceback.format_exception(kind, error, at)).rstrip()), file=sys.stderr)


def _factory(mask: Mask) -> Callable[..., logging.LogRecord]:
    before = logging.getLogRecordFactory()

    def make(*args: Any, **named: Any) -> logging.LogRecord:
        record = before(*args, **named)
        _clean(record, mask)
        return record

    return make


def _clean(record: logging.LogRecord, mask: Mask) -> bool:
    """Takes the keys out of a record, its traceback too; True, so that it is told."""
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # a log call whose arguments do not fit: shown as they are
        text = f"{record.msg} {record.args}"
    record.msg, record.args = mask(text), ()
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return True
